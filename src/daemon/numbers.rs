//! What the running server tells about itself: the numbers behind `/metrics`.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::node::Node;
use crate::http::Source;
use crate::http::metrics::{Process, Snapshot, Worker};
use crate::sip::counts::Counts;
use crate::transport::tls::Certificates;

/// The ticks of a second in which /proc tells CPU time: the same on every architecture that Linux has today.
const TICKS: u32 = 100;

/// Takes the numbers where they are counted. Each shard is locked by itself and only as long as it is read.
pub struct Numbers {
    node: Arc<Node>,
    start: Instant,
    /// When they were last taken, and how long each worker had been busy by then.
    last: Mutex<(Instant, Vec<Duration>)>,
}

impl Numbers {
    /// Those of `node`, which has just started.
    pub fn new(node: Arc<Node>) -> Numbers {
        let start = Instant::now();
        Numbers {
            last: Mutex::new((start, vec![Duration::ZERO; node.workers.len()])),
            node,
            start,
        }
    }

    fn workers(&self, now: Instant) -> Vec<Worker> {
        let mut last = self.last.lock();
        let (then, busy_then) = &mut *last;
        let elapsed = now.saturating_duration_since(*then).as_secs_f64();
        *then = now;
        let workers = self.node.workers.iter().zip(busy_then);
        let workers = workers.map(|(worker, busy_then)| {
            let busy = worker.busy();
            let since = busy.saturating_sub(*busy_then).as_secs_f64();
            *busy_then = busy;
            Worker {
                counters: Arc::clone(&worker.counters),
                kernel_drops: worker
                    .udp
                    .iter()
                    .map(|socket| (socket.local(), socket.kernel_drops()))
                    .collect(),
                busy,
                busy_ratio: if elapsed > 0.0 { (since / elapsed).min(1.0) } else { 0.0 },
            }
        });
        workers.collect()
    }
}

impl Source for Numbers {
    fn snapshot(&self) -> Snapshot {
        let (node, now) = (&*self.node, Instant::now());
        let mut counts = Counts::default();
        let (mut servers, mut clients) = (0, 0);
        for shard in 0..node.shards.count() {
            node.shards.read(shard, |server| {
                counts.add(server.counts());
                let (of_server, of_client) = server.transactions();
                servers += of_server;
                clients += of_client;
            });
        }
        Snapshot {
            uptime: now.saturating_duration_since(self.start),
            counts,
            server_transactions: servers,
            client_transactions: clients,
            transactions_max: node.shared.settings.transaction.max * node.shards.count(),
            addresses: node.shared.location.addresses(),
            bindings: node.shared.location.bindings(),
            workers: self.workers(now),
            control: Arc::clone(&node.counters),
            connections: node.connections.by_transport(),
            connections_max: node.settings.limits.connections,
            certificates: certificates(&node.certificates),
            certificates_replaced: node.certificates.replaced.count(),
            certificates_failed: node.certificates.failed.count(),
            process: process(),
        }
    }
}

fn certificates(certificates: &Certificates) -> Vec<(String, i64)> {
    let expiries = certificates.expiries().into_iter();
    expiries
        .map(|(file, expires)| (file.display().to_string(), expires))
        .collect()
}

/// What /proc says of this process; zeros where it says nothing.
fn process() -> Process {
    Process {
        resident_bytes: resident_bytes(&fs::read_to_string("/proc/self/status").unwrap_or_default()).unwrap_or(0),
        cpu: cpu(&fs::read_to_string("/proc/self/stat").unwrap_or_default()).unwrap_or_default(),
    }
}

/// `VmRSS` of proc_pid_status(5), which is in units of 1024 bytes.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// `utime` and `stime` of proc_pid_stat(5). The name before them stands in parentheses and may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut columns = rest.split(' ').skip(11);
    let mut ticks = || columns.next()?.parse::<u64>().ok();
    let sum = ticks()? + ticks()?;
    Some(Duration::from_secs(sum) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_memory_and_time() {
        let status = "Name:\tringbinder\nVmHWM:\t  9000 kB\nVmRSS:\t    8192 kB\n";
        assert_eq!(resident_bytes(status), Some(8192 * 1024));
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 7 8 20 0 4 0 100 1 1";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1750)));
        assert!(process().resident_bytes > 0);
    }
}
