//! The metrics, one entry each.

use super::{Family, Kind};

/// Every metric, in the order in which they are scraped.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "ringbinder_build_info",
        kind: Kind::Gauge,
        labels: &["version"],
        help: "1, with the version of the server as a label.",
        write: |_, samples| samples.add(&[env!("CARGO_PKG_VERSION")], 1_u64),
    },
    Family {
        name: "ringbinder_uptime_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Time since the server started.",
        write: |now, samples| samples.add(&[], now.uptime),
    },
    Family {
        name: "ringbinder_requests_received_total",
        kind: Kind::Counter,
        labels: &["method"],
        help: "Requests received, those that came again included; malformed ones are counted apart.",
        write: |now, samples| {
            now.counts
                .requests()
                .try_for_each(|(method, count)| samples.add(&[method], count))
        },
    },
    Family {
        name: "ringbinder_request_retransmissions_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Requests that came again and were absorbed by their transaction.",
        write: |now, samples| samples.add(&[], now.counts.retransmissions),
    },
    Family {
        name: "ringbinder_responses_received_total",
        kind: Kind::Counter,
        labels: &["class"],
        help: "Responses received from phones and other servers, by class: 1xx to 6xx.",
        write: |now, samples| {
            let mut classes = now.counts.responses_received();
            classes.try_for_each(|(class, count)| samples.add(&[&format!("{class}xx")], count))
        },
    },
    Family {
        name: "ringbinder_responses_sent_total",
        kind: Kind::Counter,
        labels: &["code", "origin"],
        help: "Responses sent by status code, each once however often it was repeated; origin is own (an answer of this \
               server) or relayed (passed on).",
        write: |now, samples| {
            let mut add = |(code, count): (u16, u64), origin| samples.add(&[&code.to_string(), origin], count);
            now.counts.answers().try_for_each(|sent| add(sent, "own"))?;
            now.counts.relayed().try_for_each(|sent| add(sent, "relayed"))
        },
    },
    Family {
        name: "ringbinder_refusals_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Requests refused by this server, by the names of the reasons page.",
        write: |now, samples| {
            let mut refusals = now.counts.refusals();
            refusals.try_for_each(|(reason, count)| samples.add(&[reason.name()], count))
        },
    },
    Family {
        name: "ringbinder_malformed_messages_total",
        kind: Kind::Counter,
        labels: &[],
        help: "What came in a datagram or between two message boundaries of a stream and was no usable message.",
        write: |now, samples| samples.add(&[], now.counts.malformed),
    },
    Family {
        name: "ringbinder_authentication_failures_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Requests with a wrong password, or with a nonce count that did not rise.",
        write: |now, samples| samples.add(&[], now.counts.authentication_failures),
    },
    Family {
        name: "ringbinder_addresses",
        kind: Kind::Gauge,
        labels: &[],
        help: "Addresses-of-record that have contacts.",
        write: |now, samples| samples.add(&[], now.addresses),
    },
    Family {
        name: "ringbinder_bindings",
        kind: Kind::Gauge,
        labels: &[],
        help: "Contacts registered.",
        write: |now, samples| samples.add(&[], now.bindings),
    },
    Family {
        name: "ringbinder_transactions",
        kind: Kind::Gauge,
        labels: &["kind"],
        help: "Transactions kept now: of kind server (requests received) or client (requests forwarded).",
        write: |now, samples| {
            samples.add(&["server"], now.server_transactions)?;
            samples.add(&["client"], now.client_transactions)
        },
    },
    Family {
        name: "ringbinder_transactions_limit",
        kind: Kind::Gauge,
        labels: &[],
        help: "The most server transactions that there may be; each shard has its part of it.",
        write: |now, samples| samples.add(&[], now.transactions_max),
    },
    Family {
        name: "ringbinder_transactions_refused_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Transactions not begun because there were as many as there may be.",
        write: |now, samples| samples.add(&[], now.counts.transactions_refused),
    },
    Family {
        name: "ringbinder_datagrams_received_total",
        kind: Kind::Counter,
        labels: &["worker"],
        help: "Datagrams received.",
        write: |now, samples| now.each_worker(samples, |worker| worker.counters.datagrams_received.count()),
    },
    Family {
        name: "ringbinder_datagrams_sent_total",
        kind: Kind::Counter,
        labels: &["worker"],
        help: "Datagrams sent.",
        write: |now, samples| now.each_worker(samples, |worker| worker.counters.datagrams_sent.count()),
    },
    Family {
        name: "ringbinder_datagram_receive_calls_total",
        kind: Kind::Counter,
        labels: &["worker"],
        help: "The system calls that received datagrams; each receives as many as wait, up to 64.",
        write: |now, samples| now.each_worker(samples, |worker| worker.counters.receive_batches.count()),
    },
    Family {
        name: "ringbinder_datagram_send_calls_total",
        kind: Kind::Counter,
        labels: &["worker"],
        help: "The system calls that sent datagrams.",
        write: |now, samples| now.each_worker(samples, |worker| worker.counters.send_batches.count()),
    },
    Family {
        name: "ringbinder_datagrams_unsent_total",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Datagrams not sent: cause is congestion (the socket's buffer stayed full) or error.",
        write: |now, samples| {
            samples.add(&["congestion"], now.sum(|counters| &counters.datagrams_dropped))?;
            samples.add(&["error"], now.sum(|counters| &counters.datagrams_failed))
        },
    },
    Family {
        name: "ringbinder_datagram_receive_errors_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Errors of receiving datagrams.",
        write: |now, samples| samples.add(&[], now.sum(|counters| &counters.receive_errors)),
    },
    Family {
        name: "ringbinder_datagrams_dropped_by_kernel_total",
        kind: Kind::Counter,
        labels: &["worker", "listener"],
        help: "Datagrams that the kernel dropped because the receive buffer of a worker's socket was full.",
        write: |now, samples| {
            for (number, worker) in now.workers.iter().enumerate() {
                for (listener, count) in &worker.kernel_drops {
                    samples.add(&[&number.to_string(), &listener.to_string()], u64::from(*count))?;
                }
            }
            Ok(())
        },
    },
    Family {
        name: "ringbinder_nat_keep_alives_total",
        kind: Kind::Counter,
        labels: &["what"],
        help: "Questions to phones behind NAT whether they are still there: what is sent, answered, suspended (contacts \
               not rung any more because too many in a row had no answer), or late (tenths of a second in which a worker \
               had more phones to ask than it may).",
        write: |now, samples| {
            samples.add(&["sent"], now.sum(|counters| &counters.keep_alives_sent))?;
            samples.add(&["answered"], now.counts.keep_alives_answered)?;
            samples.add(&["suspended"], now.sum(|counters| &counters.bindings_silent))?;
            samples.add(&["late"], now.sum(|counters| &counters.keep_alives_late))
        },
    },
    Family {
        name: "ringbinder_stun_requests_total",
        kind: Kind::Counter,
        labels: &["result"],
        help: "STUN datagrams at the UDP ports: result is answered (Binding requests, and indications, which need no \
               answer) or dropped (malformed, or something else of STUN).",
        write: |now, samples| {
            samples.add(&["answered"], now.sum(|counters| &counters.stun_requests))?;
            samples.add(&["dropped"], now.sum(|counters| &counters.stun_malformed))
        },
    },
    Family {
        name: "ringbinder_keep_alives_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Keep-alives received, in datagrams and on connections.",
        write: |now, samples| samples.add(&[], now.sum(|counters| &counters.keep_alives)),
    },
    Family {
        name: "ringbinder_worker_busy_seconds_total",
        kind: Kind::Counter,
        labels: &["worker"],
        help: "Time that a worker thread has not waited for something to do.",
        write: |now, samples| now.each_worker(samples, |worker| worker.busy),
    },
    Family {
        name: "ringbinder_worker_busy_ratio",
        kind: Kind::Gauge,
        labels: &["worker"],
        help: "The part of the time since the previous scrape, whoever made it, that a worker was busy: 0 to 1.",
        write: |now, samples| now.each_worker(samples, |worker| worker.busy_ratio),
    },
    Family {
        name: "ringbinder_connections",
        kind: Kind::Gauge,
        labels: &["transport"],
        help: "Connections open now.",
        write: |now, samples| {
            let mut connections = now.connections.iter();
            connections.try_for_each(|(transport, count)| samples.add(&[transport.parameter()], *count))
        },
    },
    Family {
        name: "ringbinder_connections_limit",
        kind: Kind::Gauge,
        labels: &[],
        help: "The most connections that there may be.",
        write: |now, samples| samples.add(&[], now.connections_max),
    },
    Family {
        name: "ringbinder_connections_accepted_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Connections accepted, those included that were then refused.",
        write: |now, samples| samples.add(&[], now.sum(|counters| &counters.connections_accepted)),
    },
    Family {
        name: "ringbinder_connections_refused_total",
        kind: Kind::Counter,
        labels: &["limit"],
        help: "Connections closed at once, by the limit that was reached: connections or connections_per_source.",
        write: |now, samples| {
            samples.add(&["connections"], now.sum(|counters| &counters.connections_refused))?;
            let of_source = now.sum(|counters| &counters.connections_refused_of_source);
            samples.add(&["connections_per_source"], of_source)
        },
    },
    Family {
        name: "ringbinder_connection_accept_errors_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Errors of accepting connections; one of them is that no more files can be open.",
        write: |now, samples| samples.add(&[], now.sum(|counters| &counters.accept_errors)),
    },
    Family {
        name: "ringbinder_connects_failed_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Outgoing connections that were not established.",
        write: |now, samples| samples.add(&[], now.sum(|counters| &counters.connects_failed)),
    },
    Family {
        name: "ringbinder_tls_handshakes_failed_total",
        kind: Kind::Counter,
        labels: &[],
        help: "TLS handshakes, and upgrades to WebSocket, that failed or took too long.",
        write: |now, samples| samples.add(&[], now.sum(|counters| &counters.handshakes_failed)),
    },
    Family {
        name: "ringbinder_websocket_upgrades_refused_total",
        kind: Kind::Counter,
        labels: &["status"],
        help: "Requests for an upgrade to WebSocket that were refused, by the status of the answer: 400 (malformed, or \
               without the subprotocol sip), 403 (a page of another origin), 404 (another path), 405 (not GET), 426 (no \
               upgrade, or another version) or 431 (too large).",
        write: |now, samples| {
            let malformed = now.sum(|counters| &counters.upgrades_refused.malformed);
            samples.add(&["400"], malformed)?;
            samples.add(&["403"], now.sum(|counters| &counters.upgrades_refused.origin))?;
            samples.add(&["404"], now.sum(|counters| &counters.upgrades_refused.path))?;
            samples.add(&["405"], now.sum(|counters| &counters.upgrades_refused.method))?;
            samples.add(&["426"], now.sum(|counters| &counters.upgrades_refused.version))?;
            samples.add(&["431"], now.sum(|counters| &counters.upgrades_refused.size))
        },
    },
    Family {
        name: "ringbinder_certificate_expiry_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["file"],
        help: "When a certificate that is served expires, in seconds since 1970.",
        write: |now, samples| {
            let mut certificates = now.certificates.iter();
            certificates.try_for_each(|(file, expires)| samples.add(&[file], *expires as f64))
        },
    },
    Family {
        name: "ringbinder_certificate_reloads_total",
        kind: Kind::Counter,
        labels: &["result"],
        help: "Certificates whose files changed: result is replaced (the new one is served) or failed (it cannot be used, \
               and the old one stays).",
        write: |now, samples| {
            samples.add(&["replaced"], now.certificates_replaced)?;
            samples.add(&["failed"], now.certificates_failed)
        },
    },
    Family {
        name: "ringbinder_connections_closed_total",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Connections that this server closed: cause is timeout (idle, or slow with a message), congestion (the peer \
               does not read), silence (it answers neither requests nor keep-alives) or framing (no message boundary could \
               be found).",
        write: |now, samples| {
            samples.add(&["timeout"], now.sum(|counters| &counters.connections_timed_out))?;
            samples.add(&["congestion"], now.sum(|counters| &counters.connections_congested))?;
            samples.add(&["silence"], now.sum(|counters| &counters.connections_silent))?;
            samples.add(&["framing"], now.sum(|counters| &counters.connections_misframed))
        },
    },
    Family {
        name: "ringbinder_hop_failures_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Requests to other hosts that were not answered in time, could not be sent, or were answered 503; the next host \
               is tried where there is one.",
        write: |now, samples| samples.add(&[], now.counts.hop_failures),
    },
    Family {
        name: "ringbinder_lookups_total",
        kind: Kind::Counter,
        labels: &["result"],
        help: "Look-ups of names, those that were answered from memory not included: result is found, none (there are no \
               such records) or failed (no name server gave an answer in time).",
        write: |now, samples| {
            samples.add(&["found"], now.sum(|counters| &counters.lookups_found))?;
            samples.add(&["none"], now.sum(|counters| &counters.lookups_empty))?;
            samples.add(&["failed"], now.sum(|counters| &counters.lookups_failed))
        },
    },
    Family {
        name: "ringbinder_lookups_refused_total",
        kind: Kind::Counter,
        labels: &["limit"],
        help: "Names not looked up, by the limit that was reached: all (too many were being looked up) or source (too \
               many for one sender).",
        write: |now, samples| {
            samples.add(&["all"], now.sum(|counters| &counters.queries_refused))?;
            samples.add(&["source"], now.sum(|counters| &counters.queries_refused_of_source))
        },
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Memory that the process has in use.",
        write: |now, samples| samples.add(&[], now.process.resident_bytes),
    },
    Family {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &[],
        help: "CPU time of the process, user and system.",
        write: |now, samples| samples.add(&[], now.process.cpu),
    },
];
