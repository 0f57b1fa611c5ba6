//! The stream connections of one worker. All that are ready are read from, what came is handed up together, and then
//! all are written to that have something to write: as with datagrams, a turn costs once what its messages share.

mod link;
mod secure;
mod websocket;

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustls::{ClientConfig, ServerConfig};
use slab::Slab;
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, timeout};
use tracing::{debug, error};

use super::counters::Counters;
use super::outbox::{Outbox, Token};
use super::settings::Settings;
use super::table::{Connection, Connections};
use super::tcp::{self, Accepted};
use super::{Handler, mmsg, tls};
use crate::sip::hop::{Flow, Hop, Transport};
use link::{End, FRAMES_PER_TURN, Link, Rules, Scratch};
use secure::Secure;
use websocket::WebSocket;

/// The most events taken from the kernel at once.
const EVENTS: usize = 256;

/// The most connections looked at before other tasks have their turn.
const LINKS_PER_TURN: usize = 64;

/// How long connecting may take; a call tries the next hop after it.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How often it is looked whether all connections have ended.
const CLOSED_INTERVAL: Duration = Duration::from_millis(10);

/// What the connections of one worker have in common.
pub struct Streams<H: Handler> {
    handler: Rc<H>,
    connections: Arc<Connections<H::Origin>>,
    settings: Arc<Settings>,
    client: Option<Arc<ClientConfig>>,
    counters: Arc<Counters>,
    /// The sockets of all connections are registered there, and it with the runtime.
    epoll: AsyncFd<OwnedFd>,
    outbox: Arc<Outbox>,
    inner: RefCell<Inner<H::Origin>>,
}

struct Inner<O> {
    links: Slab<Link<O>>,
    scratch: Scratch<O>,
    /// Those that have something to read, or that a deadline has passed of.
    scheduled: VecDeque<Token>,
    /// Those that have something to write.
    listed: Vec<Token>,
    /// Those looked at in this turn.
    visited: Vec<Token>,
    /// When the deadline of each is looked at next.
    deadlines: BTreeSet<(Instant, Token)>,
    events: Vec<Event>,
    unwritten: Vec<O>,
}

impl<H: Handler> Streams<H> {
    /// Those of a worker with this handler. `client` is what outgoing TLS connections need.
    pub fn new(
        handler: Rc<H>,
        connections: Arc<Connections<H::Origin>>,
        settings: Arc<Settings>,
        client: Option<Arc<ClientConfig>>,
        counters: Arc<Counters>,
    ) -> io::Result<Streams<H>> {
        Ok(Streams {
            handler,
            connections,
            settings,
            client,
            counters,
            epoll: mmsg::register(epoll::create(CreateFlags::CLOEXEC)?)?,
            outbox: Arc::default(),
            inner: RefCell::new(Inner {
                links: Slab::new(),
                scratch: Scratch::new(),
                scheduled: VecDeque::new(),
                listed: Vec::new(),
                visited: Vec::new(),
                deadlines: BTreeSet::new(),
                events: Vec::with_capacity(EVENTS),
                unwritten: Vec::new(),
            }),
        })
    }

    /// Serves a connection that was accepted from now on; with `server` it begins with a TLS handshake.
    pub fn serve_accepted(&self, accepted: Accepted<H::Origin>, server: Option<Arc<ServerConfig>>) {
        let Accepted { stream, connection } = accepted;
        let entry = Entry::new(self, connection);
        match server.map(Secure::server).transpose() {
            Ok(secure) => self.serve(entry, stream, secure, true),
            Err(error) => debug!(%error, "cannot begin a TLS handshake"),
        }
    }

    /// Establishes the connection to `hop`, and serves it from then on.
    pub async fn serve_outgoing(&self, connection: Arc<Connection<H::Origin>>, hop: Hop) {
        let entry = Entry::new(self, connection);
        let stream = match timeout(CONNECT_MAX, tcp::connect(&hop)).await {
            Ok(stream) => stream.and_then(tokio::net::TcpStream::into_std),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match stream.and_then(|stream| Ok((stream, self.secure_to(&hop)?))) {
            Ok((stream, secure)) => self.serve(entry, stream, secure, false),
            Err(error) => {
                self.counters.connects_failed.add(1);
                debug!(transport = %hop.transport, remote = %hop.remote, %error, "cannot connect");
            }
        }
    }

    fn secure_to(&self, hop: &Hop) -> io::Result<Option<Secure>> {
        if !hop.transport.is_secure() {
            return Ok(None);
        }
        let name = tls::server_name(hop.server_name.as_deref(), hop.remote);
        let (Some(client), Some(name)) = (&self.client, name) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let secure = Secure::client(Arc::clone(client), name);
        secure.map(Some).map_err(io::Error::other)
    }

    fn serve(&self, mut entry: Entry<'_, H>, stream: TcpStream, secure: Option<Secure>, is_accepted: bool) {
        let mut inner = self.inner.borrow_mut();
        let place = inner.links.vacant_entry();
        let token = place.key();
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = epoll::add(
            self.epoll.get_ref(),
            &stream,
            EventData::new_u64(token as u64),
            interest,
        ) {
            return debug!(%error, "cannot serve a connection");
        }
        let Some(connection) = entry.connection.take() else {
            return;
        };
        let (limits, now) = (&self.settings.message, Instant::now());
        let Flow { transport, local, .. } = connection.flow;
        let web = matches!(transport, Transport::Ws | Transport::Wss)
            .then(|| WebSocket::new(self.settings.web(transport, local), now));
        place.insert(Link::new(
            Arc::clone(&connection),
            stream,
            secure,
            web,
            is_accepted,
            limits,
            now,
        ));
        inner.arm(token, &self.settings);
        drop(inner);
        connection.serve(&self.outbox, token);
    }

    /// Serves the connections for ever.
    pub async fn run(&self) -> io::Result<Infallible> {
        let mut sleep = pin!(tokio::time::sleep(Duration::MAX));
        loop {
            let has_waited = self.wait(sleep.as_mut()).await?;
            // A panic costs the connections of this turn, and no others.
            if catch_unwind(AssertUnwindSafe(|| self.turn())).is_err() {
                error!("a turn of the connections failed");
                self.drop_visited();
            }
            if !has_waited {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Returns when all connections have ended.
    pub async fn closed(&self) {
        while !self.inner.borrow().links.is_empty() {
            tokio::time::sleep(CLOSED_INTERVAL).await;
        }
    }

    /// Waits until a turn has something to do. Says whether other tasks could run meanwhile.
    async fn wait(&self, mut sleep: Pin<&mut Sleep>) -> io::Result<bool> {
        let mut has_waited = false;
        poll_fn(|context| {
            let work = self.poll_work(context, sleep.as_mut());
            has_waited |= work.is_pending();
            work
        })
        .await?;
        Ok(has_waited)
    }

    fn poll_work(&self, context: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.borrow_mut();
        while let Poll::Ready(guard) = self.epoll.poll_read_ready(context) {
            let mut guard = guard?;
            if inner.collect(&self.epoll)? {
                guard.clear_ready();
            }
        }
        let is_listed = !inner.listed.is_empty() || self.outbox.poll_listed(context).is_ready();
        if is_listed || !inner.scheduled.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let Some((deadline, _)) = inner.deadlines.first() else {
            return Poll::Pending;
        };
        let deadline = (*deadline).into();
        if sleep.deadline() > deadline || sleep.is_elapsed() {
            sleep.as_mut().reset(deadline);
        }
        sleep.poll(context).map(Ok)
    }

    fn turn(&self) {
        let inner = &mut *self.inner.borrow_mut();
        let rules = Rules {
            settings: &self.settings,
            counters: &self.counters,
            now: Instant::now(),
        };
        inner.visited.clear();
        self.end_overdue(inner, &rules);
        // Those that are scheduled meanwhile have their next turn after what they have brought is answered.
        for _ in 0..inner.scheduled.len().min(LINKS_PER_TURN) {
            let Some(token) = inner.scheduled.pop_front() else {
                break;
            };
            self.read(inner, token, &rules);
            if inner.scratch.arrivals.len() >= FRAMES_PER_TURN {
                self.handler.handle_arrivals(&mut inner.scratch.arrivals, rules.now);
            }
        }
        if !inner.scratch.arrivals.is_empty() {
            self.handler.handle_arrivals(&mut inner.scratch.arrivals, rules.now);
        }
        // Those that cannot be read on have their last words queued now.
        for token in &inner.visited {
            if let Some(link) = inner.links.get(*token).filter(|link| link.is_refused()) {
                link.connection.close();
            }
        }
        self.outbox.take(&mut inner.listed);
        for place in 0..inner.listed.len() {
            self.write(inner, inner.listed[place], &rules);
        }
        inner.listed.clear();
    }

    /// Ends the connections whose deadline has passed.
    fn end_overdue(&self, inner: &mut Inner<H::Origin>, rules: &Rules<'_>) {
        for _ in 0..LINKS_PER_TURN {
            let Some((armed, token)) = inner
                .deadlines
                .first()
                .copied()
                .filter(|(armed, _)| *armed <= rules.now)
            else {
                return;
            };
            let Some(link) = inner.links.get_mut(token) else {
                inner.deadlines.remove(&(armed, token));
                continue;
            };
            // Deadlines mostly move away; then the old one finds nothing to do and sets the new one.
            if link.deadline(rules.settings) <= rules.now && link.ping(rules) {
                if link.takes_wish_to_write() {
                    inner.listed.push(token);
                }
                inner.arm(token, rules.settings);
                continue;
            }
            match link.deadline(rules.settings) <= rules.now {
                true => {
                    let end = link.timed_out();
                    self.finish(inner, token, end, rules);
                }
                false => inner.arm(token, rules.settings),
            }
        }
    }

    fn read(&self, inner: &mut Inner<H::Origin>, token: Token, rules: &Rules<'_>) {
        let Some(link) = inner.links.get_mut(token) else { return };
        inner.visited.push(token);
        link.is_scheduled = false;
        if let Err(end) = link.receive(&mut inner.scratch, rules) {
            return self.finish(inner, token, end, rules);
        }
        if link.takes_wish_to_write() {
            inner.listed.push(token);
        }
        inner.reschedule(token, rules.settings);
    }

    fn write(&self, inner: &mut Inner<H::Origin>, token: Token, rules: &Rules<'_>) {
        let Some(link) = inner.links.get_mut(token) else { return };
        inner.visited.push(token);
        match link.write(&mut inner.scratch, rules) {
            Ok(()) => inner.reschedule(token, rules.settings),
            Err(end) => self.finish(inner, token, end, rules),
        }
    }

    fn finish(&self, inner: &mut Inner<H::Origin>, token: Token, end: End, rules: &Rules<'_>) {
        let Some(link) = inner.links.get_mut(token) else { return };
        debug!(remote = %link.connection.flow.remote, ?end, "connection ended");
        match end {
            End::Ours if link.linger(&mut inner.scratch, rules).is_ok() => {
                return inner.reschedule(token, rules.settings);
            }
            End::Ours => {}
            End::Peer | End::Failed if link.is_handshaking() => self.counters.handshakes_failed.add(1),
            End::Peer | End::Failed => {}
            End::Handshake => self.counters.handshakes_failed.add(1),
            End::Congested => self.counters.connections_congested.add(1),
            End::TimedOut => self.counters.connections_timed_out.add(1),
            End::Silent => self.counters.connections_silent.add(1),
        }
        if let Some(mut link) = inner.remove(token) {
            link.abandon(&mut inner.unwritten);
            self.leave(&link.connection, &mut inner.unwritten, rules.now);
        }
    }

    /// Takes a connection out of the table and tells the senders of what was not written.
    fn leave(&self, connection: &Arc<Connection<H::Origin>>, unwritten: &mut Vec<H::Origin>, now: Instant) {
        self.counters.connections.fall();
        self.connections.remove(connection, unwritten);
        if !unwritten.is_empty() {
            self.handler.handle_unreachable(unwritten, now);
        }
        self.handler.handle_closed(connection.id(), now);
    }

    /// Drops the connections of a turn that failed. The panic may have come out of the handler, which is told nothing.
    fn drop_visited(&self) {
        let inner = &mut *self.inner.borrow_mut();
        inner.scratch = Scratch::new();
        for token in std::mem::take(&mut inner.visited) {
            if let Some(link) = inner.remove(token) {
                self.counters.connections.fall();
                self.connections.remove(&link.connection, &mut Vec::new());
            }
        }
    }
}

impl<O: Copy> Inner<O> {
    /// Takes what the kernel tells of the sockets. Says whether that was all.
    fn collect(&mut self, epoll: &AsyncFd<OwnedFd>) -> io::Result<bool> {
        let at_once = Timespec::default();
        self.events.clear();
        match epoll::wait(epoll.get_ref(), spare_capacity(&mut self.events), Some(&at_once)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let (token, flags) = (event.data.u64() as Token, event.flags);
            let Some(link) = self.links.get_mut(token) else {
                continue;
            };
            let is_hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            link.note_ready(flags.contains(EventFlags::IN), is_hung_up);
            if flags.contains(EventFlags::OUT) && link.is_stalled() {
                self.listed.push(token);
            }
            if link.has_more() && !std::mem::replace(&mut link.is_scheduled, true) {
                self.scheduled.push_back(token);
            }
        }
        Ok(self.events.len() < EVENTS)
    }

    /// Sees to a connection that was looked at and goes on.
    fn reschedule(&mut self, token: Token, settings: &Settings) {
        let Some(link) = self.links.get_mut(token) else { return };
        if link.has_more() && !std::mem::replace(&mut link.is_scheduled, true) {
            self.scheduled.push_back(token);
        }
        if link.deadline(settings) < link.armed {
            self.arm(token, settings);
        }
    }

    fn arm(&mut self, token: Token, settings: &Settings) {
        let Some(link) = self.links.get_mut(token) else { return };
        self.deadlines.remove(&(link.armed, token));
        link.armed = link.deadline(settings);
        self.deadlines.insert((link.armed, token));
    }

    fn remove(&mut self, token: Token) -> Option<Link<O>> {
        let link = self.links.try_remove(token)?;
        self.deadlines.remove(&(link.armed, token));
        Some(link)
    }
}

/// A connection that is not served yet, and never is unless it is taken out.
struct Entry<'a, H: Handler> {
    streams: &'a Streams<H>,
    connection: Option<Arc<Connection<H::Origin>>>,
}

impl<'a, H: Handler> Entry<'a, H> {
    fn new(streams: &'a Streams<H>, connection: Arc<Connection<H::Origin>>) -> Self {
        Entry {
            streams,
            connection: Some(connection),
        }
    }
}

impl<H: Handler> Drop for Entry<'_, H> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.streams.leave(&connection, &mut Vec::new(), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod web_tests;
