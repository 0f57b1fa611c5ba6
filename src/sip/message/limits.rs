//! How large a message and its parts may be. What is larger is refused before it costs more.

/// Bounds on a message; RFC 3261 names none, so these are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole message. At most [`Limits::MESSAGE_SIZE_MAX`].
    pub message_size: usize,
    /// Header lines of a message.
    pub headers: usize,
    /// Bytes of one header line, folds included, and of the start line.
    pub line_length: usize,
    /// Via values of a message; more than Max-Forwards 70 can explain means a loop.
    pub vias: usize,
}

impl Limits {
    /// The largest `message_size`: the index of a message counts bytes in 16 bits, and no datagram is larger.
    pub const MESSAGE_SIZE_MAX: usize = 65_535;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size: Limits::MESSAGE_SIZE_MAX,
            headers: 128,
            line_length: 8192,
            vias: 70,
        }
    }
}
