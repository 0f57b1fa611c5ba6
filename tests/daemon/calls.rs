//! Calls by SIPp (RFC 3261 §13, §14, §15, §9) over UDP, TCP and TLS, and between phones behind NAT.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::sipp::{Mode, Sipp};
use crate::support::tunnel::Tunnel;
use crate::support::{Configuration, Daemon};

const HOLD: Duration = Duration::from_millis(50);

/// A caller's scenario and the callee's.
#[derive(Clone, Copy)]
struct Play {
    caller: &'static str,
    callee: &'static str,
}

const CALL: Play = Play {
    caller: "uac_call",
    callee: "uas_call",
};
const DIALOG: Play = Play {
    caller: "uac_dialog",
    callee: "uas_dialog",
};
const CANCEL: Play = Play {
    caller: "uac_cancel",
    callee: "uas_cancelled",
};

#[test]
fn over_udp_the_caller_hangs_up() {
    call_to_a_listening_callee(Mode::Udp, CALL);
}

#[test]
fn over_udp_both_sides_send_a_re_invite_and_the_callee_hangs_up() {
    call_to_a_listening_callee(Mode::Udp, DIALOG);
}

#[test]
fn over_udp_the_call_is_cancelled_while_it_rings() {
    call_to_a_listening_callee(Mode::Udp, CANCEL);
}

#[test]
fn over_tcp_the_caller_hangs_up() {
    call_to_a_listening_callee(Mode::Tcp, CALL);
}

#[test]
fn over_tcp_both_sides_send_a_re_invite_and_the_callee_hangs_up() {
    call_to_a_listening_callee(Mode::Tcp, DIALOG);
}

#[test]
fn over_tcp_the_call_is_cancelled_while_it_rings() {
    call_to_a_listening_callee(Mode::Tcp, CANCEL);
}

#[test]
fn over_one_connection_per_call() {
    call_to_a_listening_callee(Mode::TcpPerCall, CALL);
}

#[test]
fn over_tls_the_caller_hangs_up() {
    call_between_connected_phones(Mode::Tls, Mode::Tls, CALL);
}

#[test]
fn over_tls_both_sides_send_a_re_invite_and_the_callee_hangs_up() {
    call_between_connected_phones(Mode::Tls, Mode::Tls, DIALOG);
}

#[test]
fn over_tls_the_call_is_cancelled_while_it_rings() {
    call_between_connected_phones(Mode::Tls, Mode::Tls, CANCEL);
}

#[test]
fn from_udp_to_tls() {
    call_between_connected_phones(Mode::Udp, Mode::Tls, DIALOG);
}

#[test]
fn from_tls_to_udp() {
    call_between_connected_phones(Mode::Tls, Mode::Udp, DIALOG);
}

#[test]
fn from_udp_to_tcp() {
    call_between_connected_phones(Mode::Udp, Mode::Tcp, DIALOG);
}

#[test]
fn from_tcp_to_tls() {
    call_between_connected_phones(Mode::Tcp, Mode::Tls, DIALOG);
}

#[test]
fn behind_nat_every_request_arrives_in_each_direction() {
    let server = Daemon::start(Configuration::new());
    let (caller, callee) = (SocketAddr::new(server.ip(), 6001), SocketAddr::new(server.ip(), 6002));
    let (caller_private, callee_private) = ("10.11.12.13:5060", "10.21.22.23:5060");
    Sipp::new("register", callee, server.address())
        .advertised(callee_private)
        .user("bob", &["3600"])
        .run(server.folder());
    for play in [CALL, DIALOG, CANCEL] {
        let answering = Sipp::new(play.callee, callee, server.address())
            .advertised(callee_private)
            .hold(HOLD)
            .start(server.folder());
        Sipp::new(play.caller, caller, server.address())
            .advertised(caller_private)
            .user("alice", &["bob"])
            .hold(HOLD)
            .run(server.folder());
        answering.finish();
    }
    server.stop();
}

/// The callee registers, goes, and comes back on the same port, where it listens.
fn call_to_a_listening_callee(mode: Mode, play: Play) {
    let answering_mode = match mode {
        Mode::TcpPerCall => Mode::Tcp,
        Mode::Udp | Mode::Tcp | Mode::Tls => mode,
    };
    let server = Daemon::start(Configuration::new());
    let (caller, callee) = (SocketAddr::new(server.ip(), 6001), SocketAddr::new(server.ip(), 6002));
    Sipp::new("register", callee, server.address())
        .mode(answering_mode)
        .user("bob", &["3600"])
        .run(server.folder());
    let answering = Sipp::new(play.callee, callee, server.address())
        .mode(answering_mode)
        .hold(HOLD)
        .calls(5)
        .start(server.folder());
    let calling = Sipp::new(play.caller, caller, server.address())
        .mode(mode)
        .user("alice", &["bob"]);
    calling.hold(HOLD).calls(5).rate(20).run(server.folder());
    answering.finish();
    server.stop();
}

/// The callee registers and is called on the same connection: nobody could connect to it.
fn call_between_connected_phones(calling: Mode, answering: Mode, play: Play) {
    let server = Daemon::start(Configuration::new());
    let (caller, callee) = (SocketAddr::new(server.ip(), 6001), SocketAddr::new(server.ip(), 6002));
    let tunnel = |mode: Mode, port: u16| match mode {
        Mode::Tls => Some(Tunnel::start(
            SocketAddr::new(server.ip(), port),
            server.tls_address(),
            server.folder(),
        )),
        Mode::Udp | Mode::Tcp | Mode::TcpPerCall => None,
    };
    let (caller_tunnel, callee_tunnel) = (tunnel(calling, 7001), tunnel(answering, 7002));
    let remote = |tunnel: &Option<Tunnel>| tunnel.as_ref().map_or(server.address(), Tunnel::address);
    let callee = Sipp::new(play.callee, callee, remote(&callee_tunnel))
        .after("register")
        .mode(answering)
        .user("bob", &["3600"])
        .call_ids("%u-pair")
        .hold(HOLD)
        .start(server.folder());
    Sipp::new(play.caller, caller, remote(&caller_tunnel))
        .mode(calling)
        .user("alice", &["bob"])
        .call_ids("%u-pair")
        .hold(HOLD)
        .run(server.folder());
    callee.finish();
    server.stop();
}
