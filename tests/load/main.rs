//! SIPp at a steady rate against the real process, without one failed call or unexpected message.
//!
//! `RINGBINDER_BIN=target/release/ringbinder RINGBINDER_LOAD_SECS=60 cargo test --test load -- --nocapture --test-threads 1`

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringbinder::transport::rlimit::raise_open_files;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use support::phone::Phone;
use support::sipp::Sipp;
use support::{Configuration, Daemon};

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the process")]
mod support;

/// How long each load lasts unless `RINGBINDER_LOAD_SECS` says otherwise.
const SHORT_SECS: u32 = 5;
const USERS: u32 = 50;
const CALLS_PER_SECOND: u32 = 300;
const FORKS_PER_SECOND: u32 = 50;
const LEGS: u16 = 10;
const RINGING: Duration = Duration::from_millis(200);

#[test]
fn calls_300_a_second() {
    let server = start();
    let callee = SocketAddr::new(server.ip(), 6100);
    register(&server, callee);
    let calls = CALLS_PER_SECOND * seconds();
    let answering = Sipp::new("uas_call", callee, server.address())
        .hold(RINGING)
        .calls(calls)
        .limit(limit());
    let answering = answering.start(server.folder());
    call(&server, CALLS_PER_SECOND);
    answering.finish();
    server.stop();
}

/// The most memory that an idle TLS connection may take of the server, in bytes.
const IDLE_BYTES: u64 = 20_000;

#[test]
fn ten_thousand_idle_tls_connections() {
    const CONNECTIONS: usize = 10_000;
    let files = raise_open_files().unwrap();
    assert!(files > 11_000, "{files} open files are too few: raise the hard limit");
    let limits = "[limits]\nconnections_per_source = 20000\nfirst_message_secs = 600";
    let server = Daemon::start(Configuration::new().table(limits));
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(server.folder().join("cert.pem")).unwrap();
    roots.add(root).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let open = |count: usize| {
        let opened = (0..count).map(|_| {
            let mut socket = TcpStream::connect(server.tls_address()).unwrap();
            let name = ServerName::try_from(support::DOMAIN).unwrap();
            let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
            while session.is_handshaking() {
                session.complete_io(&mut socket).unwrap();
            }
            socket
        });
        opened.collect::<Vec<_>>()
    };
    // What the first ones bring along is not theirs.
    let first = open(100);
    let before = server.resident_bytes();
    let more = std::thread::scope(|scope| {
        let half = scope.spawn(|| open(CONNECTIONS / 2));
        let mut all = open(CONNECTIONS / 2);
        all.extend(half.join().unwrap());
        all
    });
    let each = server.resident_bytes().saturating_sub(before) / CONNECTIONS as u64;
    println!("{CONNECTIONS} idle TLS connections: {each} bytes of memory each");
    assert!(each < IDLE_BYTES, "{each}");
    // All are there at once, and others are served.
    Phone::new("alice", server.ip(), server.address()).register();
    drop((first, more));
    server.stop();
}

#[test]
fn ten_way_forks_50_a_second() {
    let server = start();
    let phones: Vec<SocketAddr> = (0..LEGS).map(|leg| SocketAddr::new(server.ip(), 6100 + leg)).collect();
    for phone in &phones {
        register(&server, *phone);
    }
    let calls = FORKS_PER_SECOND * seconds();
    let answering: Vec<_> = phones
        .iter()
        .map(|phone| {
            let scenario = if *phone == phones[0] {
                "uas_call"
            } else {
                "uas_cancelled"
            };
            let callee = Sipp::new(scenario, *phone, server.address());
            callee.hold(RINGING).calls(calls).limit(limit()).start(server.folder())
        })
        .collect();
    call(&server, FORKS_PER_SECOND);
    for callee in answering {
        callee.finish();
    }
    server.stop();
}

fn start() -> Daemon {
    let users = (0..USERS).flat_map(|number| [caller(number), callee(number)]);
    let quiet = Configuration::new().table("[log]\nlevel = \"warn\"");
    Daemon::start(users.fold(quiet, |configuration, user| configuration.user(&user)))
}

/// Every callee registers this phone.
fn register(server: &Daemon, phone: SocketAddr) {
    let register = Sipp::new("register", phone, server.address()).calls(USERS).rate(200);
    let all = (0..USERS).fold(register, |register, number| register.user(&callee(number), &["3600"]));
    all.run(server.folder());
}

/// The callers call the callees at this rate.
fn call(server: &Daemon, rate: u32) {
    let calling = Sipp::new("uac_call", SocketAddr::new(server.ip(), 6001), server.address());
    let calling = (0..USERS).fold(calling, |calling, number| {
        calling.user(&caller(number), &[&callee(number)])
    });
    let calls = rate * seconds();
    let outcome = calling
        .hold(RINGING)
        .calls(calls)
        .rate(rate)
        .limit(limit())
        .run(server.folder());
    let sent_again = outcome.statistics.value("Retransmissions");
    println!("{calls} calls at {rate}/s, {sent_again} messages sent again");
}

fn caller(number: u32) -> String {
    format!("caller{number}")
}

fn callee(number: u32) -> String {
    format!("callee{number}")
}

fn seconds() -> u32 {
    let asked = std::env::var("RINGBINDER_LOAD_SECS").ok();
    asked.map_or(SHORT_SECS, |text| {
        text.parse().expect("RINGBINDER_LOAD_SECS is a number of seconds")
    })
}

fn limit() -> Duration {
    Duration::from_secs(u64::from(seconds()) + 60)
}
