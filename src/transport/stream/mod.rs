//! The task of one stream connection: cuts what it reads into messages, hands them up, and writes what is queued for
//! it (RFC 3261 §18.3, RFC 5626 §4.4.1).

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::debug;

use super::counters::Counters;
use super::settings::Settings;
use super::table::{Connection, Connections, Taken};
use super::tcp::{self, Accepted};
use super::{Arrival, Handler, tls};
use crate::sip::hop::Hop;
use crate::sip::message::framing::{Frame, Framer, FramingError};
use crate::sip::message::header::HeaderName;
use crate::sip::message::limits::Limits;
use crate::sip::message::{Malformed, Message, ParseError};

/// The most messages and keep-alives of one connection before other tasks have their turn.
const FRAMES_PER_TURN: usize = 64;

/// The most bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// The buffer that is read into; it is used again when no message in it is held any more.
const ARENA: usize = 128 * 1024;

/// Room added for the rest of a message that has begun.
const REST_BYTES: usize = 4 * 1024;

/// The most bytes kept for writing between two writes.
const OUT_KEPT_BYTES: usize = 4 * 1024;

/// Unwritten bytes above which a keep-alive is not answered: who does not read needs no answer.
const PONG_BYTES_MAX: usize = 1024;

/// How long connecting may take; a call tries the next hop after it.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a peer may not read anything while something is there for it.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// How long a closed connection is read on, so that the peer sees our last words and not a reset.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// What the connections of one worker have in common.
pub struct Streams<H: Handler> {
    handler: Rc<H>,
    connections: Arc<Connections<H::Origin>>,
    settings: Arc<Settings>,
    client: Option<Arc<ClientConfig>>,
    counters: Arc<Counters>,
    arena: RefCell<BytesMut>,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer closed it.
    Peer,
    /// We close it, and all is written.
    Ours,
    /// Reading or writing failed.
    Failed,
    /// The peer does not read.
    Congested,
    /// Nothing came for too long, or not enough.
    TimedOut,
}

impl<H: Handler> Streams<H> {
    /// Those of a worker with this handler. `client` is what outgoing TLS connections need.
    pub fn new(
        handler: Rc<H>,
        connections: Arc<Connections<H::Origin>>,
        settings: Arc<Settings>,
        client: Option<Arc<ClientConfig>>,
        counters: Arc<Counters>,
    ) -> Streams<H> {
        Streams {
            handler,
            connections,
            settings,
            client,
            counters,
            arena: RefCell::default(),
        }
    }

    /// Serves a connection that was accepted until it ends; with `server` it begins with a TLS handshake.
    pub async fn serve_accepted(&self, accepted: Accepted<H::Origin>, server: Option<Arc<ServerConfig>>) {
        let Accepted { stream, connection } = accepted;
        let entry = Entry {
            streams: self,
            connection,
        };
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return debug!(%error, "cannot serve a connection"),
        };
        let Some(server) = server else {
            return self.serve(&entry, stream, true).await;
        };
        let handshake = TlsAcceptor::from(server).accept(stream);
        match timeout(self.settings.limits.handshake, handshake).await {
            Ok(Ok(stream)) => self.serve(&entry, stream, true).await,
            Ok(Err(error)) => self.note_failed_handshake(&entry, &error),
            Err(_) => self.note_failed_handshake(&entry, &io::ErrorKind::TimedOut.into()),
        }
    }

    /// Establishes the connection to `hop` and serves it until it ends.
    pub async fn serve_outgoing(&self, connection: Arc<Connection<H::Origin>>, hop: Hop) {
        let entry = Entry {
            streams: self,
            connection,
        };
        let stream = match timeout(CONNECT_MAX, tcp::connect(&hop)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.note_failed_connect(&hop, &error),
            Err(_) => return self.note_failed_connect(&hop, &io::ErrorKind::TimedOut.into()),
        };
        if !hop.transport.is_secure() {
            return self.serve(&entry, stream, false).await;
        }
        let server_name = tls::server_name(hop.server_name.as_deref(), hop.remote);
        let (Some(client), Some(server_name)) = (&self.client, server_name) else {
            return self.note_failed_connect(&hop, &io::ErrorKind::Unsupported.into());
        };
        let handshake = TlsConnector::from(Arc::clone(client)).connect(server_name, stream);
        match timeout(self.settings.limits.handshake, handshake).await {
            Ok(Ok(stream)) => self.serve(&entry, stream, false).await,
            Ok(Err(error)) => self.note_failed_handshake(&entry, &error),
            Err(_) => self.note_failed_handshake(&entry, &io::ErrorKind::TimedOut.into()),
        }
    }

    fn note_failed_connect(&self, hop: &Hop, error: &io::Error) {
        self.counters.connects_failed.add(1);
        debug!(transport = %hop.transport, remote = %hop.remote, %error, "cannot connect");
    }

    fn note_failed_handshake(&self, entry: &Entry<'_, H>, error: &io::Error) {
        self.counters.handshakes_failed.add(1);
        debug!(remote = %entry.connection.flow.remote, %error, "TLS handshake failed");
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, entry: &Entry<'_, H>, stream: S, is_accepted: bool) {
        let mut task = Task::new(self, &entry.connection, stream, is_accepted);
        let end = task.run().await;
        debug!(remote = %entry.connection.flow.remote, ?end, "connection ended");
        match end {
            End::Peer | End::Failed => {}
            End::Congested => self.counters.connections_congested.add(1),
            End::TimedOut => self.counters.connections_timed_out.add(1),
            End::Ours => task.linger().await,
        }
        entry.leave(&mut task.in_flight);
    }
}

/// Takes the connection out of the table when its task ends, however that comes about.
struct Entry<'a, H: Handler> {
    streams: &'a Streams<H>,
    connection: Arc<Connection<H::Origin>>,
}

impl<H: Handler> Entry<'_, H> {
    /// Takes it out and tells the senders of what was not written. Doing so twice does no harm.
    fn leave(&self, unwritten: &mut Vec<H::Origin>) {
        self.streams.connections.remove(&self.connection, unwritten);
        if !unwritten.is_empty() {
            self.streams.handler.handle_unreachable(unwritten, Instant::now());
        }
    }
}

impl<H: Handler> Drop for Entry<'_, H> {
    fn drop(&mut self) {
        // A panic may have come out of the handler itself, which is not entered again then.
        if std::thread::panicking() {
            self.streams.connections.remove(&self.connection, &mut Vec::new());
            return;
        }
        self.leave(&mut Vec::new());
        self.streams.handler.handle_closed(self.connection.id(), Instant::now());
    }
}

/// A connection being served.
struct Task<'a, H: Handler, S> {
    streams: &'a Streams<H>,
    connection: &'a Connection<H::Origin>,
    stream: S,
    framer: Framer,
    /// What was read and is no whole message yet.
    buffer: BytesMut,
    /// Whether `buffer` holds the beginning of a message; then it is this connection's own.
    has_begun: bool,
    arrivals: Vec<Arrival>,
    /// What is being written.
    out: BytesMut,
    /// Something was written that may not have left yet.
    is_unflushed: bool,
    /// The senders of what is being written.
    in_flight: Vec<H::Origin>,
    /// Whether the first whole message is still awaited.
    awaits_first: bool,
    /// When the awaiting of the first message, or of the rest of one that has begun, started.
    awaiting_since: Instant,
    /// When the peer last stopped reading.
    stalled_since: Option<Instant>,
    /// When something was last read or written.
    active: Instant,
}

/// What a connection's task wakes up for.
enum Event {
    /// Bytes were read.
    Read,
    /// Some deadline may have passed.
    Tick,
    /// The connection ends.
    End(End),
}

impl<'a, H: Handler, S: AsyncRead + AsyncWrite + Unpin> Task<'a, H, S> {
    fn new(streams: &'a Streams<H>, connection: &'a Connection<H::Origin>, stream: S, is_accepted: bool) -> Self {
        let now = Instant::now();
        Task {
            streams,
            connection,
            stream,
            framer: Framer::new(&streams.settings.message),
            buffer: BytesMut::new(),
            has_begun: false,
            arrivals: Vec::new(),
            out: BytesMut::new(),
            is_unflushed: false,
            in_flight: Vec::new(),
            awaits_first: is_accepted,
            awaiting_since: now,
            stalled_since: None,
            active: now,
        }
    }

    async fn run(&mut self) -> End {
        let mut sleep = pin!(tokio::time::sleep_until(self.deadline().into()));
        loop {
            let deadline = self.deadline().into();
            // Deadlines mostly move away; then the old one finds nothing to do and sets the new one.
            if deadline < sleep.deadline() || sleep.is_elapsed() {
                sleep.as_mut().reset(deadline);
            }
            match poll_fn(|context| self.poll_event(context, sleep.as_mut())).await {
                Event::Read => {
                    if let Err(end) = self.receive().await {
                        return end;
                    }
                }
                Event::Tick if Instant::now() >= self.deadline() => return self.timed_out(),
                Event::Tick => {}
                Event::End(end) => return end,
            }
        }
    }

    fn deadline(&self) -> Instant {
        let limits = &self.streams.settings.limits;
        let mut deadline = self.active + limits.idle;
        if self.awaits_first || self.has_begun {
            deadline = deadline.min(self.awaiting_since + limits.first_message);
        }
        if let Some(stalled_since) = self.stalled_since {
            deadline = deadline.min(stalled_since + WRITE_STALL_MAX);
        }
        deadline
    }

    fn timed_out(&self) -> End {
        match self.stalled_since {
            Some(_) => End::Congested,
            None => End::TimedOut,
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>, sleep: Pin<&mut Sleep>) -> Poll<Event> {
        if let Poll::Ready(end) = self.poll_write(context) {
            return Poll::Ready(Event::End(end));
        }
        match self.poll_read(context) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Event::End(End::Peer)),
            Poll::Ready(Ok(_)) => return Poll::Ready(Event::Read),
            Poll::Ready(Err(_)) => return Poll::Ready(Event::End(End::Failed)),
            Poll::Pending => {}
        }
        sleep.poll(context).map(|()| Event::Tick)
    }

    /// Writes what there is to write, and is ready when the connection ends by that.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.poll_write_out(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(End::Failed),
                Poll::Pending => return self.connection.poll_congested(context).map(|()| End::Congested),
            }
            self.in_flight.clear();
            if self.out.capacity() > OUT_KEPT_BYTES {
                self.out = BytesMut::new();
            }
            match ready!(self.connection.poll_take(context, &mut self.out, &mut self.in_flight)) {
                Taken::Messages => {}
                Taken::Close => return Poll::Ready(End::Ours),
                Taken::Congested => return Poll::Ready(End::Congested),
            }
        }
    }

    /// Is ready when nothing is left in `out`, nor on its way below.
    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(length)) => {
                    self.out.advance(length);
                    self.is_unflushed = true;
                    self.stalled_since = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.stalled_since.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
        if self.is_unflushed {
            if Pin::new(&mut self.stream).poll_flush(context).is_pending() {
                self.stalled_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            }
            self.is_unflushed = false;
            self.stalled_since = None;
            self.active = Instant::now();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.has_begun {
            self.buffer.reserve(REST_BYTES);
            let mut room = (&mut self.buffer).limit(READ_BYTES);
            return pin!(self.stream.read_buf(&mut room)).poll(context);
        }
        // With nothing begun, all connections of the worker read into one buffer, and none has one of its own.
        let mut arena = self.streams.arena.borrow_mut();
        if arena.capacity() < READ_BYTES {
            arena.reserve(ARENA);
        }
        let mut room = (&mut *arena).limit(READ_BYTES);
        let result = ready!(pin!(self.stream.read_buf(&mut room)).poll(context));
        self.buffer = arena.split();
        Poll::Ready(result)
    }

    /// Takes the messages out of what was read and hands them up.
    async fn receive(&mut self) -> Result<(), End> {
        self.active = Instant::now();
        let mut is_rest_new = !self.has_begun;
        loop {
            let (frames, error) = self.cut();
            is_rest_new |= frames > 0;
            self.awaits_first &= self.arrivals.is_empty();
            if let Some(error) = error {
                return Err(self.refuse(&error).await);
            }
            self.hand_up();
            if frames < FRAMES_PER_TURN {
                break;
            }
            tokio::task::yield_now().await;
        }
        if is_rest_new {
            self.keep_rest();
        }
        Ok(())
    }

    /// Moves the whole messages in the buffer to `arrivals` and answers keep-alives, up to the number of a turn; says
    /// how many of both there were.
    fn cut(&mut self) -> (usize, Option<FramingError>) {
        for frames in 0..FRAMES_PER_TURN {
            match self.framer.next_frame(&mut self.buffer) {
                Ok(Some(Frame::Message(bytes))) => self.arrivals.push(Arrival {
                    content: Message::parse(bytes, &self.streams.settings.message),
                    flow: self.connection.flow,
                }),
                Ok(Some(Frame::Ping)) => {
                    self.streams.counters.keep_alives.add(1);
                    if self.out.len() < PONG_BYTES_MAX {
                        self.out.extend_from_slice(b"\r\n");
                    }
                }
                Ok(Some(Frame::Pong)) => {}
                Ok(None) => return (frames, None),
                Err(error) => return (frames, Some(error)),
            }
        }
        (FRAMES_PER_TURN, None)
    }

    fn hand_up(&mut self) {
        if !self.arrivals.is_empty() {
            self.streams.handler.handle_arrivals(&mut self.arrivals, self.active);
        }
    }

    /// What is left in the buffer is the beginning of a message. It gets a buffer of its own, so that a peer that takes
    /// its time does not hold the one that all share.
    fn keep_rest(&mut self) {
        self.buffer = BytesMut::from(&self.buffer[..]);
        self.has_begun = !self.buffer.is_empty();
        if self.has_begun && !self.awaits_first {
            self.awaiting_since = self.active;
        }
    }

    /// Hands up what is left of a stream that cannot be read on, and writes the reply, if there is one.
    async fn refuse(&mut self, error: &FramingError) -> End {
        self.streams.counters.connections_misframed.add(1);
        debug!(remote = %self.connection.flow.remote, %error, "cannot read the stream on");
        self.arrivals.push(Arrival {
            content: Err(malformed(error, &self.streams.settings.message)),
            flow: self.connection.flow,
        });
        self.hand_up();
        self.connection.close();
        let written = poll_fn(|context| self.poll_write(context));
        timeout(WRITE_STALL_MAX, written).await.unwrap_or(End::Congested)
    }

    /// Says goodbye and reads until the peer has done so too: to close with something unread would reset the connection,
    /// and our last words with it.
    async fn linger(&mut self) {
        let stream = &mut self.stream;
        let goodbye = async {
            stream.shutdown().await?;
            let mut discarded = BytesMut::with_capacity(REST_BYTES);
            while stream.read_buf(&mut discarded).await? > 0 {
                discarded.clear();
            }
            io::Result::Ok(())
        };
        let _ = timeout(LINGER_MAX, goodbye).await;
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

#[cfg(test)]
mod tests;
