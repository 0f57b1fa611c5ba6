//! The shards: each a `Server` behind a lock, and beside it the time at which its timers need it next.
//!
//! Whichever thread has a message for a shard runs it. Its timers belong to one worker, its owner; a thread that runs a
//! shard and leaves it with an earlier deadline than the owner sleeps for wakes the owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::sip::server::Server;
use crate::sip::shared::Shared;

/// Shards for each worker: enough that two workers seldom want the same one.
const SHARDS_PER_WORKER: usize = 8;

/// The most shards: their numbers have 16 bits.
const SHARDS_MAX: usize = 1 << 15;

/// How exactly timers are kept.
const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 10;

/// The tick that never comes.
const NEVER: u64 = u64::MAX;

/// All shards.
pub struct Shards {
    list: Box<[Shard]>,
    owners: Box<[Owner]>,
    start: Instant,
}

/// Neighbours do not share cache lines, nor pairs of them.
#[repr(align(128))]
struct Shard {
    server: Mutex<Server>,
    /// The tick at which the server's timers need it.
    deadline: AtomicU64,
}

#[repr(align(128))]
struct Owner {
    /// The tick that the owner sleeps for; [`NEVER`] while it is about to find that out.
    sleeps_until: AtomicU64,
    wake: Notify,
}

/// How many shards `workers` workers have.
pub fn count_for(workers: usize) -> usize {
    (workers * SHARDS_PER_WORKER).next_power_of_two().min(SHARDS_MAX)
}

impl Shards {
    /// Shards for `workers` workers; each gets a seed of its own from `seed`.
    pub fn new(
        shared: &Arc<Shared>,
        workers: usize,
        now: Instant,
        mut seed: impl FnMut() -> anyhow::Result<[u8; 32]>,
    ) -> anyhow::Result<Shards> {
        let workers = workers.max(1);
        let list = (0..count_for(workers))
            .map(|shard| {
                Ok(Shard {
                    server: Mutex::new(Server::new(Arc::clone(shared), shard as u16, seed()?, now)),
                    deadline: AtomicU64::new(NEVER),
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let owners = (0..workers).map(|_| Owner {
            sleeps_until: AtomicU64::new(NEVER),
            wake: Notify::new(),
        });
        Ok(Shards {
            list,
            owners: owners.collect(),
            start: now,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Runs `shard` while no other thread does. `run` is to be short and to wait for nothing.
    pub fn run<R>(&self, shard: usize, run: impl FnOnce(&mut Server) -> R) -> R {
        let index = shard % self.list.len();
        let shard = &self.list[index];
        let mut server = shard.server.lock();
        let result = run(&mut server);
        let deadline = server
            .poll_timeout()
            .map_or(NEVER, |deadline| self.tick_after(deadline));
        // Still under the lock, so that the deadline of an earlier run never replaces that of a later one.
        shard.deadline.store(deadline, Ordering::SeqCst);
        drop(server);
        let owner = &self.owners[index % self.owners.len()];
        if deadline < owner.sleeps_until.load(Ordering::SeqCst)
            && deadline < owner.sleeps_until.fetch_min(deadline, Ordering::SeqCst)
        {
            owner.wake.notify_one();
        }
        result
    }

    /// The shards of `owner` whose timers are due at `now`.
    pub fn due(&self, owner: usize, now: Instant) -> impl Iterator<Item = usize> {
        let tick = self.tick_before(now);
        self.owned(owner)
            .filter(move |index| self.list[*index].deadline.load(Ordering::SeqCst) <= tick)
    }

    /// Sleeps until timers of the shards of `owner` are due.
    pub async fn sleep(&self, owner: usize) {
        let this = &self.owners[owner % self.owners.len()];
        loop {
            // From here on whoever sets a deadline wakes us: none escapes us however the threads are interleaved.
            this.sleeps_until.store(NEVER, Ordering::SeqCst);
            let deadlines = self
                .owned(owner)
                .map(|index| self.list[index].deadline.load(Ordering::SeqCst));
            let deadline = deadlines.min().unwrap_or(NEVER);
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

    /// Whether no shard has a transaction under way.
    pub fn are_idle(&self) -> bool {
        self.list.iter().all(|shard| shard.server.lock().is_settled())
    }

    fn owned(&self, owner: usize) -> impl Iterator<Item = usize> {
        (owner % self.owners.len()..self.list.len()).step_by(self.owners.len())
    }

    fn tick_before(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_millis() / TICK.as_millis()) as u64
    }

    fn tick_after(&self, deadline: Instant) -> u64 {
        let since = deadline.saturating_duration_since(self.start);
        since.as_nanos().div_ceil(TICK.as_nanos()) as u64
    }
}
