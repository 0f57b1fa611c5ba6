//! SIPp at a steady rate against the real process, without one failed call or unexpected message.
//!
//! `RINGBINDER_BIN=target/release/ringbinder RINGBINDER_LOAD_SECS=60 cargo test --test load -- --nocapture --test-threads 1`

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::net::SocketAddr;
use std::time::Duration;

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
