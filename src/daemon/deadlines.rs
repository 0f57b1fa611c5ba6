//! When the timers of each shard are due, and who sees to that.
//!
//! Whichever thread has a message for a shard runs it. Its timers belong to one worker, its owner; a thread that runs a
//! shard and leaves it with an earlier deadline than the owner sleeps for wakes the owner. So no worker wakes up while
//! nothing is due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How exactly timers are kept.
const TICK_MILLIS: u64 = 10;
const TICKS_PER_SEC: u64 = 1000 / TICK_MILLIS;

/// The tick that never comes.
const NEVER: u64 = u64::MAX;

/// The deadlines of all shards.
pub struct Deadlines {
    shards: Box<[Deadline]>,
    owners: Box<[Owner]>,
    start: Instant,
}

/// The tick at which the timers of a shard need it. Neighbours do not share cache lines, nor pairs of them.
#[repr(align(128))]
struct Deadline(AtomicU64);

#[repr(align(128))]
struct Owner {
    /// The tick that the owner sleeps for; [`NEVER`] while it is about to find that out.
    sleeps_until: AtomicU64,
    wake: Notify,
}

impl Deadlines {
    /// None yet, for `shards` shards that `owners` workers own in turn.
    pub fn new(shards: usize, owners: usize, now: Instant) -> Deadlines {
        let shards = (0..shards).map(|_| Deadline(AtomicU64::new(NEVER)));
        let owners = (0..owners.max(1)).map(|_| Owner {
            sleeps_until: AtomicU64::new(NEVER),
            wake: Notify::new(),
        });
        Deadlines {
            shards: shards.collect(),
            owners: owners.collect(),
            start: now,
        }
    }

    /// Sets the deadline of `shard`, and wakes its owner when that sleeps for longer. The caller holds the shard's
    /// lock, so that the deadline of an earlier run never replaces that of a later one.
    pub fn set(&self, shard: usize, deadline: Option<Instant>) {
        let deadline = deadline.map_or(NEVER, |deadline| self.tick_after(deadline));
        // Whoever set the same one before has seen to the owner; the lock shows us what they wrote.
        if deadline == self.shards[shard].0.load(Ordering::Relaxed) {
            return;
        }
        self.shards[shard].0.store(deadline, Ordering::SeqCst);
        let owner = &self.owners[shard % self.owners.len()];
        if deadline < owner.sleeps_until.load(Ordering::SeqCst)
            && deadline < owner.sleeps_until.fetch_min(deadline, Ordering::SeqCst)
        {
            owner.wake.notify_one();
        }
    }

    /// The shards of `owner` whose timers are due at `now`.
    pub fn due(&self, owner: usize, now: Instant) -> impl Iterator<Item = usize> {
        let tick = self.tick_before(now);
        self.owned(owner).filter(move |shard| self.deadline(*shard) <= tick)
    }

    /// Sleeps until timers of the shards of `owner` are due.
    pub async fn sleep(&self, owner: usize) {
        let this = &self.owners[owner];
        loop {
            // From here on whoever sets a deadline wakes us: none escapes us however the threads are interleaved.
            this.sleeps_until.store(NEVER, Ordering::SeqCst);
            let deadline = self
                .owned(owner)
                .map(|shard| self.deadline(shard))
                .min()
                .unwrap_or(NEVER);
            this.sleeps_until.fetch_min(deadline, Ordering::SeqCst);
            if deadline == NEVER {
                this.wake.notified().await;
                continue;
            }
            let due = self.start + Duration::from_millis(deadline * TICK_MILLIS);
            tokio::select! {
                () = this.wake.notified() => {}
                () = tokio::time::sleep_until(due.into()) => return,
            }
        }
    }

    fn owned(&self, owner: usize) -> impl Iterator<Item = usize> {
        (owner..self.shards.len()).step_by(self.owners.len())
    }

    fn deadline(&self, shard: usize) -> u64 {
        self.shards[shard].0.load(Ordering::SeqCst)
    }

    fn tick_before(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        since.as_secs() * TICKS_PER_SEC + u64::from(since.subsec_millis()) / TICK_MILLIS
    }

    fn tick_after(&self, deadline: Instant) -> u64 {
        let since = deadline.saturating_duration_since(self.start);
        since.as_secs() * TICKS_PER_SEC + u64::from(since.subsec_nanos()).div_ceil(TICK_MILLIS * 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use tokio::time::timeout;

    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_shard_is_due_from_its_deadline_on_with_its_owner_only() {
        let start = Instant::now();
        let deadlines = Deadlines::new(4, 2, start);
        deadlines.set(3, Some(start + millis(95)));
        deadlines.set(2, Some(start + millis(95)));
        let due = |owner, at| deadlines.due(owner, start + millis(at)).collect::<Vec<_>>();
        assert_eq!(due(1, 99), [] as [usize; 0]);
        assert_eq!(due(1, 100), [3]);
        assert_eq!(due(0, 100), [2]);
        deadlines.set(3, None);
        assert_eq!(due(1, 100_000), [] as [usize; 0]);
    }

    #[tokio::test]
    async fn the_owner_sleeps_until_the_earliest_deadline() {
        let start = Instant::now();
        let deadlines = Deadlines::new(4, 2, start);
        deadlines.set(1, Some(start + Duration::from_secs(60)));
        deadlines.set(3, Some(start + millis(95)));
        deadlines.set(2, Some(start + millis(20)));
        timeout(Duration::from_secs(30), deadlines.sleep(1)).await.unwrap();
        assert!(start.elapsed() >= millis(100));
    }

    #[tokio::test]
    async fn without_deadlines_the_owner_sleeps_on() {
        let deadlines = Deadlines::new(4, 2, Instant::now());
        assert!(timeout(millis(50), deadlines.sleep(0)).await.is_err());
    }

    #[tokio::test]
    async fn an_earlier_deadline_set_by_another_thread_wakes_the_owner() {
        let start = Instant::now();
        let deadlines = Arc::new(Deadlines::new(2, 1, start));
        deadlines.set(0, Some(start + Duration::from_secs(3600)));
        let other = Arc::clone(&deadlines);
        let setting = thread::spawn(move || {
            // Most rounds find the owner somewhere on its way to sleep.
            for round in 1..=2000 {
                other.set(1, Some(start + millis(3_600_000 - round)));
            }
            other.set(1, Some(start + millis(50)));
        });
        timeout(Duration::from_secs(10), deadlines.sleep(0)).await.unwrap();
        assert!(start.elapsed() >= millis(50));
        setting.join().unwrap();
    }
}
