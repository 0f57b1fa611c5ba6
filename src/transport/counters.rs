//! What the sockets count. One set for each worker and one for the control threads, so that no count is contended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// One more.
    pub fn rise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn fall(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number now.
    pub fn level(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests for an upgrade that were refused, by the status of the answer.
#[derive(Debug, Default)]
pub struct UpgradesRefused {
    /// 400: malformed, or without the subprotocol `sip`.
    pub malformed: Counter,
    /// 403: the page has another origin.
    pub origin: Counter,
    /// 404: another path.
    pub path: Counter,
    /// 405: another method than GET.
    pub method: Counter,
    /// 426: no upgrade, or one to another version.
    pub version: Counter,
    /// 431: the head is too large.
    pub size: Counter,
}

/// What is counted. The sets of two workers do not share cache lines, nor pairs of them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Datagrams received.
    pub datagrams_received: Counter,
    /// The system calls that received them.
    pub receive_batches: Counter,
    /// Datagrams sent.
    pub datagrams_sent: Counter,
    /// The system calls that sent them.
    pub send_batches: Counter,
    /// Datagrams not sent because the socket's buffer stayed full.
    pub datagrams_dropped: Counter,
    /// Datagrams not sent because of another error.
    pub datagrams_failed: Counter,
    /// Errors of receiving datagrams.
    pub receive_errors: Counter,
    /// Keep-alives, on datagrams and streams.
    pub keep_alives: Counter,
    /// Questions to phones behind NAT whether they are still there.
    pub keep_alives_sent: Counter,
    /// Ticks in which more phones were due than may be asked in one.
    pub keep_alives_late: Counter,
    /// Bindings suspended because their phones did not answer those.
    pub bindings_silent: Counter,
    /// Binding requests and indications of STUN.
    pub stun_requests: Counter,
    /// Datagrams that look like STUN and are nothing that is served.
    pub stun_malformed: Counter,
    /// Connections that the worker serves or establishes.
    pub connections: Gauge,
    /// Bytes received over connections, as they went over the wire.
    pub stream_bytes_received: Counter,
    /// Bytes sent over connections, as they went over the wire.
    pub stream_bytes_sent: Counter,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections refused because there are too many.
    pub connections_refused: Counter,
    /// Connections refused because there are too many of one source.
    pub connections_refused_of_source: Counter,
    /// Errors of accepting connections.
    pub accept_errors: Counter,
    /// Outgoing connections that were not established.
    pub connects_failed: Counter,
    /// TLS handshakes, and upgrades to WebSocket, that failed.
    pub handshakes_failed: Counter,
    /// Requests for an upgrade to WebSocket that were refused.
    pub upgrades_refused: UpgradesRefused,
    /// Connections closed because they were idle, or slow to begin or to end a message.
    pub connections_timed_out: Counter,
    /// Connections closed because their peer answers neither requests nor whether it is there.
    pub connections_silent: Counter,
    /// Connections closed because their peer does not read.
    pub connections_congested: Counter,
    /// Connections closed because no message boundary could be found.
    pub connections_misframed: Counter,
    /// Look-ups that found records.
    pub lookups_found: Counter,
    /// Look-ups that found that there are none.
    pub lookups_empty: Counter,
    /// Look-ups that nobody answered, or not usefully.
    pub lookups_failed: Counter,
    /// Names not looked up because too many were being looked up.
    pub queries_refused: Counter,
    /// Names not looked up because their source has too many looked up.
    pub queries_refused_of_source: Counter,
}
