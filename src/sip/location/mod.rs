//! The location service (RFC 3261 §10.2, §16.5): which contacts each address-of-record is bound to.
//!
//! It is shared by all shards of the server and therefore the one value of `sip` with interior mutability. Its tables
//! are split by the keyed hash of the AOR; everything about one AOR happens under one lock.

mod aor;
mod asking;
mod change;
mod entries;
mod expiry;
mod flows;
#[cfg(test)]
mod model;
mod plan;
mod record;
mod refresh;
mod shard;
mod standing;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use thiserror::Error;

pub use aor::AddressOfRecord;
pub use asking::{Asking, KeepAlive, Means, Question, Turn};
pub use change::{Change, Counts};
pub use record::Binding;
pub use standing::{Cause, Standing, Which, is_source};

use crate::sip::hop::{ConnectionId, Flow};
use crate::sip::location::flows::FlowIndex;
use crate::sip::message::address::Parameters;
use crate::sip::message::uri::Uri;
use plan::Request;
use record::Moment;
use shard::{Common, Shard};

/// The bindings of all addresses-of-record.
#[derive(Debug)]
pub struct Location {
    common: Common,
    shards: Box<[Slot; SHARDS]>,
}

/// Where the bindings of an AOR are kept, found out once for several uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

/// What a REGISTER asks for, after all checks that need no binding.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The contacts.
    pub contacts: Contacts<'a>,
    /// The Call-ID.
    pub call_id: &'a [u8],
    /// The number of the CSeq.
    pub cseq: u32,
    /// The nonce count of the credentials; 0 without one.
    pub nonce_count: u32,
    /// The way the request came by.
    pub flow: &'a Flow,
    /// The Path values joined by commas; empty without one.
    pub path: &'a [u8],
    /// The most bindings that the AOR may have, at most [`MAX_BINDINGS`].
    pub max_contacts: usize,
    /// What happens to a new contact beyond that.
    pub overflow: Overflow,
}

/// The Contact headers of a REGISTER.
#[derive(Clone, Copy, Debug)]
pub enum Contacts<'a> {
    /// `*`: all bindings go.
    RemoveAll,
    /// These are added, refreshed or removed. Of two for the same binding the later one holds.
    Each(&'a [ContactUpdate<'a>]),
}

/// One Contact of a REGISTER.
#[derive(Clone, Copy, Debug)]
pub struct ContactUpdate<'a> {
    /// Its URI.
    pub uri: Uri<'a>,
    /// Its header parameters without `expires`.
    pub parameters: Parameters<'a>,
    /// The q value in thousandths.
    pub q: u16,
    /// Whether instance and reg-id, which are among the parameters, name the binding (RFC 5626 §6).
    pub is_outbound: bool,
    /// The lifetime granted, in whole seconds; zero removes the binding.
    pub expires: Duration,
}

/// What happens to a new contact that finds its AOR full of bindings that are not suspended. Those that are give way
/// first, the one suspended longest before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The request is refused.
    #[default]
    Reject,
    /// The binding registered longest ago gives way.
    ReplaceOldest,
    /// A binding gives way whose flow has failed though it is still tried elsewhere; with none the request is refused.
    ReplaceUnreachable,
}

/// Why an update was not done. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The AOR would have more bindings than it may.
    #[error("the address-of-record would have more bindings than it may")]
    TooManyContacts,
    /// A binding was made by a request of the same Call-ID whose CSeq is not lower (RFC 3261 §10.3 step 6 and 7).
    #[error("a binding was made by a later request of the same Call-ID")]
    OutOfOrder,
    /// A contact with its Path is longer than a binding can be.
    #[error("a contact with its Path is longer than a binding can be")]
    TooLong,
}

/// The most bindings of one AOR, whatever the configuration says: each REGISTER goes through all of them.
pub const MAX_BINDINGS: usize = 1000;

impl Location {
    /// An empty one. `key` keeps strangers from choosing addresses that fall together in the tables.
    pub fn new(key: [u8; 16], now: Instant) -> Location {
        Location {
            common: Common {
                key,
                call_id_key: key,
                epoch: now,
                flows: FlowIndex::default(),
            },
            shards: Box::new(std::array::from_fn(|_| Slot::default())),
        }
    }

    /// The same, with hashes of Call-IDs that another start with this key would make too.
    pub fn with_call_id_key(mut self, key: [u8; 16]) -> Location {
        self.common.call_id_key = key;
        self
    }

    /// Where the bindings of `aor` are kept, whether it has some or not.
    pub fn place(&self, aor: &AddressOfRecord) -> Place {
        Place(self.common.hash(aor.as_bytes()))
    }

    /// Does all of `update` or nothing of it. `listed` then sees every binding that is live, under the same lock.
    /// Returns no change when there was nothing to do, as for a retransmission. Refreshing a binding whose texts keep
    /// their lengths allocates nothing.
    pub fn apply(
        &self,
        aor: &AddressOfRecord,
        update: &Update<'_>,
        now: Instant,
        listed: &mut dyn FnMut(&Binding<'_>),
    ) -> Result<Option<Change>, Refused> {
        self.apply_at(self.place(aor), aor, update, now, listed)
    }

    /// The same, at the [`Location::place`] of `aor`.
    pub fn apply_at(
        &self,
        Place(hash): Place,
        aor: &AddressOfRecord,
        update: &Update<'_>,
        now: Instant,
        listed: &mut dyn FnMut(&Binding<'_>),
    ) -> Result<Option<Change>, Refused> {
        let request = Request {
            update,
            call_id: self.hash_call_id(update.call_id),
            now: self.moment(now),
        };
        let mut shard = self.slot(hash).shard.lock();
        shard.apply(&self.common, hash, aor, &request, listed)
    }

    /// Shows every binding of `aor` that is live at `now`, in the order in which they were made. Returns the revision
    /// that this is the state of: no [`Change`] of this AOR with this or a lower one brings anything new.
    pub fn lookup(&self, aor: &AddressOfRecord, now: Instant, found: &mut dyn FnMut(&Binding<'_>)) -> u64 {
        let hash = self.common.hash(aor.as_bytes());
        let shard = self.slot(hash).shard.lock();
        shard
            .live_bindings(&self.common, hash, aor, self.moment(now))
            .for_each(|binding| found(&binding));
        shard.revision()
    }

    /// Whether a live binding was made by a REGISTER with exactly these, so that the request is a retransmission and
    /// its nonce count no replay.
    pub fn is_retransmission(
        &self,
        aor: &AddressOfRecord,
        call_id: &[u8],
        cseq: u32,
        nonce_count: u32,
        now: Instant,
    ) -> bool {
        let hash = self.common.hash(aor.as_bytes());
        let call_id = self.hash_call_id(call_id);
        let shard = self.slot(hash).shard.lock();
        shard
            .live_bindings(&self.common, hash, aor, self.moment(now))
            .any(|binding| {
                binding.call_id() == call_id && binding.cseq() == cseq && binding.nonce_count() == nonce_count
            })
    }

    /// Notes that those bindings of `aor` cannot be reached over their flow, because of `cause`. Those that can be reached
    /// in no other way are suspended: kept and listed, but not rung, until their next REGISTER or [`Location::resume`].
    /// Returns a change if one was.
    pub fn suspend(&self, aor: &AddressOfRecord, which: Which<'_>, cause: Cause, now: Instant) -> Option<Change> {
        let hash = self.common.hash(aor.as_bytes());
        let mut shard = self.slot(hash).shard.lock();
        shard.set_standing(&self.common, hash, aor, self.moment(now), |binding| {
            which.applies(binding).then(|| Standing::after(binding, cause))
        })
    }

    /// Notes that those bindings of `aor` have been found alive. Returns a change if one of them was suspended.
    pub fn resume(&self, aor: &AddressOfRecord, which: Which<'_>, now: Instant) -> Option<Change> {
        let hash = self.common.hash(aor.as_bytes());
        let mut shard = self.slot(hash).shard.lock();
        shard.set_standing(&self.common, hash, aor, self.moment(now), |binding| {
            which.applies(binding).then_some(Standing::Reachable)
        })
    }

    /// A connection has ended: does as [`Location::suspend`] does with all bindings made over it, but for those with a
    /// Path, which do not depend on it. It looks at no more than `limit` AORs. Returns whether there are more. Nobody
    /// registers over that connection any more when it is called.
    pub fn close_connection(
        &self,
        connection: ConnectionId,
        now: Instant,
        limit: usize,
        changes: &mut Vec<Change>,
    ) -> bool {
        let now = self.moment(now);
        for _ in 0..limit {
            // The lock of the index is never held while that of a part is taken.
            let Some(hash) = self.common.flows.take(connection) else {
                return false;
            };
            let mut shard = self.slot(hash).shard.lock();
            changes.extend(shard.close_connection(&self.common, hash, connection, now));
        }
        self.common.flows.has(connection)
    }

    /// Removes bindings whose time is over at `now`, in part `part.0` of `part.1` parts of all AORs. It looks at no
    /// more than `limit` AORs. Returns whether more are due.
    pub fn expire(&self, now: Instant, part: (usize, usize), limit: usize, changes: &mut Vec<Change>) -> bool {
        let now = self.moment(now);
        let mut budget = limit;
        let mut is_more_due = false;
        for slot in self.shards.iter().skip(part.0).step_by(part.1.max(1)) {
            if slot.swept.load(Ordering::Relaxed) >= now.second() {
                continue;
            }
            if !slot.shard.lock().expire(&self.common, now, &mut budget, changes) {
                is_more_due = true;
                break;
            }
            slot.swept.store(now.second(), Ordering::Relaxed);
        }
        is_more_due
    }

    /// Goes on with the round through all AORs: adds to `questions` the bindings behind NAT whose turn it is to be asked
    /// whether they are still there (RFC 5626 §4.4). Those that have missed too many are suspended, and asked on. To be
    /// called every few tenths of a second. Returns whether the limit of the turn left some that are due.
    pub fn ask(
        &self,
        now: Instant,
        asking: &Asking,
        turn: Turn<'_>,
        questions: &mut Vec<Question>,
        changes: &mut Vec<Change>,
    ) -> bool {
        let now = self.moment(now);
        let mut budget = turn.limit;
        let (first, step) = (turn.part.0, turn.part.1.max(1));
        let slots = SHARDS.saturating_sub(first).div_ceil(step);
        for _ in 0..slots {
            let slot = first + *turn.from % slots * step;
            let mut shard = self.shards[slot].shard.lock();
            shard.ask(&self.common, now, asking, &mut budget, questions, changes);
            if budget == 0 {
                return true;
            }
            *turn.from = (*turn.from + 1) % slots;
        }
        false
    }

    /// Notes that the phone of `aor` at the other end of `flow` has answered after `round_trip`. Returns a change if it had
    /// been suspended for its silence.
    pub fn note_answer(
        &self,
        aor: &AddressOfRecord,
        flow: &Flow,
        round_trip: Duration,
        now: Instant,
    ) -> Option<Change> {
        let hash = self.common.hash(aor.as_bytes());
        let now = self.moment(now);
        let mut shard = self.slot(hash).shard.lock();
        shard.note_answer(&self.common, hash, aor, flow, round_trip, now)
    }

    /// When [`Location::expire`], having said that nothing more is due at `now`, has work again; `None` when nothing is
    /// kept.
    pub fn next_expiry(&self, now: Instant) -> Option<Instant> {
        let next_second = u64::from(self.moment(now).second()) + 1;
        let is_filled = self.shards.iter().any(|slot| slot.shard.lock().bindings() > 0);
        is_filled.then(|| self.common.epoch + Duration::from_secs(next_second))
    }

    /// Touches what is kept at `place`, so that it lies in the cache when it is needed. At a million AORs that is what
    /// a REGISTER waits for, and done for several one after another the waits overlap.
    pub fn warm(&self, Place(hash): Place) {
        self.slot(hash).shard.lock().warm(hash);
    }

    /// How many bindings are kept; some of them may have expired within the last moments.
    pub fn bindings(&self) -> u64 {
        self.shards.iter().map(|slot| slot.shard.lock().bindings()).sum()
    }

    /// How many pairs of a connection and an AOR with bindings over it are kept.
    pub fn connected(&self) -> usize {
        self.common.flows.len()
    }

    /// How many AORs have bindings.
    pub fn addresses(&self) -> u64 {
        self.shards.iter().map(|slot| slot.shard.lock().addresses()).sum()
    }

    fn slot(&self, hash: u64) -> &Slot {
        // The tables themselves go by the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment::new(self.common.epoch, now)
    }

    /// Keyed, and compared with those of one AOR only: nobody can make two Call-IDs be taken for one.
    fn hash_call_id(&self, call_id: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.common.call_id_key).hash(call_id)
    }
}

/// Each on its own cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot {
    /// The second up to which the expired bindings are removed.
    swept: AtomicU32,
    shard: Mutex<Shard>,
}

/// Many more than cores, so that two of them rarely meet, and so that a table that grows is a small one.
const SHARDS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::hop::Transport;

    #[test]
    fn the_limit_counts_live_bindings_after_removals() {
        let (location, start) = location();
        for number in 0..10 {
            put(&location, start, &format!("c{number}"), &[(&uri(number), 3600)]).unwrap();
        }
        let full = put(&location, start, "new", &[(&uri(10), 3600)]);
        assert_eq!(full, Err(Refused::TooManyContacts));
        assert_eq!(count(&location, start), 10);
        put(&location, start, "refresh", &[(&uri(3), 3600)]).unwrap();
        put(&location, start, "swap", &[(&uri(10), 3600), (&uri(0), 0)]).unwrap();
        let too_many = put(
            &location,
            start,
            "two",
            &[(&uri(1), 0), (&uri(11), 3600), (&uri(12), 3600)],
        );
        assert_eq!(too_many, Err(Refused::TooManyContacts));
        assert_eq!(count(&location, start), 10);
        put(&location, start + HOUR, "expired", &[(&uri(12), 3600)]).unwrap();
        assert_eq!(count(&location, start + HOUR), 1);
    }

    #[test]
    fn a_binding_ends_at_its_millisecond_whether_swept_or_not() {
        let (location, start) = location();
        let then = start + Duration::from_millis(1_234);
        put(&location, then, "a", &[(&uri(0), 3600)]).unwrap();
        assert_eq!(count(&location, then + HOUR - Duration::from_millis(1)), 1);
        assert_eq!(count(&location, then + HOUR), 0);
        let mut changes = Vec::new();
        assert!(!location.expire(then + HOUR, (0, 1), 100, &mut changes));
        assert_eq!((changes.len(), location.bindings()), (0, 1));
        assert!(!location.expire(start + Duration::from_secs(3602), (0, 1), 100, &mut changes));
        assert_eq!((changes[0].counts.expired, location.bindings()), (1, 0));
        assert_eq!(changes[0].aor, aor(b"alice@example.com"));
    }

    #[test]
    fn expiring_does_a_bounded_part_at_a_time() {
        let (location, start) = location();
        for number in 0..500 {
            let aor = aor(format!("user{number}@example.com").as_bytes());
            put_for(&location, &aor, start, "a", &[(&uri(0), 600)]).unwrap();
        }
        let (mut changes, mut turns) = (Vec::new(), 1);
        while location.expire(start + HOUR, (0, 1), 64, &mut changes) {
            turns += 1;
            assert!(changes.len() <= turns * 64);
        }
        assert_eq!(changes.len(), 500);
        assert!(turns >= 8);
        assert_eq!(location.next_expiry(start + HOUR), None);
    }

    #[test]
    fn parts_of_the_sweep_are_disjoint_and_complete() {
        let (location, start) = location();
        for number in 0..500 {
            let aor = aor(format!("user{number}@example.com").as_bytes());
            put_for(&location, &aor, start, "a", &[(&uri(0), 600)]).unwrap();
        }
        let mut changes = Vec::new();
        location.expire(start + HOUR, (0, 3), usize::MAX, &mut changes);
        assert!((100..250).contains(&changes.len()));
        location.expire(start + HOUR, (1, 3), usize::MAX, &mut changes);
        location.expire(start + HOUR, (2, 3), usize::MAX, &mut changes);
        assert_eq!(changes.len(), 500);
    }

    #[test]
    fn revisions_rise_over_the_end_of_an_aor() {
        let (location, start) = location();
        let added = put(&location, start, "a", &[(&uri(0), 3600)]).unwrap().unwrap();
        let removed = put(&location, start, "b", &[(&uri(0), 0)]).unwrap().unwrap();
        assert_eq!((removed.counts.removed, location.addresses()), (1, 0));
        let again = put(&location, start, "c", &[(&uri(0), 3600)]).unwrap().unwrap();
        assert!(added.revision < removed.revision && removed.revision < again.revision);
        let seen = location.lookup(&again.aor, start, &mut |_| {});
        assert_eq!(seen, again.revision);
    }

    #[test]
    fn a_retransmission_changes_nothing_and_is_recognised() {
        let (location, start) = location();
        put(&location, start, "a", &[(&uri(0), 3600)]).unwrap();
        let again = put(&location, start + Duration::from_secs(1), "a", &[(&uri(0), 3600)]);
        assert_eq!(again, Ok(None));
        let other = put(&location, start, "a", &[(&uri(0), 1800)]);
        assert_eq!(other, Err(Refused::OutOfOrder));
        let alice = aor(b"alice@example.com");
        assert!(location.is_retransmission(&alice, b"a", 1, 1, start));
        assert!(!location.is_retransmission(&alice, b"a", 1, 2, start));
        assert!(!location.is_retransmission(&alice, b"b", 1, 1, start));
        assert!(!location.is_retransmission(&alice, b"a", 1, 1, start + HOUR));
    }

    #[test]
    fn what_a_binding_cannot_hold_is_refused_whole() {
        let (location, start) = location();
        let path = vec![b'x'; 65_535];
        let contact = ContactUpdate {
            uri: Uri::parse(b"sip:alice@192.0.2.1").unwrap(),
            parameters: Parameters::default(),
            q: 1000,
            is_outbound: false,
            expires: HOUR,
        };
        let update = Update {
            contacts: Contacts::Each(&[contact]),
            call_id: b"a",
            cseq: 1,
            nonce_count: 0,
            flow: &flow(),
            path: &path,
            max_contacts: 10,
            overflow: Overflow::Reject,
        };
        let result = location.apply(&aor(b"alice@example.com"), &update, start, &mut |_| {});
        assert_eq!(result, Err(Refused::TooLong));
        assert_eq!(location.addresses(), 0);
    }

    #[test]
    fn a_trunk_of_many_addresses_is_suspended_in_bounded_turns() {
        let (location, start) = location();
        let trunk = Flow {
            transport: Transport::Tls,
            connection: Some(ConnectionId(7)),
            ..flow()
        };
        for number in 0..10_000 {
            let aor = aor(format!("line{number}@example.com").as_bytes());
            put_over(&location, &aor, start, "a", &[(&uri(0), 3600)], &trunk).unwrap();
        }
        put(&location, start, "a", &[(&uri(0), 3600)]).unwrap();
        assert_eq!(location.connected(), 10_000);

        let (mut changes, mut turns) = (Vec::new(), 1);
        while location.close_connection(ConnectionId(7), start, 256, &mut changes) {
            assert_eq!(changes.len(), turns * 256);
            turns += 1;
        }
        assert_eq!((turns, changes.len(), location.connected()), (40, 10_000, 0));
        let mut suspended = 0;
        for number in 0..10_000 {
            let aor = aor(format!("line{number}@example.com").as_bytes());
            location.lookup(&aor, start, &mut |binding| {
                suspended += usize::from(binding.is_suspended())
            });
        }
        assert_eq!(suspended, 10_000);
    }

    #[test]
    fn threads_together_keep_the_limit() {
        let (location, start) = location();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let location = &location;
                scope.spawn(move || {
                    for round in 0..200 {
                        let call_id = format!("{thread}-{round}");
                        let contact = uri(thread * 200 + round);
                        let _ = put(location, start, &call_id, &[(&contact, 3600)]);
                        assert!(count(location, start) <= 10);
                        if round % 3 == 0 {
                            let _ = put(location, start, &(call_id + "-"), &[(&contact, 0)]);
                        }
                    }
                });
            }
        });
        assert_eq!(count(&location, start), 10);
        assert_eq!(location.bindings(), 10);
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn location() -> (Location, Instant) {
        let start = Instant::now();
        (Location::new([1; 16], start), start)
    }

    fn put(
        location: &Location,
        now: Instant,
        call_id: &str,
        contacts: &[(&str, u64)],
    ) -> Result<Option<Change>, Refused> {
        put_for(location, &aor(b"alice@example.com"), now, call_id, contacts)
    }

    fn put_for(
        location: &Location,
        aor: &AddressOfRecord,
        now: Instant,
        call_id: &str,
        contacts: &[(&str, u64)],
    ) -> Result<Option<Change>, Refused> {
        put_over(location, aor, now, call_id, contacts, &flow())
    }

    fn put_over(
        location: &Location,
        aor: &AddressOfRecord,
        now: Instant,
        call_id: &str,
        contacts: &[(&str, u64)],
        flow: &Flow,
    ) -> Result<Option<Change>, Refused> {
        let contacts: Vec<ContactUpdate<'_>> = contacts
            .iter()
            .map(|(uri, secs)| ContactUpdate {
                uri: Uri::parse(uri.as_bytes()).unwrap(),
                parameters: Parameters::default(),
                q: 1000,
                is_outbound: false,
                expires: Duration::from_secs(*secs),
            })
            .collect();
        let update = Update {
            contacts: Contacts::Each(&contacts),
            call_id: call_id.as_bytes(),
            cseq: 1,
            nonce_count: 1,
            flow,
            path: b"",
            max_contacts: 10,
            overflow: Overflow::Reject,
        };
        location.apply(aor, &update, now, &mut |_| {})
    }

    fn count(location: &Location, now: Instant) -> usize {
        let mut count = 0;
        location.lookup(&aor(b"alice@example.com"), now, &mut |_| count += 1);
        count
    }

    fn aor(bytes: &[u8]) -> AddressOfRecord {
        AddressOfRecord::from_stored(bytes)
    }

    fn uri(number: usize) -> String {
        format!("sip:phone{number}@192.0.2.9")
    }

    fn flow() -> Flow {
        Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "198.51.100.4:40000".parse().unwrap(),
            connection: None,
        }
    }
}
