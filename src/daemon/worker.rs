//! The worker threads: each a runtime of its own with its sockets, its shards' timers and its connections.

use std::cell::RefCell;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::dispatch::Dispatch;
use super::node::{Job, Node};
use crate::transport::udp::{Buffers, UdpListener};

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
    runtime.block_on(serve(node, start))
}

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

    loop {
        tokio::select! {
            job = start.jobs.recv() => match job {
                Some(job) => if !dispatch.handle_job(job, Instant::now()) { return Ok(()) },
                None => return Ok(()),
            },
            Some(ended) = tasks.join_next() => match ended {
                Ok(Ok(())) => bail!("a task of worker {index} ended"),
                Ok(Err(error)) => return Err(error),
                Err(error) => return Err(error).with_context(|| format!("a task of worker {index} failed")),
            },
        }
    }
}

async fn run_timers(node: Arc<Node>, dispatch: Rc<Dispatch>, index: usize) -> anyhow::Result<()> {
    loop {
        node.shards.sleep(index).await;
        dispatch.handle_timeout(Instant::now());
        tokio::task::yield_now().await;
    }
}
