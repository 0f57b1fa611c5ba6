//! Where the records of a shard lie: numbered places, each with what finds it again, the hash of its AOR, and what
//! links it into the wheel of expiry.
//!
//! The hashes stand here and not in the table of numbers, which thus is small; and a table that grows reads entries,
//! which lie side by side, and no record.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

use crate::sip::location::record::Record;

/// Names an entry: its number plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryIndex(NonZeroU32);

/// The record of one AOR.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The keyed hash of the AOR.
    pub(super) hash: u64,
    /// The one before it in its slot of the wheel.
    pub(super) previous: Option<EntryIndex>,
    /// The one after it; of a free entry the next free one.
    pub(super) next: Option<EntryIndex>,
    pub(super) record: Record,
}

/// All entries of a shard.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Allocated one after another, so that growing copies nothing and leaves little unused.
    chunks: Vec<Box<[Entry]>>,
    /// The first that was used and is free again.
    free: Option<EntryIndex>,
    /// How many were ever used.
    length: u32,
}

impl Entries {
    /// Puts a record into a free place. `None`: there are as many as can be numbered.
    pub(super) fn insert(&mut self, hash: u64, record: Record) -> Option<EntryIndex> {
        let index = match self.free {
            Some(index) => {
                self.free = self[index].next;
                index
            }
            None => self.grow()?,
        };
        self[index] = Entry {
            hash,
            previous: None,
            next: None,
            record,
        };
        Some(index)
    }

    /// Frees a place.
    pub(super) fn remove(&mut self, index: EntryIndex) {
        self[index] = Entry {
            next: self.free,
            ..Entry::default()
        };
        self.free = Some(index);
    }

    /// The place after `index`, from the first on and round again; `None` when there are none. It may be free: then its
    /// record has no bindings.
    pub(super) fn after(&self, index: Option<EntryIndex>) -> Option<EntryIndex> {
        let number = index.map_or(0, |index| index.0.get());
        let next = if number >= self.length { 1 } else { number + 1 };
        NonZeroU32::new(next).filter(|_| self.length > 0).map(EntryIndex)
    }

    fn grow(&mut self) -> Option<EntryIndex> {
        let number = self.length as usize;
        if number == self.chunks.len() * CHUNK {
            self.chunks.push((0..CHUNK).map(|_| Entry::default()).collect());
        }
        self.length = self.length.checked_add(1)?;
        NonZeroU32::new(self.length).map(EntryIndex)
    }
}

impl EntryIndex {
    fn place(self) -> (usize, usize) {
        let number = self.0.get() as usize - 1;
        (number / CHUNK, number % CHUNK)
    }
}

impl Index<EntryIndex> for Entries {
    type Output = Entry;

    fn index(&self, index: EntryIndex) -> &Entry {
        let (chunk, place) = index.place();
        &self.chunks[chunk][place]
    }
}

impl IndexMut<EntryIndex> for Entries {
    fn index_mut(&mut self, index: EntryIndex) -> &mut Entry {
        let (chunk, place) = index.place();
        &mut self.chunks[chunk][place]
    }
}

/// Entries are allocated this many at a time, 2 KiB.
const CHUNK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_half_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn places_are_used_again_and_others_stay() {
        let mut entries = Entries::default();
        let all: Vec<EntryIndex> = (0..200)
            .map(|hash| entries.insert(hash, Record::default()).unwrap())
            .collect();
        entries.remove(all[7]);
        entries.remove(all[150]);

        assert_eq!(entries.insert(1000, Record::default()), Some(all[150]));
        assert_eq!(entries.insert(1001, Record::default()), Some(all[7]));
        assert_eq!(entries.length, 200);
        assert_eq!((entries[all[7]].hash, entries[all[150]].hash), (1001, 1000));
        assert_eq!((entries[all[8]].hash, entries[all[199]].hash), (8, 199));
    }
}
