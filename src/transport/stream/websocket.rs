//! WebSocket between the stream and SIP (RFC 6455, RFC 7118): the upgrade, and messages in frames. The frames and their
//! rules are the library's; buffers, bounds and time are the connection's.

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tungstenite::Message as Frame;
use tungstenite::error::{Error as ProtocolFailure, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, Response, create_response, write_response};
use tungstenite::http::{HeaderMap, HeaderValue, StatusCode};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader, Utf8Bytes};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

/// The most bytes of the request that asks for the upgrade.
const HEAD_MAX: usize = 8192;

/// The subprotocol (RFC 7118 §4).
const SUBPROTOCOL: &str = "sip";

/// The least room for frames that are read.
const READ_BUFFER: usize = 1024;

/// The most bytes of answers to pings that wait for a peer that does not read: a turn's are less.
const OUT_MAX: usize = 16 * 1024;

/// How long the answer to a ping of ours may take.
const PONG_MAX: Duration = Duration::from_secs(10);

/// The WebSocket side of a connection.
pub struct WebSocket {
    state: State,
    /// The origins that pages may have; none: any.
    origins: Arc<[Box<str>]>,
    /// Whether a message has begun whose last frame has not come.
    is_fragmented: bool,
    /// When something was last received.
    heard: Instant,
    /// When a ping was sent that nothing has been received after.
    pinged: Option<Instant>,
    /// What is to be sent, as it goes into the stream.
    pub out: Vec<u8>,
}

enum State {
    /// The request that asks for the upgrade is awaited.
    Upgrading,
    Open(Box<WebSocketContext>),
    /// Nothing more is read.
    Over,
}

/// What was cut off the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// A whole message.
    Message(Bytes),
    /// A ping, or a message of line ends, which is answered.
    KeepAlive,
    /// The upgrade, the answer to a ping of ours, a part of a message.
    Other,
}

/// Why nothing more is read.
#[derive(Debug, Error)]
pub enum Over {
    /// The upgrade is refused with this status.
    #[error("the upgrade is refused: {0}")]
    Refused(StatusCode),
    /// A frame breaks the rules, or a message is too large.
    #[error("{0}")]
    Broken(#[from] ProtocolFailure),
    /// The peer asks and does not read the answers.
    #[error("too many pings wait for their answers")]
    Flooded,
    /// The peer has closed.
    #[error("the peer has closed")]
    Closed,
}

impl WebSocket {
    /// Awaits the request for the upgrade from pages of these origins; from all pages when there are none.
    pub fn new(origins: Arc<[Box<str>]>, now: Instant) -> WebSocket {
        WebSocket {
            state: State::Upgrading,
            origins,
            is_fragmented: false,
            heard: now,
            pinged: None,
            out: Vec::new(),
        }
    }

    /// Whether the upgrade is still awaited.
    pub fn is_upgrading(&self) -> bool {
        matches!(self.state, State::Upgrading)
    }

    /// Whether a message has begun and not ended.
    pub fn has_begun(&self) -> bool {
        self.is_fragmented
    }

    /// Notes that something was received.
    pub fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// When [`WebSocket::ping`] has something to do, if the peer stays silent.
    pub fn deadline(&self, interval: Duration) -> Option<Instant> {
        match (&self.state, self.pinged) {
            (State::Open(_), Some(pinged)) => Some(pinged + PONG_MAX),
            (State::Open(_), None) => Some(self.heard + interval),
            (State::Upgrading | State::Over, _) => None,
        }
    }

    /// Asks a silent peer whether it is there. Says whether it has been asked; otherwise nothing was due.
    pub fn ping(&mut self, interval: Duration, now: Instant) -> bool {
        let State::Open(context) = &mut self.state else {
            return false;
        };
        if self.pinged.is_some() || now < self.heard + interval {
            return false;
        }
        self.pinged = Some(now);
        let mut pipe = Pipe::to(&mut self.out);
        let asked = context.write(&mut pipe, Frame::Ping(Bytes::new()));
        asked.and_then(|()| context.flush(&mut pipe)).is_ok()
    }

    /// Cuts the next part off `buffer`; `None`: it has not come whole. Messages have at most `message_size` bytes.
    pub fn cut(&mut self, buffer: &mut BytesMut, message_size: usize) -> Result<Option<Cut>, Over> {
        let cut = match &mut self.state {
            State::Open(_) if self.out.len() > OUT_MAX => Err(Over::Flooded),
            State::Upgrading => return self.upgrade(buffer, message_size),
            State::Open(context) => read(context, buffer, message_size, &mut self.out, &mut self.is_fragmented),
            State::Over => return Ok(None),
        };
        if let Err(over) = &cut {
            self.close(over);
        }
        cut
    }

    /// Says why, and that nothing more is read.
    fn close(&mut self, over: &Over) {
        let State::Open(mut context) = std::mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let code = match over {
            Over::Refused(_) => return,
            Over::Closed => None,
            Over::Flooded => Some(CloseCode::Policy),
            Over::Broken(ProtocolFailure::Capacity(_)) => Some(CloseCode::Size),
            Over::Broken(ProtocolFailure::Utf8(_)) => Some(CloseCode::Invalid),
            Over::Broken(_) => Some(CloseCode::Protocol),
        };
        let frame = code.map(|code| CloseFrame {
            code,
            reason: Utf8Bytes::from_static(""),
        });
        let mut pipe = Pipe::to(&mut self.out);
        // It is over in any case.
        let _ = context.close(&mut pipe, frame);
        let _ = context.flush(&mut pipe);
    }

    /// Says goodbye.
    pub fn goodbye(&mut self) {
        if let State::Open(mut context) = std::mem::replace(&mut self.state, State::Over) {
            let frame = CloseFrame {
                code: CloseCode::Away,
                reason: Utf8Bytes::from_static(""),
            };
            let mut pipe = Pipe::to(&mut self.out);
            let _ = context.close(&mut pipe, Some(frame));
            let _ = context.flush(&mut pipe);
        }
    }

    /// Adds `payload` to what is to be sent: as text where it is UTF-8 (RFC 7118 §5).
    pub fn send(&mut self, payload: &Bytes) {
        let State::Open(context) = &mut self.state else {
            return;
        };
        let frame = match Utf8Bytes::try_from(payload.clone()) {
            Ok(text) => Frame::Text(text),
            Err(_) => Frame::Binary(payload.clone()),
        };
        let mut pipe = Pipe::to(&mut self.out);
        // The pipe takes everything, and whoever has said goodbye gets no more.
        let _ = context.write(&mut pipe, frame);
        let _ = context.flush(&mut pipe);
    }

    /// RFC 6455 §4.2.
    fn upgrade(&mut self, buffer: &mut BytesMut, message_size: usize) -> Result<Option<Cut>, Over> {
        let answer = match Request::try_parse(buffer) {
            Ok(None) if buffer.len() < HEAD_MAX => return Ok(None),
            Ok(None) => Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Ok(Some((length, request))) if length <= HEAD_MAX => {
                buffer.advance(length);
                answer(&request, &self.origins)
            }
            Ok(Some(_)) => Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Err(ProtocolFailure::Protocol(ProtocolError::WrongHttpMethod)) => Err(StatusCode::METHOD_NOT_ALLOWED),
            Err(_) => Err(StatusCode::BAD_REQUEST),
        };
        let is_written = match &answer {
            Ok(response) => write_response(&mut self.out, response).is_ok(),
            Err(status) => write_response(&mut self.out, &refusal(*status)).is_ok(),
        };
        match answer {
            Ok(_) if is_written => {
                self.state = State::Open(Box::new(WebSocketContext::new(
                    Role::Server,
                    Some(config(message_size)),
                )));
                Ok(Some(Cut::Other))
            }
            Ok(_) => {
                self.state = State::Over;
                Err(Over::Refused(StatusCode::INTERNAL_SERVER_ERROR))
            }
            Err(status) => {
                self.state = State::Over;
                Err(Over::Refused(status))
            }
        }
    }
}

/// One frame off `buffer`, when it has come whole: so that what has not stays where the connection sees it.
fn read(
    context: &mut WebSocketContext,
    buffer: &mut BytesMut,
    message_size: usize,
    out: &mut Vec<u8>,
    is_fragmented: &mut bool,
) -> Result<Option<Cut>, Over> {
    let mut cursor = Cursor::new(&buffer[..]);
    let Some((header, length)) = FrameHeader::parse(&mut cursor)? else {
        return Ok(None);
    };
    if length > message_size as u64 {
        return Err(too_large(length as usize, message_size));
    }
    let whole = cursor.position() as usize + length as usize;
    if buffer.len() < whole {
        return Ok(None);
    }
    if let OpCode::Data(Data::Continue | Data::Text | Data::Binary) = header.opcode {
        *is_fragmented = !header.is_final;
    }
    let mut frame = buffer.split_to(whole);
    let mut pipe = Pipe {
        input: Some(&mut frame),
        output: out,
    };
    let read = match context.read(&mut pipe) {
        Ok(read) => read,
        // A part of a message.
        Err(ProtocolFailure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Cut::Other)),
        Err(ProtocolFailure::ConnectionClosed) => return Err(Over::Closed),
        Err(error) => return Err(error.into()),
    };
    let message = match read {
        Frame::Text(text) => Bytes::from(text),
        Frame::Binary(bytes) => bytes,
        Frame::Ping(_) => {
            context.flush(&mut pipe)?;
            return Ok(Some(Cut::KeepAlive));
        }
        Frame::Close(_) => {
            let _ = context.flush(&mut pipe);
            return Err(Over::Closed);
        }
        Frame::Pong(_) | Frame::Frame(_) => return Ok(Some(Cut::Other)),
    };
    // RFC 5626 §3.5.1 over WebSocket, as some browsers' libraries send it.
    if !message.is_empty() && message.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        if message.len() >= 4 {
            context.write(&mut pipe, Frame::text("\r\n"))?;
            context.flush(&mut pipe)?;
        }
        return Ok(Some(Cut::KeepAlive));
    }
    Ok(Some(Cut::Message(message)))
}

fn too_large(size: usize, max_size: usize) -> Over {
    Over::Broken(tungstenite::error::CapacityError::MessageTooLong { size, max_size }.into())
}

fn config(message_size: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(message_size))
        .max_frame_size(Some(message_size))
        .accept_unmasked_frames(false)
}

/// The answer to a request for the upgrade.
fn answer(request: &Request, origins: &[Box<str>]) -> Result<Response, StatusCode> {
    let headers = request.headers();
    let mut response = create_response(request).map_err(|error| match error {
        // RFC 6455 §4.4, RFC 9110 §15.5.22: the answer says what is spoken here.
        ProtocolFailure::Protocol(
            ProtocolError::MissingSecWebSocketVersionHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingConnectionUpgradeHeader,
        ) => StatusCode::UPGRADE_REQUIRED,
        _ => StatusCode::BAD_REQUEST,
    })?;
    // RFC 7118 §4: "the client MUST include the value "sip""; without it the client speaks something else.
    let offered = headers.get_all("Sec-WebSocket-Protocol").into_iter();
    let mut offered = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if !offered.any(|name| name.trim().eq_ignore_ascii_case(SUBPROTOCOL)) {
        return Err(StatusCode::BAD_REQUEST);
    }
    if !is_welcome(headers, origins) {
        return Err(StatusCode::FORBIDDEN);
    }
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
    Ok(response)
}

/// RFC 6455 §10.2: only pages have an Origin; whoever has none is no browser, and might write any.
fn is_welcome(headers: &HeaderMap, origins: &[Box<str>]) -> bool {
    let Some(origin) = headers.get("Origin") else {
        return true;
    };
    origins.is_empty()
        || origin
            .to_str()
            .is_ok_and(|origin| origins.iter().any(|known| known.eq_ignore_ascii_case(origin)))
}

fn refusal(status: StatusCode) -> tungstenite::http::Response<()> {
    let mut response = tungstenite::http::Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("Connection", HeaderValue::from_static("close"));
    headers.insert("Content-Length", HeaderValue::from_static("0"));
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert("Upgrade", HeaderValue::from_static("websocket"));
        headers.insert("Sec-WebSocket-Version", HeaderValue::from_static("13"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert("Allow", HeaderValue::from_static("GET"));
    }
    response
}

/// The two ends of the library: what has come, and what is to go. Neither ever waits.
struct Pipe<'a> {
    input: Option<&'a mut BytesMut>,
    output: &'a mut Vec<u8>,
}

impl<'a> Pipe<'a> {
    /// Nothing has come.
    fn to(output: &'a mut Vec<u8>) -> Pipe<'a> {
        Pipe { input: None, output }
    }
}

impl Read for Pipe<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut self.input {
            Some(input) if !input.is_empty() => {
                let length = room.len().min(input.len());
                input.copy_to_slice(&mut room[..length]);
                Ok(length)
            }
            Some(_) | None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1000;
    const INTERVAL: Duration = Duration::from_secs(30);

    fn request(further: &str) -> String {
        format!(
            "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{further}\r\n"
        )
    }

    const SIP: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, sip\r\n";

    fn upgraded(origins: &[&str], request: &str) -> (WebSocket, Result<Option<Cut>, Over>, String) {
        let origins: Vec<Box<str>> = origins.iter().map(|origin| (*origin).into()).collect();
        let mut socket = WebSocket::new(origins.into(), Instant::now());
        let cut = socket.cut(&mut BytesMut::from(request.as_bytes()), SIZE);
        let answer = String::from_utf8(std::mem::take(&mut socket.out)).unwrap();
        (socket, cut, answer)
    }

    fn open() -> WebSocket {
        upgraded(&[], &request(SIP)).0
    }

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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
            ("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(), "426"),
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
}
