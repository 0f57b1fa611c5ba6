//! Which nonce counts were used (RFC 7616 §3.4, §5.5): one small window per nonce in a table of fixed size.
//!
//! A slot belongs to the newest nonce that was used with the right password, so that challenges nobody answers (a
//! flood) push nobody out. What an overwritten slot forgot is refused, never accepted again.

use std::cmp::Ordering;

use parking_lot::Mutex;
use thiserror::Error;

/// How far behind the highest count another one may arrive, as requests overtake each other on UDP.
const WIDTH: u32 = u32::BITS;

/// The most slots: 1 GiB of them.
const MAX_SLOTS: usize = 1 << 26;

/// Slots of a segment, which has its own lock. Neighbouring sequence numbers share one, so that a table in which few
/// are used stays small.
const SEGMENT: usize = 1024;

/// A nonce count that cannot be used: the request must be challenged again with `stale=true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Replayed {
    /// The count was used before, or is too far behind to tell.
    #[error("the nonce count was used before")]
    Count,
    /// The window of the nonce made room for that of a newer one.
    #[error("the window of the nonce is forgotten")]
    Forgotten,
}

/// The table. A segment takes memory when the first of its slots is used, and never more than at first.
pub(super) struct Windows {
    segments: Box<[Mutex<Vec<Slot>>]>,
    slots: usize,
}

/// Sequence number of the nonce plus one (0: free), then the highest count and the bitmap of the [`WIDTH`] counts up
/// to it (bit 0 is the highest itself).
type Slot = [u64; 2];

impl Windows {
    /// At least `slots` slots, rounded up to a power of two.
    pub(super) fn new(slots: usize) -> Windows {
        let slots = slots.clamp(1, MAX_SLOTS).next_power_of_two();
        Windows {
            segments: (0..slots.div_ceil(SEGMENT)).map(|_| Mutex::default()).collect(),
            slots,
        }
    }

    /// Uses `count` of the nonce with this sequence number; of several threads with the same count one succeeds.
    pub(super) fn consume(&self, sequence: u64, count: u32) -> Result<(), Replayed> {
        // Counts start at 1 (RFC 7616 §3.4).
        if count == 0 {
            return Err(Replayed::Count);
        }
        let index = (sequence % self.slots as u64) as usize;
        let mut segment = self.segments[index / SEGMENT].lock();
        if segment.is_empty() {
            *segment = vec![[0; 2]; self.slots.min(SEGMENT)];
        }
        let [owner, window] = &mut segment[index % SEGMENT];
        let claim = sequence.saturating_add(1);
        match claim.cmp(owner) {
            Ordering::Less => return Err(Replayed::Forgotten),
            Ordering::Equal => *window = advanced(*window, count)?,
            Ordering::Greater => {
                *owner = claim;
                *window = packed(count, 1);
            }
        }
        Ok(())
    }
}

fn advanced(window: u64, count: u32) -> Result<u64, Replayed> {
    let (highest, seen) = ((window >> 32) as u32, window as u32);
    if count > highest {
        let seen = seen.checked_shl(count - highest).unwrap_or(0);
        return Ok(packed(count, seen | 1));
    }
    let behind = highest - count;
    if behind >= WIDTH || seen & (1 << behind) != 0 {
        return Err(Replayed::Count);
    }
    Ok(packed(highest, seen | 1 << behind))
}

fn packed(highest: u32, seen: u32) -> u64 {
    u64::from(highest) << 32 | u64::from(seen)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[test]
    fn a_count_is_accepted_once() {
        let windows = Windows::new(16);

        assert_eq!(windows.consume(0, 1), Ok(()));
        assert_eq!(windows.consume(0, 1), Err(Replayed::Count));
        assert_eq!(windows.consume(0, 2), Ok(()));
        assert_eq!(windows.consume(1, 1), Ok(()));
        assert_eq!(windows.consume(1, 0), Err(Replayed::Count));
    }

    #[test]
    fn overtaken_counts_are_accepted_once_within_the_window() {
        let windows = Windows::new(1);
        windows.consume(0, 100).expect("a first count may be any");

        assert_eq!(windows.consume(0, 100 - WIDTH + 1), Ok(()));
        assert_eq!(windows.consume(0, 100 - WIDTH + 1), Err(Replayed::Count));
        assert_eq!(windows.consume(0, 100 - WIDTH), Err(Replayed::Count));
        assert_eq!(windows.consume(0, 99), Ok(()));
        assert_eq!(windows.consume(0, 102), Ok(()));
        assert_eq!(windows.consume(0, 101), Ok(()));
        for used in [99, 100, 101, 102] {
            assert_eq!(windows.consume(0, used), Err(Replayed::Count), "{used}");
        }
        assert_eq!(windows.consume(0, u32::MAX), Ok(()));
        assert_eq!(windows.consume(0, u32::MAX), Err(Replayed::Count));
        assert_eq!(windows.consume(0, 103), Err(Replayed::Count));
    }

    #[test]
    fn an_overwritten_window_is_forgotten_but_never_reopened() {
        let windows = Windows::new(4);
        windows.consume(1, 1).expect("fresh");
        windows.consume(5, 1).expect("takes the slot");

        assert_eq!(windows.consume(1, 1), Err(Replayed::Forgotten));
        assert_eq!(windows.consume(1, 2), Err(Replayed::Forgotten));
        assert_eq!(windows.consume(5, 2), Ok(()));
        assert_eq!(windows.consume(2, 1), Ok(()));
    }

    #[test]
    fn every_slot_is_reachable_in_any_size() {
        for slots in [1, 2, 1000, 1024, 2500] {
            let windows = Windows::new(slots);
            let rounded = slots.next_power_of_two() as u64;
            for sequence in 0..rounded {
                assert_eq!(windows.consume(sequence, 1), Ok(()));
            }
            for sequence in 0..rounded {
                assert_eq!(windows.consume(sequence, 2), Ok(()), "{sequence} of {slots}");
            }
        }
    }

    #[test]
    fn of_two_threads_one_consumes_a_count() {
        const COUNTS: u32 = 2000;
        let (windows, won) = (Windows::new(8), AtomicUsize::new(0));

        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for count in 1..=COUNTS {
                        if windows.consume(3, count).is_ok() {
                            won.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });

        // A thread far behind may find counts out of the window that nobody used, but none is used twice; and the
        // thread that is ahead always finds its count unused.
        assert!(won.load(Relaxed) <= COUNTS as usize);
        assert_eq!(windows.consume(3, COUNTS), Err(Replayed::Count));
    }

    #[test]
    fn a_count_that_all_threads_want_goes_to_exactly_one() {
        for sequence in 0..200 {
            let (windows, won) = (Windows::new(8), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| won.fetch_add(usize::from(windows.consume(sequence, 1).is_ok()), Relaxed));
                }
            });
            assert_eq!(won.load(Relaxed), 1);
        }
    }
}
