//! One part of the tables: the records of its AORs and the wheel of their expiry.

use std::time::{Duration, Instant};

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::sip::hop::{ConnectionId, Flow};
use crate::sip::location::asking::{Asking, Question, Round};
use crate::sip::location::entries::{Entries, Entry, EntryIndex};
use crate::sip::location::expiry::{Due, Wheel};
use crate::sip::location::flows::FlowIndex;
use crate::sip::location::plan::{Fate, Plan, Request, USUAL_BINDINGS};
use crate::sip::location::record::{Binding, Fields, Moment, Record, RecordBuilder};
use crate::sip::location::refresh::{Refreshed, refresh};
use crate::sip::location::standing::{Cause, Standing};
use crate::sip::location::{AddressOfRecord, Change, Counts, Refused};

/// What all shards have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) key: [u8; 16],
    /// Of Call-IDs.
    pub(super) call_id_key: [u8; 16],
    /// When the location service began.
    pub(super) epoch: Instant,
    /// The AORs with bindings over each connection.
    pub(super) flows: FlowIndex,
}

impl Common {
    pub(super) fn hash(&self, aor: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.key).hash(aor)
    }

    /// Keeps the index of flows true for the AOR of `hash`, whose bindings depended on the connections `before` and depend
    /// on `after` now.
    fn reindex(&self, hash: u64, before: &[ConnectionId], after: &[ConnectionId]) {
        for connection in before.iter().filter(|connection| !after.contains(connection)) {
            self.flows.remove(*connection, hash);
        }
        for connection in after.iter().filter(|connection| !before.contains(connection)) {
            self.flows.insert(*connection, hash);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Shard {
    /// The entries of the AORs, by hash.
    table: HashTable<EntryIndex>,
    entries: Entries,
    wheel: Wheel,
    /// Of the last change of any AOR here, so that one that comes back goes on counting.
    revision: u64,
    bindings: u64,
    round: Round,
}

impl Shard {
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn bindings(&self) -> u64 {
        self.bindings
    }

    pub(super) fn addresses(&self) -> u64 {
        self.table.len() as u64
    }

    pub(super) fn live_bindings<'s>(
        &'s self,
        common: &Common,
        hash: u64,
        aor: &AddressOfRecord,
        now: Moment,
    ) -> impl Iterator<Item = Binding<'s>> + use<'s> {
        let record = self.find(hash, aor).map(|index| &self.entries[index].record);
        let epoch = common.epoch;
        record
            .into_iter()
            .flat_map(move |record| record.bindings(epoch))
            .filter(move |binding| binding.is_live(now))
    }

    /// Reads what is kept under `hash`.
    pub(super) fn warm(&self, hash: u64) {
        if let Some(index) = self.table.find(hash, |index| self.entries[*index].hash == hash) {
            self.entries[*index].record.touch();
        }
    }

    /// Gives bindings of `aor` the standing that `decide` says.
    pub(super) fn set_standing(
        &mut self,
        common: &Common,
        hash: u64,
        aor: &AddressOfRecord,
        now: Moment,
        decide: impl FnMut(&Binding<'_>) -> Option<Standing>,
    ) -> Option<Change> {
        let index = self.find(hash, aor)?;
        self.set_standing_at(common, index, now, decide)
    }

    /// The connection `connection` of bindings of the AOR with this hash has ended.
    pub(super) fn close_connection(
        &mut self,
        common: &Common,
        hash: u64,
        connection: ConnectionId,
        now: Moment,
    ) -> Option<Change> {
        let is_it = |index: &EntryIndex| self.entries[*index].hash == hash;
        let index = *self.table.find(hash, is_it)?;
        self.set_standing_at(common, index, now, |binding| {
            let is_held = binding.held_connection() == Some(connection);
            is_held.then(|| Standing::after(binding, Cause::FlowClosed))
        })
    }

    fn set_standing_at(
        &mut self,
        common: &Common,
        index: EntryIndex,
        now: Moment,
        mut decide: impl FnMut(&Binding<'_>) -> Option<Standing>,
    ) -> Option<Change> {
        let Entry { hash, record, .. } = &mut self.entries[index];
        let before = connections(record, common);
        let mut counts = Counts::default();
        record.set_standing(common.epoch, now.second(), |binding| {
            let standing = decide(binding)?;
            let counted = u16::from(binding.is_live(now));
            match (binding.standing(), standing) {
                (Standing::Suspended(_), Standing::Reachable) => counts.resumed += counted,
                (Standing::Reachable | Standing::Doubtful(_), Standing::Suspended(_)) => counts.suspended += counted,
                // Since when it is so does not change by being found again, nor does a lesser failure bring it back.
                (Standing::Suspended(_), Standing::Suspended(_) | Standing::Doubtful(_))
                | (Standing::Doubtful(_), Standing::Doubtful(_))
                | (Standing::Reachable, Standing::Reachable) => return None,
                (Standing::Reachable, Standing::Doubtful(_)) | (Standing::Doubtful(_), Standing::Reachable) => {}
            }
            Some(standing)
        });
        common.reindex(*hash, &before, &connections(record, common));
        if counts.is_idle() {
            return None;
        }
        let aor = AddressOfRecord::from_stored(record.aor());
        Some(self.change(index, aor, counts))
    }

    /// Asks phones behind NAT whether they are there, each once in an interval: goes on with its round by as many AORs as
    /// are due at `now`, at most `budget`. See [`super::Location::ask`].
    pub(super) fn ask(
        &mut self,
        common: &Common,
        now: Moment,
        asking: &Asking,
        budget: &mut usize,
        questions: &mut Vec<Question>,
        changes: &mut Vec<Change>,
    ) {
        let mut due = self.round.due(now, self.table.len(), asking).min(*budget);
        // Free places are passed over, but not without end.
        let mut steps = due * 4 + 64;
        while due > 0 && steps > 0 {
            steps -= 1;
            let Some(index) = self.entries.after(self.round.last) else {
                return;
            };
            let entry = &mut self.entries[index];
            if entry.record.is_free() || entry.record.count() == 0 {
                self.round.last = Some(index);
                continue;
            }
            self.round.done(index);
            due -= 1;
            *budget -= 1;
            let aor = AddressOfRecord::from_stored(entry.record.aor());
            let mut is_silent = false;
            entry.record.ask(common.epoch, |binding| {
                let is_asked = asking.is_due(binding, now);
                if is_asked {
                    is_silent |= binding.missed() >= asking.missed_max && !binding.is_suspended();
                    questions.push(Question {
                        aor: aor.clone(),
                        contact: binding.contact_uri().into(),
                        flow: binding.flow(),
                    });
                }
                is_asked
            });
            if is_silent {
                changes.extend(self.set_standing_at(common, index, now, |binding| {
                    let is_silent = asking.is_due(binding, now) && binding.missed() > asking.missed_max;
                    is_silent.then(|| Standing::after(binding, Cause::Silent))
                }));
            }
        }
    }

    /// A phone has answered after `round_trip`. See [`super::Location::note_answer`].
    pub(super) fn note_answer(
        &mut self,
        common: &Common,
        hash: u64,
        aor: &AddressOfRecord,
        flow: &Flow,
        round_trip: Duration,
        now: Moment,
    ) -> Option<Change> {
        let index = self.find(hash, aor)?;
        let is_it = |binding: &Binding<'_>| {
            let own = binding.flow();
            own.remote == flow.remote && own.local == flow.local && own.connection == flow.connection
        };
        let millis = u16::try_from(round_trip.as_millis()).unwrap_or(u16::MAX);
        let record = &mut self.entries[index].record;
        record.note_answer(common.epoch, now.second(), millis, is_it);
        self.set_standing_at(common, index, now, |binding| {
            let is_back = is_it(binding) && binding.standing() == Standing::Suspended(Cause::Silent);
            is_back.then_some(Standing::Reachable)
        })
    }

    pub(super) fn apply(
        &mut self,
        common: &Common,
        hash: u64,
        aor: &AddressOfRecord,
        request: &Request<'_>,
        listed: &mut dyn FnMut(&Binding<'_>),
    ) -> Result<Option<Change>, Refused> {
        let Some(index) = self.find(hash, aor) else {
            return self.create(common, hash, aor, request, listed);
        };
        let counts = self.update(index, common, request)?;
        list(&self.entries[index].record, common, request.now, listed);
        if counts.is_idle() {
            return Ok(None);
        }
        Ok(Some(self.change(index, aor.clone(), counts)))
    }

    /// Removes the expired bindings of the AORs that are due; looks at no more than `budget` of them. Returns whether
    /// that was all.
    pub(super) fn expire(
        &mut self,
        common: &Common,
        now: Moment,
        budget: &mut usize,
        changes: &mut Vec<Change>,
    ) -> bool {
        while let Some(due) = self.wheel.next_due(now.second()) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            let expired = self.expire_entry(due, common, now);
            if expired == 0 {
                continue;
            }
            let aor = AddressOfRecord::from_stored(self.entries[due.entry].record.aor());
            let counts = Counts {
                expired,
                ..Counts::default()
            };
            let change = self.change(due.entry, aor, counts);
            changes.push(change);
        }
        true
    }

    /// Leaves out what has expired and says how many that are. What has not is looked at again when it does.
    fn expire_entry(&mut self, due: Due, common: &Common, now: Moment) -> u16 {
        let Entry { hash, record, .. } = &mut self.entries[due.entry];
        let before = record.count();
        let is_indexed = record.is_over_streams();
        let Some((survivors, next)) = survivors(record, common, now) else {
            if is_indexed {
                common.reindex(*hash, &connections(record, common), &[]);
            }
            record.clear();
            return before as u16;
        };
        if let Some(survivors) = survivors {
            if is_indexed {
                common.reindex(*hash, &connections(record, common), &connections(&survivors, common));
            }
            *record = survivors;
        }
        let expired = before - record.count();
        self.rearm(due.entry, next);
        expired as u16
    }

    fn find(&self, hash: u64, aor: &AddressOfRecord) -> Option<EntryIndex> {
        let is_of_aor = |index: &EntryIndex| {
            let entry = &self.entries[*index];
            entry.hash == hash && entry.record.aor() == aor.as_bytes()
        };
        self.table.find(hash, is_of_aor).copied()
    }

    fn create(
        &mut self,
        common: &Common,
        hash: u64,
        aor: &AddressOfRecord,
        request: &Request<'_>,
        listed: &mut dyn FnMut(&Binding<'_>),
    ) -> Result<Option<Change>, Refused> {
        let plan = Plan::new(&[], request)?;
        if plan.counts.is_idle() {
            return Ok(None);
        }
        let parts = parts(&[], &plan, request)?;
        let due = earliest_due(&parts).unwrap_or(u32::MAX);
        let record = build(aor.as_bytes(), &parts, due);
        list(&record, common, request.now, listed);
        let held = connections(&record, common);
        let index = self.entries.insert(hash, record).ok_or(Refused::TooManyContacts)?;
        common.reindex(hash, &[], &held);
        let armed = self.wheel.insert(&mut self.entries, index, due);
        self.entries[index].record.set_armed(armed);
        let entries = &self.entries;
        self.table.insert_unique(hash, index, |index| entries[*index].hash);
        Ok(Some(self.change(index, aor.clone(), plan.counts)))
    }

    /// Updates the record of an AOR: in place if its lengths stay, else by another record made beside it.
    fn update(&mut self, index: EntryIndex, common: &Common, request: &Request<'_>) -> Result<Counts, Refused> {
        let Entry { hash, record, .. } = &mut self.entries[index];
        let (counts, due) = match refresh(record, common.epoch, request) {
            Some(refreshed) => {
                let Refreshed {
                    counts,
                    due,
                    moved_from,
                } = refreshed?;
                if let Some(before) = moved_from {
                    common.reindex(*hash, before.as_slice(), &connections(record, common));
                }
                (counts, due)
            }
            None => {
                let before = connections(record, common);
                let done = update_any(record, common, request)?;
                common.reindex(*hash, &before, &connections(record, common));
                done
            }
        };
        // Lazy re-arming: the record moves in the wheel only when it would be looked at too late.
        if let Some(due) = due.filter(|due| *due < record.armed()) {
            self.rearm(index, due);
        }
        Ok(counts)
    }

    fn rearm(&mut self, index: EntryIndex, due: u32) {
        let armed = self.entries[index].record.armed();
        let armed = self.wheel.rearm(&mut self.entries, index, armed, due);
        self.entries[index].record.set_armed(armed);
    }

    /// Makes the change public; a record without bindings goes.
    fn change(&mut self, index: EntryIndex, aor: AddressOfRecord, counts: Counts) -> Change {
        self.bindings += u64::from(counts.added);
        self.bindings -= u64::from(counts.removed) + u64::from(counts.displaced) + u64::from(counts.expired);
        if self.entries[index].record.count() == 0 {
            self.remove(index);
        }
        self.revision += 1;
        Change {
            aor,
            revision: self.revision,
            counts,
        }
    }

    fn remove(&mut self, index: EntryIndex) {
        let Entry { hash, record, .. } = &self.entries[index];
        if let Ok(place) = self.table.find_entry(*hash, |other| *other == index) {
            place.remove();
        }
        let armed = record.armed();
        self.wheel.remove(&mut self.entries, index, armed);
        self.entries.remove(index);
        if self.table.is_empty() {
            // Nobody is left: what a burst had allocated is given back.
            self.table = HashTable::new();
            self.entries = Entries::default();
        }
    }
}

/// The connections that bindings of a record depend on, each once.
fn connections(record: &Record, common: &Common) -> SmallVec<[ConnectionId; 2]> {
    let mut found = SmallVec::new();
    if !record.is_over_streams() {
        return found;
    }
    for connection in record
        .bindings(common.epoch)
        .filter_map(|binding| binding.held_connection())
    {
        if !found.contains(&connection) {
            found.push(connection);
        }
    }
    found
}

/// Does what a plan says. Returns when the first of the bindings that were touched expires.
fn update_any(record: &mut Record, common: &Common, request: &Request<'_>) -> Result<(Counts, Option<u32>), Refused> {
    Ok(match decide(record, common, request)? {
        Outcome::Idle(counts) => (counts, None),
        Outcome::Refreshed { places, counts } => {
            for (start, fields) in &places {
                record.overwrite(*start, fields);
            }
            let due = places.iter().map(|(_, fields)| fields.expiry_moment().second_after());
            (counts, due.min())
        }
        Outcome::Replaced {
            record: successor,
            counts,
            due,
        } => {
            *record = successor;
            (counts, due)
        }
    })
}

/// Shows what is live.
fn list(record: &Record, common: &Common, now: Moment, listed: &mut dyn FnMut(&Binding<'_>)) {
    let live = record.bindings(common.epoch).filter(|binding| binding.is_live(now));
    live.for_each(|binding| listed(&binding));
}

/// What a request makes of a record.
#[expect(
    clippy::large_enum_variant,
    reason = "a box for a value of a moment would be an allocation"
)]
enum Outcome<'a> {
    /// Nothing.
    Idle(Counts),
    /// Bindings are written over, each at its place.
    Refreshed { places: Places<'a>, counts: Counts },
    /// Another record, and when its first binding expires.
    Replaced {
        record: Record,
        counts: Counts,
        due: Option<u32>,
    },
}

fn decide<'a>(record: &Record, common: &Common, request: &Request<'a>) -> Result<Outcome<'a>, Refused> {
    let bindings: SmallVec<[Binding<'_>; USUAL_BINDINGS]> = record.bindings(common.epoch).collect();
    let plan = Plan::new(&bindings, request)?;
    let counts = plan.counts;
    if counts.is_idle() {
        return Ok(Outcome::Idle(counts));
    }
    if let Some(places) = places_to_overwrite(&bindings, &plan, request) {
        // What has expired beside them stays until its slot comes.
        let counts = Counts { expired: 0, ..counts };
        return Ok(Outcome::Refreshed { places, counts });
    }
    let parts = parts(&bindings, &plan, request)?;
    Ok(Outcome::Replaced {
        record: build(record.aor(), &parts, record.armed()),
        counts,
        due: earliest_due(&parts),
    })
}

/// The record without what has expired, if something has, and when the next one expires; `None` when nothing is left.
fn survivors(record: &Record, common: &Common, now: Moment) -> Option<(Option<Record>, u32)> {
    let live = record
        .bindings(common.epoch)
        .filter(|binding| binding.is_live(now))
        .map(Part::Kept);
    let parts: Parts<'_> = live.collect();
    let next = earliest_due(&parts)?;
    let is_shorter = parts.len() < record.count();
    Some((is_shorter.then(|| build(record.aor(), &parts, record.armed())), next))
}

/// A binding of a record to come.
enum Part<'a> {
    Kept(Binding<'a>),
    Written { fields: Fields<'a>, length: usize },
}

/// Where bindings start, and what is written there.
type Places<'a> = SmallVec<[(usize, Fields<'a>); USUAL_BINDINGS]>;

type Parts<'a> = SmallVec<[Part<'a>; USUAL_BINDINGS]>;

impl<'a> Part<'a> {
    fn written(fields: Fields<'a>) -> Result<Part<'a>, Refused> {
        let length = fields.encoded_length().ok_or(Refused::TooLong)?;
        Ok(Part::Written { fields, length })
    }

    fn length(&self) -> usize {
        match self {
            Part::Kept(binding) => binding.packed().len(),
            Part::Written { length, .. } => *length,
        }
    }

    fn due(&self) -> u32 {
        match self {
            Part::Kept(binding) => binding.expiry_moment().second_after(),
            Part::Written { fields, .. } => fields.expiry_moment().second_after(),
        }
    }
}

/// What the record holds when `plan` is done: the bindings that stay in their order, then the new ones.
fn parts<'a>(bindings: &[Binding<'a>], plan: &Plan, request: &Request<'a>) -> Result<Parts<'a>, Refused> {
    let mut parts = Parts::new();
    for (binding, fate) in bindings.iter().zip(&plan.fates) {
        match fate {
            Fate::Keep => parts.push(Part::Kept(*binding)),
            Fate::Refresh(number) => {
                let contact = &request.contacts()[*number];
                parts.push(Part::written(
                    request.fields(contact, request.registered_second(binding)),
                )?);
            }
            Fate::Expire | Fate::Remove | Fate::Displace => {}
        }
    }
    for number in &plan.added {
        let contact = &request.contacts()[*number];
        parts.push(Part::written(request.fields(contact, request.now.second()))?);
    }
    Ok(parts)
}

/// When `plan` only refreshes bindings and each keeps its length: where each starts and what is written there.
fn places_to_overwrite<'a>(bindings: &[Binding<'_>], plan: &Plan, request: &Request<'a>) -> Option<Places<'a>> {
    let mut places = SmallVec::new();
    let mut start = 0;
    for (binding, fate) in bindings.iter().zip(&plan.fates) {
        match fate {
            Fate::Keep | Fate::Expire => {}
            Fate::Refresh(number) => {
                let contact = &request.contacts()[*number];
                let fields = request.fields(contact, request.registered_second(binding));
                if fields.encoded_length() != Some(binding.packed().len()) {
                    return None;
                }
                places.push((start, fields));
            }
            Fate::Remove | Fate::Displace => return None,
        }
        start += binding.packed().len();
    }
    plan.added.is_empty().then_some(places)
}

fn earliest_due(parts: &[Part<'_>]) -> Option<u32> {
    parts.iter().map(Part::due).min()
}

fn build(aor: &[u8], parts: &[Part<'_>], armed: u32) -> Record {
    let mut builder = RecordBuilder::new(aor, parts.iter().map(Part::length).sum());
    for part in parts {
        match part {
            Part::Kept(binding) => builder.keep(binding),
            Part::Written { fields, length } => builder.add(*length, fields),
        }
    }
    builder.finish(armed)
}
