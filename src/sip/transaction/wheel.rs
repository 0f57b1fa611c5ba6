//! A hierarchical timing wheel: arming and disarming cost the same however many timers are armed, and nothing is
//! allocated once it has grown. It has no clock; the caller says what time it is.
//!
//! Five levels of 64 slots, each slot of a level as wide as the whole level below: 10 ms, 0.64 s, 41 s, 44 minutes
//! and 47 hours. A timer lies in the lowest level that reaches its time, and moves down when time reaches its slot.

use std::time::{Duration, Instant};

use crate::sip::transaction::segments::Segments;

/// The grain of time: a timer fires at the first tick that is not before its deadline.
pub const TICK: Duration = Duration::from_millis(10);

const TICK_NANOS: u32 = 10_000_000;
const TICKS_PER_SEC: u64 = 100;
/// Levels of the wheel. A timer that lies beyond the highest stays in its farthest slot until it is near enough.
const LEVELS: usize = 5;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// More entries than this are given back when no timer is armed.
const BURST: usize = 256;
/// No entry: the end of the free list, an empty slot.
const NONE: u32 = u32::MAX;

/// One armed timer of a [`Wheel`]. After the timer has fired or was disarmed the handle means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerHandle {
    index: u32,
    generation: u32,
}

/// Timers that carry a `T` each.
#[derive(Debug)]
pub struct Wheel<T> {
    start: Instant,
    /// The tick up to which time has passed. What was due before it has fired.
    elapsed: u64,
    levels: [Level; LEVELS],
    entries: Segments<Entry<T>>,
    free: u32,
    armed: usize,
    /// Of the timer armed last.
    generation: u32,
}

#[derive(Debug)]
struct Level {
    /// A bit for each slot that has entries.
    occupied: u64,
    /// The first entry of each slot; the slot's entries form a ring.
    first: [u32; SLOTS],
}

#[derive(Debug)]
struct Entry<T> {
    tick: u64,
    previous: u32,
    /// The next of the ring, or the next free entry.
    next: u32,
    generation: u32,
    level: u8,
    slot: u8,
    armed: bool,
    value: T,
}

impl<T: Copy> Wheel<T> {
    /// An empty wheel, whose time begins at `start`.
    pub fn new(start: Instant) -> Wheel<T> {
        const EMPTY: Level = Level {
            occupied: 0,
            first: [NONE; SLOTS],
        };
        Wheel {
            start,
            elapsed: 0,
            levels: [EMPTY; LEVELS],
            entries: Segments::new(),
            free: NONE,
            armed: 0,
            generation: 0,
        }
    }

    /// Starts a timer that fires at `deadline`, at once if that has passed.
    pub fn arm(&mut self, deadline: Instant, value: T) -> TimerHandle {
        let index = self.take_free(value);
        let tick = self.tick_at_or_after(deadline);
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let entry = &mut self.entries[index];
        (entry.tick, entry.generation) = (tick, generation);
        self.link(index);
        self.armed += 1;
        TimerHandle { index, generation }
    }

    /// Moves a timer to another deadline. False: it has fired or was disarmed.
    pub fn rearm(&mut self, timer: TimerHandle, deadline: Instant) -> bool {
        if !self.is_armed(timer) {
            return false;
        }
        let tick = self.tick_at_or_after(deadline);
        if self.entries[timer.index].tick == tick {
            return true;
        }
        self.unlink(timer.index);
        self.entries[timer.index].tick = tick;
        self.link(timer.index);
        true
    }

    /// Stops a timer. False: it has fired or was disarmed.
    pub fn disarm(&mut self, timer: TimerHandle) -> bool {
        if !self.is_armed(timer) {
            return false;
        }
        self.unlink(timer.index);
        self.release(timer.index);
        true
    }

    /// Starts the timer of `handle`, or moves it where it is armed.
    pub fn set(&mut self, handle: &mut Option<TimerHandle>, deadline: Instant, value: T) {
        if !handle.is_some_and(|timer| self.rearm(timer, deadline)) {
            *handle = Some(self.arm(deadline, value));
        }
    }

    /// Stops the timer of `handle` where it is armed.
    pub fn clear(&mut self, handle: &mut Option<TimerHandle>) {
        if let Some(timer) = handle.take() {
            self.disarm(timer);
        }
    }

    /// One timer that is due at `now` and its value, earliest first; `None` when no more are.
    pub fn pop(&mut self, now: Instant) -> Option<(TimerHandle, T)> {
        let now = self.tick_before_or_at(now);
        // The bound: each turn but the last empties one slot into lower levels.
        while let Some((level, tick)) = self.next_slot() {
            if tick > now {
                break;
            }
            self.elapsed = tick;
            let slot = slot_of(level, tick);
            let index = self.levels[level].first[slot];
            if level == 0 {
                let entry = &self.entries[index];
                let (generation, value) = (entry.generation, entry.value);
                self.unlink(index);
                self.release(index);
                return Some((TimerHandle { index, generation }, value));
            }
            self.cascade(level, slot);
        }
        self.elapsed = self.elapsed.max(now);
        None
    }

    /// When [`Wheel::pop`] should next be called. It may then have nothing: a far timer is only looked at, and moved
    /// nearer. Costs a few instructions however many timers are armed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (_, tick) = self.next_slot()?;
        Some(self.start + Duration::from_nanos(tick.saturating_mul(u64::from(TICK_NANOS))))
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    fn is_armed(&self, timer: TimerHandle) -> bool {
        self.entries
            .get(timer.index)
            .is_some_and(|entry| entry.armed && entry.generation == timer.generation)
    }

    /// The level and first tick of the slot that is reached next. At the same tick a higher level comes first, so that
    /// its timers move down before those of the tick fire.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let mut next: Option<(usize, u64)> = None;
        for (number, level) in self.levels.iter().enumerate() {
            if level.occupied == 0 {
                continue;
            }
            let shift = SLOT_BITS * number as u32;
            let current = self.elapsed >> shift;
            let ahead = level.occupied.rotate_right(slot_of(number, self.elapsed) as u32);
            let tick = (current + u64::from(ahead.trailing_zeros())) << shift;
            if next.is_none_or(|(_, earliest)| tick <= earliest) {
                next = Some((number, tick));
            }
        }
        next
    }

    /// Empties a slot into the levels below. The entries keep their order.
    fn cascade(&mut self, level: usize, slot: usize) {
        let first = self.levels[level].first[slot];
        self.levels[level].first[slot] = NONE;
        self.levels[level].occupied &= !(1 << slot);
        let mut index = first;
        loop {
            let next = self.entries[index].next;
            self.link(index);
            if next == first {
                return;
            }
            index = next;
        }
    }

    /// Puts an entry at the end of the slot where its tick belongs now.
    fn link(&mut self, index: u32) {
        let tick = self.entries[index].tick.max(self.elapsed);
        let (level, slot) = self.place(tick);
        let wheel_level = &mut self.levels[level];
        let first = wheel_level.first[slot];
        let (previous, next) = if first == NONE {
            wheel_level.first[slot] = index;
            wheel_level.occupied |= 1 << slot;
            (index, index)
        } else {
            (self.entries[first].previous, first)
        };
        let entry = &mut self.entries[index];
        (entry.previous, entry.next) = (previous, next);
        (entry.level, entry.slot) = (level as u8, slot as u8);
        self.entries[previous].next = index;
        self.entries[next].previous = index;
    }

    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index];
        let (previous, next) = (entry.previous, entry.next);
        let (slot, level) = (usize::from(entry.slot), &mut self.levels[usize::from(entry.level)]);
        if next == index {
            level.first[slot] = NONE;
            level.occupied &= !(1 << slot);
            return;
        }
        if level.first[slot] == index {
            level.first[slot] = next;
        }
        self.entries[previous].next = next;
        self.entries[next].previous = previous;
    }

    /// The lowest level whose slots, from the current one on, reach `tick`, and the slot there. Above level 0 the
    /// current slot is never chosen: what lies in it is near enough for the level below.
    fn place(&self, tick: u64) -> (usize, usize) {
        for level in 0..LEVELS {
            let shift = SLOT_BITS * level as u32;
            if (tick >> shift) - (self.elapsed >> shift) < SLOTS as u64 {
                return (level, slot_of(level, tick));
            }
        }
        let highest = LEVELS - 1;
        let farthest = self.elapsed + ((SLOTS as u64 - 1) << (SLOT_BITS * highest as u32));
        (highest, slot_of(highest, farthest))
    }

    fn take_free(&mut self, value: T) -> u32 {
        if self.free == NONE {
            assert!(
                self.entries.len() < NONE as usize,
                "memory is full long before 2^32 timers are armed"
            );
            return self.entries.push(Entry {
                tick: 0,
                previous: NONE,
                next: NONE,
                generation: 0,
                level: 0,
                slot: 0,
                armed: true,
                value,
            });
        }
        let index = self.free;
        let entry = &mut self.entries[index];
        self.free = entry.next;
        entry.armed = true;
        entry.value = value;
        index
    }

    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index];
        entry.armed = false;
        entry.next = self.free;
        self.free = index;
        self.armed -= 1;
        // What a burst had allocated is given back once no timer is armed.
        if self.armed == 0 && self.entries.len() > BURST {
            self.entries.clear();
            self.free = NONE;
        }
    }

    fn tick_at_or_after(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.start);
        since.as_secs() * TICKS_PER_SEC + u64::from(since.subsec_nanos().div_ceil(TICK_NANOS))
    }

    fn tick_before_or_at(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.start);
        since.as_secs() * TICKS_PER_SEC + u64::from(since.subsec_nanos() / TICK_NANOS)
    }
}

fn slot_of(level: usize, tick: u64) -> usize {
    (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    #[test]
    fn a_timer_fires_at_the_first_tick_not_before_its_deadline() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        wheel.arm(start + Duration::from_millis(491), 'a');

        assert_eq!(wheel.poll_timeout(), Some(start + Duration::from_millis(500)));
        assert_eq!(wheel.pop(start + Duration::from_millis(499)), None);
        assert_eq!(pop(&mut wheel, start + Duration::from_millis(500)), Some('a'));
        assert_eq!(wheel.pop(start + Duration::from_millis(500)), None);
        assert_eq!(wheel.poll_timeout(), None);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_deadline_that_has_passed_fires_at_once() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let now = start + Duration::from_secs(100);
        assert_eq!(wheel.pop(now), None);
        wheel.arm(start, 'a');

        assert!(wheel.poll_timeout() <= Some(now));
        assert_eq!(pop(&mut wheel, now), Some('a'));
    }

    #[test]
    fn a_disarmed_timer_does_not_fire_and_its_handle_is_dead() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let first = wheel.arm(start + TICK, 'a');
        assert!(wheel.disarm(first));
        let second = wheel.arm(start + TICK, 'b');

        assert!(!wheel.disarm(first));
        assert!(!wheel.rearm(first, start));
        assert_eq!(wheel.pop(start + TICK), Some((second, 'b')));
        assert!(!wheel.disarm(second));
    }

    #[test]
    fn after_a_burst_memory_is_given_back_and_old_handles_are_dead() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let timers: Vec<TimerHandle> = (0..2 * BURST).map(|value| wheel.arm(start, value)).collect();
        for timer in &timers {
            assert!(wheel.disarm(*timer));
        }
        assert_eq!(wheel.entries.len(), 0);
        let again = wheel.arm(start, 0);
        assert!(!wheel.disarm(timers[0]));
        assert!(wheel.disarm(again));
    }

    #[test]
    fn timers_of_years_wait_in_the_farthest_slot() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let year = Duration::from_secs(365 * 24 * 3600);
        wheel.arm(start + year, 'a');

        let mut looks = 0;
        let fired = loop {
            let now = wheel.poll_timeout().expect("it is armed");
            looks += 1;
            if wheel.pop(now).is_some() {
                break now;
            }
        };

        assert_eq!(fired, start + year);
        assert!(looks < 20, "{looks} wake-ups");
    }

    #[test]
    fn timers_of_one_tick_fire_in_the_order_they_were_armed() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let at = start + Duration::from_secs(32);
        for value in 0..5 {
            wheel.arm(at, value);
        }
        assert_eq!(
            std::iter::from_fn(|| pop(&mut wheel, at)).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
    }

    fn pop<T: Copy>(wheel: &mut Wheel<T>, now: Instant) -> Option<T> {
        wheel.pop(now).map(|(_, value)| value)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u64),
        Rearm(usize, u64),
        Disarm(usize),
        Advance(u64),
        AdvanceToTimeout,
    }

    fn step() -> impl Strategy<Value = Step> {
        let millis = prop_oneof![
            0..50u64,
            0..2_000u64,
            0..60_000u64,
            0..10_000_000u64,
            0..40_000_000_000u64
        ];
        prop_oneof![
            4 => millis.clone().prop_map(Step::Arm),
            1 => (any::<usize>(), millis.clone()).prop_map(|(which, delay)| Step::Rearm(which, delay)),
            1 => any::<usize>().prop_map(Step::Disarm),
            2 => millis.prop_map(Step::Advance),
            3 => Just(Step::AdvanceToTimeout),
        ]
    }

    /// The model: every timer with its deadline, in a map.
    struct Model {
        now: Instant,
        wheel: Wheel<u32>,
        timers: BTreeMap<u32, (TimerHandle, Instant)>,
        next: u32,
    }

    impl Model {
        fn pick(&self, which: usize) -> Option<u32> {
            let count = self.timers.len();
            (count > 0).then(|| *self.timers.keys().nth(which % count).expect("below the length"))
        }

        fn apply(&mut self, step: Step) {
            match step {
                Step::Arm(delay) => {
                    let deadline = self.now + Duration::from_millis(delay);
                    let handle = self.wheel.arm(deadline, self.next);
                    self.timers.insert(self.next, (handle, deadline));
                    self.next += 1;
                }
                Step::Rearm(which, delay) => {
                    let Some(id) = self.pick(which) else { return };
                    let timer = self.timers.get_mut(&id).expect("it was picked");
                    timer.1 = self.now + Duration::from_millis(delay);
                    assert!(self.wheel.rearm(timer.0, timer.1));
                }
                Step::Disarm(which) => {
                    let Some(id) = self.pick(which) else { return };
                    let (handle, _) = self.timers.remove(&id).expect("it was picked");
                    assert!(self.wheel.disarm(handle));
                }
                Step::Advance(delay) => self.advance(self.now + Duration::from_millis(delay)),
                Step::AdvanceToTimeout => {
                    let Some(at) = self.wheel.poll_timeout() else { return };
                    self.advance(at.max(self.now));
                }
            }
        }

        fn advance(&mut self, now: Instant) {
            self.now = now;
            let mut last = None;
            while let Some((fired, id)) = self.wheel.pop(now) {
                let (handle, deadline) = self.timers.remove(&id).expect("it fires once and only while armed");
                assert_eq!(fired, handle);
                assert!(deadline <= now, "early by {:?}", deadline - now);
                assert!(last.is_none_or(|last| last < deadline + TICK), "out of order");
                last = Some(deadline);
            }
            for (_, deadline) in self.timers.values() {
                assert!(*deadline + TICK > now, "late by {:?}", now - *deadline);
            }
        }

        fn check(&self) {
            let earliest = self.timers.values().map(|(_, deadline)| *deadline).min();
            assert_eq!(self.wheel.len(), self.timers.len());
            match (self.wheel.poll_timeout(), earliest) {
                (Some(at), Some(earliest)) => assert!(at < earliest.max(self.now) + TICK),
                (at, earliest) => assert_eq!(at, earliest),
            }
        }
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does(steps in proptest::collection::vec(step(), 1..200)) {
            let start = Instant::now();
            let mut model = Model { now: start, wheel: Wheel::new(start), timers: BTreeMap::new(), next: 0 };
            for step in steps {
                model.apply(step);
                model.check();
            }
        }
    }
}
