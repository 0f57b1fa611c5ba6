//! The INVITE server transaction: RFC 3261 §17.2.1, Figure 7, as corrected by RFC 6026 §8.5-8.8 (state Accepted,
//! timer L; a transport error changes no state). What happens in Confirmed, until timer I fires, is in
//! [`super::completed`].
//!
//! ```text
//!  Proceeding ──300-699 from TU──▶ Completed ──ACK──▶ Confirmed ──I──▶ Terminated
//!     │                               └──H──▶ Terminated
//!     └──2xx from TU──▶ Accepted ──L──▶ Terminated
//! ```

use std::time::Instant;

use crate::sip::transaction::action::ServerAction as Action;
use crate::sip::transaction::timer::{Retransmission, Timer, Timing, earlier};

/// The states.
#[derive(Debug)]
pub(super) enum InviteServer {
    /// The TU has the request.
    Proceeding {
        /// The most recent provisional response.
        last: Option<Box<[u8]>>,
    },
    /// A 300-699 was sent; its ACK is awaited.
    Completed {
        reply: Box<[u8]>,
        /// Timer G.
        resend: Option<Retransmission>,
        /// Timer H.
        until: Instant,
    },
    /// A 2xx was sent; the TU, or the one behind it, sends it again.
    Accepted {
        /// Timer L.
        until: Instant,
    },
    /// The ACK came.
    Confirmed {
        /// Timer I.
        until: Instant,
    },
    /// Over.
    Terminated,
}

/// What the machine can meet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// The INVITE again.
    Invite,
    /// An ACK.
    Ack,
    /// A 1xx from the TU.
    Provisional(&'a [u8]),
    /// A 2xx from the TU.
    Success,
    /// A 300-699 from the TU.
    Failure(&'a [u8]),
    /// The timer named by [`InviteServer::timer`] fired.
    Timer(Timer),
    /// A response could not be sent.
    TransportError,
}

impl InviteServer {
    /// "INVITE, pass INVITE to TU".
    pub(super) fn start() -> InviteServer {
        InviteServer::Proceeding { last: None }
    }

    /// One arrow of the figure.
    pub(super) fn step(self, event: Event<'_>, timing: &Timing, now: Instant) -> (InviteServer, Action) {
        use InviteServer::{Accepted, Completed, Confirmed, Proceeding, Terminated};
        match (self, event) {
            (state @ Proceeding { .. }, Event::Invite) => (state, Action::Resend),
            (Proceeding { .. }, Event::Provisional(reply)) => {
                let last = Some(reply.into());
                (Proceeding { last }, Action::Send)
            }
            (Proceeding { .. }, Event::Success) => {
                let until = now + timing.duration(Timer::L);
                (Accepted { until }, Action::Send)
            }
            (Proceeding { .. }, Event::Failure(reply)) => {
                let completed = Completed {
                    reply: reply.into(),
                    resend: timing.retransmission(Timer::G, now),
                    until: now + timing.duration(Timer::H),
                };
                (completed, Action::Send)
            }
            // RFC 6026 §8.8: the server transaction "MUST remain in the current state".
            (state @ Proceeding { .. }, Event::TransportError) => (state, Action::Unreachable),
            (state @ Proceeding { .. }, Event::Ack | Event::Timer(_)) => (state, Action::Nothing),

            (state @ Completed { .. }, Event::Invite) => (state, Action::Resend),
            (Completed { reply, resend, until }, Event::Timer(Timer::G)) => {
                let resend = resend.map(|resend| resend.doubled_to_t2(timing, now));
                (Completed { reply, resend, until }, Action::Resend)
            }
            (Completed { .. }, Event::Timer(Timer::H)) => (Terminated, Action::Nothing),
            (Completed { .. }, Event::Ack) => {
                let until = now + timing.duration(Timer::I);
                (Confirmed { until }, Action::Nothing)
            }
            (state @ Completed { .. }, Event::TransportError) => (state, Action::Unreachable),
            // §17.2.1: any other final response passed by the TU "MUST be discarded" in this state.
            (
                state @ Completed { .. },
                Event::Provisional(_) | Event::Success | Event::Failure(_) | Event::Timer(_),
            ) => (state, Action::Nothing),

            (state @ Accepted { .. }, Event::Invite) => (state, Action::Nothing),
            (state @ Accepted { .. }, Event::Ack) => (state, Action::PassAck),
            (state @ Accepted { .. }, Event::Success) => (state, Action::Send),
            (state @ Accepted { .. }, Event::TransportError) => (state, Action::Unreachable),
            (Accepted { .. }, Event::Timer(Timer::L)) => (Terminated, Action::Nothing),
            (state @ Accepted { .. }, Event::Provisional(_) | Event::Failure(_) | Event::Timer(_)) => {
                (state, Action::Nothing)
            }

            (
                state @ Confirmed { .. },
                Event::Invite
                | Event::Ack
                | Event::Provisional(_)
                | Event::Success
                | Event::Failure(_)
                | Event::Timer(_)
                | Event::TransportError,
            ) => (state, Action::Nothing),

            (
                Terminated,
                Event::Invite
                | Event::Ack
                | Event::Provisional(_)
                | Event::Success
                | Event::Failure(_)
                | Event::Timer(_)
                | Event::TransportError,
            ) => (Terminated, Action::Nothing),
        }
    }

    /// The timer that fires next, and when.
    pub(super) fn timer(&self) -> Option<(Timer, Instant)> {
        match self {
            InviteServer::Proceeding { .. } | InviteServer::Confirmed { .. } | InviteServer::Terminated => None,
            InviteServer::Completed { resend, until, .. } => Some(earlier((Timer::G, *resend), (Timer::H, *until))),
            InviteServer::Accepted { until } => Some((Timer::L, *until)),
        }
    }

    /// What [`Action::Resend`] sends; `None` before the TU's first response.
    pub(super) fn message(&self) -> Option<&[u8]> {
        match self {
            InviteServer::Proceeding { last } => last.as_deref(),
            InviteServer::Completed { reply, .. } => Some(reply),
            InviteServer::Accepted { .. } | InviteServer::Confirmed { .. } | InviteServer::Terminated => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::sip::hop::Transport;
    use crate::sip::transaction::Settings;

    const RINGING: &[u8] = b"SIP/2.0 180 Ringing\r\n\r\n";
    const BUSY: &[u8] = b"SIP/2.0 486 Busy Here\r\n\r\n";

    #[test]
    fn proceeding_invite_before_a_response_is_absorbed() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(InviteServer::start(), Event::Invite);
        assert_eq!((action, state.message()), (Action::Resend, None));
    }

    #[test]
    fn proceeding_invite_is_answered_with_the_last_provisional() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Invite);
        assert!(matches!(state, InviteServer::Proceeding { .. }));
        assert_eq!((action, state.message()), (Action::Resend, Some(RINGING)));
    }

    #[test]
    fn proceeding_1xx_from_the_tu_is_sent_and_remembered() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(InviteServer::start(), Event::Provisional(RINGING));
        assert!(matches!(state, InviteServer::Proceeding { .. }));
        assert_eq!((action, state.message()), (Action::Send, Some(RINGING)));
        assert_eq!(state.timer(), None);
    }

    #[test]
    fn proceeding_2xx_from_the_tu_is_sent_and_accepts() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Success);
        assert!(matches!(state, InviteServer::Accepted { .. }));
        assert_eq!((action, state.message()), (Action::Send, None));
        assert_eq!(state.timer(), Some((Timer::L, bench.now + Duration::from_secs(32))));
    }

    #[test]
    fn proceeding_300_699_from_the_tu_is_sent_and_completes() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Failure(BUSY));
        assert!(matches!(state, InviteServer::Completed { .. }));
        assert_eq!((action, state.message()), (Action::Send, Some(BUSY)));
    }

    #[test]
    fn proceeding_transport_error_tells_the_tu_and_stays() {
        let bench = Bench::new(Transport::Tcp);
        let (state, action) = bench.step(bench.proceeding(), Event::TransportError);
        assert!(matches!(state, InviteServer::Proceeding { .. }));
        assert_eq!(action, Action::Unreachable);
    }

    #[test]
    fn completed_invite_is_answered_with_the_final_response() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.completed(), Event::Invite);
        assert!(matches!(state, InviteServer::Completed { .. }));
        assert_eq!((action, state.message()), (Action::Resend, Some(BUSY)));
    }

    #[test]
    fn completed_timer_g_sends_the_response_again_at_doubled_intervals_up_to_t2() {
        let bench = Bench::new(Transport::Udp);
        let (mut state, mut at) = (bench.completed(), Vec::new());
        while let Some((Timer::G, now)) = state.timer() {
            let (next, action) = state.step(Event::Timer(Timer::G), &bench.timing, now);
            assert_eq!((action, next.message()), (Action::Resend, Some(BUSY)));
            state = next;
            at.push((now - bench.now).as_secs_f64());
        }
        assert_eq!(at, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
        assert_eq!(state.timer(), Some((Timer::H, bench.now + Duration::from_secs(32))));
    }

    #[test]
    fn completed_timer_h_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.completed(), Event::Timer(Timer::H));
        assert!(matches!(state, InviteServer::Terminated));
        assert_eq!(action, Action::Nothing);
    }

    #[test]
    fn completed_ack_confirms() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.completed(), Event::Ack);
        assert!(matches!(state, InviteServer::Confirmed { .. }));
        assert_eq!(action, Action::Nothing);
        assert_eq!(until(&state), bench.now + Duration::from_secs(5));
    }

    #[test]
    fn completed_transport_error_tells_the_tu_and_stays() {
        let bench = Bench::new(Transport::Tcp);
        let (state, action) = bench.step(bench.completed(), Event::TransportError);
        assert!(matches!(state, InviteServer::Completed { .. }));
        assert_eq!(action, Action::Unreachable);
    }

    #[test]
    fn completed_discards_other_responses_of_the_tu() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Provisional(RINGING), Event::Success, Event::Failure(RINGING)] {
            let (state, action) = bench.step(bench.completed(), event);
            assert_eq!((action, state.message()), (Action::Nothing, Some(BUSY)));
        }
    }

    #[test]
    fn accepted_invite_is_absorbed() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.accepted(), Event::Invite);
        assert!(matches!(state, InviteServer::Accepted { .. }));
        assert_eq!(action, Action::Nothing);
    }

    #[test]
    fn accepted_ack_is_passed_to_the_tu() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.accepted(), Event::Ack);
        assert!(matches!(state, InviteServer::Accepted { .. }));
        assert_eq!(action, Action::PassAck);
    }

    #[test]
    fn accepted_2xx_from_the_tu_is_sent() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.accepted(), Event::Success);
        assert!(matches!(state, InviteServer::Accepted { .. }));
        assert_eq!(action, Action::Send);
    }

    #[test]
    fn accepted_transport_error_tells_the_tu_and_stays() {
        let bench = Bench::new(Transport::Tcp);
        let (state, action) = bench.step(bench.accepted(), Event::TransportError);
        assert!(matches!(state, InviteServer::Accepted { .. }));
        assert_eq!(action, Action::Unreachable);
    }

    #[test]
    fn accepted_discards_other_responses_of_the_tu() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Provisional(RINGING), Event::Failure(BUSY)] {
            let (state, action) = bench.step(bench.accepted(), event);
            assert!(matches!(state, InviteServer::Accepted { .. }));
            assert_eq!(action, Action::Nothing);
        }
    }

    #[test]
    fn accepted_timer_l_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.accepted(), Event::Timer(Timer::L));
        assert!(matches!(state, InviteServer::Terminated));
        assert_eq!(action, Action::Nothing);
    }

    #[test]
    fn confirmed_absorbs_everything() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Invite, Event::Ack, Event::Success, Event::TransportError] {
            let (state, action) = bench.step(bench.confirmed(), event);
            assert!(matches!(state, InviteServer::Confirmed { .. }));
            assert_eq!(action, Action::Nothing);
        }
    }

    #[test]
    fn over_a_reliable_transport_the_response_is_sent_once_and_the_ack_ends_it() {
        let bench = Bench::new(Transport::Tls);
        let completed = bench.completed();
        assert_eq!(completed.timer(), Some((Timer::H, bench.now + Duration::from_secs(32))));
        let (state, _) = bench.step(completed, Event::Ack);
        assert_eq!(until(&state), bench.now);
    }

    fn until(state: &InviteServer) -> Instant {
        match state {
            InviteServer::Confirmed { until } => *until,
            InviteServer::Proceeding { .. }
            | InviteServer::Completed { .. }
            | InviteServer::Accepted { .. }
            | InviteServer::Terminated => panic!("{state:?} is not Confirmed"),
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

        fn step(&self, state: InviteServer, event: Event<'_>) -> (InviteServer, Action) {
            state.step(event, &self.timing, self.now)
        }

        fn proceeding(&self) -> InviteServer {
            self.step(InviteServer::start(), Event::Provisional(RINGING)).0
        }

        fn completed(&self) -> InviteServer {
            self.step(self.proceeding(), Event::Failure(BUSY)).0
        }

        fn accepted(&self) -> InviteServer {
            self.step(self.proceeding(), Event::Success).0
        }

        fn confirmed(&self) -> InviteServer {
            self.step(self.completed(), Event::Ack).0
        }
    }
}
