//! `/metrics`: what is counted, in the text form of OpenMetrics, which Prometheus reads.
//!
//! [`FAMILIES`] says what there is; docs/metrics.md is made from it. Nothing here names a user, a phone or a secret.

pub mod families;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::sip::counts::Counts;
use crate::sip::hop::Transport;
use crate::transport::counters::{Counter, Counters};
use families::FAMILIES;

/// The form of what [`encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The time since the start.
    pub uptime: Duration,
    /// What the shards have counted.
    pub counts: Counts,
    /// Server transactions.
    pub server_transactions: usize,
    /// Client transactions.
    pub client_transactions: usize,
    /// The most server transactions that there may be.
    pub transactions_max: usize,
    /// AORs that have bindings.
    pub addresses: u64,
    /// Bindings.
    pub bindings: u64,
    /// The workers, in their order.
    pub workers: Vec<Worker>,
    /// What is counted by no worker: accepting, look-ups.
    pub control: Arc<Counters>,
    /// Open connections by transport.
    pub connections: Vec<(Transport, usize)>,
    /// The most connections that there may be.
    pub connections_max: usize,
    /// The files of the certificates that are served, and when each expires, in seconds since 1970-01-01 UTC.
    pub certificates: Vec<(String, i64)>,
    /// Certificates replaced while they were served.
    pub certificates_replaced: u64,
    /// Changed certificates that could not be used.
    pub certificates_failed: u64,
    /// What the system says of the process.
    pub process: Process,
}

/// One worker.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    /// What its sockets count.
    pub counters: Arc<Counters>,
    /// Datagrams that the kernel dropped, by the address of the listener.
    pub kernel_drops: Vec<(SocketAddr, u32)>,
    /// How long it has worked since the start.
    pub busy: Duration,
    /// The part of the time since the last scrape that it has worked, 0 to 1.
    pub busy_ratio: f64,
}

/// What the system says of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Bytes of memory in use.
    pub resident_bytes: u64,
    /// CPU time, user and system.
    pub cpu: Duration,
}

/// A metric with all its label values.
pub struct Family {
    /// Its name, as it is scraped.
    pub name: &'static str,
    /// Whether it only rises.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
    write: fn(&Snapshot, &mut Samples<'_>) -> fmt::Result,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, from 0 at the start.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// Writes `snapshot` as it is scraped.
pub fn encode(snapshot: &Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(snapshot.clone())));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape(Snapshot);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in FAMILIES {
            let (kind, name) = match family.kind {
                // OpenMetrics names the family without the suffix of its sample.
                Kind::Counter => (MetricType::Counter, family.name.trim_end_matches("_total")),
                Kind::Gauge => (MetricType::Gauge, family.name),
            };
            let mut samples = Samples {
                family,
                encoder: encoder.encode_descriptor(name, family.help, None, kind)?,
            };
            (family.write)(&self.0, &mut samples)?;
        }
        Ok(())
    }
}

/// Where the samples of one family go.
struct Samples<'a> {
    family: &'static Family,
    encoder: MetricEncoder<'a>,
}

#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Real(f64),
}

impl Samples<'_> {
    /// Adds a sample; `values` are those of the family's labels.
    fn add(&mut self, values: &[&str], value: impl Into<Value>) -> fmt::Result {
        if values.is_empty() {
            return write(&mut self.encoder, self.family.kind, value.into());
        }
        let labels: Vec<(&str, &str)> = self.family.labels.iter().copied().zip(values.iter().copied()).collect();
        let mut encoder = self.encoder.encode_family(&labels)?;
        write(&mut encoder, self.family.kind, value.into())
    }
}

fn write(encoder: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        (Kind::Gauge, Value::Whole(value)) => encoder.encode_gauge(&value),
        (Kind::Gauge, Value::Real(value)) => encoder.encode_gauge(&value),
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Whole(value as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl From<Duration> for Value {
    fn from(value: Duration) -> Value {
        Value::Real(value.as_secs_f64())
    }
}

impl Snapshot {
    /// What the workers and the control threads have counted together.
    fn sum(&self, counter: fn(&Counters) -> &Counter) -> u64 {
        let workers = self.workers.iter().map(|worker| &worker.counters);
        workers
            .chain([&self.control])
            .map(|counters| counter(counters).count())
            .sum()
    }

    fn each_worker<V: Into<Value>>(&self, samples: &mut Samples<'_>, value: fn(&Worker) -> V) -> fmt::Result {
        for (number, worker) in self.workers.iter().enumerate() {
            samples.add(&[&number.to_string()], value(worker))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sip::message::method::Method;

    #[test]
    fn names_are_unique_and_as_prometheus_wants_them() {
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for family in FAMILIES {
            assert_eq!(
                family.name.ends_with("_total"),
                family.kind == Kind::Counter,
                "{}",
                family.name
            );
            assert!(family.name.starts_with("ringbinder_") || family.name.starts_with("process_"));
            assert!(
                family.help.ends_with('.') && !family.help.contains(['\n', '\\', '"']),
                "{}",
                family.help
            );
        }
    }

    #[test]
    fn sums_go_over_workers_and_control_threads() {
        let mut snapshot = Snapshot {
            workers: vec![Worker::default(), Worker::default()],
            ..Snapshot::default()
        };
        snapshot.workers[0].counters.keep_alives.add(1);
        snapshot.workers[1].counters.keep_alives.add(2);
        snapshot.workers[1].counters.datagrams_sent.add(7);
        snapshot.control.keep_alives.add(4);
        snapshot.counts.receive_request(Method::Invite);
        snapshot.counts.relay(180);
        snapshot.process.cpu = Duration::from_millis(1500);

        let text = encode(&snapshot).unwrap();

        for line in [
            "# TYPE ringbinder_keep_alives counter",
            "ringbinder_keep_alives_total 7",
            "ringbinder_datagrams_sent_total{worker=\"0\"} 0",
            "ringbinder_datagrams_sent_total{worker=\"1\"} 7",
            "ringbinder_requests_received_total{method=\"INVITE\"} 1",
            "ringbinder_responses_sent_total{code=\"180\",origin=\"relayed\"} 1",
            "process_cpu_seconds_total 1.5",
            "# TYPE ringbinder_bindings gauge",
            "ringbinder_bindings 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
