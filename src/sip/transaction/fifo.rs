//! A queue in segments that never move: it grows without copying what is in it, and gives memory back as it empties.

use std::collections::VecDeque;

/// Entries of a segment.
const SEGMENT: usize = 256;

/// Empty segments kept for those to come.
const SPARE_SEGMENTS: usize = 4;

/// Entries in the order they came, each under a number.
#[derive(Debug)]
pub(super) struct Fifo<T> {
    /// All but the last are full.
    segments: VecDeque<Vec<T>>,
    spare: Vec<Vec<T>>,
    /// The number of the first entry of the first segment.
    base: u32,
    /// How many of the first segment have left.
    left: usize,
}

impl<T: Copy> Fifo<T> {
    pub(super) fn new() -> Fifo<T> {
        Fifo {
            segments: VecDeque::new(),
            spare: Vec::new(),
            base: 0,
            left: 0,
        }
    }

    /// Appends an entry. Its number is the next after that of the one before.
    pub(super) fn push(&mut self, value: T) -> u32 {
        if self.segments.back().is_none_or(|segment| segment.len() == SEGMENT) {
            let segment = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(SEGMENT));
            self.segments.push_back(segment);
        }
        let before = (self.segments.len() - 1) * SEGMENT;
        let Some(last) = self.segments.back_mut() else {
            return self.base;
        };
        let number = self.base.wrapping_add((before + last.len()) as u32);
        last.push(value);
        number
    }

    /// The entry with this number, which has not left yet.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let place = number.wrapping_sub(self.base) as usize;
        self.segments.get(place / SEGMENT)?.get(place % SEGMENT)
    }

    /// The entry that came first.
    pub(super) fn front(&self) -> Option<&T> {
        self.segments.front()?.get(self.left)
    }

    /// The entry that came last, if it has not left.
    pub(super) fn back(&self) -> Option<&T> {
        self.segments.back()?.last().filter(|_| !self.is_empty())
    }

    /// Takes out the entry that came first, and its number.
    pub(super) fn pop(&mut self) -> Option<(u32, T)> {
        let value = *self.front()?;
        let number = self.base.wrapping_add(self.left as u32);
        self.left += 1;
        if self.left == SEGMENT
            && let Some(mut segment) = self.segments.pop_front()
        {
            self.left = 0;
            self.base = self.base.wrapping_add(SEGMENT as u32);
            if self.spare.len() < SPARE_SEGMENTS {
                segment.clear();
                self.spare.push(segment);
            }
        }
        Some((number, value))
    }

    pub(super) fn len(&self) -> usize {
        let Some(last) = self.segments.back() else { return 0 };
        (self.segments.len() - 1) * SEGMENT + last.len() - self.left
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_leave_in_the_order_they_came_and_are_found_by_number() {
        let mut fifo = Fifo::new();
        assert_eq!((fifo.pop(), fifo.back()), (None, None));
        for round in 0..3 {
            let numbers: Vec<u32> = (0..1000).map(|value| fifo.push((round, value))).collect();
            assert_eq!(fifo.len(), 1000);
            assert_eq!(fifo.back(), Some(&(round, 999)));
            for (value, number) in numbers.iter().enumerate() {
                assert_eq!(fifo.get(*number), Some(&(round, value)));
            }
            for (value, number) in numbers.iter().enumerate() {
                assert_eq!(fifo.front(), Some(&(round, value)));
                assert_eq!(fifo.pop(), Some((*number, (round, value))));
            }
            assert!(fifo.is_empty());
            assert_eq!((fifo.front(), fifo.back()), (None, None));
        }
    }

    #[test]
    fn numbers_go_on_past_the_highest() {
        let mut fifo = Fifo::new();
        fifo.base = u32::MAX - SEGMENT as u32;
        let numbers: Vec<u32> = (0..600).map(|value| fifo.push(value)).collect();
        assert!(numbers[599] < numbers[0]);
        for (value, number) in numbers.iter().enumerate() {
            assert_eq!(fifo.get(*number), Some(&value));
        }
        for (value, number) in numbers.iter().enumerate() {
            assert_eq!(fifo.pop(), Some((*number, value)));
        }
    }

    #[test]
    fn after_a_burst_few_segments_are_left() {
        let mut fifo = Fifo::new();
        for value in 0..100 * SEGMENT {
            fifo.push(value);
        }
        while fifo.pop().is_some() {}
        assert_eq!((fifo.segments.len(), fifo.spare.len()), (0, SPARE_SEGMENTS));
    }
}
