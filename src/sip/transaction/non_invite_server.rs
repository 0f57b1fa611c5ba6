//! The non-INVITE server transaction: RFC 3261 §17.2.2, Figure 8, with RFC 4320 (never a 408) and RFC 6026 §8.8 (a
//! transport error changes no state).
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
    /// The final response was sent.
    Completed {
        /// `None`: the answer is silence.
        reply: Option<Box<[u8]>>,
        /// Timer J.
        until: Instant,
    },
    /// Over.
    Terminated,
}

/// What the machine can meet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// The request again.
    Request,
    /// A 1xx from the TU.
    Provisional(&'a [u8]),
    /// A 200-699 from the TU.
    Final(&'a [u8]),
    /// A 408 from the TU, or it has no answer.
    NoAnswer,
    /// The timer named by [`NonInviteServer::timer`] fired.
    Timer(Timer),
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
        use NonInviteServer::{Completed, Proceeding, Terminated, Trying};
        match (self, event) {
            (Trying, Event::Request) => (Trying, Action::Nothing),
            (Trying, Event::Provisional(reply)) => (Proceeding { last: reply.into() }, Action::Send),
            (Trying, Event::Final(reply)) => (completed(reply, timing, now), Action::Send),
            (Trying, Event::NoAnswer) => (silent(timing, now), Action::Nothing),
            // RFC 6026 §8.8: the server transaction "MUST remain in the current state".
            (Trying, Event::TransportError) => (Trying, Action::Unreachable),
            (Trying, Event::Timer(_)) => (Trying, Action::Nothing),

            (state @ Proceeding { .. }, Event::Request) => (state, Action::Resend),
            (Proceeding { .. }, Event::Provisional(reply)) => (Proceeding { last: reply.into() }, Action::Send),
            (Proceeding { .. }, Event::Final(reply)) => (completed(reply, timing, now), Action::Send),
            (Proceeding { .. }, Event::NoAnswer) => (silent(timing, now), Action::Nothing),
            (state @ Proceeding { .. }, Event::TransportError) => (state, Action::Unreachable),
            (state @ Proceeding { .. }, Event::Timer(_)) => (state, Action::Nothing),

            (state @ Completed { .. }, Event::Request) => (state, Action::Resend),
            (state @ Completed { .. }, Event::TransportError) => (state, Action::Unreachable),
            (Completed { .. }, Event::Timer(Timer::J)) => (Terminated, Action::Nothing),
            // §17.2.2: any other final response passed by the TU "MUST be discarded" in this state.
            (state @ Completed { .. }, Event::Provisional(_) | Event::Final(_) | Event::NoAnswer | Event::Timer(_)) => {
                (state, Action::Nothing)
            }

            (
                Terminated,
                Event::Request
                | Event::Provisional(_)
                | Event::Final(_)
                | Event::NoAnswer
                | Event::Timer(_)
                | Event::TransportError,
            ) => (Terminated, Action::Nothing),
        }
    }

    /// The timer that fires next, and when.
    pub(super) fn timer(&self) -> Option<(Timer, Instant)> {
        match self {
            NonInviteServer::Trying | NonInviteServer::Proceeding { .. } | NonInviteServer::Terminated => None,
            NonInviteServer::Completed { until, .. } => Some((Timer::J, *until)),
        }
    }

    /// What [`Action::Resend`] sends.
    pub(super) fn message(&self) -> Option<&[u8]> {
        match self {
            NonInviteServer::Trying | NonInviteServer::Terminated => None,
            NonInviteServer::Proceeding { last } => Some(last),
            NonInviteServer::Completed { reply, .. } => reply.as_deref(),
        }
    }
}

fn completed(reply: &[u8], timing: &Timing, now: Instant) -> NonInviteServer {
    let wait = timing.duration(Timer::J);
    NonInviteServer::Completed {
        // With no copies of the request to come nothing needs to be remembered.
        reply: (!wait.is_zero()).then(|| reply.into()),
        until: now + wait,
    }
}

fn silent(timing: &Timing, now: Instant) -> NonInviteServer {
    NonInviteServer::Completed {
        reply: None,
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
    const OK: &[u8] = b"SIP/2.0 200 OK\r\n\r\n";

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
        let (state, action) = bench.step(NonInviteServer::start(), Event::Final(OK));
        assert!(matches!(state, NonInviteServer::Completed { .. }));
        assert_eq!((action, state.message()), (Action::Send, Some(OK)));
        assert_eq!(state.timer(), Some((Timer::J, bench.now + Duration::from_secs(32))));
    }

    #[test]
    fn trying_and_proceeding_without_answer_complete_in_silence() {
        let bench = Bench::new(Transport::Udp);
        for state in [NonInviteServer::start(), bench.proceeding()] {
            let (state, action) = bench.step(state, Event::NoAnswer);
            assert!(matches!(state, NonInviteServer::Completed { .. }));
            assert_eq!(action, Action::Nothing);
            let (state, action) = bench.step(state, Event::Request);
            assert_eq!((action, state.message()), (Action::Resend, None));
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
        let (state, action) = bench.step(bench.proceeding(), Event::Final(OK));
        assert!(matches!(state, NonInviteServer::Completed { .. }));
        assert_eq!((action, state.message()), (Action::Send, Some(OK)));
    }

    #[test]
    fn a_transport_error_tells_the_tu_and_changes_no_state() {
        let bench = Bench::new(Transport::Udp);
        for state in [NonInviteServer::start(), bench.proceeding(), bench.completed()] {
            let before = std::mem::discriminant(&state);
            let (state, action) = bench.step(state, Event::TransportError);
            assert_eq!(std::mem::discriminant(&state), before);
            assert_eq!(action, Action::Unreachable);
        }
    }

    #[test]
    fn completed_request_is_answered_with_the_final_response() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.completed(), Event::Request);
        assert!(matches!(state, NonInviteServer::Completed { .. }));
        assert_eq!((action, state.message()), (Action::Resend, Some(OK)));
    }

    #[test]
    fn completed_discards_other_responses_of_the_tu() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Provisional(TRYING), Event::Final(TRYING), Event::NoAnswer] {
            let (state, action) = bench.step(bench.completed(), event);
            assert_eq!((action, state.message()), (Action::Nothing, Some(OK)));
        }
    }

    #[test]
    fn completed_timer_j_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.completed(), Event::Timer(Timer::J));
        assert!(matches!(state, NonInviteServer::Terminated));
        assert_eq!(action, Action::Nothing);
    }

    #[test]
    fn over_a_reliable_transport_nothing_is_kept_and_completed_ends_at_once() {
        let bench = Bench::new(Transport::Tcp);
        let completed = bench.completed();
        assert_eq!(completed.message(), None);
        assert_eq!(completed.timer(), Some((Timer::J, bench.now)));
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
            self.step(NonInviteServer::start(), Event::Final(OK)).0
        }
    }
}
