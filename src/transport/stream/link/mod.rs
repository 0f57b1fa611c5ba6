//! One connection as its worker sees it: reads, cuts what it read into messages, and writes what is queued
//! (RFC 3261 §18.3, RFC 5626 §4.4.1).

mod write;

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tracing::debug;

use super::secure::{Progress, Secure};
use super::websocket::{Cut, Over, WebSocket};
use crate::sip::message::framing::{Frame, Framer, FramingError};
use crate::sip::message::header::HeaderName;
use crate::sip::message::limits::Limits;
use crate::sip::message::{Malformed, Message, ParseError};
use crate::transport::Arrival;
use crate::transport::counters::Counters;
use crate::transport::settings::Settings;
use crate::transport::table::{Connection, Messages};
use write::is_for_later;

/// The most messages and keep-alives of one connection before others have their turn.
pub const FRAMES_PER_TURN: usize = 64;

/// The most bytes read at once.
pub const READ_BYTES: usize = 16 * 1024;

/// The buffer that messages are copied to; it is used again when no message in it is held any more.
const ARENA: usize = 128 * 1024;

/// Unwritten bytes above which a keep-alive is not answered: who does not read needs no answer.
const PONG_BYTES_MAX: usize = 1024;

const PONG: &[u8] = b"\r\n";

/// How long a peer may not read anything while something is there for it.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// How long a peer has to say that it is there (RFC 5626 §4.4.1).
const PONG_MAX: Duration = Duration::from_secs(10);

/// How long a closed connection is read on, so that the peer sees our last words and not a reset.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed it.
    Peer,
    /// We close it, and all is written.
    Ours,
    /// Reading or writing failed.
    Failed,
    /// The TLS handshake failed, or took too long.
    Handshake,
    /// The peer does not read.
    Congested,
    /// Nothing came for too long, or not enough.
    TimedOut,
    /// The peer has not answered requests, nor whether it is there.
    Silent,
}

/// A connection.
pub struct Link<O> {
    /// As others see it.
    pub connection: Arc<Connection<O>>,
    /// Its socket.
    pub socket: TcpStream,
    secure: Option<Box<Secure>>,
    phase: Phase,
    framer: Framer,
    /// What lies between the stream and SIP; only WebSocket has it.
    web: Option<Box<WebSocket>>,
    /// What was read and has not been cut.
    buffer: BytesMut,
    /// Whether no other connection uses the memory behind `buffer`.
    is_own: bool,
    /// Whether `buffer` may hold whole messages.
    is_uncut: bool,
    /// What the peer has not taken yet, as it goes over the wire.
    out: BytesMut,
    /// Keep-alives to be answered.
    pongs: usize,
    wants_write: bool,
    /// Whether it is for us to begin the handshake.
    wants_hello: bool,
    /// The senders of what is in `out`.
    in_flight: Vec<O>,
    /// Whether there may be something to read.
    is_readable: bool,
    /// The peer sends nothing more after what can be read now.
    is_hung_up: bool,
    /// TLS has said so.
    is_at_end: bool,
    /// Whether it waits for its turn.
    pub is_scheduled: bool,
    /// Whether the first whole message is still awaited.
    awaits_first: bool,
    /// When the phase, the awaiting of the first message, or of the rest of one that has begun, started.
    awaiting_since: Instant,
    /// When the peer last stopped reading.
    stalled_since: Option<Instant>,
    /// When its peer was asked whether it is there, because it has not answered requests; nothing has come since.
    doubted_since: Option<Instant>,
    /// When something was last read or written.
    active: Instant,
    /// The time at which its deadline is looked at next.
    pub armed: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshaking,
    Open,
    /// What comes cannot be read; what is queued is written.
    Refused,
    /// All is written; until the peer has said goodbye, what comes is thrown away.
    Lingering,
}

/// What the connections of one worker use in turn.
pub struct Scratch<O> {
    received: Box<[u8]>,
    plain: BytesMut,
    joined: Vec<u8>,
    sealed: Vec<u8>,
    messages: Messages<O>,
    /// What has come and is to be handed up.
    pub arrivals: Vec<Arrival>,
}

/// What all connections are told.
pub struct Rules<'a> {
    /// The limits.
    pub settings: &'a Settings,
    /// What is counted.
    pub counters: &'a Counters,
    /// The time of this turn.
    pub now: Instant,
}

impl<O> Scratch<O> {
    /// Empty buffers.
    pub fn new() -> Scratch<O> {
        Scratch {
            received: vec![0; READ_BYTES].into(),
            plain: BytesMut::new(),
            joined: Vec::new(),
            sealed: Vec::new(),
            messages: Messages::new(),
            arrivals: Vec::new(),
        }
    }
}

impl<O: Copy> Link<O> {
    /// A connection that is there; with `secure` it begins with a TLS handshake.
    pub fn new(
        connection: Arc<Connection<O>>,
        socket: TcpStream,
        secure: Option<Secure>,
        web: Option<WebSocket>,
        is_accepted: bool,
        limits: &Limits,
        now: Instant,
    ) -> Link<O> {
        Link {
            connection,
            socket,
            phase: match &secure {
                Some(_) => Phase::Handshaking,
                None => Phase::Open,
            },
            secure: secure.map(Box::new),
            framer: Framer::new(limits),
            web: web.map(Box::new),
            buffer: BytesMut::new(),
            is_own: false,
            is_uncut: false,
            out: BytesMut::new(),
            pongs: 0,
            wants_write: false,
            wants_hello: !is_accepted,
            in_flight: Vec::new(),
            is_readable: false,
            is_hung_up: false,
            is_at_end: false,
            is_scheduled: false,
            awaits_first: is_accepted,
            awaiting_since: now,
            stalled_since: None,
            doubted_since: None,
            active: now,
            armed: now,
        }
    }

    /// Notes what the kernel tells of the socket.
    pub fn note_ready(&mut self, is_readable: bool, is_hung_up: bool) {
        self.is_readable |= is_readable | is_hung_up;
        self.is_hung_up |= is_hung_up;
    }

    /// Whether there is more to do at once.
    pub fn has_more(&self) -> bool {
        self.is_uncut || ((self.is_readable || self.is_at_end) && self.phase != Phase::Refused)
    }

    /// Whether there is something to write that nobody has listed: answers to keep-alives, or what was queued before
    /// the handshake was over.
    pub fn takes_wish_to_write(&mut self) -> bool {
        std::mem::take(&mut self.wants_write)
    }

    /// Whether the peer has not taken all.
    pub fn is_stalled(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether its TLS handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        self.phase == Phase::Handshaking
    }

    /// Whether what comes cannot be read on.
    pub fn is_refused(&self) -> bool {
        self.phase == Phase::Refused
    }

    /// When it ends unless something happens.
    pub fn deadline(&self, settings: &Settings) -> Instant {
        let limits = &settings.limits;
        match self.phase {
            Phase::Handshaking => return self.awaiting_since + limits.handshake,
            Phase::Lingering => return self.awaiting_since + LINGER_MAX,
            Phase::Open | Phase::Refused => {}
        }
        let mut deadline = self.active + limits.idle;
        if self.awaits_first || self.has_begun() {
            deadline = deadline.min(self.awaiting_since + limits.first_message);
        }
        if let Some(stalled_since) = self.stalled_since {
            deadline = deadline.min(stalled_since + WRITE_STALL_MAX);
        }
        if let Some(doubted_since) = self.doubted_since {
            deadline = deadline.min(doubted_since + PONG_MAX);
        }
        if let Some(web) = &self.web {
            if web.is_upgrading() {
                deadline = deadline.min(self.awaiting_since + limits.handshake);
            }
            deadline = web.deadline(limits.ping).map_or(deadline, |due| deadline.min(due));
        }
        deadline
    }

    /// Asks a silent peer whether it is there, when it is time to. Says whether the connection goes on although its
    /// deadline has passed.
    pub fn ping(&mut self, rules: &Rules<'_>) -> bool {
        let interval = rules.settings.limits.ping;
        let has_asked = self.phase == Phase::Open && self.web.as_mut().is_some_and(|web| web.ping(interval, rules.now));
        self.wants_write |= has_asked;
        has_asked
    }

    /// What it means that the deadline has passed.
    pub fn timed_out(&self) -> End {
        if self.doubted_since.is_some() && self.stalled_since.is_none() {
            return End::Silent;
        }
        match (self.phase, self.stalled_since) {
            (Phase::Handshaking, _) => End::Handshake,
            (Phase::Lingering, _) => End::Peer,
            (_, Some(_)) => End::Congested,
            (_, None) if self.web.as_ref().is_some_and(|web| web.is_upgrading()) => End::Handshake,
            (_, None) => End::TimedOut,
        }
    }

    fn has_begun(&self) -> bool {
        !self.buffer.is_empty() || self.secure.as_ref().is_some_and(|secure| secure.has_begun()) || self.has_parts()
    }

    /// Whether a WebSocket message has begun whose last frame has not come.
    fn has_parts(&self) -> bool {
        self.web.as_ref().is_some_and(|web| web.has_begun())
    }

    /// Adds the senders of what was not written to `unwritten`.
    pub fn abandon(&mut self, unwritten: &mut Vec<O>) {
        unwritten.append(&mut self.in_flight);
    }

    /// Reads once, and moves whole messages to `scratch.arrivals`, up to the number of a turn.
    pub fn receive(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> Result<(), End> {
        match self.phase {
            Phase::Refused => return Ok(()),
            Phase::Lingering => return self.discard(scratch),
            Phase::Handshaking | Phase::Open => {}
        }
        let had_begun = self.has_begun();
        if !self.is_uncut {
            if self.is_at_end {
                return Err(End::Peer);
            }
            if !self.is_readable || !self.read(scratch, rules)? {
                return Ok(());
            }
        }
        let (had_parts, arrivals) = (self.has_parts(), scratch.arrivals.len());
        let frames = self.cut(scratch, rules);
        if !self.is_uncut && (frames > 0 || !self.is_own) {
            self.own_rest();
        }
        // A further part of the same message is not its end.
        let goes_on = had_parts && self.has_parts() && scratch.arrivals.len() == arrivals;
        if (frames > 0 && !goes_on || !had_begun) && !self.awaits_first {
            self.awaiting_since = rules.now;
        }
        Ok(())
    }

    /// Whether something was read.
    fn read(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> Result<bool, End> {
        let length = match self.socket.read(&mut scratch.received) {
            Ok(0) => return Err(End::Peer),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(_) => return Err(End::Failed),
        };
        // Less than there was room for is all there was; of more the kernel tells.
        self.is_readable = length == READ_BYTES || self.is_hung_up;
        self.active = rules.now;
        self.doubted_since = None;
        self.connection.hear();
        if let Some(web) = &mut self.web {
            web.hear(rules.now);
        }
        rules.counters.stream_bytes_received.add(length as u64);
        // What begins a message is copied to the buffer that all share, what goes on with one to its own.
        let is_shared = self.buffer.is_empty();
        self.is_own &= !is_shared;
        let plain = match is_shared {
            true => &mut scratch.plain,
            false => &mut self.buffer,
        };
        if is_shared && plain.capacity() < READ_BYTES {
            plain.reserve(ARENA);
        }
        let received = &mut scratch.received[..length];
        let Some(secure) = &mut self.secure else {
            plain.extend_from_slice(received);
            if is_shared {
                self.buffer = scratch.plain.split();
            }
            return Ok(true);
        };
        let progress = secure.receive(received, plain, &mut scratch.sealed);
        if is_shared {
            self.buffer = scratch.plain.split();
        }
        self.put_sealed(scratch, rules)?;
        match progress {
            Ok(Progress::Handshaking) => {}
            Ok(Progress::Open) => self.open(rules.now),
            Ok(Progress::Closed) => {
                self.open(rules.now);
                self.is_at_end = true;
            }
            Err(error) => return Err(self.note_tls_error(&error)),
        }
        Ok(true)
    }

    fn open(&mut self, now: Instant) {
        if self.phase == Phase::Handshaking {
            self.phase = Phase::Open;
            self.awaiting_since = now;
            self.wants_write = true;
        }
    }

    fn note_tls_error(&self, error: &rustls::Error) -> End {
        debug!(remote = %self.connection.flow.remote, %error, "TLS failed");
        match self.phase {
            Phase::Handshaking => End::Handshake,
            Phase::Open | Phase::Refused | Phase::Lingering => End::Failed,
        }
    }

    /// Begins the handshake of a connection of ours.
    fn say_hello(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> Result<(), End> {
        if let Some(secure) = &mut self.secure {
            let hello = secure.receive(&mut [], &mut scratch.plain, &mut scratch.sealed);
            hello.map_err(|error| self.note_tls_error(&error))?;
            self.put_sealed(scratch, rules)?;
        }
        Ok(())
    }

    /// Moves the whole messages in the buffer to `arrivals` and notes keep-alives, up to the number of a turn; says
    /// how many of both there were.
    fn cut(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> usize {
        self.is_uncut = false;
        let arrivals = scratch.arrivals.len();
        let mut frames = 0;
        loop {
            if frames == FRAMES_PER_TURN {
                self.is_uncut = true;
                break;
            }
            if let Some(web) = &mut self.web {
                match web.cut(&mut self.buffer, rules.settings.message.message_size) {
                    Ok(Some(Cut::Message(bytes))) => scratch.arrivals.push(Arrival {
                        content: Message::parse(bytes, &rules.settings.message),
                        flow: self.connection.flow,
                    }),
                    Ok(Some(Cut::KeepAlive)) => rules.counters.keep_alives.add(1),
                    Ok(Some(Cut::Other)) => {}
                    Ok(None) => break,
                    Err(over) => {
                        self.end_web(&over, rules);
                        break;
                    }
                }
                self.wants_write |= !web.out.is_empty();
                frames += 1;
                continue;
            }
            match self.framer.next_frame(&mut self.buffer) {
                Ok(Some(Frame::Message(bytes))) => scratch.arrivals.push(Arrival {
                    content: Message::parse(bytes, &rules.settings.message),
                    flow: self.connection.flow,
                }),
                Ok(Some(Frame::Ping)) => {
                    rules.counters.keep_alives.add(1);
                    if self.out.len() + self.pongs * PONG.len() < PONG_BYTES_MAX {
                        self.pongs += 1;
                        self.wants_write = true;
                    }
                }
                Ok(Some(Frame::Pong)) => {}
                Ok(None) => break,
                Err(error) => {
                    self.refuse(&error, scratch, rules);
                    break;
                }
            }
            frames += 1;
        }
        self.awaits_first &= scratch.arrivals.len() == arrivals;
        frames
    }

    /// What is left in the buffer is the beginning of a message. It gets a buffer of its own, so that a peer that takes
    /// its time does not hold the one that all share.
    fn own_rest(&mut self) {
        self.is_own = true;
        self.buffer = match self.buffer.is_empty() {
            true => BytesMut::new(),
            false => BytesMut::from(&self.buffer[..]),
        };
    }

    /// Takes what is left of a stream that cannot be read on.
    fn refuse(&mut self, error: &FramingError, scratch: &mut Scratch<O>, rules: &Rules<'_>) {
        rules.counters.connections_misframed.add(1);
        debug!(remote = %self.connection.flow.remote, %error, "cannot read the stream on");
        scratch.arrivals.push(Arrival {
            content: Err(malformed(error, &rules.settings.message)),
            flow: self.connection.flow,
        });
        self.phase = Phase::Refused;
        self.buffer = BytesMut::new();
    }

    /// Reads nothing more of a WebSocket; what it has to say is written before the connection closes.
    fn end_web(&mut self, over: &Over, rules: &Rules<'_>) {
        match over {
            Over::Refused(refusal) => refusal.counter(&rules.counters.upgrades_refused).add(1),
            Over::Flooded => rules.counters.connections_congested.add(1),
            Over::Broken(_) => rules.counters.connections_misframed.add(1),
            Over::Closed => {}
        }
        debug!(remote = %self.connection.flow.remote, %over, "WebSocket is over");
        self.phase = Phase::Refused;
        self.buffer = BytesMut::new();
        self.wants_write = true;
    }

    /// Says goodbye. To close with something unread would reset the connection, and our last words with it, so that it
    /// is read until the peer has said goodbye too.
    pub fn linger(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> Result<(), End> {
        if let Some(web) = &mut self.web {
            web.goodbye();
            self.put_web(scratch, rules)?;
        }
        if let Some(secure) = &mut self.secure {
            let _ = secure.close(&mut scratch.sealed);
            self.put_sealed(scratch, rules)?;
        }
        self.socket.shutdown(Shutdown::Write).map_err(|_| End::Failed)?;
        self.phase = Phase::Lingering;
        self.awaiting_since = rules.now;
        self.buffer = BytesMut::new();
        self.is_uncut = false;
        self.is_readable = true;
        Ok(())
    }

    fn discard(&mut self, scratch: &mut Scratch<O>) -> Result<(), End> {
        match self.socket.read(&mut scratch.received) {
            Ok(0) => Err(End::Peer),
            Ok(_) => Ok(()),
            Err(error) if is_for_later(&error) => {
                self.is_readable = false;
                Ok(())
            }
            Err(_) => Err(End::Failed),
        }
    }
}

/// What is left to answer of a stream that cannot be read on.
fn malformed(error: &FramingError, limits: &Limits) -> Malformed {
    let request = match Message::parse(error.head().clone(), limits) {
        Ok(request) => Some(Box::new(request)),
        Err(malformed) => malformed.request,
    };
    let error = match error {
        FramingError::TooLarge { .. } | FramingError::HeadTooLong { .. } => ParseError::TooLarge,
        FramingError::NoContentLength { .. } => ParseError::Missing(HeaderName::ContentLength),
        FramingError::BadContentLength { .. } => ParseError::ContentLength,
    };
    Malformed { error, request }
}
