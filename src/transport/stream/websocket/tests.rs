//! The rules of WebSocket, without a socket.

use super::*;

const SIZE: usize = 1000;
const INTERVAL: Duration = Duration::from_secs(30);

fn request(further: &str) -> String {
    format!(
        "GET /sip?x HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{further}\r\n"
    )
}

const SIP: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, sip\r\n";

fn upgraded(origins: &[&str], request: &str) -> (WebSocket, Result<Option<Cut>, Over>, String) {
    let web = Web {
        origins: origins.iter().map(|origin| (*origin).into()).collect(),
        path: Some("/sip".into()),
    };
    let mut socket = WebSocket::new(Arc::new(web), Instant::now());
    let cut = socket.cut(&mut BytesMut::from(request.as_bytes()), SIZE);
    let answer = String::from_utf8(std::mem::take(&mut socket.out)).unwrap();
    (socket, cut, answer)
}

fn open() -> WebSocket {
    upgraded(&[], &request(SIP)).0
}

/// A frame as a client sends it.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn cut(socket: &mut WebSocket, bytes: &[u8]) -> Result<Option<Cut>, Over> {
    let mut buffer = BytesMut::from(bytes);
    let cut = socket.cut(&mut buffer, SIZE);
    assert!(cut.is_err() || buffer.is_empty(), "{buffer:?}");
    cut
}

#[test]
fn the_upgrade_is_that_of_rfc_6455_with_the_subprotocol_sip() {
    let (socket, cut, answer) = upgraded(&[], &request(SIP));
    assert_eq!(cut.unwrap(), Some(Cut::Other));
    assert!(!socket.is_upgrading());
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let answer = answer.to_ascii_lowercase();
    for line in [
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: sip",
        "upgrade: websocket",
    ] {
        assert!(answer.contains(line), "{answer}");
    }
}

#[test]
fn what_is_no_such_upgrade_is_refused_with_its_status() {
    for (text, status) in [
        (request("Sec-WebSocket-Version: 13\r\n"), "400"),
        (
            request("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n"),
            "400",
        ),
        (
            request("Sec-WebSocket-Version: 8\r\nSec-WebSocket-Protocol: sip\r\n"),
            "426",
        ),
        ("GET /sip HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), "426"),
        (request(SIP).replace("/sip?x", "/"), "404"),
        (request(SIP).replace("Host: example.com\r\n", ""), "400"),
        (request(&format!("Host: other.example\r\n{SIP}")), "400"),
        ("POST / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), "405"),
        ("OPTIONS sip:example.com SIP/2.0\r\n\r\n".to_owned(), "400"),
        ("\x16\x03\x01\x00".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_MAX)), "431"),
    ] {
        let (mut socket, cut, answer) = upgraded(&[], &text);
        assert!(matches!(cut, Err(Over::Refused(_))), "{text}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {answer}");
        assert!(matches!(socket.cut(&mut BytesMut::from(&b"more"[..]), SIZE), Ok(None)));
    }
}

#[test]
fn pages_of_other_origins_are_refused_where_origins_are_named() {
    let origins = ["https://phone.example"];
    let from = |origin: &str| request(&format!("{SIP}Origin: {origin}\r\n"));
    assert!(upgraded(&origins, &from("https://phone.example")).1.is_ok());
    assert!(upgraded(&origins, &request(SIP)).1.is_ok());
    assert!(upgraded(&[], &from("https://anywhere.example")).1.is_ok());
    for origin in ["https://evil.example", "http://phone.example", "null"] {
        let (_, cut, answer) = upgraded(&origins, &from(origin));
        assert!(
            cut.is_err() && answer.starts_with("HTTP/1.1 403 "),
            "{origin}: {answer}"
        );
    }
}

#[test]
fn the_request_may_come_in_pieces() {
    let text = request(SIP);
    let mut socket = WebSocket::new(Arc::default(), Instant::now());
    let mut buffer = BytesMut::new();
    for (index, byte) in text.bytes().enumerate() {
        buffer.extend_from_slice(&[byte]);
        let cut = socket.cut(&mut buffer, SIZE).unwrap();
        assert_eq!(cut.is_some(), index + 1 == text.len());
    }
}

#[test]
fn a_message_is_text_or_binary_whole_or_in_parts_around_control_frames() {
    let mut socket = open();
    assert_eq!(
        cut(&mut socket, &frame(0x81, b"text")).unwrap(),
        Some(Cut::Message(Bytes::from("text")))
    );
    let binary = cut(&mut socket, &frame(0x82, b"\xff\x00")).unwrap();
    assert_eq!(binary, Some(Cut::Message(Bytes::from_static(b"\xff\x00"))));

    assert_eq!(cut(&mut socket, &frame(0x01, b"in ")).unwrap(), Some(Cut::Other));
    assert!(socket.has_begun());
    assert_eq!(cut(&mut socket, &frame(0x89, b"?")).unwrap(), Some(Cut::KeepAlive));
    assert_eq!(std::mem::take(&mut socket.out), b"\x8a\x01?");
    assert_eq!(
        cut(&mut socket, &frame(0x80, b"parts")).unwrap(),
        Some(Cut::Message(Bytes::from("in parts")))
    );
    assert!(!socket.has_begun());
}

#[test]
fn a_frame_that_has_not_come_whole_stays_in_the_buffer() {
    let mut socket = open();
    let whole = frame(0x81, &[b'a'; 300]);
    for length in 0..whole.len() {
        let mut buffer = BytesMut::from(&whole[..length]);
        assert_eq!(socket.cut(&mut buffer, SIZE).unwrap(), None);
        assert_eq!(buffer.len(), length);
    }
    assert!(matches!(cut(&mut socket, &whole), Ok(Some(Cut::Message(_)))));
}

#[test]
fn what_breaks_the_rules_is_told_so_and_nothing_more_is_read() {
    let unmasked = vec![0x81, 1, b'a'];
    let mut too_large = vec![0x81, 0x80 | 127];
    too_large.extend_from_slice(&(u64::MAX >> 1).to_be_bytes());
    too_large.extend_from_slice(&[0; 4]);
    for (bytes, code) in [
        (unmasked, 1002_u16),
        (too_large, 1009),
        (frame(0x81, b"\xff"), 1007),
        (frame(0xc1, b"compressed"), 1002),
        (frame(0x83, b"reserved"), 1002),
        (frame(0x80, b"continues nothing"), 1002),
        (frame(0x09, b"a ping in parts"), 1002),
        (frame(0x89, &[b'a'; 126]), 1002),
    ] {
        let mut socket = open();
        let result = cut(&mut socket, &bytes);
        assert!(matches!(result, Err(Over::Broken(_))), "{bytes:?}: {result:?}");
        assert_eq!(socket.out[..2], [0x88, 2], "{bytes:?}");
        assert_eq!(socket.out[2..], code.to_be_bytes(), "{bytes:?}");
        assert!(matches!(
            socket.cut(&mut BytesMut::from(&frame(0x81, b"x")[..]), SIZE),
            Ok(None)
        ));
    }
}

#[test]
fn a_message_in_parts_is_bounded_as_a_whole() {
    let mut socket = open();
    cut(&mut socket, &frame(0x01, &[b'a'; 600])).unwrap();
    let result = cut(&mut socket, &frame(0x80, &[b'a'; 600]));
    assert!(
        matches!(result, Err(Over::Broken(ProtocolFailure::Capacity(_)))),
        "{result:?}"
    );
    assert_eq!(socket.out, [0x88, 2, 0x03, 0xf1]);
}

#[test]
fn a_goodbye_is_answered() {
    let mut socket = open();
    assert!(matches!(
        cut(&mut socket, &frame(0x88, &1000_u16.to_be_bytes())),
        Err(Over::Closed)
    ));
    assert_eq!(socket.out, [0x88, 2, 0x03, 0xe8]);
}

#[test]
fn line_ends_are_a_keep_alive() {
    let mut socket = open();
    assert_eq!(
        cut(&mut socket, &frame(0x81, b"\r\n\r\n")).unwrap(),
        Some(Cut::KeepAlive)
    );
    assert_eq!(std::mem::take(&mut socket.out), b"\x81\x02\r\n");
    assert_eq!(cut(&mut socket, &frame(0x81, b"\r\n")).unwrap(), Some(Cut::KeepAlive));
    assert!(socket.out.is_empty());
}

#[test]
fn answers_to_pings_of_who_does_not_read_are_bounded() {
    let mut socket = open();
    let ping = frame(0x89, &[b'p'; 100]);
    let pings = (0..1000).take_while(|_| cut(&mut socket, &ping).is_ok()).count();
    assert!((100..200).contains(&pings), "{pings}");
    assert!(socket.out.len() <= OUT_MAX + 200, "{}", socket.out.len());
    assert!(matches!(socket.cut(&mut BytesMut::from(&ping[..]), SIZE), Ok(None)));
}

#[test]
fn a_silent_peer_is_asked_and_given_up() {
    let start = Instant::now();
    let mut socket = open();
    socket.hear(start);
    let due = start + INTERVAL;
    assert_eq!(socket.deadline(INTERVAL), Some(due));
    assert!(!socket.ping(INTERVAL, due - Duration::from_millis(1)));
    assert!(socket.ping(INTERVAL, due));
    assert_eq!(std::mem::take(&mut socket.out), [0x89, 0]);
    assert_eq!(socket.deadline(INTERVAL), Some(due + PONG_MAX));
    assert!(!socket.ping(INTERVAL, due + PONG_MAX));

    socket.hear(due + PONG_MAX);
    assert_eq!(socket.deadline(INTERVAL), Some(due + PONG_MAX + INTERVAL));
}

#[test]
fn messages_go_out_as_text_where_they_are_text() {
    let mut socket = open();
    socket.send(&Bytes::from_static(b"SIP"));
    socket.send(&Bytes::from_static(b"\xff"));
    assert_eq!(socket.out, b"\x81\x03SIP\x82\x01\xff");
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let mut socket = open();
    let large = frame(0x82, &[b'a'; SIZE]);
    for bytes in [&large, &frame(0x89, b"?"), &frame(0x8a, b""), &frame(0x81, b"\r\n\r\n")] {
        cut(&mut socket, bytes).unwrap();
        assert!(matches!(socket.state, State::Open(None)));
    }
    for (first, is_kept) in [(0x01, true), (0x00, true), (0x89, true), (0x80, false)] {
        cut(&mut socket, &frame(first, b"part")).unwrap();
        assert_eq!(matches!(socket.state, State::Open(Some(_))), is_kept, "{first:x}");
    }
}
