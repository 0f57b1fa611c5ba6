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

    /// Lets the transaction end at `limit` when nothing has come by then, although timer B runs longer.
    pub(super) fn hasten(&mut self, limit: Instant) {
        if let InviteClient::Calling { until, .. } = self {
            *until = limit.min(*until);
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
    let Some(ack) = follow_up::ack(&request, response) else {
        return (InviteClient::Terminated, Action::Deliver);
    };
    // Timer D of zero is left to fire at once, so that the table can send the ACK of this state first.
    let until = now + timing.duration(Timer::D);
    (InviteClient::Completed { ack, until }, Action::AcknowledgeAndDeliver)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use bytes::Bytes;

    use crate::sip::hop::Transport;
    use crate::sip::message::limits::Limits;
    use crate::sip::transaction::Settings;

    const INVITE: &[u8] = b"INVITE sip:bob@example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
        From: <sip:alice@example.com>;tag=a\r\n\
        To: <sip:bob@example.com>\r\n\
        Call-ID: call\r\n\
        CSeq: 1 INVITE\r\n\r\n";

    #[test]
    fn calling_timer_a_sends_the_request_again_at_doubled_intervals_until_timer_b() {
        let bench = Bench::new(Transport::Udp);
        let (mut state, mut at) = (bench.calling(), Vec::new());
        while let Some((Timer::A, now)) = state.timer() {
            let (next, action) = state.step(Event::Timer(Timer::A), &bench.timing, now);
            assert_eq!((action, next.message()), (Action::Send, Some(INVITE)));
            state = next;
            at.push((now - bench.now).as_secs_f64());
        }
        assert_eq!(at, [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
        assert_eq!(state.timer(), Some((Timer::B, bench.now + Duration::from_secs(32))));
    }

    #[test]
    fn calling_timer_b_tells_the_tu_and_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.calling(), Event::Timer(Timer::B));
        assert!(matches!(state, InviteClient::Terminated));
        assert_eq!(action, Action::TimedOut);
    }

    #[test]
    fn calling_transport_error_tells_the_tu_and_terminates() {
        let bench = Bench::new(Transport::Tcp);
        let (state, action) = bench.step(bench.calling(), Event::TransportError);
        assert!(matches!(state, InviteClient::Terminated));
        assert_eq!(action, Action::Unreachable);
    }

    #[test]
    fn calling_1xx_is_delivered_and_proceeds_without_timers() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.calling(), Event::Provisional);
        assert!(matches!(state, InviteClient::Proceeding { .. }));
        assert_eq!((action, state.timer()), (Action::Deliver, None));
    }

    #[test]
    fn calling_2xx_is_delivered_and_accepts() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.calling(), Event::Success);
        assert!(matches!(state, InviteClient::Accepted { .. }));
        assert_eq!((action, state.message()), (Action::Deliver, None));
        assert_eq!(state.timer(), Some((Timer::M, bench.now + Duration::from_secs(32))));
    }

    #[test]
    fn calling_and_proceeding_300_699_is_acknowledged_delivered_and_completes() {
        let bench = Bench::new(Transport::Udp);
        for state in [bench.calling(), bench.proceeding()] {
            let (state, action) = bench.step(state, Event::Failure(&bench.busy));
            assert!(matches!(state, InviteClient::Completed { .. }));
            assert_eq!(action, Action::AcknowledgeAndDeliver);
            assert!(
                state
                    .message()
                    .unwrap()
                    .starts_with(b"ACK sip:bob@example.com SIP/2.0\r\n")
            );
            assert_eq!(state.timer(), Some((Timer::D, bench.now + Duration::from_secs(32))));
        }
    }

    #[test]
    fn proceeding_1xx_is_delivered() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Provisional);
        assert!(matches!(state, InviteClient::Proceeding { .. }));
        assert_eq!(action, Action::Deliver);
    }

    #[test]
    fn proceeding_2xx_is_delivered_and_accepts() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::Success);
        assert!(matches!(state, InviteClient::Accepted { .. }));
        assert_eq!(action, Action::Deliver);
    }

    #[test]
    fn proceeding_64_t1_after_the_cancel_tells_the_tu_and_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.proceeding(), Event::CancelExpired);
        assert!(matches!(state, InviteClient::Terminated));
        assert_eq!(action, Action::CancelTimedOut);
    }

    #[test]
    fn completed_300_699_sends_the_ack_again() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.completed(), Event::Failure(&bench.busy));
        assert!(matches!(state, InviteClient::Completed { .. }));
        assert_eq!(action, Action::Send);
        assert!(state.message().unwrap().starts_with(b"ACK "));
    }

    #[test]
    fn completed_absorbs_other_responses() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Provisional, Event::Success, Event::CancelExpired] {
            let (state, action) = bench.step(bench.completed(), event);
            assert!(matches!(state, InviteClient::Completed { .. }));
            assert_eq!(action, Action::Nothing);
        }
    }

    #[test]
    fn completed_timer_d_and_transport_error_terminate() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Timer(Timer::D), Event::TransportError] {
            let (state, action) = bench.step(bench.completed(), event);
            assert!(matches!(state, InviteClient::Terminated));
            assert_eq!(action, Action::Nothing);
        }
    }

    #[test]
    fn accepted_2xx_is_delivered() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.accepted(), Event::Success);
        assert!(matches!(state, InviteClient::Accepted { .. }));
        assert_eq!(action, Action::Deliver);
    }

    #[test]
    fn accepted_absorbs_other_responses() {
        let bench = Bench::new(Transport::Udp);
        for event in [Event::Provisional, Event::Failure(&bench.busy), Event::TransportError] {
            let (state, action) = bench.step(bench.accepted(), event);
            assert!(matches!(state, InviteClient::Accepted { .. }));
            assert_eq!(action, Action::Nothing);
        }
    }

    #[test]
    fn accepted_timer_m_terminates() {
        let bench = Bench::new(Transport::Udp);
        let (state, action) = bench.step(bench.accepted(), Event::Timer(Timer::M));
        assert!(matches!(state, InviteClient::Terminated));
        assert_eq!(action, Action::Nothing);
    }

    #[test]
    fn over_a_reliable_transport_the_request_is_sent_once_and_completed_ends_at_once() {
        let bench = Bench::new(Transport::Tls);
        let state = bench.calling();
        assert_eq!(state.timer(), Some((Timer::B, bench.now + Duration::from_secs(32))));
        let (state, action) = bench.step(state, Event::Failure(&bench.busy));
        assert_eq!(action, Action::AcknowledgeAndDeliver);
        assert_eq!(state.timer(), Some((Timer::D, bench.now)));
    }

    struct Bench {
        timing: Timing,
        now: Instant,
        busy: Message,
    }

    impl Bench {
        fn new(transport: Transport) -> Bench {
            let busy = b"SIP/2.0 486 Busy Here\r\n\
                Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
                From: <sip:alice@example.com>;tag=a\r\n\
                To: <sip:bob@example.com>;tag=b\r\n\
                Call-ID: call\r\n\
                CSeq: 1 INVITE\r\n\r\n";
            Bench {
                timing: Settings::default().timing(transport),
                now: Instant::now(),
                busy: Message::parse(Bytes::from_static(busy), &Limits::default()).unwrap(),
            }
        }

        fn step(&self, state: InviteClient, event: Event<'_>) -> (InviteClient, Action) {
            state.step(event, &self.timing, self.now)
        }

        fn calling(&self) -> InviteClient {
            InviteClient::start(INVITE, &self.timing, self.now)
        }

        fn proceeding(&self) -> InviteClient {
            self.step(self.calling(), Event::Provisional).0
        }

        fn completed(&self) -> InviteClient {
            self.step(self.proceeding(), Event::Failure(&self.busy)).0
        }

        fn accepted(&self) -> InviteClient {
            self.step(self.proceeding(), Event::Success).0
        }
    }
}
