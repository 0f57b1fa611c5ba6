//! The connections of this process: found by id for a flow (RFC 5626 §3), or by peer for a hop; each with a bounded
//! queue of what is to be written to it.

mod parts;

use std::collections::BTreeMap;
use std::hash::BuildHasherDefault;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use thiserror::Error;

use self::parts::{IdHasher, Parts};
use super::outbox::{Outbox, Slot, Token};
use super::settings::Limits;
use crate::sip::hop::{ConnectionId, Flow, Hop, Transport};

/// The most bytes that wait to be written to one connection. Where that does not do, the peer does not read.
pub const QUEUE_BYTES: usize = 256 * 1024;

/// Requests in a row without an answer in time, after which it is asked whether anybody is there.
pub const SILENCES_MAX: u32 = 3;

/// RFC 5626 §3.5.1. Over WebSocket a ping of its own is sent instead.
pub const PING: &[u8] = b"\r\n\r\n";

/// What a message in the queue counts beside its bytes.
const MESSAGE_OVERHEAD: usize = 128;

/// About the most bytes taken for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// All connections. `O` names the senders of messages.
#[derive(Debug)]
pub struct Connections<O> {
    next_id: AtomicU64,
    limits: Limits,
    count: AtomicUsize,
    by_id: Parts<ConnectionId, Arc<Connection<O>>, BuildHasherDefault<IdHasher>>,
    by_peer: Parts<Peer, Arc<Connection<O>>>,
    by_source: Parts<IpAddr, usize>,
}

/// One connection, as other tasks than its own see it.
#[derive(Debug)]
pub struct Connection<O> {
    /// The flow of what comes by it.
    pub flow: Flow,
    peer: Peer,
    /// The source that it counts for; accepted ones only.
    source: Option<IpAddr>,
    /// Requests in a row that were not answered in time, and nothing else came meanwhile.
    silences: AtomicU32,
    queue: Mutex<Queue<O>>,
}

/// What an outgoing message to a hop may be written to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    transport: Transport,
    remote: SocketAddr,
    /// What its certificate was checked for; its address, where that is no name.
    server_name: Option<Arc<str>>,
}

/// What is written to a connection, and who is to be told when it cannot be.
#[derive(Debug)]
pub struct Queued<O> {
    /// The message.
    pub payload: Bytes,
    /// Its sender.
    pub origin: Option<O>,
}

/// Messages in their order. One is the common case and takes no allocation.
pub type Messages<O> = SmallVec<[Queued<O>; 1]>;

#[derive(Debug)]
struct Queue<O> {
    messages: Messages<O>,
    bytes: usize,
    state: State,
    /// The way to the worker that writes, once one serves the connection.
    slot: Option<Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// What is queued is written, then the connection is closed.
    Closing,
    /// Nothing more is written.
    Congested,
    Closed,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// There are too many in all.
    #[error("too many connections")]
    TooMany,
    /// There are too many of its source.
    #[error("too many connections of one source")]
    TooManyOfSource,
}

/// The connection cannot take the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection is closed or congested")]
pub struct Unwritable;

/// What the connection's task is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Write what was taken; it is all there was, or nothing.
    All,
    /// Write what was taken, and ask again.
    More,
    /// Close the connection.
    Close,
    /// Close the connection, whose peer does not read.
    Congested,
}

/// The connection that leads to a hop.
#[derive(Debug)]
pub enum ToHop<O> {
    /// It is there.
    Existing(Arc<Connection<O>>),
    /// It has been entered and is to be established.
    New(Arc<Connection<O>>),
}

impl<O: Copy> Connections<O> {
    /// None yet. `first_id` is random, so that ids of an earlier start name nothing now.
    pub fn new(first_id: u64, limits: Limits) -> Connections<O> {
        Connections {
            // Leaves more numbers than can ever be used up.
            next_id: AtomicU64::new(first_id >> 1),
            limits,
            count: AtomicUsize::new(0),
            by_id: Parts::new(),
            by_peer: Parts::new(),
            by_source: Parts::new(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many there are of each transport that has some, and of TCP and TLS always.
    pub fn by_transport(&self) -> Vec<(Transport, usize)> {
        let mut counts = BTreeMap::from([(Transport::Tcp, 0), (Transport::Tls, 0)]);
        for part in &self.by_id.parts {
            for connection in part.lock().values() {
                *counts.entry(connection.flow.transport).or_default() += 1;
            }
        }
        counts.into_iter().collect()
    }

    /// Enters a connection that was accepted.
    pub fn accept(
        &self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Arc<Connection<O>>, Refused> {
        self.take_place()?;
        let source = source(remote.ip());
        let is_admitted = self.by_source.with(&source, |sources| {
            let count = sources.entry(source).or_default();
            let is_admitted = *count < self.limits.connections_per_source;
            *count += usize::from(is_admitted);
            is_admitted
        });
        if !is_admitted {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::TooManyOfSource);
        }
        let peer = Peer {
            transport,
            remote,
            server_name: None,
        };
        let connection = self.enter(peer.clone(), local, Some(source));
        // RFC 5923 §9: who has connected with TLS has not proved who they are, so that nothing is written to them but over
        // their flow. `alias` changes nothing about that.
        if !transport.is_secure() {
            self.by_peer.with(&peer, |peers| {
                peers.insert(peer.clone(), Arc::clone(&connection));
            });
        }
        Ok(connection)
    }

    /// Finds the connection that leads to `hop`, or enters one, which the caller is to establish.
    pub fn to_hop(&self, hop: &Hop) -> Result<ToHop<O>, Refused> {
        let peer = Peer {
            transport: hop.transport,
            remote: hop.remote,
            // Without TLS nothing is checked, and all names of an address are the same peer.
            server_name: hop.server_name.clone().filter(|_| hop.transport.is_secure()),
        };
        self.by_peer.with(&peer, |peers| {
            // One that is about to close gives way to a new one.
            if let Some(connection) = peers.get(&peer).filter(|connection| connection.is_open()) {
                return Ok(ToHop::Existing(Arc::clone(connection)));
            }
            self.take_place()?;
            let connection = self.enter(peer.clone(), hop.local, None);
            peers.insert(peer.clone(), Arc::clone(&connection));
            Ok(ToHop::New(connection))
        })
    }

    /// Puts a message into the queue of connection `id`. The waker, where there is one, is to be woken afterwards.
    pub fn push(&self, id: ConnectionId, payload: Bytes, origin: Option<O>) -> Result<Option<Waker>, Unwritable> {
        let connection = self.by_id.with(&id, |connections| connections.get(&id).cloned());
        connection.ok_or(Unwritable)?.push(payload, origin)
    }

    /// Notes that a request over connection `id` was not answered in time. After some in a row its peer is asked whether it
    /// is there (RFC 5626 §4.4.1). The waker, where there is one, is to be woken afterwards.
    pub fn note_silence(&self, id: ConnectionId) -> Option<Waker> {
        let connection = self.by_id.with(&id, |connections| connections.get(&id).cloned())?;
        let silences = connection.silences.fetch_add(1, Ordering::Relaxed) + 1;
        if silences < SILENCES_MAX {
            return None;
        }
        connection.push(Bytes::from_static(PING), None).ok().flatten()
    }

    /// Closes all connections once what is queued has been written.
    pub fn close_all(&self) {
        for part in &self.by_id.parts {
            let connections: Vec<_> = part.lock().values().cloned().collect();
            for connection in connections {
                connection.close();
            }
        }
    }

    /// Takes a connection out. The senders of what was still queued are added to `unwritten`.
    pub fn remove(&self, connection: &Arc<Connection<O>>, unwritten: &mut Vec<O>) {
        let messages = {
            let mut queue = connection.queue.lock();
            queue.state = State::Closed;
            queue.bytes = 0;
            queue.slot = None;
            std::mem::take(&mut queue.messages)
        };
        unwritten.extend(messages.into_iter().filter_map(|queued| queued.origin));
        let id = connection.id();
        if self.by_id.with(&id, |connections| connections.remove(&id)).is_none() {
            return;
        }
        let peer = &connection.peer;
        self.by_peer.with(peer, |peers| {
            if peers.get(peer).is_some_and(|current| Arc::ptr_eq(current, connection)) {
                peers.remove(peer);
            }
        });
        if let Some(source) = &connection.source {
            self.by_source.with(source, |sources| match sources.get_mut(source) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => {
                    sources.remove(source);
                }
            });
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    fn take_place(&self) -> Result<(), Refused> {
        let limit = self.limits.connections;
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            })
            .map(|_| ())
            .map_err(|_| Refused::TooMany)
    }

    fn enter(&self, peer: Peer, local: SocketAddr, source: Option<IpAddr>) -> Arc<Connection<O>> {
        let id = ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let connection = Arc::new(Connection {
            flow: Flow {
                transport: peer.transport,
                local,
                remote: peer.remote,
                connection: Some(id),
            },
            peer,
            source,
            silences: AtomicU32::new(0),
            queue: Mutex::new(Queue {
                messages: Messages::new(),
                bytes: 0,
                state: State::Open,
                slot: None,
            }),
        });
        self.by_id
            .with(&id, |connections| connections.insert(id, Arc::clone(&connection)));
        connection
    }
}

impl<O> Connection<O> {
    /// Its id.
    pub fn id(&self) -> ConnectionId {
        // One with no id never gets into the table.
        self.flow.connection.unwrap_or(ConnectionId(0))
    }

    /// Notes that something has come from its peer.
    pub fn hear(&self) {
        // Written only where there is something to forget: other threads look at the same cache line.
        if self.silences.load(Ordering::Relaxed) != 0 {
            self.silences.store(0, Ordering::Relaxed);
        }
    }

    /// Whether its peer has been asked whether it is there, and nothing has come since.
    pub fn is_doubted(&self) -> bool {
        self.silences.load(Ordering::Relaxed) >= SILENCES_MAX
    }

    /// Puts a message into the queue. The waker, where there is one, is to be woken afterwards.
    pub fn push(&self, payload: Bytes, origin: Option<O>) -> Result<Option<Waker>, Unwritable> {
        let mut queue = self.queue.lock();
        if queue.state != State::Open {
            return Err(Unwritable);
        }
        let bytes = payload.len() + MESSAGE_OVERHEAD;
        if queue.bytes + bytes > QUEUE_BYTES {
            queue.state = State::Congested;
            queue.list().into_iter().for_each(Waker::wake);
            return Err(Unwritable);
        }
        queue.bytes += bytes;
        queue.messages.push(Queued { payload, origin });
        Ok(queue.list())
    }

    /// Closes the connection once what is queued has been written.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        if queue.state == State::Open {
            queue.state = State::Closing;
        }
        let waker = queue.list();
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Has what is pushed from now on listed in `outbox`, and what was pushed before at once.
    pub fn serve(&self, outbox: &Arc<Outbox>, token: Token) {
        let mut queue = self.queue.lock();
        queue.slot = Some(Slot::new(Arc::clone(outbox), token));
        let waker = queue.list();
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether the queue has become full. From here on it is listed anew when that changes.
    pub fn is_congested(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.unlist();
        queue.state == State::Congested
    }

    fn is_open(&self) -> bool {
        self.queue.lock().state == State::Open
    }

    /// Moves as many messages as are written at once from the queue to `messages`, which is empty. What is pushed from
    /// here on is listed anew.
    pub fn take(&self, messages: &mut Messages<O>) -> Taken {
        let mut queue = self.queue.lock();
        queue.unlist();
        match queue.state {
            State::Congested => return Taken::Congested,
            State::Closing | State::Closed if queue.messages.is_empty() => return Taken::Close,
            State::Open | State::Closing | State::Closed => {}
        }
        if queue.bytes <= WRITE_BYTES {
            queue.bytes = 0;
            *messages = std::mem::take(&mut queue.messages);
            return match queue.state {
                State::Open => Taken::All,
                State::Closing | State::Congested | State::Closed => Taken::More,
            };
        }
        let mut bytes = 0;
        let fits = |queued: &&Queued<O>| {
            bytes += queued.payload.len() + MESSAGE_OVERHEAD;
            bytes <= WRITE_BYTES
        };
        let count = queue.messages.iter().take_while(fits).count().max(1);
        messages.extend(queue.messages.drain(..count));
        queue.bytes -= messages
            .iter()
            .map(|queued| queued.payload.len() + MESSAGE_OVERHEAD)
            .sum::<usize>();
        Taken::More
    }
}

impl<O> Queue<O> {
    fn list(&mut self) -> Option<Waker> {
        self.slot.as_mut().and_then(Slot::list)
    }

    fn unlist(&mut self) {
        self.slot.iter_mut().for_each(Slot::unlist);
    }
}

/// What a limit for each source counts: an IPv4 address, or the /64 that one IPv6 host has to itself.
fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests;
