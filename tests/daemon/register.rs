//! RFC 3261 §10.3 with SIPp: expiry and contact limits.

use std::net::SocketAddr;

use crate::support::sipp::{Mode, Sipp};
use crate::support::{Configuration, Daemon};

#[test]
fn a_registration_lasts_no_longer_than_an_hour() {
    let server = Daemon::start(Configuration::new());
    let phone = SocketAddr::new(server.ip(), 6001);
    for (asked, granted) in [
        ("7200", "granted 3600"),
        ("3600", "granted 3600"),
        ("600", "granted 600"),
    ] {
        let outcome = Sipp::new("register", phone, server.address())
            .user("alice", &[asked])
            .run(server.folder());
        assert!(outcome.log.contains(granted), "{asked}: {}", outcome.log);
    }
    server.stop();
}

#[test]
fn a_registration_of_less_than_ten_minutes_is_too_brief() {
    let server = Daemon::start(Configuration::new());
    let phone = SocketAddr::new(server.ip(), 6001);
    let outcome = Sipp::new("register_refused", phone, server.address())
        .user("alice", &["599"])
        .run(server.folder());
    assert!(outcome.log.contains("423 Min-Expires 600"), "{}", outcome.log);
    server.stop();
}

#[test]
fn a_registration_over_tcp() {
    let server = Daemon::start(Configuration::new());
    let phone = SocketAddr::new(server.ip(), 6001);
    let register = Sipp::new("register", phone, server.address()).mode(Mode::Tcp);
    register.user("alice", &["3600"]).run(server.folder());
    server.stop();
}
