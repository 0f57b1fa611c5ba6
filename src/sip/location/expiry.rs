//! When the bindings of an AOR are looked at for expiry: a wheel of slots of one second. Each AOR is in exactly one
//! slot. A refresh leaves it there (lazy re-arming): when the slot comes due and the AOR has time left, it moves on.

use crate::sip::location::entries::{Entries, EntryIndex};

/// An AOR whose slot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) entry: EntryIndex,
    /// The second of the slot.
    pub(super) armed: u32,
}

/// A slot wheel. Times are whole seconds since the location service began. It links the entries and does not own them.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The first entry of each slot.
    heads: Box<[Option<EntryIndex>]>,
    /// The second whose slot is worked; all before it are done.
    cursor: u32,
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel {
            heads: vec![None; SLOTS as usize].into(),
            cursor: 0,
        }
    }
}

impl Wheel {
    /// Puts an entry into the slot of `due`, or into the last one if that is nearer. Returns the second of that slot.
    pub(super) fn insert(&mut self, entries: &mut Entries, entry: EntryIndex, due: u32) -> u32 {
        let armed = self.clamp(due);
        self.link(entries, entry, armed);
        armed
    }

    /// Moves an entry from the slot of `armed` to that of `due`; returns the second of its slot like
    /// [`Wheel::insert`].
    pub(super) fn rearm(&mut self, entries: &mut Entries, entry: EntryIndex, armed: u32, due: u32) -> u32 {
        self.unlink(entries, entry, armed);
        self.insert(entries, entry, due)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, entries: &mut Entries, entry: EntryIndex, armed: u32) {
        self.unlink(entries, entry, armed);
    }

    /// The next entry whose slot is due at `now`. It stays there until it is moved or removed.
    pub(super) fn next_due(&mut self, now: u32) -> Option<Due> {
        loop {
            let head = self.heads[slot(self.cursor)];
            if let Some(entry) = head.filter(|_| self.cursor <= now) {
                return Some(Due {
                    entry,
                    armed: self.cursor,
                });
            }
            if self.cursor >= now {
                return None;
            }
            self.cursor += 1;
        }
    }

    fn clamp(&self, due: u32) -> u32 {
        due.clamp(self.cursor, self.cursor.saturating_add(SLOTS - 1))
    }

    fn link(&mut self, entries: &mut Entries, entry: EntryIndex, second: u32) {
        let head = self.heads[slot(second)].replace(entry);
        entries[entry].previous = None;
        entries[entry].next = head;
        if let Some(head) = head {
            entries[head].previous = Some(entry);
        }
    }

    fn unlink(&mut self, entries: &mut Entries, entry: EntryIndex, second: u32) {
        let (previous, next) = (entries[entry].previous, entries[entry].next);
        match previous {
            None => self.heads[slot(second)] = next,
            Some(previous) => entries[previous].next = next,
        }
        if let Some(next) = next {
            entries[next].previous = previous;
        }
    }
}

fn slot(second: u32) -> usize {
    (second % SLOTS) as usize
}

/// Enough for the usual expiry of an hour; an AOR with a longer one is looked at once in a turn of the wheel.
const SLOTS: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::location::record::Record;

    /// A wheel with its entries, told apart by their hashes.
    #[derive(Default)]
    struct Filled {
        wheel: Wheel,
        entries: Entries,
    }

    impl Filled {
        fn insert(&mut self, hash: u64, due: u32) -> (EntryIndex, u32) {
            let entry = self.entries.insert(hash, Record::default()).unwrap();
            (entry, self.wheel.insert(&mut self.entries, entry, due))
        }

        fn rearm(&mut self, entry: EntryIndex, armed: u32, due: u32) -> u32 {
            self.wheel.rearm(&mut self.entries, entry, armed, due)
        }

        fn due(&mut self, now: u32) -> Vec<u64> {
            let mut due = Vec::new();
            while let Some(next) = self.wheel.next_due(now) {
                self.wheel.remove(&mut self.entries, next.entry, next.armed);
                due.push(self.entries[next.entry].hash);
                self.entries.remove(next.entry);
            }
            due
        }
    }

    #[test]
    fn an_entry_comes_due_in_its_second_and_not_before() {
        let mut filled = Filled::default();
        assert_eq!(filled.insert(7, 600).1, 600);
        assert!(filled.due(599).is_empty());
        assert_eq!(filled.due(600), [7]);
        assert!(filled.due(601).is_empty());
    }

    #[test]
    fn a_time_beyond_the_wheel_is_looked_at_after_one_turn() {
        let mut filled = Filled::default();
        let (entry, armed) = filled.insert(7, 10_000);
        assert_eq!(armed, SLOTS - 1);
        assert_eq!(filled.wheel.next_due(SLOTS - 2), None);
        assert_eq!(filled.wheel.next_due(SLOTS - 1), Some(Due { entry, armed }));
        assert_eq!(filled.rearm(entry, armed, 8_000), 8_000);
        assert!(filled.due(7_999).is_empty());
        assert_eq!(filled.due(8_000), [7]);
    }

    #[test]
    fn rearming_to_an_earlier_second_leaves_nothing_behind() {
        let mut filled = Filled::default();
        let (first, armed) = filled.insert(1, 50);
        filled.insert(2, 50);
        filled.insert(3, 50);
        let (last, _) = filled.insert(4, 50);
        assert_eq!(filled.rearm(first, armed, 20), 20);
        filled.rearm(last, 50, 30);
        assert_eq!(filled.due(20), [1]);
        assert_eq!(filled.due(30), [4]);
        assert_eq!(filled.due(50), [3, 2]);
    }

    #[test]
    fn what_is_late_already_is_due_at_once() {
        let mut filled = Filled::default();
        assert!(filled.due(100).is_empty());
        assert_eq!(filled.insert(9, 40).1, 100);
        assert_eq!(filled.due(100), [9]);
    }
}
