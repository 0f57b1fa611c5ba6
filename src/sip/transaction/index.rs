//! Numbers by the hash of what they stand for, in many small tables: each grows by itself, so that growing never holds
//! one insertion up for long, however many entries there are.

use hashbrown::HashTable;

/// Tables. With a million entries one has 4,000, which are moved when it grows; with 64 tables that took some of the
/// insertions more than half a millisecond.
const PARTS: usize = 256;

/// The bits of a hash above those that number the buckets of a table, and below those by which it tells entries apart.
const PART_SHIFT: u32 = 16;

/// A table smaller than this does not shrink.
const SMALLEST: usize = 64;

/// Numbers under hashes that nobody outside can choose.
#[derive(Debug)]
pub(super) struct Index {
    parts: Box<[HashTable<Entry>]>,
}

/// The hash is kept, so that growing does not have to look it up.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    number: u32,
}

impl Entry {
    /// For the table, which uses the upper and the lower bits.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl Index {
    pub(super) fn new() -> Index {
        Index {
            parts: (0..PARTS).map(|_| HashTable::new()).collect(),
        }
    }

    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        let rehash = |entry: &Entry| Entry::spread(entry.hash);
        self.part(hash)
            .insert_unique(Entry::spread(hash), Entry { hash, number }, rehash);
    }

    /// The number under `hash` that is the one.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let part = &self.parts[part_of(hash)];
        let is_it = |entry: &Entry| entry.hash == hash && is_it(entry.number);
        part.find(Entry::spread(hash), is_it).map(|entry| entry.number)
    }

    /// Takes the number out, where it is there.
    pub(super) fn remove(&mut self, hash: u32, number: u32) {
        let part = self.part(hash);
        if let Ok(entry) = part.find_entry(Entry::spread(hash), |entry| entry.number == number) {
            entry.remove();
        }
        // After a burst; what is left is few enough to be moved at once.
        if part.capacity() > SMALLEST && part.len() < part.capacity() / 8 {
            part.shrink_to(part.capacity() / 4, |entry| Entry::spread(entry.hash));
        }
    }

    fn part(&mut self, hash: u32) -> &mut HashTable<Entry> {
        &mut self.parts[part_of(hash)]
    }
}

fn part_of(hash: u32) -> usize {
    (hash >> PART_SHIFT) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_hash_until_they_are_taken_out() {
        let mut index = Index::new();
        let hash = |number: u32| number.wrapping_mul(0x9E37_79B9);
        for number in 0..100_000 {
            index.insert(hash(number), number);
        }
        // Two of one hash.
        index.insert(hash(7), 200_000);
        assert_eq!(index.find(hash(7), |number| number == 7), Some(7));
        assert_eq!(index.find(hash(7), |number| number > 7), Some(200_000));
        for number in 0..100_000 {
            assert_eq!(index.find(hash(number), |other| other == number), Some(number));
            index.remove(hash(number), number);
            assert_eq!(index.find(hash(number), |other| other == number), None);
        }
        index.remove(hash(5), 5);
        assert_eq!(index.find(hash(7), |_| true), Some(200_000));
        assert!(index.parts.iter().all(|part| part.capacity() <= 2 * SMALLEST));
    }
}
