//! The timers of RFC 3261 §17 (Table 4 of its appendix A) and RFC 6026: what each means and how long it runs. The
//! [`super::wheel`] makes them fire.

use std::time::{Duration, Instant};

use crate::sip::hop::Transport;

/// How long a proxied INVITE may go without a 101-199 or final response (timer C, RFC 3261 §16.6 step 11): "larger
/// than 3 minutes". It is the proxy's; transactions do not run it.
pub const TIMER_C: Duration = Duration::from_secs(181);

/// Timer D's "absolute minimum": the client does not know the T1 of the server (RFC 3261 §17.1.1.2).
const TIMER_D: Duration = Duration::from_secs(32);

/// A transaction gives up after this many T1.
const TIMEOUT_IN_T1: u32 = 64;

/// A timer of RFC 3261 §17, or of RFC 6026 (L, M).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE client: the request is sent again, over unreliable transports.
    A,
    /// INVITE client: no response came.
    B,
    /// Proxy: no final response came after the provisional ones (§16.6 step 11).
    C,
    /// INVITE client: the final response has no more copies on the way.
    D,
    /// Non-INVITE client: the request is sent again, over unreliable transports.
    E,
    /// Non-INVITE client: no final response came.
    F,
    /// INVITE server: the final response (300-699) is sent again, over unreliable transports.
    G,
    /// INVITE server: no ACK came.
    H,
    /// INVITE server: the ACK has no more copies on the way.
    I,
    /// Non-INVITE server: the request has no more copies on the way.
    J,
    /// Non-INVITE client: the final response has no more copies on the way.
    K,
    /// INVITE server: an accepted INVITE has no more copies on the way, and no more 2xx come from the branches.
    L,
    /// INVITE client: no more 2xx come, copies or those of other branches downstream.
    M,
}

/// The base values of all timers, for one transport.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Estimate of the round-trip time.
    pub(super) t1: Duration,
    /// The longest interval between retransmissions of non-INVITE requests and INVITE responses.
    pub(super) t2: Duration,
    /// How long a message may stay in the network.
    pub(super) t4: Duration,
    /// The transport.
    pub(super) transport: Transport,
}

impl Timing {
    /// How long `timer` runs when first started; zero where the RFC has none to wait for.
    pub(super) fn duration(&self, timer: Timer) -> Duration {
        let timeout = self.t1 * TIMEOUT_IN_T1;
        match timer {
            Timer::A | Timer::E | Timer::G => self.t1,
            Timer::B | Timer::F | Timer::H | Timer::L | Timer::M => timeout,
            Timer::C => TIMER_C,
            Timer::D => self.unless_reliable(timeout.max(TIMER_D)),
            Timer::I | Timer::K => self.unless_reliable(self.t4),
            Timer::J => self.unless_reliable(timeout),
        }
    }

    /// The retransmissions that `timer` (A, E or G) drives: none over a reliable transport.
    pub(super) fn retransmission(&self, timer: Timer, now: Instant) -> Option<Retransmission> {
        let interval = self.duration(timer);
        let unreliable = !self.transport.is_reliable();
        unreliable.then(|| Retransmission {
            at: now + interval,
            interval,
        })
    }

    fn unless_reliable(&self, duration: Duration) -> Duration {
        if self.transport.is_reliable() {
            return Duration::ZERO;
        }
        duration
    }
}

/// When a message is sent again, at growing intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retransmission {
    /// The next time.
    pub(super) at: Instant,
    interval: Duration,
}

impl Retransmission {
    /// The next interval is twice this one (timer A).
    pub(super) fn doubled(self, now: Instant) -> Retransmission {
        self.after(self.interval * 2, now)
    }

    /// The next interval is twice this one, at most T2 (timers E and G).
    pub(super) fn doubled_to_t2(self, timing: &Timing, now: Instant) -> Retransmission {
        self.after((self.interval * 2).min(timing.t2), now)
    }

    /// The next interval is T2 (timer E once a provisional response came).
    pub(super) fn at_t2(self, timing: &Timing, now: Instant) -> Retransmission {
        self.after(timing.t2, now)
    }

    fn after(self, interval: Duration, now: Instant) -> Retransmission {
        Retransmission {
            at: now + interval,
            interval,
        }
    }
}

/// The earlier of a retransmission and the end of a state, so that one transaction needs one armed timer. At the same
/// time the end comes first: what ends need not be sent again.
pub(super) fn earlier(
    (timer, retransmission): (Timer, Option<Retransmission>),
    end: (Timer, Instant),
) -> (Timer, Instant) {
    match retransmission {
        Some(retransmission) if retransmission.at < end.1 => (timer, retransmission.at),
        Some(_) | None => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sip::transaction::Settings;

    fn timing(transport: Transport) -> Timing {
        Settings::default().timing(transport)
    }

    #[test]
    fn the_durations_are_those_of_table_4() {
        let udp = timing(Transport::Udp);
        let seconds = |timer| udp.duration(timer).as_secs_f64();

        assert_eq!(
            [Timer::A, Timer::B, Timer::C, Timer::D].map(seconds),
            [0.5, 32.0, 181.0, 32.0]
        );
        assert_eq!(
            [Timer::E, Timer::F, Timer::G, Timer::H].map(seconds),
            [0.5, 32.0, 0.5, 32.0]
        );
        assert_eq!(
            [Timer::I, Timer::J, Timer::K, Timer::L, Timer::M].map(seconds),
            [5.0, 32.0, 5.0, 32.0, 32.0]
        );
    }

    #[test]
    fn over_reliable_transports_nothing_is_sent_again_and_no_copies_are_awaited() {
        let tls = timing(Transport::Tls);
        let now = Instant::now();

        assert_eq!(
            [Timer::D, Timer::I, Timer::J, Timer::K].map(|timer| tls.duration(timer)),
            [Duration::ZERO; 4]
        );
        assert_eq!(
            [Timer::A, Timer::E, Timer::G].map(|timer| tls.retransmission(timer, now)),
            [None; 3]
        );
        assert_eq!(
            [Timer::B, Timer::F, Timer::H, Timer::L, Timer::M].map(|timer| tls.duration(timer).as_secs()),
            [32; 5]
        );
    }

    #[test]
    fn timer_d_is_at_least_32_seconds() {
        let mut udp = timing(Transport::Udp);
        udp.t1 = Duration::from_millis(100);
        assert_eq!(udp.duration(Timer::D).as_secs(), 32);
        udp.t1 = Duration::from_secs(1);
        assert_eq!(udp.duration(Timer::D).as_secs(), 64);
    }
}
