//! What all threads of the daemon share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::shards::Shards;
use crate::sip::hop::{ConnectionId, Hop};
use crate::sip::resolution::{QueryId, Question};
use crate::sip::server::{Input, Origin};
use crate::sip::shared::Shared;
use crate::transport::counters::Counters;
use crate::transport::dns::{self, Names};
use crate::transport::settings::Settings;
use crate::transport::table::{Connection, Connections};
use crate::transport::tcp::Accepted;
use crate::transport::tls::Certificates;
use crate::transport::udp::Watch;

/// The parts of the daemon that every thread may reach.
pub struct Node {
    /// What the shards share.
    pub shared: Arc<Shared>,
    /// The shards.
    pub shards: Shards,
    /// The ways to the workers.
    pub workers: Box<[WorkerPort]>,
    /// The stream connections.
    pub connections: Arc<Connections<Origin>>,
    /// What sockets are told.
    pub settings: Arc<Settings>,
    /// What looks names up.
    pub names: Names,
    /// What is counted by no worker.
    pub counters: Arc<Counters>,
    /// The runtime of what may wait.
    pub control: Handle,
    /// What outgoing TLS connections need; `None` without a TLS listener.
    pub client: Option<Arc<ClientConfig>>,
    /// The certificates that are served.
    pub certificates: Arc<Certificates>,
}

/// The way to one worker.
pub struct WorkerPort {
    /// What it is to do. The queue has no bound of its own: what is put there is bounded where it comes from.
    pub jobs: mpsc::UnboundedSender<Job>,
    /// What it counts, the connections that it serves among it.
    pub counters: Arc<Counters>,
    /// What the kernel counts of its UDP sockets.
    pub udp: Box<[Watch]>,
    /// What its runtime counts, from its start on.
    pub runtime: OnceLock<RuntimeMetrics>,
}

impl WorkerPort {
    /// The time that the worker has not slept since its start; divided by the time that went by it tells how busy it
    /// is.
    pub fn busy(&self) -> Duration {
        let runtime = self.runtime.get();
        runtime.map_or(Duration::ZERO, |runtime| runtime.worker_total_busy_duration(0))
    }

    /// The datagrams that the kernel dropped because the worker had not received what came before.
    pub fn kernel_drops(&self) -> u64 {
        self.udp.iter().map(|socket| u64::from(socket.kernel_drops())).sum()
    }
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
    /// Serve a connection that was accepted; with settings for it, it begins with a TLS handshake.
    Accepted(Accepted<Origin>, Option<Arc<ServerConfig>>),
    /// Connect to a hop and serve the connection.
    Connect(Arc<Connection<Origin>>, Hop),
    /// Go on with the bindings made over a connection that has ended.
    Closed(ConnectionId),
    /// Show that the worker is alive.
    Ping(oneshot::Sender<()>),
    /// End.
    Stop,
}

impl Node {
    /// Gives a job about a new connection to the worker that serves the fewest.
    pub fn deal(&self, job: Job) {
        let by_load = |worker: &&WorkerPort| worker.counters.connections.level();
        if let Some(worker) = self.workers.iter().min_by_key(by_load) {
            worker.counters.connections.rise();
            let _ = worker.jobs.send(job);
        }
    }

    /// Looks a name up. The answer goes to the shard that asks.
    pub fn resolve(self: &Arc<Self>, query: QueryId, question: Question) {
        let shard = usize::from(query.shard);
        let Some(permit) = self.names.permit() else {
            self.counters.queries_refused.add(1);
            debug!("too many names are being looked up");
            return self.submit(
                shard,
                Input::Resolved {
                    query,
                    hops: Vec::new(),
                },
            );
        };
        let node = Arc::clone(self);
        self.control.spawn(async move {
            let hops = node.names.resolve(&question).await;
            drop(permit);
            node.submit(shard, Input::Resolved { query, hops });
        });
    }

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

/// Follows the changes of the system's name servers.
pub async fn watch_names(node: Arc<Node>) {
    loop {
        tokio::time::sleep(dns::RELOAD_INTERVAL).await;
        node.names.reload();
    }
}
