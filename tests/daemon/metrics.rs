//! `/metrics` of the real process: exact counts of what SIPp and phones of ours did, and what it answers else.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::support::place::{free_port, wait_for};
use crate::support::sipp::{Mode, Sipp};
use crate::support::{Configuration, Daemon};

/// Calls of one phone to another.
const CALLS: u32 = 5;

#[test]
fn what_was_done_is_counted_exactly() {
    let configuration = Configuration::new();
    let http = SocketAddr::new(configuration.ip(), free_port(configuration.ip()));
    let table = format!("[http]\nbind = \"{http}\"\n");
    let server = Daemon::start(configuration.table(&table));
    let callee = SocketAddr::new(server.ip(), 6100);
    // The answer to the OPTIONS that found the server is counted after it has left.
    let before = wait_for("the counts of the start", Duration::from_secs(10), || {
        let scraped = scrape(http);
        let [received, sent] = ["received", "sent"].map(|way| datagrams(&scraped, way));
        (received == sent).then_some(scraped)
    });
    assert_eq!(before["ringbinder_bindings"], 0.0);

    // Over TCP nobody repeats anything, however slow the machine is.
    let tcp = |scenario, local| Sipp::new(scenario, local, server.address()).mode(Mode::Tcp);
    tcp("register", callee).user("bob", &["3600"]).run(server.folder());
    tcp("register_refused", callee)
        .user("bob", &["599"])
        .run(server.folder());
    let answering = tcp("uas_call", callee).calls(CALLS).start(server.folder());
    let calling = tcp("uac_call", SocketAddr::new(server.ip(), 6001)).calls(CALLS);
    calling.user("alice", &["bob"]).run(server.folder());
    answering.finish();
    let other = SocketAddr::new(server.ip(), 6002);
    tcp("register", other).user("carol", &["3600"]).run(server.folder());
    send(&server, b"no message at all\r\n\r\n");
    send(&server, &wrong_password(&server));

    // The last of what was sent has no answer that tells of it.
    let after = wait_for("the counts of all that was sent", Duration::from_secs(10), || {
        let scraped = scrape(http);
        let is_whole = rise(&before, &scraped, "ringbinder_malformed_messages_total") >= 1.0
            && datagrams(&scraped, "sent") >= datagrams(&before, "sent") + 2.0;
        is_whole.then_some(scraped)
    });
    // A second OPTIONS of the start may have come late.
    let probes = rise(
        &before,
        &after,
        "ringbinder_requests_received_total{method=\"OPTIONS\"}",
    );
    let calls = f64::from(CALLS);
    for (name, expected) in [
        ("requests_received_total{method=\"REGISTER\"}", 8.0),
        ("requests_received_total{method=\"INVITE\"}", 2.0 * calls),
        ("requests_received_total{method=\"ACK\"}", 2.0 * calls),
        ("requests_received_total{method=\"BYE\"}", calls),
        ("requests_received_total{method=\"CANCEL\"}", 0.0),
        ("request_retransmissions_total", 0.0),
        ("responses_received_total{class=\"1xx\"}", calls),
        ("responses_received_total{class=\"2xx\"}", 2.0 * calls),
        ("responses_sent_total{code=\"100\",origin=\"own\"}", calls),
        ("responses_sent_total{code=\"180\",origin=\"relayed\"}", calls),
        ("responses_sent_total{code=\"200\",origin=\"relayed\"}", 2.0 * calls),
        ("responses_sent_total{code=\"200\",origin=\"own\"}", 2.0 + probes),
        ("responses_sent_total{code=\"401\",origin=\"own\"}", 5.0),
        ("responses_sent_total{code=\"407\",origin=\"own\"}", calls),
        ("responses_sent_total{code=\"423\",origin=\"own\"}", 1.0),
        ("refusals_total{reason=\"no-credentials\"}", 4.0),
        ("refusals_total{reason=\"proxy-credentials-needed\"}", calls),
        ("refusals_total{reason=\"bad-password\"}", 1.0),
        ("refusals_total{reason=\"interval-too-brief\"}", 1.0),
        ("refusals_total{reason=\"overloaded\"}", 0.0),
        ("malformed_messages_total", 1.0),
        ("authentication_failures_total", 1.0),
        ("transactions_refused_total", 0.0),
        ("connections_accepted_total", 4.0),
        ("addresses", 2.0),
        ("bindings", 2.0),
        ("datagrams_unsent_total{cause=\"error\"}", 0.0),
    ] {
        let found = rise(&before, &after, &format!("ringbinder_{name}"));
        assert_eq!(found, expected, "{name}");
    }
    for (way, expected) in [("received", 3.0 + probes), ("sent", 2.0 + probes)] {
        assert_eq!(datagrams(&after, way) - datagrams(&before, way), expected, "{way}");
    }
    server.stop();
}

#[test]
fn the_process_and_its_workers_are_told() {
    let configuration = Configuration::new();
    let http = SocketAddr::new(configuration.ip(), free_port(configuration.ip()));
    let table = format!("[http]\nbind = \"{http}\"\n");
    let server = Daemon::start(configuration.table(&table));

    let scraped = scrape(http);

    let name = "ringbinder_datagrams_dropped_by_kernel_total";
    let listener = format!("{name}{{worker=\"0\",listener=\"{}\"}}", server.address());
    assert_eq!(scraped[&listener], 0.0);
    let version = concat!("ringbinder_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    assert_eq!(scraped[version], 1.0);
    assert_eq!(scraped["ringbinder_transactions_limit"], 400_000.0);
    assert_eq!(scraped["ringbinder_connections_limit"], 20_000.0);
    assert!(scraped["process_resident_memory_bytes"] > 1e6);
    assert!(scraped["ringbinder_uptime_seconds"] > 0.0);
    let busy = of_all_labels(&scraped, "ringbinder_worker_busy_seconds_total{");
    assert!(busy > 0.0 && busy < 60.0, "{busy}");
    let ratio = scraped["ringbinder_worker_busy_ratio{worker=\"0\"}"];
    assert!((0.0..=1.0).contains(&ratio), "{ratio}");
    server.stop();
}

/// By how much a metric has risen. A status code is told once it has been sent.
fn rise(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, name: &str) -> f64 {
    let value = |scraped: &BTreeMap<String, f64>| scraped.get(name).copied().unwrap_or(0.0);
    value(after) - value(before)
}

/// The datagrams that all workers have received or sent.
fn datagrams(scraped: &BTreeMap<String, f64>, way: &str) -> f64 {
    of_all_labels(scraped, &format!("ringbinder_datagrams_{way}_total{{"))
}

fn of_all_labels(scraped: &BTreeMap<String, f64>, start: &str) -> f64 {
    let matching = scraped.iter().filter(|(name, _)| name.starts_with(start));
    matching.map(|(_, value)| value).sum()
}

/// Every sample by its name and labels.
pub fn scrape(http: SocketAddr) -> BTreeMap<String, f64> {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

fn send(server: &Daemon, payload: &[u8]) {
    let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
    socket.send_to(payload, server.address()).unwrap();
}

/// A REGISTER whose digest is wrong.
fn wrong_password(server: &Daemon) -> Vec<u8> {
    let domain = crate::support::DOMAIN;
    let nonce = nonce(server);
    let digest = "0".repeat(32);
    register(
        server,
        &format!(
            "Authorization: Digest username=\"alice\", realm=\"{domain}\", nonce=\"{nonce}\", uri=\"sip:{domain}\", \
             response=\"{digest}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"a\"\r\n"
        ),
    )
    .into_bytes()
}

/// The nonce of a challenge.
fn nonce(server: &Daemon) -> String {
    let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
        .send_to(register(server, "").as_bytes(), server.address())
        .unwrap();
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    let (_, rest) = answer.split_once("nonce=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

fn register(server: &Daemon, header: &str) -> String {
    let domain = crate::support::DOMAIN;
    let ip = server.ip();
    let number = header.len();
    format!(
        "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {ip};rport;branch=z9hG4bKwrong{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@{domain}>;tag=1\r\nTo: <sip:alice@{domain}>\r\nCall-ID: wrong\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:alice@{ip}>\r\n{header}Content-Length: 0\r\n\r\n"
    )
}
