//! What a transition of a machine asks for: the words below the line of an arrow in the figures of RFC 3261 §17.

/// What a client transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAction {
    /// Nothing; what came is absorbed.
    Nothing,
    /// The state's message (request or ACK) is sent.
    Send,
    /// The response is passed to the TU.
    Deliver,
    /// The ACK is sent, and the response passed to the TU.
    AcknowledgeAndDeliver,
    /// The TU is told that no response came.
    TimedOut,
    /// The TU is told that the request could not be sent.
    Unreachable,
    /// The TU is told that the request was cancelled and nothing more came (§9.1).
    CancelTimedOut,
}

/// What a server transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerAction {
    /// Nothing; what came is absorbed.
    Nothing,
    /// The TU's response is sent.
    Send,
    /// The response that the state remembers is sent again.
    Resend,
    /// The ACK is passed to the TU.
    PassAck,
    /// The TU is told that the response could not be sent.
    Unreachable,
}
