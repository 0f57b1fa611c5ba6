//! Which hops have failed of late, told by all shards to each other (RFC 3263 §4.3): those are tried last, for a time. No
//! hop is ever left out, so that one call's trouble with a hop never fails another call.
//!
//! A table of fixed size, without locks. A hop that falls into the place of another takes it over; what is forgotten is
//! tried as if it worked.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher13;

use crate::sip::hop::Hop;

/// How long a hop that has failed is tried last, unless it says so itself.
pub const PAUSE: Duration = Duration::from_secs(60);

/// The longest that a hop may say it wants to be spared (Retry-After, RFC 3261 §21.5.4).
pub const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Places of the table, 8 bytes each.
const PLACES: usize = 1 << 12;

/// The hops that have failed of late.
#[derive(Debug)]
pub struct Health {
    key: [u8; 16],
    start: Instant,
    /// By the hash of the hop: the upper half of a place tells who has it, the lower half until when it is failing, in
    /// tenths of a second since the start.
    places: Box<[AtomicU64]>,
}

impl Health {
    /// All hops work. `key` keeps strangers from choosing hops that fall together; time is reckoned from `start`.
    pub fn new(key: [u8; 16], start: Instant) -> Health {
        Health {
            key,
            start,
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// `hop` has failed: it is tried last for [`PAUSE`], or for `pause` if it said how long, at most [`PAUSE_MAX`].
    pub fn note_failing(&self, hop: &Hop, pause: Option<Duration>, now: Instant) {
        let until = self.tenths(now + pause.unwrap_or(PAUSE).min(PAUSE_MAX));
        let (place, name) = self.find(hop);
        place.store(name << 32 | u64::from(until), Ordering::Relaxed);
    }

    /// `hop` has answered.
    pub fn note_working(&self, hop: &Hop) {
        let (place, name) = self.find(hop);
        let held = place.load(Ordering::Relaxed);
        if held >> 32 == name && held as u32 != 0 {
            // Whoever has taken the place in the meantime keeps it.
            let _ = place.compare_exchange(held, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether `hop` has failed of late.
    pub fn is_failing(&self, hop: &Hop, now: Instant) -> bool {
        let (place, name) = self.find(hop);
        let held = place.load(Ordering::Relaxed);
        held >> 32 == name && held as u32 > self.tenths(now)
    }

    /// Puts the hops that have failed of late behind the others; otherwise their order stays.
    pub fn put_failing_last(&self, hops: &mut [Hop], now: Instant) {
        if hops.len() > 1 {
            hops.sort_by_cached_key(|hop| self.is_failing(hop, now));
        }
    }

    fn tenths(&self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.start).as_millis() / 100;
        u32::try_from(since).unwrap_or(u32::MAX)
    }

    fn find(&self, hop: &Hop) -> (&AtomicU64, u64) {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u8(hop.transport as u8);
        hasher.write_u16(hop.remote.port());
        match hop.remote.ip() {
            std::net::IpAddr::V4(address) => hasher.write(&address.octets()),
            std::net::IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        let hash = hasher.finish();
        (&self.places[hash as usize % PLACES], hash >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sip::hop::Transport;

    fn hop(last: u8) -> Hop {
        Hop {
            transport: Transport::Udp,
            remote: ([192, 0, 2, last], 5060).into(),
            local: ([192, 0, 2, 99], 5060).into(),
            server_name: None,
        }
    }

    fn order(health: &Health, now: Instant) -> Vec<u8> {
        let mut hops: Vec<Hop> = (1..=3).map(hop).collect();
        health.put_failing_last(&mut hops, now);
        let last = |hop: Hop| match hop.remote.ip() {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        hops.into_iter().map(last).collect()
    }

    #[test]
    fn a_hop_that_failed_is_tried_last_for_a_time() {
        let now = Instant::now();
        let health = Health::new([1; 16], now);
        assert_eq!(order(&health, now), [1, 2, 3]);
        health.note_failing(&hop(1), None, now);
        assert_eq!(order(&health, now), [2, 3, 1]);
        assert_eq!(order(&health, now + PAUSE - Duration::from_secs(1)), [2, 3, 1]);
        assert_eq!(order(&health, now + PAUSE), [1, 2, 3]);
    }

    #[test]
    fn all_that_failed_keep_their_order_and_an_answer_clears() {
        let now = Instant::now();
        let health = Health::new([1; 16], now);
        for last in 1..=3 {
            health.note_failing(&hop(last), None, now);
        }
        assert_eq!(order(&health, now), [1, 2, 3]);
        health.note_working(&hop(3));
        assert_eq!(order(&health, now), [3, 1, 2]);
    }

    #[test]
    fn a_hop_says_how_long_but_not_for_ever() {
        let now = Instant::now();
        let health = Health::new([1; 16], now);
        health.note_failing(&hop(1), Some(Duration::from_secs(5)), now);
        assert!(health.is_failing(&hop(1), now + Duration::from_secs(4)));
        assert!(!health.is_failing(&hop(1), now + Duration::from_secs(5)));
        health.note_failing(&hop(1), Some(Duration::from_secs(1 << 40)), now);
        assert!(!health.is_failing(&hop(1), now + PAUSE_MAX));
    }
}
