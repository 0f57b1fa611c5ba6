//! The worker threads: each a runtime of its own with its sockets, its shards' timers and its connections.

use std::cell::RefCell;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::error;

use super::dispatch::Dispatch;
use super::node::{Job, Node};
use crate::sip::keep_alive::Asker;
use crate::sip::location::Means;
use crate::transport::stream::Streams;
use crate::transport::udp::{Buffers, UdpListener};

/// How long the connections may take to write what they have when the worker ends.
const CLOSE_MAX: Duration = Duration::from_millis(1500);

/// How often bindings whose time is over are removed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// The most AORs looked at for that before other tasks have their turn.
const EXPIRIES_PER_TURN: usize = 256;

/// What a worker starts with.
pub struct Start {
    /// Its number.
    pub index: usize,
    /// Its socket of each UDP listener.
    pub udp: Vec<UdpSocket>,
    /// What other threads want of it.
    pub jobs: mpsc::UnboundedReceiver<Job>,
}

/// Starts a worker. `ended` is told how it ended; it is dropped without a word when the worker panicked.
pub fn spawn(node: Arc<Node>, start: Start, ended: oneshot::Sender<anyhow::Result<()>>) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", start.index);
    thread::Builder::new().name(name).spawn(move || {
        let _ = ended.send(run(node, start));
    })
}

fn run(node: Arc<Node>, start: Start) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .context("cannot make the runtime of a worker")?;
    // Only this thread sets it, once.
    let _ = node.workers[start.index].runtime.set(runtime.metrics());
    runtime.block_on(serve(node, start))
}

/// How often the round of the questions goes on.
const KEEP_ALIVE_TICK: Duration = Duration::from_millis(100);

/// The AORs whose phones are asked before other tasks have their turn.
const KEEP_ALIVES_PER_TURN: usize = 64;

/// The most in one tick, 20,000 a second: with more bindings than that allows the round takes longer.
const KEEP_ALIVES_PER_TICK: usize = 2000;

async fn serve(node: Arc<Node>, mut start: Start) -> anyhow::Result<()> {
    let index = start.index;
    let counters = &node.workers[index].counters;
    let udp = start
        .udp
        .into_iter()
        .map(|socket| UdpListener::new(socket, Arc::clone(counters)));
    let udp: Box<[UdpListener]> = udp.collect::<io::Result<_>>().context("cannot serve a UDP socket")?;
    let dispatch = Rc::new(Dispatch::new(Arc::clone(&node), index, udp));

    // None of these tasks ends by itself.
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let buffers = Rc::new(RefCell::new(Buffers::new()));
    for listener in 0..dispatch.udp().len() {
        let (node, dispatch, buffers) = (Arc::clone(&node), Rc::clone(&dispatch), Rc::clone(&buffers));
        tasks.spawn_local(async move {
            let limits = &node.shared.settings.message;
            match dispatch.udp()[listener].receive(&buffers, &*dispatch, limits).await {
                Err(error) => Err(error).context("cannot wait for datagrams"),
            }
        });
    }
    tasks.spawn_local(run_timers(Arc::clone(&node), Rc::clone(&dispatch), index));
    tasks.spawn_local(expire_bindings(Arc::clone(&node), index));
    if node.shared.settings.keep_alive.means != Means::Off {
        tasks.spawn_local(keep_alive(Arc::clone(&node), Rc::clone(&dispatch), index));
    }

    let streams = Streams::new(
        Rc::clone(&dispatch),
        Arc::clone(&node.connections),
        Arc::clone(&node.settings),
        node.client.clone(),
        Arc::clone(counters),
    );
    let streams = Rc::new(streams.context("cannot serve connections")?);
    let serving = Rc::clone(&streams);
    tasks.spawn_local(async move {
        match serving.run().await {
            Err(error) => Err(error).context("cannot wait for connections"),
        }
    });
    let mut connecting = JoinSet::new();
    let ended = loop {
        tokio::select! {
            job = start.jobs.recv() => match job {
                None | Some(Job::Stop) => break Ok(()),
                Some(Job::Input { shard, input }) => dispatch.handle_input(shard, *input, Instant::now()),
                Some(Job::Closed(connection)) => {
                    let dispatch = Rc::clone(&dispatch);
                    connecting.spawn_local(async move {
                        while dispatch.close_bindings(connection, Instant::now()) {
                            tokio::task::yield_now().await;
                        }
                    });
                }
                Some(Job::Ping(alive)) => drop(alive.send(())),
                Some(Job::Accepted(accepted, server)) => streams.serve_accepted(accepted, server),
                Some(Job::Connect(connection, hop)) => {
                    let streams = Rc::clone(&streams);
                    connecting.spawn_local(async move { streams.serve_outgoing(connection, hop).await });
                }
            },
            Some(ended) = connecting.join_next() => {
                // Only that connection is lost.
                if let Err(error) = ended {
                    error!(%error, "the task of a connection failed");
                }
            }
            Some(ended) = tasks.join_next() => break ended
                .context("a task failed")
                .flatten()
                .and_then(|()| bail!("a task ended")),
        }
    };
    // The connections have been told to close; what they have still to write is written.
    let all_closed = async {
        while connecting.join_next().await.is_some() {}
        streams.closed().await;
    };
    let _ = timeout(CLOSE_MAX, all_closed).await;
    ended
}

async fn run_timers(node: Arc<Node>, dispatch: Rc<Dispatch>, index: usize) -> anyhow::Result<()> {
    loop {
        node.shards.deadlines.sleep(index).await;
        dispatch.handle_timeout(Instant::now());
        tokio::task::yield_now().await;
    }
}

/// Asks the phones behind NAT of this worker's part of all AORs whether they are still there, each in its turn.
async fn keep_alive(node: Arc<Node>, dispatch: Rc<Dispatch>, index: usize) -> anyhow::Result<()> {
    let part = (index, node.workers.len());
    let counters = Arc::clone(&node.workers[index].counters);
    let mut asker = Asker::new(Arc::clone(&node.shared));
    loop {
        tokio::time::sleep(KEEP_ALIVE_TICK).await;
        let mut left = KEEP_ALIVES_PER_TICK;
        while left > 0 {
            let limit = left.min(KEEP_ALIVES_PER_TURN);
            let asked = dispatch.ask(&mut asker, part, limit, Instant::now());
            counters.keep_alives_sent.add(asked.questions as u64);
            counters.bindings_silent.add(asked.suspended as u64);
            left -= limit;
            if !asked.are_more_due {
                break;
            }
            if left == 0 {
                counters.keep_alives_late.add(1);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Removes bindings whose time is over, of this worker's part of all AORs. Nobody sees them any more by then.
async fn expire_bindings(node: Arc<Node>, index: usize) -> anyhow::Result<()> {
    let part = (index, node.workers.len());
    let mut changes = Vec::new();
    loop {
        tokio::time::sleep(EXPIRY_INTERVAL).await;
        while node
            .shared
            .location
            .expire(Instant::now(), part, EXPIRIES_PER_TURN, &mut changes)
        {
            // Nobody keeps or publishes bindings yet.
            changes.clear();
            tokio::task::yield_now().await;
        }
        changes.clear();
    }
}
