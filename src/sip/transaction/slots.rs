//! Numbered places for transactions. A freed place is used again under another generation, so that an old id does not
//! name the new tenant.

use crate::sip::transaction::id::SLOT_LIMIT;
use crate::sip::transaction::segments::Segments;

/// More places than this are given back when nobody is left in them.
const BURST: usize = 256;

/// The places.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Segments<Slot<T>>,
    free: Option<u32>,
    used: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Used(T),
    Free { next: Option<u32> },
}

impl<T> Slots<T> {
    pub(super) fn new() -> Slots<T> {
        Slots {
            places: Segments::new(),
            free: None,
            used: 0,
        }
    }

    /// Puts `value` into a free place under `generation`, or the next one where that was the last tenant's. `None`:
    /// there are no more numbers.
    pub(super) fn insert(&mut self, generation: u32, value: T) -> Option<(u32, u32)> {
        if self.used >= SLOT_LIMIT {
            return None;
        }
        self.used += 1;
        let Some(number) = self.free else {
            let content = Content::Used(value);
            return Some((self.places.push(Slot { generation, content }), generation));
        };
        let slot = &mut self.places[number];
        if let Content::Free { next } = slot.content {
            self.free = next;
        }
        if slot.generation == generation {
            slot.generation = generation.wrapping_add(1);
        } else {
            slot.generation = generation;
        }
        slot.content = Content::Used(value);
        Some((number, slot.generation))
    }

    /// The tenant that `number` and `generation` name.
    pub(super) fn named(&mut self, number: u32, generation: u32) -> Option<&mut T> {
        let slot = self.places.get_mut(number)?;
        match &mut slot.content {
            Content::Used(value) if slot.generation == generation => Some(value),
            Content::Used(_) | Content::Free { .. } => None,
        }
    }

    /// The present tenant of `number`, and its generation.
    pub(super) fn tenant(&mut self, number: u32) -> Option<(u32, &mut T)> {
        let slot = self.places.get_mut(number)?;
        match &mut slot.content {
            Content::Used(value) => Some((slot.generation, value)),
            Content::Free { .. } => None,
        }
    }

    /// Reads the present tenant of `number`.
    pub(super) fn peek(&self, number: u32) -> Option<&T> {
        match &self.places.get(number)?.content {
            Content::Used(value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    /// Frees the place.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let free = self.free;
        let slot = self.places.get_mut(number)?;
        if matches!(slot.content, Content::Free { .. }) {
            return None;
        }
        let content = std::mem::replace(&mut slot.content, Content::Free { next: free });
        self.free = Some(number);
        self.used -= 1;
        // What a burst had allocated is given back once nobody is left.
        if self.used == 0 && self.places.len() > BURST {
            self.places.clear();
            self.free = None;
        }
        match content {
            Content::Used(value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_does_not_name_the_new_tenant() {
        let mut slots = Slots::new();
        let (number, generation) = slots.insert(7, 'a').unwrap();
        assert_eq!(slots.remove(number), Some('a'));
        assert_eq!(slots.remove(number), None);

        assert_eq!(slots.insert(generation, 'b'), Some((number, generation + 1)));
        assert_eq!(slots.named(number, generation), None);
        assert_eq!(slots.named(number, generation + 1), Some(&mut 'b'));
        assert_eq!(slots.named(number + 1, generation), None);
        assert_eq!(slots.tenant(number), Some((generation + 1, &mut 'b')));
    }

    #[test]
    fn freed_places_are_used_again() {
        let mut slots = Slots::new();
        assert!(slots.insert(1, 'a').is_some());
        assert!(slots.insert(2, 'b').is_some());
        slots.remove(0);
        assert_eq!(slots.insert(4, 'd'), Some((0, 4)));
        assert_eq!((slots.peek(0), slots.len()), (Some(&'d'), 2));
    }

    #[test]
    fn after_a_burst_the_places_are_given_back() {
        let mut slots = Slots::new();
        for number in 0..3 * BURST {
            slots.insert(0, number);
        }
        for number in 0..3 * BURST {
            assert_eq!(slots.remove(number as u32), Some(number));
        }
        assert_eq!(slots.places.len(), 0);
        assert_eq!(slots.insert(5, 0), Some((0, 5)));
        assert_eq!(slots.insert(6, 1), Some((1, 6)));
    }
}
