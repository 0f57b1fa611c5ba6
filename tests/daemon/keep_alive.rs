//! Keep-alives (RFC 5626): STUN with a real client, line ends on streams, and phones behind NAT that fall silent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::phone::{Phone, Received};
use crate::support::stream_phone::StreamPhone;
use crate::support::{Configuration, DOMAIN, Daemon};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_stun_client_is_told_its_address() {
    let server = Daemon::start(Configuration::new());
    let mut command = Command::new("turnutils_stunclient");
    command.args(["-p", &server.address().port().to_string(), &server.ip().to_string()]);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat();
    assert!(said.contains("UDP reflexive addr: 127."), "{said}");
    server.stop();
}

#[test]
fn line_ends_are_answered_on_tcp_and_tls_in_whatever_pieces_they_come() {
    let server = Daemon::start(Configuration::new());
    let mut tcp = TcpStream::connect(server.address()).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut pong = [0; 2];
    for piece in [&b"\r\n\r\n"[..], b"\r", b"\n\r", b"\n"] {
        tcp.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..2 {
        tcp.read_exact(&mut pong).unwrap();
        assert_eq!(&pong, b"\r\n");
    }
    let mut alice = StreamPhone::tls("alice", &server);
    alice.register("");
    assert!(alice.pings(), "no answer over TLS");
    // It is still a connection for messages.
    alice.register("");
    server.stop();
}

/// The next OPTIONS, for which `phone` waits longer than for other things.
fn question(phone: &Phone) -> Received {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        let request = phone.poll(Duration::from_secs(1));
        if let Some(request) = request.filter(|request| request.method() == Some("OPTIONS")) {
            return request;
        }
    }
    panic!("nobody asks");
}

#[test]
fn a_phone_behind_nat_that_falls_silent_is_not_rung_until_it_answers() {
    let server =
        Daemon::start(Configuration::new().table("[keep_alive]\nmethod = \"options\"\ninterval = 5\nmissed = 1"));
    // Nobody is at its Contact: the server knows it by where it came from.
    let alice = Phone::new("alice", server.ip(), server.address()).with_contact("<sip:alice@192.168.99.7:5060>");
    alice.register();
    // With the second question that has no answer to the first it is suspended.
    for _ in 0..2 {
        question(&alice);
    }
    let bob = Phone::new("bob", server.ip(), server.address());
    let uri = format!("sip:alice@{DOMAIN}");
    assert_eq!(bob.try_call(&uri), Some(480));

    // It is there again, and answers what it is asked.
    let question = question(&alice);
    alice.reply(&question, "200 OK", "");
    std::thread::scope(|scope| {
        let answering = scope.spawn(move || {
            let invite = alice.await_request("INVITE");
            alice.reply(&invite, "486 Busy Here", "");
        });
        assert_eq!(bob.try_call(&uri), Some(486));
        answering.join().unwrap();
    });
    server.stop();
}
