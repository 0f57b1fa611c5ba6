//! A list in segments that never move: it grows without copying what is in it.

use std::ops::{Index, IndexMut};

/// Places of a segment.
const SEGMENT: usize = 256;

/// A list whose items are numbered from zero.
#[derive(Debug)]
pub(super) struct Segments<T> {
    /// All but the last are full.
    segments: Vec<Vec<T>>,
}

impl<T> Segments<T> {
    pub(super) fn new() -> Segments<T> {
        Segments { segments: Vec::new() }
    }

    /// Appends an item and returns its number.
    pub(super) fn push(&mut self, item: T) -> u32 {
        if self.segments.last().is_none_or(|segment| segment.len() == SEGMENT) {
            self.segments.push(Vec::with_capacity(SEGMENT));
        }
        let before = (self.segments.len() - 1) * SEGMENT;
        let last = &mut self.segments[before / SEGMENT];
        last.push(item);
        (before + last.len() - 1) as u32
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.segments.get(number / SEGMENT)?.get(number % SEGMENT)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = number as usize;
        self.segments.get_mut(number / SEGMENT)?.get_mut(number % SEGMENT)
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        let Some(last) = self.segments.last() else { return 0 };
        (self.segments.len() - 1) * SEGMENT + last.len()
    }

    /// Drops all items, and the memory of all but the first few.
    pub(super) fn clear(&mut self) {
        self.segments.truncate(1);
        self.segments.iter_mut().for_each(Vec::clear);
    }
}

impl<T> Index<u32> for Segments<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.segments[number as usize / SEGMENT][number as usize % SEGMENT]
    }
}

impl<T> IndexMut<u32> for Segments<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.segments[number as usize / SEGMENT][number as usize % SEGMENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_by_number_and_stay_where_they_are() {
        let mut list = Segments::new();
        assert_eq!((list.push(0), list.len(), list.get(1)), (0, 1, None));
        let first: *const u32 = &list[0];
        for number in 1..3 * SEGMENT as u32 {
            assert_eq!(list.push(number), number);
        }
        assert!(std::ptr::eq(first, &list[0]));
        list[300] += 1;
        assert_eq!((list.get(300), list[299], list.len()), (Some(&301), 299, 3 * SEGMENT));
        list.clear();
        assert_eq!((list.len(), list.segments.len(), list.push(7)), (0, 1, 0));
    }
}
