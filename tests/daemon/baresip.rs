//! baresip registers twice and calls itself over UDP, TCP and TLS.

use crate::support::baresip::{Account, Baresip};
use crate::support::place::loopback;
use crate::support::{Configuration, Daemon};

#[test]
fn over_udp_two_accounts_on_one_socket() {
    let server = Daemon::start(Configuration::new());
    calls_itself(&server, &format!("sip:{}", server.address()), "UDP");
    server.stop();
}

#[test]
fn over_tcp_two_accounts_on_one_connection() {
    let server = Daemon::start(Configuration::new());
    calls_itself(&server, &format!("sip:{};transport=tcp", server.address()), "TCP");
    server.stop();
}

#[test]
fn over_tls_two_accounts_on_one_connection() {
    let server = Daemon::start(Configuration::new());
    calls_itself(&server, &format!("sip:{};transport=tls", server.tls_address()), "TLS");
    server.stop();
}

#[test]
fn two_instances_one_on_udp_and_one_on_tls() {
    let server = Daemon::start(Configuration::new());
    let udp = format!("sip:{}", server.address());
    let tls = format!("sip:{};transport=tls", server.tls_address());
    let mut alice = Baresip::start("alice", loopback(), &[Account::new("alice", &udp)], server.folder());
    let mut bob = Baresip::start("bob", loopback(), &[Account::new("bob", &tls)], server.folder());
    alice.await_registered("alice", "UDP");
    bob.await_registered("bob", "TLS");
    alice.dial("bob");
    alice.await_call("alice", "bob");
    bob.await_call("bob", "alice");
    // the callee hangs up: its BYE has to find the way back
    bob.hang_up();
    alice.await_end_by("bob");
    alice.quit();
    bob.quit();
    server.stop();
}

fn calls_itself(server: &Daemon, proxy: &str, transport: &str) {
    let accounts = [Account::new("alice", proxy), Account::new("bob", proxy)];
    let mut baresip = Baresip::start("baresip", loopback(), &accounts, server.folder());
    baresip.await_registered("alice", transport);
    baresip.await_registered("bob", transport);
    baresip.dial("bob");
    baresip.await_call("alice", "bob");
    baresip.await_call("bob", "alice");
    baresip.hang_up();
    baresip.await_end_by("alice");
    baresip.quit();
}
