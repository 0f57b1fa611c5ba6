//! WebSocket over loopback sockets: the deadlines of a connection.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream as Peer;
use tokio::time::timeout;

use super::tests::{Served, is_closed, options, served_over, settings};
use super::websocket::tests::frame;
use crate::sip::hop::Transport;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Protocol: sip\r\n\r\n";

const SHORT: Duration = Duration::from_millis(200);

async fn open(served: &Served) -> Peer {
    let mut peer = Peer::connect(served.address).await.unwrap();
    peer.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    peer
}

/// Sends this again and again, and says whether the connection was closed meanwhile.
async fn ends_while_sending(peer: &mut Peer, bytes: &[u8]) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        if peer.write_all(bytes).await.is_err() {
            return true;
        }
        let mut answers = [0; 100];
        if matches!(timeout(SHORT / 10, peer.read(&mut answers)).await, Ok(Ok(0) | Err(_))) {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn an_upgrade_that_comes_byte_by_byte_ends_in_time() {
    let limits = settings(|limits| limits.handshake = SHORT);
    served_over(Transport::Ws, limits, None, None, |served| async move {
        let mut slow = Peer::connect(served.address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        assert!(ends_while_sending(&mut slow, b"x").await);
        let mut silent = Peer::connect(served.address).await.unwrap();
        assert!(is_closed(&mut silent).await);
    })
    .await;
}

#[tokio::test]
async fn further_parts_do_not_put_off_the_end_of_a_message() {
    let limits = settings(|limits| limits.first_message = SHORT);
    served_over(Transport::Ws, limits, None, None, |served| async move {
        let mut peer = open(&served).await;
        peer.write_all(&frame(0x81, options("1").as_bytes())).await.unwrap();
        expect(&mut peer, b"\x81\x03[1]").await;
        peer.write_all(&frame(0x01, b"OPTIONS")).await.unwrap();
        // Neither empty parts nor pings are the rest.
        let further = [frame(0x00, b""), frame(0x89, b"")].concat();
        assert!(ends_while_sending(&mut peer, &further).await);
    })
    .await;
}

#[tokio::test]
async fn a_silent_page_is_asked_and_stays_while_it_answers() {
    let limits = settings(|limits| limits.ping = SHORT);
    served_over(Transport::Ws, limits, None, None, |served| async move {
        let mut peer = open(&served).await;
        for _ in 0..3 {
            expect(&mut peer, b"\x89\x00").await;
            peer.write_all(&frame(0x8a, b"")).await.unwrap();
        }
        peer.write_all(&frame(0x81, options("1").as_bytes())).await.unwrap();
        expect(&mut peer, b"\x81\x03[1]").await;
    })
    .await;
}

#[tokio::test]
async fn a_page_that_answers_no_requests_is_asked_by_a_ping() {
    served_over(Transport::Ws, settings(|_| ()), None, None, |served| async move {
        let mut peer = open(&served).await;
        for _ in 0..2 {
            peer.write_all(&frame(0x81, options("1").as_bytes())).await.unwrap();
            expect(&mut peer, b"\x81\x03[1]").await;
            served.note_silences();
            expect(&mut peer, b"\x89\x00").await;
            peer.write_all(&frame(0x8a, b"")).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_or_unmasked_is_told_so_before_the_end() {
    served_over(Transport::Ws, settings(|_| ()), None, None, |served| async move {
        for (bytes, code) in [
            (&b"\x81\xff\0\0\0\0\0\x01\0\0mask"[..], 1009_u16),
            (b"\x81\x02hi", 1002),
        ] {
            let mut peer = open(&served).await;
            peer.write_all(bytes).await.unwrap();
            expect(&mut peer, &[&[0x88, 2][..], &code.to_be_bytes()].concat()).await;
            assert!(is_closed(&mut peer).await);
        }
    })
    .await;
}

async fn expect(peer: &mut Peer, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    peer.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, expected);
}
