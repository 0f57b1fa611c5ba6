//! The daemon: owns what `sip` is connected to. Starts the workers, waits for the signal to stop, lets transactions end.

mod certificates;
mod deadlines;
mod dispatch;
mod listeners;
mod memory;
mod node;
mod numbers;
mod shards;
mod state;
mod systemd;
mod worker;

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::http;
use crate::random;
use crate::sip::digest::{self, Authenticator};
use crate::sip::failures::Failures;
use crate::sip::gruu::token::{self, Tokens};
use crate::sip::health::Health;
use crate::sip::location::Location;
use crate::sip::shared::{self, Epoch, Keys, Shared};
use crate::sip::transaction::KeyHasher;
use crate::transport;
use crate::transport::counters::Counters;
use crate::transport::dns::{self, Names};
use crate::transport::settings::Limits;
use crate::transport::table::Connections;
use crate::transport::udp::Watch;
use listeners::Listeners;
use node::{Job, Node, WorkerPort};
use numbers::Numbers;
use shards::Shards;
use state::StateDirectory;

/// How long transactions may take to end after the signal to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How often it is looked whether they have.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);

/// How long the workers may take to end after that.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Open files beside the connections: sockets, logs, look-ups.
const OTHER_FILES: u64 = 256 + 2 * dns::FLIGHTS_MAX as u64;

/// The threads of the control runtime.
const CONTROL_THREADS: usize = 1;

/// All that the daemon is told at its start.
#[derive(Debug)]
pub struct Settings {
    /// The directory of what outlives a restart; only one instance uses it at a time.
    pub state_dir: PathBuf,
    /// Worker threads; 0 means one for each core but one, at least one.
    pub workers: usize,
    /// The sockets.
    pub transport: transport::settings::Settings,
    /// The SIP server. The bound on its transactions is that of all shards together.
    pub sip: shared::Settings,
    /// What is told over HTTP.
    pub http: http::Settings,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    memory::grow_in_small_pages();
    let state = StateDirectory::open(&settings.state_dir)?;
    let control = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot make the control runtime")?;
    let daemon = Daemon::start(&control, settings, &state)?;
    let result = control.block_on(daemon.serve());
    control.shutdown_background();
    result
}

struct Daemon {
    node: Arc<Node>,
    stop: Stop,
    /// How each worker ends.
    ends: JoinSet<anyhow::Result<()>>,
    /// What accepts connections.
    accepting: JoinSet<()>,
}

/// One for each core but one: the kernel receives and sends for the workers, and takes that core's time for it. Workers
/// that have to share their cores with it hold shards while they are not running, and are woken for fewer messages.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

impl Daemon {
    fn start(control: &Runtime, mut settings: Settings, state: &StateDirectory) -> anyhow::Result<Daemon> {
        let _guard = control.enter();
        // Before anything is served, so that no signal is missed.
        let signals = Signals::new().context("cannot wait for signals")?;
        let workers = match settings.workers {
            0 => default_workers(),
            workers => workers,
        };
        let mut listeners = Listeners::open(&settings.transport, workers)?;
        let http = settings.http.bind.map(http::open).transpose()?;
        raise_open_files(&settings.transport.limits);

        let transactions = &mut settings.sip.transaction.max;
        *transactions = transactions.div_ceil(shards::count_for(workers));
        let now = Instant::now();
        let shared = Arc::new(make_shared(settings.sip, state, now)?);
        let mut starts = Vec::new();
        let ports = (0..workers).map(|index| {
            let (port, start) = make_worker(index, listeners.take_udp())?;
            starts.push(start);
            Ok(port)
        });
        let ports = ports.collect::<anyhow::Result<_>>()?;
        let first_id = u64::from_ne_bytes(random::bytes()?);
        let counters = Arc::<Counters>::default();
        let names = Names::new(
            listeners.routes(),
            settings.transport.dns.clone(),
            Arc::clone(&counters),
        );
        let node = Arc::new(Node {
            shards: Shards::new(&shared, workers, now, random::bytes)?,
            shared,
            workers: ports,
            connections: Arc::new(Connections::new(first_id, settings.transport.limits.clone())),
            names,
            counters,
            control: control.handle().clone(),
            client: listeners.client_config(&settings.transport)?,
            certificates: Arc::clone(&listeners.certificates),
            settings: Arc::new(settings.transport),
        });
        let mut ends = JoinSet::new();
        for start in starts {
            let index = start.index;
            let (ended, end) = oneshot::channel();
            worker::spawn(Arc::clone(&node), start, ended).context("cannot start a worker")?;
            ends.spawn(async move {
                match end.await {
                    Ok(result) => result,
                    Err(_) => bail!("worker {index} failed"),
                }
            });
        }
        control.spawn(memory::give_back());
        control.spawn(certificates::watch(Arc::clone(&node.certificates), signals.hangup));
        control.spawn(node::watch_names(Arc::clone(&node)));
        let accepting = listeners.accept(&node, control.handle());
        if let Some(listener) = http {
            let numbers = Numbers::new(Arc::clone(&node));
            info!(address = %listener.local_addr()?, "serving HTTP");
            control.spawn(http::serve(listener, Arc::new(numbers)));
        }
        Ok(Daemon {
            node,
            stop: signals.stop,
            ends,
            accepting,
        })
    }

    /// Serves until a signal says to stop or a worker fails.
    async fn serve(mut self) -> anyhow::Result<()> {
        systemd::ready();
        info!(
            workers = self.node.workers.len(),
            shards = self.node.shards.count(),
            "ready"
        );
        tokio::select! {
            () = self.stop.wait() => {}
            Some(ended) = self.ends.join_next() => {
                ended.context("a worker failed")??;
                bail!("a worker ended")
            }
            () = systemd::feed_watchdog(Arc::clone(&self.node)) => {}
        }
        systemd::stopping();
        self.accepting.abort_all();
        self.node.shared.is_stopping.store(true, Ordering::Relaxed);
        info!("stopping: letting transactions end");
        tokio::select! {
            () = self.stop.wait() => warn!("stopping at once"),
            () = stop(&self.node, &mut self.ends) => info!("stopped"),
        }
        Ok(())
    }
}

/// The two ends of a worker that is not started yet.
fn make_worker(index: usize, udp: Vec<UdpSocket>) -> anyhow::Result<(WorkerPort, worker::Start)> {
    let (jobs, receiver) = mpsc::unbounded_channel();
    let watches = udp.iter().map(Watch::new).collect::<std::io::Result<_>>();
    let port = WorkerPort {
        jobs,
        counters: Arc::default(),
        udp: watches.context("cannot watch a UDP socket")?,
        runtime: OnceLock::new(),
    };
    let start = worker::Start {
        index,
        udp,
        jobs: receiver,
    };
    Ok((port, start))
}

async fn stop(node: &Node, ends: &mut JoinSet<anyhow::Result<()>>) {
    let are_settled = async {
        while !node.shards.are_settled() {
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
    };
    if tokio::time::timeout(DRAIN_MAX, are_settled).await.is_err() {
        warn!("some transactions have not ended");
    }
    node.connections.close_all();
    for (index, worker) in node.workers.iter().enumerate() {
        debug!(worker = index, busy = ?worker.busy(), kernel_drops = worker.kernel_drops(), "ending");
        let _ = worker.jobs.send(Job::Stop);
    }
    let all_ended = async { while ends.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_MAX, all_ended).await.is_err() {
        warn!("a worker does not end");
    }
}

/// The signals that mean something here.
struct Signals {
    stop: Stop,
    hangup: Signal,
}

/// The signals that mean stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            stop: Stop {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Stop {
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn make_shared(mut settings: shared::Settings, state: &StateDirectory, now: Instant) -> anyhow::Result<Shared> {
    if settings.local_addresses.is_empty() {
        settings.local_addresses = transport::interfaces::addresses();
    }
    let stored = state.keys()?;
    let hash = random::bytes()?;
    let nonce_keys = digest::Keys {
        current: *stored.nonce,
        previous: stored.previous_nonce.map(|key| *key),
    };
    let start = u64::from_le_bytes(random::bytes()?);
    Ok(Shared {
        is_stopping: AtomicBool::new(false),
        // A temporary GRUU names a Call-ID by its hash, and outlives this start.
        location: Arc::new(
            Location::new(random::bytes()?, now).with_call_id_key(token::derive(&stored.token, b"call-id of gruus")),
        ),
        gruus: Tokens::new(&stored.gruu, stored.previous_gruu.as_deref()),
        authenticator: Authenticator::new(nonce_keys, start, Authenticator::WINDOWS),
        failures: Failures::new(hash),
        health: Health::new(hash, now),
        server_keys: KeyHasher::new(&hash),
        settings,
        epoch: Epoch {
            instant: now,
            unix: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .context("the clock stands before 1970")?,
        },
        keys: Keys {
            token: *stored.token,
            hash,
        },
    })
}

fn raise_open_files(limits: &Limits) {
    let wanted = limits.connections as u64 + OTHER_FILES;
    match transport::rlimit::raise_open_files() {
        Ok(granted) if granted < wanted => {
            warn!(
                granted,
                wanted, "few open files allowed: raise LimitNOFILE or lower limits.connections"
            );
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}
