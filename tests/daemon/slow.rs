//! Connections that take their time: they end, and do no harm to others until then.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringbinder::transport::rlimit::raise_open_files;

use crate::support::phone::Phone;
use crate::support::stream_phone::StreamPhone;
use crate::support::{Configuration, DOMAIN, Daemon};

const CONNECTIONS: usize = 1000;
const LIMIT: Duration = Duration::from_secs(30);

/// What each begins and does not end.
const BEGINNINGS: [&[u8]; 4] = [
    // A handshake.
    b"\x16\x03\x01\x02\x00\x01",
    // A head.
    b"REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKslow\r\nX: ",
    // A body.
    b"OPTIONS sip:example.test SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKslow\r\nContent-Length: 60000\r\n\r\nv=0",
    // Nothing at all.
    b"",
];

#[test]
fn a_thousand_slow_connections_do_no_harm_and_end() {
    raise_open_files().unwrap();
    let limits = "[limits]\nconnections_per_source = 2000\nhandshake_secs = 4\nfirst_message_secs = 4";
    let server = Daemon::start(Configuration::new().table(limits));
    let mut slow: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|number| {
            let beginning = BEGINNINGS[number % BEGINNINGS.len()];
            let is_tls = beginning.first() == Some(&0x16);
            let address = if is_tls { server.tls_address() } else { server.address() };
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(beginning).unwrap();
            stream
        })
        .collect();

    let mut alice = StreamPhone::tls("alice", &server);
    alice.register("");
    let bob = Phone::new("bob", server.ip(), server.address());
    bob.register();
    for _ in 0..20 {
        // A byte now and then does not put the end off.
        for stream in slow.iter_mut().skip(1).step_by(BEGINNINGS.len()) {
            let _ = stream.write_all(b"x");
        }
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| {
                let invite = alice.await_request("INVITE");
                alice.reply(&invite, "486 Busy Here");
                alice.await_request("ACK");
            });
            assert_eq!(bob.try_call(&format!("sip:alice@{DOMAIN}")), Some(486));
            answering.join().unwrap();
        });
    }
    for (number, stream) in slow.iter_mut().enumerate() {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut rest = Vec::new();
        // The end, or a reset where something was left unread.
        let end = stream.read_to_end(&mut rest);
        let is_late = |error: &std::io::Error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            )
        };
        assert!(!end.as_ref().is_err_and(is_late), "{number} is still open");
    }
    server.stop();
}
