//! The non-INVITE server transaction: RFC 3261 §17.2.2, Figure 8, with RFC 4320 (never a 408) and RFC 6026 §8.8 (a
//! transport error changes no state). What happens in Completed, until timer J fires, is in [`super::completed`].
//!
//! ```text
//!  Trying ──1xx from TU──▶ Proceeding ──200-699 from TU──▶ Completed ──J──▶ Terminated
//!     └──200-699 from TU──▶ Completed
//! ```

use std::time::Instant;

use crate::sip::transaction::action::ServerAction as Action;
use crate::sip::transaction::timer::{Timer, Timing};

/// The states.
#[derive(Debug)]
pub(super) enum NonInviteServer {
    /// The TU has the request.
    Trying,
    /// A provisional response was sent.
    Proceeding {
        /// The most recent one.
        last: Box<[u8]>,
    },
    /// The final response was sent, or the answer is silence.
    Completed {
        /// Timer J.
        until: Instant,
    },
}

/// What the machine can meet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// The request again.
    Request,
    /// A 1xx from the TU.
    Provisional(&'a [u8]),
    /// A 200-699 from the TU.
    Final,
    /// A 408 from the TU, or it has no answer.
    NoAnswer,
    /// A response could not be sent.
    TransportError,
}

impl NonInviteServer {
    /// "Request received, pass to TU".
    pub(super) fn start() -> NonInviteServer {
        NonInviteServer::Trying
    }

    /// One arrow of the figure.
    pub(super) fn step(self, event: Event<'_>, timing: &Timing, now: Instant) -> (NonInviteServer, Action) {
        use NonInviteServer::{Completed, Proceeding, Trying};
        match (self, event) {
            (Trying, Event::Request) => (Trying, Action::Nothing),
            (Trying, Event::Provisional(reply)) => (Proceeding { last: reply.into() }, Action::Send),
            (Trying, Event::Final) => (completed(timing, now), Action::Send),
            (Trying, Event::NoAnswer) => (completed(timing, now), Action::Nothing),
            // RFC 6026 §8.8: the server transaction "MUST remain in the current state".
            (Trying, Event::TransportError) => (Trying, Action::Unreachable),

            (state @ Proceeding { .. }, Event::Request) => (state, Action::Resend),
            (Proceeding { .. }, Event::Provisional(reply)) => (Proceeding { last: reply.into() }, Action::Send),
            (Proceeding { .. }, Event::Final) => (completed(timing, now), Action::Send),
            (Proceeding { .. }, Event::NoAnswer) => (completed(timing, now), Action::Nothing),
            (state @ Proceeding { .. }, Event::TransportError) => (state, Action::Unreachable),

            // §17.2.2: any other final response passed by the TU "MUST be discarded" in this state.
            (
                state @ Completed { .. },
                Event::Request | Event::Provisional(_) | Event::Final | Event::NoAnswer | Event::TransportError,
            ) => (state, Action::Nothing),
        }
    }

    /// What [`Action::Resend`] sends.
    pub(super) fn message(&self) -> Option<&[u8]> {
        match self {
            NonInviteServer::Trying | NonInviteServer::Completed { .. } => None,
            NonInviteServer::Proceeding { last } => Some(last),
        }
    }
}

fn completed(timing: &Timing, now: Instant) -> NonInviteServer {
    NonInviteServer::Completed {
        until: now + timing.duration(Timer::J),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::sip::hop::Transport;
    use crate::sip::transaction::Settings;

    const TRYING: &[u8] = b"SIP/2.0 100 Trying\r\n\r\n";

    #[test]
    fn trying_request_is_absorbed() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(NonInviteServer::start(), Event::Request);
        assert!(matches!(state, NonInviteServer::Trying));
        assert_eq!(action, Action::Nothing);
    }

    #[test]
    fn trying_1xx_from_the_tu_is_sent_and_proceeds() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(NonInviteServer::start(), Event::Provisional(TRYING));
        assert!(matches!(state, NonInviteServer::Proceeding { .. }));
        assert_eq!((action, state.message()), (Action::Send, Some(TRYING)));
    }

    #[test]
    fn trying_final_from_the_tu_is_sent_and_completes() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(NonInviteServer::start(), Event::Final);
        assert_eq!(
            (action, until(&state)),
            (Action::Send, bench.now + Duration::from_secs(32))
        );
    }

    #[test]
    fn trying_and_proceeding_without_answer_complete_in_silence() {
        let bench = Bench::new(Transport::Udp);
        for state in [NonInviteServer::start(), bench.proceeding()] {
            let (state, action) = bench.step(state, Event::NoAnswer);
            assert_eq!(
                (action, until(&state)),
                (Action::Nothing, bench.now + Duration::from_secs(32))
            );
        }
    }

    #[test]
    fn proceeding_request_is_answered_with_the_last_provisional() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Request);
        assert!(matches!(state, NonInviteServer::Proceeding { .. }));
        assert_eq!((action, state.message()), (Action::Resend, Some(TRYING)));
    }

    #[test]
    fn proceeding_1xx_from_the_tu_is_sent() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Provisional(TRYING));
        assert!(matches!(state, NonInviteServer::Proceeding { .. }));
        assert_eq!(action, Action::Send);
    }

    #[test]
    fn proceeding_final_from_the_tu_is_sent_and_completes() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Final);
        assert_eq!(
            (action, until(&state)),
            (Action::Send, bench.now + Duration::from_secs(32))
        );
    }

    #[test]
    fn a_transport_error_tells_the_tu_and_changes_no_state() {
        let bench = Bench::new(Transport::Udp);
        for state in [NonInviteServer::start(), bench.proceeding()] {
            let before = std::mem::discriminant(&state);
            let (state, action) = bench.step(state, Event::TransportError);
            assert_eq!(std::mem::discriminant(&state), before);
            assert_eq!(action, Action::Unreachable);
        }
    }

    #[test]
    fn completed_discards_other_responses_of_the_tu() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Provisional(TRYING), Event::Final, Event::NoAnswer] {
            let (state, action) = bench.step(bench.completed(), event);
            assert_eq!((action, until(&state)), (Action::Nothing, until(&bench.completed())));
        }
    }

    #[test]
    fn over_a_reliable_transport_completed_ends_at_once() {
        let bench = Bench::new(Transport::Tcp);
        assert_eq!(until(&bench.completed()), bench.now);
    }

    fn until(state: &NonInviteServer) -> Instant {
        match state {
            NonInviteServer::Completed { until } => *until,
            NonInviteServer::Trying | NonInviteServer::Proceeding { .. } => panic!("{state:?} is not Completed"),
        }
    }

    struct Bench {
        timing: Timing,
        now: Instant,
    }

    impl Bench {
        fn new(transport: Transport) -> Bench {
            Bench {
                timing: Settings::default().timing(transport),
                now: Instant::now(),
            }
        }

        fn step(&self, state: NonInviteServer, event: Event<'_>) -> (NonInviteServer, Action) {
            state.step(event, &self.timing, self.now)
        }

        fn proceeding(&self) -> NonInviteServer {
            self.step(NonInviteServer::start(), Event::Provisional(TRYING)).0
        }

        fn completed(&self) -> NonInviteServer {
            self.step(NonInviteServer::start(), Event::Final).0
        }
    }
}
