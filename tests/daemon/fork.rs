//! RFC 3261 §16.7 with SIPp: ten contacts ring, one answers, nine are cancelled; and the eleventh contact.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::sipp::{Mode, Sipp};
use crate::support::{Configuration, Daemon};

const CONTACTS: u16 = 10;
const CALLS: u32 = 5;
/// Long enough for every leg to ring before one answers.
const RINGING: Duration = Duration::from_millis(300);

#[test]
fn ten_phones_ring_over_udp_one_answers_and_nine_are_cancelled() {
    ten_phones_ring(Mode::Udp);
}

#[test]
fn ten_phones_ring_over_tcp_one_answers_and_nine_are_cancelled() {
    ten_phones_ring(Mode::Tcp);
}

#[test]
fn an_eleventh_contact_is_refused_one_of_the_ten_is_refreshed_and_all_ten_ring() {
    let server = Daemon::start(Configuration::new());
    register_all(&server, Mode::Udp);
    let refused = Sipp::new("register_refused", phone(&server, CONTACTS), server.address());
    let outcome = refused.user("bob", &["3600"]).run(server.folder());
    assert!(outcome.log.contains("403"), "{}", outcome.log);
    let refresh = Sipp::new("register", phone(&server, 3), server.address());
    refresh.user("bob", &["1800"]).run(server.folder());
    fork(&server, Mode::Udp);
    server.stop();
}

fn ten_phones_ring(mode: Mode) {
    let server = Daemon::start(Configuration::new());
    register_all(&server, mode);
    fork(&server, mode);
    server.stop();
}

fn phone(server: &Daemon, number: u16) -> SocketAddr {
    SocketAddr::new(server.ip(), 6100 + number)
}

fn register_all(server: &Daemon, mode: Mode) {
    for number in 0..CONTACTS {
        let register = Sipp::new("register", phone(server, number), server.address());
        register.mode(mode).user("bob", &["3600"]).run(server.folder());
    }
}

fn fork(server: &Daemon, mode: Mode) {
    let answering: Vec<_> = (0..CONTACTS)
        .map(|number| {
            let scenario = if number == 0 { "uas_call" } else { "uas_cancelled" };
            let callee = Sipp::new(scenario, phone(server, number), server.address());
            callee.mode(mode).hold(RINGING).calls(CALLS).start(server.folder())
        })
        .collect();
    let caller = Sipp::new("uac_call", SocketAddr::new(server.ip(), 6001), server.address());
    caller
        .mode(mode)
        .user("alice", &["bob"])
        .hold(RINGING)
        .calls(CALLS)
        .rate(10)
        .run(server.folder());
    for callee in answering {
        callee.finish();
    }
}
