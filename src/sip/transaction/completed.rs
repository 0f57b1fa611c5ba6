//! Transactions that are over for their users and only wait for copies of what they have had (RFC 3261 §17, timers D, I,
//! J and K). Nothing but the key and the message that a copy is answered with is kept of them.
//!
//! All that wait in one [`Completed`] wait equally long, so that they end in the order they came, without a timer each.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Instant;

use bytes::Bytes;
use siphasher::sip128::Hash128;
use smallvec::SmallVec;

use crate::sip::hop::{Flow, Target, Transport};
use crate::sip::transaction::Transmit;
use crate::sip::transaction::chunks::{Chunks, Place};
use crate::sip::transaction::fifo::Fifo;
use crate::sip::transaction::index::Index;

/// The transactions in which one timer runs.
#[derive(Debug)]
pub(super) struct Completed {
    waiting: Fifo<Waiting>,
    index: Index,
    messages: Chunks,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    key: Hash128,
    /// When its timer fires.
    until: Instant,
    /// Where it goes and what copies are answered with; `None`: they are absorbed in silence.
    answer: Option<Place>,
}

/// One of the transactions, found a moment ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found(u32);

/// Each insertion lets this many that are due go, so that under load none are left to the timers.
const EXPIRIES_PER_INSERTION: usize = 2;

impl Completed {
    pub(super) fn new() -> Completed {
        Completed {
            waiting: Fifo::new(),
            index: Index::new(),
            messages: Chunks::new(),
        }
    }

    /// Keeps a transaction until `until`, at least. `answer` is sent again for each copy. Only over UDP are copies
    /// waited for.
    pub(super) fn insert(&mut self, key: Hash128, until: Instant, answer: Option<(&Target, &[u8])>, now: Instant) {
        self.expire(now, EXPIRIES_PER_INSERTION);
        let answer = answer.map(|(target, message)| self.messages.append(&pack(target), message));
        // Other threads took their time earlier or later; nobody waits less than he should.
        let until = self.waiting.back().map_or(until, |last| last.until.max(until));
        let number = self.waiting.push(Waiting { key, until, answer });
        self.index.insert(hash(key.h1), number);
    }

    /// The transaction with this key.
    pub(super) fn find(&self, key: Hash128, now: Instant) -> Option<Found> {
        let is_it = |number| {
            let waiting = self.waiting.get(number);
            waiting.is_some_and(|waiting| waiting.key == key && waiting.until > now)
        };
        self.index.find(hash(key.h1), is_it).map(Found)
    }

    /// What a copy is answered with. `origin` is as in [`Transmit`].
    pub(super) fn answer(&self, found: Found, origin: Option<u64>) -> Option<Transmit> {
        let message = self.messages.read(self.waiting.get(found.0)?.answer?)?;
        let (target, payload) = unpack(message)?;
        Some(Transmit {
            payload: Bytes::copy_from_slice(payload),
            target,
            origin,
        })
    }

    /// Forgets the transaction whose key has this first half before its time.
    pub(super) fn forget(&mut self, h1: u64) {
        let is_it = |number| self.waiting.get(number).is_some_and(|waiting| waiting.key.h1 == h1);
        if let Some(number) = self.index.find(hash(h1), is_it) {
            // Its place is freed in its turn.
            self.index.remove(hash(h1), number);
        }
    }

    /// Lets go those that are due, `most` of them at most.
    pub(super) fn expire(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            if self.waiting.front().is_none_or(|first| first.until > now) {
                return;
            }
            let Some((number, waiting)) = self.waiting.pop() else {
                return;
            };
            self.index.remove(hash(waiting.key.h1), number);
            if let Some(place) = waiting.answer {
                self.messages.free(place);
            }
        }
    }

    /// When [`Completed::expire`] should next be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.until)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// The keys are hashes under a secret, or random: any part of them will do.
fn hash(h1: u64) -> u32 {
    h1 as u32
}

const V4: u8 = 4;
const V6: u8 = 6;

/// Both addresses of a datagram.
fn pack(target: &Target) -> SmallVec<[u8; 56]> {
    let mut out = SmallVec::new();
    for address in [target.local(), target.remote()] {
        match address {
            SocketAddr::V4(address) => {
                out.push(V4);
                out.extend_from_slice(&address.ip().octets());
            }
            SocketAddr::V6(address) => {
                out.push(V6);
                out.extend_from_slice(&address.ip().octets());
                out.extend_from_slice(&address.flowinfo().to_be_bytes());
                out.extend_from_slice(&address.scope_id().to_be_bytes());
            }
        }
        out.extend_from_slice(&address.port().to_be_bytes());
    }
    out
}

/// What [`pack`] has packed, and what follows it.
fn unpack(bytes: &[u8]) -> Option<(Target, &[u8])> {
    let (local, bytes) = unpack_address(bytes)?;
    let (remote, bytes) = unpack_address(bytes)?;
    let flow = Flow {
        transport: Transport::Udp,
        local,
        remote,
        connection: None,
    };
    Some((Target::Flow(flow), bytes))
}

fn unpack_address(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (kind, bytes) = bytes.split_first()?;
    if *kind == V4 {
        let (ip, bytes) = bytes.split_first_chunk::<4>()?;
        let (port, bytes) = bytes.split_first_chunk::<2>()?;
        let address = SocketAddrV4::new(Ipv4Addr::from(*ip), u16::from_be_bytes(*port));
        return Some((address.into(), bytes));
    }
    let (ip, bytes) = bytes.split_first_chunk::<16>()?;
    let (flowinfo, bytes) = bytes.split_first_chunk::<4>()?;
    let (scope_id, bytes) = bytes.split_first_chunk::<4>()?;
    let (port, bytes) = bytes.split_first_chunk::<2>()?;
    let address = SocketAddrV6::new(
        Ipv6Addr::from(*ip),
        u16::from_be_bytes(*port),
        u32::from_be_bytes(*flowinfo),
        u32::from_be_bytes(*scope_id),
    );
    Some((address.into(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn target(local: &str, remote: &str) -> Target {
        Target::Flow(Flow {
            transport: Transport::Udp,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection: None,
        })
    }

    fn key(number: u64) -> Hash128 {
        Hash128::from(u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
    }

    #[test]
    fn a_copy_is_answered_from_and_to_the_same_addresses_until_the_timer_fires() {
        let (mut completed, now) = (Completed::new(), Instant::now());
        let until = now + Duration::from_secs(32);
        let targets = [
            target("192.0.2.1:5060", "198.51.100.1:5061"),
            target("[2001:db8::1]:5060", "[fe80::1%3]:65535"),
        ];
        for (number, target) in targets.iter().enumerate() {
            completed.insert(key(number as u64), until, Some((target, b"SIP/2.0 200 OK")), now);
        }
        completed.insert(key(2), until, None, now);

        for (number, target) in targets.into_iter().enumerate() {
            let found = completed
                .find(key(number as u64), until - Duration::from_millis(1))
                .unwrap();
            let expected = Transmit {
                payload: Bytes::from_static(b"SIP/2.0 200 OK"),
                target,
                origin: Some(9),
            };
            assert_eq!(completed.answer(found, Some(9)), Some(expected));
            assert!(completed.find(key(number as u64), until).is_none());
        }
        let silent = completed.find(key(2), now).unwrap();
        assert_eq!(completed.answer(silent, None), None);
        assert!(completed.find(key(3), now).is_none());
        assert_eq!((completed.len(), completed.poll_timeout()), (3, Some(until)));
        completed.expire(until, 2);
        assert_eq!(completed.len(), 1);
        completed.expire(until, 2);
        assert_eq!((completed.len(), completed.poll_timeout()), (0, None));
    }

    #[test]
    fn what_is_forgotten_is_not_found_and_its_place_is_freed_in_turn() {
        let (mut completed, now) = (Completed::new(), Instant::now());
        let address = target("192.0.2.1:5060", "198.51.100.1:5061");
        for number in 0..3 {
            completed.insert(key(number), now + Duration::from_secs(1), Some((&address, b"ACK")), now);
        }
        completed.forget(key(1).h1);
        completed.forget(key(7).h1);
        assert!(completed.find(key(1), now).is_none());
        assert!(completed.find(key(2), now).is_some());
        completed.expire(now + Duration::from_secs(1), usize::MAX);
        assert_eq!(completed.len(), 0);
    }

    #[test]
    fn under_load_those_that_are_due_go_as_others_come() {
        let (mut completed, mut now) = (Completed::new(), Instant::now());
        for number in 0..100_000 {
            now += Duration::from_millis(1);
            completed.insert(key(number), now + Duration::from_secs(5), None, now);
        }
        assert!(completed.len() <= 5_000, "{}", completed.len());
    }
}
