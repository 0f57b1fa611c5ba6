//! The INVITE client transaction: RFC 3261 §17.1.1, Figure 5, as corrected by RFC 6026 §8.4 (state Accepted, timer M).
//!
//! ```text
//!  Calling ──1xx──▶ Proceeding ──300-699──▶ Completed ──D──▶ Terminated
//!     ├──────────────────┼──────2xx───────▶ Accepted ───M──▶ Terminated
//!     ├──300-699──▶ Completed
//!     └──B, transport error──▶ Terminated
//! ```

use std::time::Instant;

use crate::sip::message::Message;
use crate::sip::transaction::action::ClientAction as Action;
use crate::sip::transaction::follow_up;
use crate::sip::transaction::timer::{Retransmission, Timer, Timing, earlier};

/// The states. The request is kept as long as an ACK or CANCEL may have to be made from it.
#[derive(Debug)]
pub(super) enum InviteClient {
    /// The request was sent, nothing came back.
    Calling {
        request: Box<[u8]>,
        /// Timer A.
        resend: Option<Retransmission>,
        /// Timer B.
        until: Instant,
    },
    /// A provisional response came.
    Proceeding { request: Box<[u8]> },
    /// A final response other than 2xx came.
    Completed {
        ack: Box<[u8]>,
        /// Timer D.
        until: Instant,
    },
    /// A 2xx came; more may.
    Accepted {
        /// Timer M.
        until: Instant,
    },
    /// Over.
    Terminated,
}

/// What the machine can meet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// A 1xx.
    Provisional,
    /// A 2xx.
    Success,
    /// A 300-699.
    Failure(&'a Message),
    /// The timer named by [`InviteClient::timer`] fired.
    Timer(Timer),
    /// A message of this transaction could not be sent.
    TransportError,
    /// 64*T1 have passed since the CANCEL (RFC 3261 §9.1).
    CancelExpired,
}

impl InviteClient {
    /// "INVITE from TU": the state once `request` has been sent.
    pub(super) fn start(request: &[u8], timing: &Timing, now: Instant) -> InviteClient {
        InviteClient::Calling {
            request: request.into(),
            resend: timing.retransmission(Timer::A, now),
            until: now + timing.duration(Timer::B),
        }
    }

    /// One arrow of the figure.
    pub(super) fn step(self, event: Event<'_>, timing: &Timing, now: Instant) -> (InviteClient, Action) {
        use InviteClient::{Accepted, Calling, Completed, Proceeding, Terminated};
        match (self, event) {
            (Calling { request, resend, until }, Event::Timer(Timer::A)) => {
                let resend = resend.map(|resend| resend.doubled(now));
                (Calling { request, resend, until }, Action::Send)
            }
            (Calling { .. }, Event::Timer(Timer::B)) => (Terminated, Action::TimedOut),
            (Calling { .. }, Event::TransportError) => (Terminated, Action::Unreachable),
            (Calling { request, .. }, Event::Provisional) => (Proceeding { request }, Action::Deliver),
            (Calling { .. }, Event::Success) => (accepted(timing, now), Action::Deliver),
            (Calling { request, .. }, Event::Failure(response)) => completed(request, response, timing, now),
            (state @ Calling { .. }, Event::Timer(_) | Event::CancelExpired) => (state, Action::Nothing),

            (state @ Proceeding { .. }, Event::Provisional) => (state, Action::Deliver),
            (Proceeding { .. }, Event::Success) => (accepted(timing, now), Action::Deliver),
            (Proceeding { request }, Event::Failure(response)) => completed(request, response, timing, now),
            // RFC 3261 §9.1: the client "SHOULD destroy the client transaction handling the original request".
            (Proceeding { .. }, Event::CancelExpired) => (Terminated, Action::CancelTimedOut),
            (state @ Proceeding { .. }, Event::Timer(_) | Event::TransportError) => (state, Action::Nothing),

            (state @ Completed { .. }, Event::Failure(_)) => (state, Action::Send),
            // The TU has its final response; that the ACK was lost does not change it.
            (Completed { .. }, Event::TransportError | Event::Timer(Timer::D)) => (Terminated, Action::Nothing),
            (
                state @ Completed { .. },
                Event::Provisional | Event::Success | Event::Timer(_) | Event::CancelExpired,
            ) => (state, Action::Nothing),

            (state @ Accepted { .. }, Event::Success) => (state, Action::Deliver),
            (Accepted { .. }, Event::Timer(Timer::M)) => (Terminated, Action::Nothing),
            (
                state @ Accepted { .. },
                Event::Provisional | Event::Failure(_) | Event::Timer(_) | Event::TransportError | Event::CancelExpired,
            ) => (state, Action::Nothing),

            (
                Terminated,
                Event::Provisional
                | Event::Success
                | Event::Failure(_)
                | Event::Timer(_)
                | Event::TransportError
                | Event::CancelExpired,
            ) => (Terminated, Action::Nothing),
        }
    }

    /// The timer that fires next, and when.
    pub(super) fn timer(&self) -> Option<(Timer, Instant)> {
        match self {
            InviteClient::Calling { resend, until, .. } => Some(earlier((Timer::A, *resend), (Timer::B, *until))),
            InviteClient::Proceeding { .. } | InviteClient::Terminated => None,
            InviteClient::Completed { until, .. } => Some((Timer::D, *until)),
            InviteClient::Accepted { until } => Some((Timer::M, *until)),
        }
    }

    /// What [`Action::Send`] sends.
    pub(super) fn message(&self) -> Option<&[u8]> {
        match self {
            InviteClient::Calling { request, .. } | InviteClient::Proceeding { request } => Some(request),
            InviteClient::Completed { ack, .. } => Some(ack),
            InviteClient::Accepted { .. } | InviteClient::Terminated => None,
        }
    }
}

fn accepted(timing: &Timing, now: Instant) -> InviteClient {
    InviteClient::Accepted {
        until: now + timing.duration(Timer::M),
    }
}

/// Completed with its ACK. Where the ACK cannot be made there is none to send, now or again.
fn completed(request: Box<[u8]>, response: &Message, timing: &Timing, now: Instant) -> (InviteClient, Action) {
    let Some(ack) = follow_up::ack(request, response) else {
        return (InviteClient::Terminated, Action::Deliver);
    };
    // Timer D of zero is left to fire at once, so that the table can send the ACK of this state first.
    let until = now + timing.duration(Timer::D);
    (InviteClient::Completed { ack, until }, Action::AcknowledgeAndDeliver)
}
