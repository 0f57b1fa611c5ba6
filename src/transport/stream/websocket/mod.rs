//! WebSocket between the stream and SIP (RFC 6455, RFC 7118): the upgrade, and messages in frames. The frames and their
//! rules are the library's; buffers, bounds and time are the connection's.

mod upgrade;

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tungstenite::Message as Frame;
use tungstenite::error::{Error as ProtocolFailure, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, write_response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader, Utf8Bytes};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use upgrade::{answer, refusal};

/// The most bytes of the request that asks for the upgrade.
const HEAD_MAX: usize = 8192;

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
mod tests;
