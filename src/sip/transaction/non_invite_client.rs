//! The non-INVITE client transaction: RFC 3261 §17.1.2, Figure 6. CANCEL has one too (§9.1).
//!
//! ```text
//!  Trying ──1xx──▶ Proceeding ──200-699──▶ Completed ──K──▶ Terminated
//!     ├──200-699──▶ Completed
//!     └──F, transport error──▶ Terminated ◀──F, transport error── Proceeding
//! ```

use std::time::Instant;

use crate::sip::transaction::action::ClientAction as Action;
use crate::sip::transaction::timer::{Retransmission, Timer, Timing, earlier};

/// The states.
#[derive(Debug)]
pub(super) enum NonInviteClient {
    /// The request was sent, nothing came back.
    Trying {
        resend: Option<Resend>,
        /// Timer F.
        until: Instant,
        /// When nothing at all is as good as timer F, because there is another hop to try.
        hop_until: Option<Instant>,
    },
    /// A provisional response came.
    Proceeding {
        resend: Option<Resend>,
        /// Timer F.
        until: Instant,
    },
    /// The final response came.
    Completed {
        /// Timer K.
        until: Instant,
    },
    /// Over.
    Terminated,
}

/// The request and when it is sent again (timer E). Over a reliable transport there is none.
#[derive(Debug)]
pub(super) struct Resend {
    request: Box<[u8]>,
    retransmission: Retransmission,
}

/// What the machine can meet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A 1xx.
    Provisional,
    /// A 200-699.
    Final,
    /// The timer named by [`NonInviteClient::timer`] fired.
    Timer(Timer),
    /// The request could not be sent.
    TransportError,
}

impl NonInviteClient {
    /// "Request from TU": the state once `request` has been sent.
    pub(super) fn start(request: &[u8], timing: &Timing, now: Instant) -> NonInviteClient {
        let resend = timing.retransmission(Timer::E, now).map(|retransmission| Resend {
            request: request.into(),
            retransmission,
        });
        NonInviteClient::Trying {
            resend,
            until: now + timing.duration(Timer::F),
            hop_until: None,
        }
    }

    /// Lets the transaction end at `limit` when nothing has come by then, although timer F runs longer.
    pub(super) fn hasten(&mut self, limit: Instant) {
        if let NonInviteClient::Trying { hop_until, .. } = self {
            *hop_until = Some(limit);
        }
    }

    /// One arrow of the figure.
    pub(super) fn step(self, event: Event, timing: &Timing, now: Instant) -> (NonInviteClient, Action) {
        use NonInviteClient::{Completed, Proceeding, Terminated, Trying};
        match (self, event) {
            (
                Trying {
                    resend,
                    until,
                    hop_until,
                },
                Event::Timer(Timer::E),
            ) => {
                let resend = resend.map(|resend| Resend {
                    retransmission: resend.retransmission.doubled_to_t2(timing, now),
                    ..resend
                });
                let state = Trying {
                    resend,
                    until,
                    hop_until,
                };
                (state, Action::Send)
            }
            (Trying { .. }, Event::Timer(Timer::F)) => (Terminated, Action::TimedOut),
            (Trying { .. }, Event::TransportError) => (Terminated, Action::Unreachable),
            (Trying { resend, until, .. }, Event::Provisional) => (Proceeding { resend, until }, Action::Deliver),
            (Trying { .. }, Event::Final) => (completed(timing, now), Action::Deliver),
            (state @ Trying { .. }, Event::Timer(_)) => (state, Action::Nothing),

            (Proceeding { resend, until }, Event::Timer(Timer::E)) => {
                let resend = resend.map(|resend| Resend {
                    retransmission: resend.retransmission.at_t2(timing, now),
                    ..resend
                });
                (Proceeding { resend, until }, Action::Send)
            }
            (Proceeding { .. }, Event::Timer(Timer::F)) => (Terminated, Action::TimedOut),
            (Proceeding { .. }, Event::TransportError) => (Terminated, Action::Unreachable),
            (state @ Proceeding { .. }, Event::Provisional) => (state, Action::Deliver),
            (Proceeding { .. }, Event::Final) => (completed(timing, now), Action::Deliver),
            (state @ Proceeding { .. }, Event::Timer(_)) => (state, Action::Nothing),

            (Completed { .. }, Event::Timer(Timer::K)) => (Terminated, Action::Nothing),
            (state @ Completed { .. }, Event::Provisional | Event::Final | Event::Timer(_) | Event::TransportError) => {
                (state, Action::Nothing)
            }

            (Terminated, Event::Provisional | Event::Final | Event::Timer(_) | Event::TransportError) => {
                (Terminated, Action::Nothing)
            }
        }
    }

    /// The timer that fires next, and when.
    pub(super) fn timer(&self) -> Option<(Timer, Instant)> {
        match self {
            NonInviteClient::Trying {
                resend,
                until,
                hop_until,
            } => {
                let retransmission = resend.as_ref().map(|resend| resend.retransmission);
                let until = hop_until.map_or(*until, |limit| limit.min(*until));
                Some(earlier((Timer::E, retransmission), (Timer::F, until)))
            }
            NonInviteClient::Proceeding { resend, until } => {
                let retransmission = resend.as_ref().map(|resend| resend.retransmission);
                Some(earlier((Timer::E, retransmission), (Timer::F, *until)))
            }
            NonInviteClient::Completed { until } => Some((Timer::K, *until)),
            NonInviteClient::Terminated => None,
        }
    }

    /// What [`Action::Send`] sends.
    pub(super) fn message(&self) -> Option<&[u8]> {
        match self {
            NonInviteClient::Trying { resend, .. } | NonInviteClient::Proceeding { resend, .. } => {
                resend.as_ref().map(|resend| &*resend.request)
            }
            NonInviteClient::Completed { .. } | NonInviteClient::Terminated => None,
        }
    }
}

fn completed(timing: &Timing, now: Instant) -> NonInviteClient {
    NonInviteClient::Completed {
        until: now + timing.duration(Timer::K),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::sip::hop::Transport;
    use crate::sip::transaction::Settings;

    const REQUEST: &[u8] = b"OPTIONS sip:example.com SIP/2.0\r\n\r\n";

    #[test]
    fn trying_timer_e_sends_the_request_again_at_doubled_intervals_up_to_t2() {
        let bench = Bench::new(Transport::Udp);
        let (mut state, mut at) = (bench.trying(), Vec::new());
        while let Some((Timer::E, now)) = state.timer() {
            let (next, action) = state.step(Event::Timer(Timer::E), &bench.timing, now);
            assert_eq!((action, next.message()), (Action::Send, Some(REQUEST)));
            state = next;
            at.push((now - bench.now).as_secs_f64());
        }
        assert_eq!(at, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
        assert_eq!(state.timer(), Some((Timer::F, bench.now + Duration::from_secs(32))));
    }

    #[test]
    fn trying_timer_f_tells_the_tu_and_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.trying(), Event::Timer(Timer::F));
        assert!(matches!(state, NonInviteClient::Terminated));
        assert_eq!(action, Action::TimedOut);
    }

    #[test]
    fn trying_transport_error_tells_the_tu_and_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.trying(), Event::TransportError);
        assert!(matches!(state, NonInviteClient::Terminated));
        assert_eq!(action, Action::Unreachable);
    }

    #[test]
    fn trying_1xx_is_delivered_and_proceeds() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.trying(), Event::Provisional);
        assert!(matches!(state, NonInviteClient::Proceeding { .. }));
        assert_eq!(action, Action::Deliver);
    }

    #[test]
    fn trying_final_is_delivered_and_completes() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.trying(), Event::Final);
        assert!(matches!(state, NonInviteClient::Completed { .. }));
        assert_eq!(action, Action::Deliver);
        assert_eq!(state.timer(), Some((Timer::K, bench.now + Duration::from_secs(5))));
    }

    #[test]
    fn proceeding_timer_e_sends_the_request_again_every_t2() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Timer(Timer::E));
        assert!(matches!(state, NonInviteClient::Proceeding { .. }));
        assert_eq!((action, state.message()), (Action::Send, Some(REQUEST)));
        assert_eq!(state.timer(), Some((Timer::E, bench.now + Duration::from_secs(4))));
    }

    #[test]
    fn proceeding_timer_f_tells_the_tu_and_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Timer(Timer::F));
        assert!(matches!(state, NonInviteClient::Terminated));
        assert_eq!(action, Action::TimedOut);
    }

    #[test]
    fn proceeding_transport_error_tells_the_tu_and_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::TransportError);
        assert!(matches!(state, NonInviteClient::Terminated));
        assert_eq!(action, Action::Unreachable);
    }

    #[test]
    fn proceeding_1xx_is_delivered() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Provisional);
        assert!(matches!(state, NonInviteClient::Proceeding { .. }));
        assert_eq!(action, Action::Deliver);
    }

    #[test]
    fn proceeding_final_is_delivered_and_completes() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Final);
        assert!(matches!(state, NonInviteClient::Completed { .. }));
        assert_eq!(action, Action::Deliver);
    }

    #[test]
    fn completed_absorbs_further_responses() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Provisional, Event::Final, Event::TransportError] {
            let (state, action) = bench.step(bench.completed(), event);
            assert!(matches!(state, NonInviteClient::Completed { .. }));
            assert_eq!(action, Action::Nothing);
        }
    }

    #[test]
    fn completed_timer_k_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.completed(), Event::Timer(Timer::K));
        assert!(matches!(state, NonInviteClient::Terminated));
        assert_eq!(action, Action::Nothing);
    }

    #[test]
    fn over_a_reliable_transport_nothing_is_kept_and_completed_ends_at_once() {
        let bench = Bench::new(Transport::Tcp);
        let state = bench.trying();
        assert_eq!(state.message(), None);
        assert_eq!(state.timer(), Some((Timer::F, bench.now + Duration::from_secs(32))));
        let (state, _) = bench.step(state, Event::Final);
        assert_eq!(state.timer(), Some((Timer::K, bench.now)));
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

        fn step(&self, state: NonInviteClient, event: Event) -> (NonInviteClient, Action) {
            state.step(event, &self.timing, self.now)
        }

        fn trying(&self) -> NonInviteClient {
            NonInviteClient::start(REQUEST, &self.timing, self.now)
        }

        fn proceeding(&self) -> NonInviteClient {
            self.step(self.trying(), Event::Provisional).0
        }

        fn completed(&self) -> NonInviteClient {
            self.step(self.trying(), Event::Final).0
        }
    }
}
