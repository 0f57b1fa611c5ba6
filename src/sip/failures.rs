//! Failed authentications, counted by source and by AOR: how often somebody guesses, and at whom.
//!
//! Two tables of fixed size, without locks. Who falls into the place of another with fewer failures takes it over, so
//! that a flood of names forgets the rare ones and never those that matter.

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher13;

/// The counts of one process.
#[derive(Debug)]
pub struct Failures {
    key: [u8; 16],
    sources: Table,
    addresses: Table,
}

/// How many failures there have been, the present one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// From the source.
    pub source: u32,
    /// For the AOR.
    pub address: u32,
}

impl Failures {
    /// Nothing counted. `key` keeps strangers from choosing names that fall together.
    pub fn new(key: [u8; 16]) -> Failures {
        Failures {
            key,
            sources: Table::new(),
            addresses: Table::new(),
        }
    }

    /// Counts a failure from `source` (IPv6: its /64) for the AOR `address`.
    pub fn count(&self, source: IpAddr, address: &[u8]) -> Count {
        let source = match source.to_canonical() {
            IpAddr::V4(source) => self.sources.count(self.hash(&source.octets())),
            IpAddr::V6(source) => self.sources.count(self.hash(&source.octets()[..8])),
        };
        Count {
            source,
            address: self.addresses.count(self.hash(address)),
        }
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(name);
        hasher.finish()
    }
}

impl Count {
    /// Whether one of the two has reached a power of ten that is worth a line in the log.
    pub fn is_worth_telling(self) -> bool {
        let is_step = |count: u32| count >= FIRST_TOLD && 10_u32.pow(count.ilog10()) == count;
        is_step(self.source) || is_step(self.address)
    }
}

/// Places for names by their hash: the upper half of a place tells who has it, the lower half the count.
#[derive(Debug)]
struct Table(Box<[AtomicU64]>);

impl Table {
    fn new() -> Table {
        Table((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    fn count(&self, hash: u64) -> u32 {
        let name = hash >> 32;
        let place = &self.0[hash as usize % PLACES];
        let step = |old: u64| {
            let (holder, count) = (old >> 32, old as u32);
            match (holder == name, count) {
                (true, count) => name << 32 | u64::from(count.saturating_add(1)),
                (false, 0 | 1) => name << 32 | 1,
                // The holder loses one, so that one who has stopped gives way in the end.
                (false, count) => holder << 32 | u64::from(count - 1),
            }
        };
        let old = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(step(old)));
        let new = step(old.unwrap_or_else(|old| old));
        if new >> 32 == name { new as u32 } else { 1 }
    }
}

/// Places of each table, 8 bytes each.
const PLACES: usize = 1 << 14;
/// The least number of failures that is told.
const FIRST_TOLD: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_source_and_by_address() {
        let failures = Failures::new([1; 16]);
        let source = |text: &str| text.parse().unwrap();
        assert_eq!(
            failures.count(source("192.0.2.1"), b"a@x"),
            Count { source: 1, address: 1 }
        );
        assert_eq!(
            failures.count(source("192.0.2.1"), b"b@x"),
            Count { source: 2, address: 1 }
        );
        assert_eq!(
            failures.count(source("192.0.2.2"), b"a@x"),
            Count { source: 1, address: 2 }
        );
        assert_eq!(failures.count(source("2001:db8::1"), b"c@x").source, 1);
        assert_eq!(failures.count(source("2001:db8::2"), b"c@x").source, 2);
    }

    #[test]
    fn a_flood_of_names_does_not_forget_who_guesses_much() {
        let failures = Failures::new([1; 16]);
        let guesser = "192.0.2.1".parse().unwrap();
        for _ in 0..100 {
            failures.count(guesser, b"a@x");
        }
        for number in 0..PLACES as u32 {
            failures.count(std::net::Ipv4Addr::from(number).into(), &number.to_be_bytes());
        }
        assert!(failures.count(guesser, b"a@x").source > 80);
    }

    #[test]
    fn powers_of_ten_are_told() {
        let told = |source| Count { source, address: 1 }.is_worth_telling();
        let counts: Vec<u32> = (0..=1000).filter(|count| told(*count)).collect();
        assert_eq!(counts, [10, 100, 1000]);
    }
}
