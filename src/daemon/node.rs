//! What all threads of the daemon share.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::shards::Shards;
use crate::sip::server::Input;
use crate::sip::shared::Shared;
use crate::transport::counters::Counters;

/// The parts of the daemon that every thread may reach.
pub struct Node {
    /// What the shards share.
    pub shared: Arc<Shared>,
    /// The shards.
    pub shards: Shards,
    /// The ways to the workers.
    pub workers: Box<[WorkerPort]>,
}

/// The way to one worker.
pub struct WorkerPort {
    /// What it is to do. The queue has no bound of its own: what is put there is bounded where it comes from.
    pub jobs: mpsc::UnboundedSender<Job>,
    /// What it counts.
    pub counters: Arc<Counters>,
}

/// Something that a worker is told by another thread.
pub enum Job {
    /// Give a shard this input.
    Input {
        /// Which shard.
        shard: usize,
        /// What it is given.
        input: Box<Input>,
    },
    /// Show that the worker is alive.
    Ping(oneshot::Sender<()>),
    /// End.
    Stop,
}

impl Node {
    /// Gives `shard` an input, from any thread: its owner runs it and does what comes of it.
    pub fn submit(&self, shard: usize, input: Input) {
        let owner = shard % self.workers.len();
        // A worker that has ended takes no more; then the process is about to end too.
        let _ = self.workers[owner].jobs.send(Job::Input {
            shard,
            input: Box::new(input),
        });
    }
}
