//! The shards: each a `Server` behind a lock. Whichever thread has a message for one runs it.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::deadlines::Deadlines;
use crate::sip::server::Server;
use crate::sip::shared::Shared;

/// Shards for each worker: enough that two workers seldom want the same one.
const SHARDS_PER_WORKER: usize = 8;

/// The most shards: their numbers have 16 bits.
const SHARDS_MAX: usize = 1 << 15;

/// All shards.
pub struct Shards {
    list: Box<[Shard]>,
    /// When their timers are due.
    pub deadlines: Deadlines,
}

/// Neighbours do not share cache lines, nor pairs of them.
#[repr(align(128))]
struct Shard(Mutex<Server>);

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
        let list = (0..count_for(workers)).map(|shard| {
            let server = Server::new(Arc::clone(shared), shard as u16, seed()?, now);
            Ok(Shard(Mutex::new(server)))
        });
        let list: Box<[Shard]> = list.collect::<anyhow::Result<_>>()?;
        Ok(Shards {
            deadlines: Deadlines::new(list.len(), workers, now),
            list,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Runs `shard` while no other thread does. `run` is to be short and to wait for nothing.
    pub fn run<R>(&self, shard: usize, run: impl FnOnce(&mut Server) -> R) -> R {
        let shard = shard % self.list.len();
        let mut server = self.list[shard].0.lock();
        let result = run(&mut server);
        self.deadlines.set(shard, server.poll_timeout());
        result
    }

    /// Reads `shard` while no other thread runs it.
    pub fn read(&self, shard: usize, read: impl FnOnce(&Server)) {
        read(&self.list[shard % self.list.len()].0.lock());
    }

    /// Whether no shard has a transaction under way that somebody waits for.
    pub fn are_settled(&self) -> bool {
        self.list.iter().all(|shard| shard.0.lock().is_settled())
    }
}
