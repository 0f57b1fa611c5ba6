//! WebSocket between the stream and SIP (RFC 6455, RFC 7118): the upgrade, and messages in frames. The frames and their
//! rules are the library's; buffers, bounds and time are the connection's.

mod upgrade;

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tungstenite::Message;
use tungstenite::error::{Error as ProtocolFailure, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, write_response};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader, Utf8Bytes};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use crate::transport::settings::Web;
use upgrade::{Refusal, answer};

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
    /// Whom it lets in.
    web: Arc<Web>,
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
    /// Frames are exchanged. A message that has begun, and whose last frame has not come, is in the library's context, and
    /// its buffer with it; there is none otherwise, so that nothing is kept of what is over.
    Open(Option<Box<WebSocketContext>>),
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
    /// The upgrade is refused.
    #[error("the upgrade is refused: {0:?}")]
    Refused(Refusal),
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
    /// Awaits the request for the upgrade.
    pub fn new(web: Arc<Web>, now: Instant) -> WebSocket {
        WebSocket {
            state: State::Upgrading,
            web,
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
        matches!(self.state, State::Open(Some(_)))
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
        if !matches!(self.state, State::Open(_)) || self.pinged.is_some() || now < self.heard + interval {
            return false;
        }
        self.ask(now);
        true
    }

    /// Asks the peer whether it is there, unless it has been asked and has not answered yet.
    pub fn ask(&mut self, now: Instant) {
        if matches!(self.state, State::Open(_)) && self.pinged.is_none() {
            self.pinged = Some(now);
            put(Frame::ping(Bytes::new()), &mut self.out);
        }
    }

    /// Cuts the next part off `buffer`; `None`: it has not come whole. Messages have at most `message_size` bytes.
    pub fn cut(&mut self, buffer: &mut BytesMut, message_size: usize) -> Result<Option<Cut>, Over> {
        let cut = match &mut self.state {
            State::Open(_) if self.out.len() > OUT_MAX => Err(Over::Flooded),
            State::Upgrading => return self.upgrade(buffer),
            State::Open(begun) => read(begun, buffer, message_size, &mut self.out),
            State::Over => return Ok(None),
        };
        if let Err(over) = &cut {
            self.close(over);
        }
        cut
    }

    /// Says why, and that nothing more is read.
    fn close(&mut self, over: &Over) {
        let code = match over {
            // The library has answered.
            Over::Refused(_) | Over::Closed => return self.state = State::Over,
            Over::Flooded => CloseCode::Policy,
            Over::Broken(ProtocolFailure::Capacity(_)) => CloseCode::Size,
            Over::Broken(ProtocolFailure::Utf8(_)) => CloseCode::Invalid,
            Over::Broken(_) => CloseCode::Protocol,
        };
        self.leave(code);
    }

    /// Says goodbye.
    pub fn goodbye(&mut self) {
        self.leave(CloseCode::Away);
    }

    /// RFC 6455 §5.5.1: nothing follows the frame that closes.
    fn leave(&mut self, code: CloseCode) {
        if let State::Open(_) = std::mem::replace(&mut self.state, State::Over) {
            let reason = Utf8Bytes::from_static("");
            put(Frame::close(Some(CloseFrame { code, reason })), &mut self.out);
        }
    }

    /// Adds `payload` to what is to be sent, as one frame: text where it is UTF-8 (RFC 7118 §5). Whoever has said goodbye
    /// gets no more.
    pub fn send(&mut self, payload: &Bytes) {
        if let State::Open(_) = self.state {
            let kind = match std::str::from_utf8(payload) {
                Ok(_) => Data::Text,
                Err(_) => Data::Binary,
            };
            put(Frame::message(payload.clone(), OpCode::Data(kind), true), &mut self.out);
        }
    }

    /// RFC 6455 §4.2.
    fn upgrade(&mut self, buffer: &mut BytesMut) -> Result<Option<Cut>, Over> {
        let answer = match Request::try_parse(buffer) {
            Ok(None) if buffer.len() < HEAD_MAX => return Ok(None),
            Ok(None) => Err(Refusal::Size),
            Ok(Some((length, request))) if length <= HEAD_MAX => {
                buffer.advance(length);
                answer(&request, &self.web)
            }
            Ok(Some(_)) => Err(Refusal::Size),
            Err(ProtocolFailure::Protocol(ProtocolError::WrongHttpMethod)) => Err(Refusal::Method),
            Err(_) => Err(Refusal::Malformed),
        };
        match answer {
            Ok(response) => {
                // A vector takes everything.
                let _ = write_response(&mut self.out, &response);
                self.state = State::Open(None);
                Ok(Some(Cut::Other))
            }
            Err(refusal) => {
                let _ = write_response(&mut self.out, &refusal.response());
                self.state = State::Over;
                Err(Over::Refused(refusal))
            }
        }
    }
}

/// One frame off `buffer`, when it has come whole: so that what has not stays where the connection sees it. `begun` is the
/// message that the frame goes on with, if one has begun.
fn read(
    begun: &mut Option<Box<WebSocketContext>>,
    buffer: &mut BytesMut,
    message_size: usize,
    out: &mut Vec<u8>,
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
    let goes_on = match header.opcode {
        OpCode::Data(_) => !header.is_final,
        OpCode::Control(_) => begun.is_some(),
    };
    let mut context = begun.take().unwrap_or_else(|| Box::new(context(whole, message_size)));
    let mut frame = buffer.split_to(whole);
    let mut pipe = Pipe {
        input: &mut frame,
        output: out,
    };
    let read = context.read(&mut pipe);
    // The answer to a ping, or to a goodbye.
    context.flush(&mut pipe).or_else(only_closed)?;
    if goes_on {
        *begun = Some(context);
    }
    let message = match read {
        Ok(Message::Text(text)) => Bytes::from(text),
        Ok(Message::Binary(bytes)) => bytes,
        Ok(Message::Ping(_)) => return Ok(Some(Cut::KeepAlive)),
        Ok(Message::Pong(_) | Message::Frame(_)) => return Ok(Some(Cut::Other)),
        Ok(Message::Close(_)) | Err(ProtocolFailure::ConnectionClosed) => return Err(Over::Closed),
        // A part of a message.
        Err(ProtocolFailure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Cut::Other)),
        Err(error) => return Err(error.into()),
    };
    // RFC 5626 §3.5.1 over WebSocket, as some browsers' libraries send it.
    if !message.is_empty() && message.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        if message.len() >= 4 {
            put(Frame::message("\r\n", OpCode::Data(Data::Text), true), out);
        }
        return Ok(Some(Cut::KeepAlive));
    }
    Ok(Some(Cut::Message(message)))
}

/// Adds a frame to what is to be sent.
fn put(frame: Frame, out: &mut Vec<u8>) {
    // A vector takes everything.
    let _ = frame.format(out);
}

/// A goodbye that is answered is the end of what the library flushes.
fn only_closed(error: ProtocolFailure) -> Result<(), ProtocolFailure> {
    match error {
        ProtocolFailure::ConnectionClosed => Ok(()),
        error => Err(error),
    }
}

fn too_large(size: usize, max_size: usize) -> Over {
    Over::Broken(tungstenite::error::CapacityError::MessageTooLong { size, max_size }.into())
}

/// What reads a message whose first frame has this length, with room for that frame.
fn context(length: usize, message_size: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(length.max(READ_BUFFER))
        .write_buffer_size(0)
        .max_message_size(Some(message_size))
        .max_frame_size(Some(message_size))
        .accept_unmasked_frames(false);
    WebSocketContext::new(Role::Server, Some(config))
}

/// The two ends of the library: what has come, and what is to go. Neither ever waits.
struct Pipe<'a> {
    input: &'a mut BytesMut,
    output: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = room.len().min(self.input.len());
        self.input.copy_to_slice(&mut room[..length]);
        Ok(length)
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
pub mod tests;
