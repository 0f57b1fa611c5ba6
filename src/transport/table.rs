//! The connections of this process: found by id for a flow (RFC 5626 §3), or by peer for a hop; each with a bounded
//! queue of what is to be written to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use thiserror::Error;

use super::settings::Limits;
use crate::sip::hop::{ConnectionId, Flow, Hop, Transport};

/// The most bytes that wait to be written to one connection. Where that does not do, the peer does not read.
pub const QUEUE_BYTES: usize = 256 * 1024;

/// What a message in the queue counts beside its bytes.
const MESSAGE_OVERHEAD: usize = 128;

/// The bytes joined for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// Parts of the tables, each with a lock of its own.
const PARTS: usize = 64;

/// All connections. `O` names the senders of messages.
#[derive(Debug)]
pub struct Connections<O> {
    next_id: AtomicU64,
    limits: Limits,
    count: AtomicUsize,
    by_id: Parts<ConnectionId, Arc<Connection<O>>>,
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
    queue: Mutex<Queue<O>>,
}

/// What an outgoing message to a hop may be written to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    transport: Transport,
    remote: SocketAddr,
    /// What its certificate was checked for. A connection that was accepted has no such name, and a message for a name
    /// is never written to it.
    server_name: Option<Arc<str>>,
}

#[derive(Debug)]
struct Queue<O> {
    messages: VecDeque<(Bytes, Option<O>)>,
    bytes: usize,
    state: State,
    /// The connection's task, while it waits for something to write.
    waiting: Option<Waker>,
    /// The connection's task, while it waits for its peer to read.
    stalled: Option<Waker>,
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
    /// Write what was taken.
    Messages,
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
        self.by_peer.with(&peer, |peers| {
            peers.insert(peer.clone(), Arc::clone(&connection));
        });
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
            std::mem::take(&mut queue.messages)
        };
        unwritten.extend(messages.into_iter().filter_map(|(_, origin)| origin));
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
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                bytes: 0,
                state: State::Open,
                waiting: None,
                stalled: None,
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

    /// Puts a message into the queue. The waker, where there is one, is to be woken afterwards.
    pub fn push(&self, payload: Bytes, origin: Option<O>) -> Result<Option<Waker>, Unwritable> {
        let mut queue = self.queue.lock();
        if queue.state != State::Open {
            return Err(Unwritable);
        }
        let bytes = payload.len() + MESSAGE_OVERHEAD;
        if queue.bytes + bytes > QUEUE_BYTES {
            queue.state = State::Congested;
            let (waiting, stalled) = (queue.waiting.take(), queue.stalled.take());
            waiting.into_iter().chain(stalled).for_each(Waker::wake);
            return Err(Unwritable);
        }
        queue.bytes += bytes;
        queue.messages.push_back((payload, origin));
        Ok(queue.waiting.take())
    }

    /// Closes the connection once what is queued has been written.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        if queue.state == State::Open {
            queue.state = State::Closing;
        }
        if let Some(waiting) = queue.waiting.take() {
            waiting.wake();
        }
    }

    /// Is ready when the queue has become full. To be asked while the peer does not read.
    pub fn poll_congested(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.lock();
        if queue.state == State::Congested {
            return Poll::Ready(());
        }
        queue.stalled = Some(context.waker().clone());
        Poll::Pending
    }

    fn is_open(&self) -> bool {
        self.queue.lock().state == State::Open
    }

    /// Takes messages out of the queue, joined in `out`; their senders are added to `origins`.
    pub fn poll_take(&self, context: &mut Context<'_>, out: &mut BytesMut, origins: &mut Vec<O>) -> Poll<Taken> {
        let mut queue = self.queue.lock();
        if queue.state == State::Congested {
            return Poll::Ready(Taken::Congested);
        }
        if queue.messages.is_empty() {
            return match queue.state {
                State::Open => {
                    queue.waiting = Some(context.waker().clone());
                    Poll::Pending
                }
                State::Closing | State::Congested | State::Closed => Poll::Ready(Taken::Close),
            };
        }
        while let Some((payload, _)) = queue.messages.front() {
            if !out.is_empty() && out.len() + payload.len() > WRITE_BYTES {
                break;
            }
            let Some((payload, origin)) = queue.messages.pop_front() else {
                break;
            };
            queue.bytes -= payload.len() + MESSAGE_OVERHEAD;
            out.extend_from_slice(&payload);
            origins.extend(origin);
        }
        Poll::Ready(Taken::Messages)
    }
}

/// What a limit for each source counts: an IPv4 address, or the /64 that one IPv6 host has to itself.
fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
    }
}

/// A table in parts, so that threads seldom meet at a lock. Peers choose some of the keys: the hash is keyed.
#[derive(Debug)]
struct Parts<K, V> {
    parts: Box<[Mutex<HashMap<K, V>>]>,
    hasher: RandomState,
}

impl<K: Hash + Eq, V> Parts<K, V> {
    fn new() -> Parts<K, V> {
        Parts {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn with<R>(&self, key: &K, run: impl FnOnce(&mut HashMap<K, V>) -> R) -> R {
        let part = self.hasher.hash_one(key) as usize % PARTS;
        run(&mut self.parts[part].lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(connections: usize, connections_per_source: usize) -> Connections<u32> {
        let limits = Limits {
            connections,
            connections_per_source,
            ..Limits::default()
        };
        Connections::new(7, limits)
    }

    fn accept(table: &Connections<u32>, remote: &str) -> Result<Arc<Connection<u32>>, Refused> {
        let local = "127.0.0.1:5060".parse().unwrap();
        table.accept(Transport::Tls, local, remote.parse().unwrap())
    }

    fn hop(transport: Transport, server_name: Option<&str>) -> Hop {
        Hop {
            transport,
            remote: "192.0.2.1:5061".parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
            server_name: server_name.map(Arc::from),
        }
    }

    fn id(found: Result<ToHop<u32>, Refused>) -> (bool, ConnectionId) {
        match found.unwrap() {
            ToHop::New(connection) => (true, connection.id()),
            ToHop::Existing(connection) => (false, connection.id()),
        }
    }

    fn take(connection: &Connection<u32>) -> (Poll<Taken>, BytesMut, Vec<u32>) {
        let (mut out, mut origins) = (BytesMut::new(), Vec::new());
        let taken = connection.poll_take(&mut Context::from_waker(Waker::noop()), &mut out, &mut origins);
        (taken, out, origins)
    }

    #[test]
    fn connections_are_limited_in_all_and_by_source() {
        let table = connections(4, 2);
        let first = accept(&table, "[2001:db8::1]:1").unwrap();
        accept(&table, "[2001:db8::ffff]:2").unwrap();
        assert_eq!(accept(&table, "[2001:db8::3]:3").unwrap_err(), Refused::TooManyOfSource);
        accept(&table, "[2001:db8:0:1::3]:3").unwrap();
        accept(&table, "192.0.2.1:3").unwrap();
        assert_eq!(accept(&table, "192.0.2.2:3").unwrap_err(), Refused::TooMany);
        assert_eq!(table.to_hop(&hop(Transport::Tcp, None)).unwrap_err(), Refused::TooMany);

        table.remove(&first, &mut Vec::new());
        table.remove(&first, &mut Vec::new());
        assert_eq!(table.count(), 3);
        accept(&table, "[2001:db8::3]:3").unwrap();
    }

    #[test]
    fn a_hop_uses_the_connection_of_its_name() {
        let table = connections(10, 10);
        let (is_new, first) = id(table.to_hop(&hop(Transport::Tls, Some("a.example"))));
        assert!(is_new);
        assert_eq!(
            id(table.to_hop(&hop(Transport::Tls, Some("a.example")))),
            (false, first)
        );
        let (is_new, other) = id(table.to_hop(&hop(Transport::Tls, Some("b.example"))));
        assert!(is_new && other != first);
        let (_, tcp) = id(table.to_hop(&hop(Transport::Tcp, Some("a.example"))));
        assert_eq!(id(table.to_hop(&hop(Transport::Tcp, Some("b.example")))), (false, tcp));
    }

    #[test]
    fn an_accepted_connection_is_used_for_its_very_address_and_for_no_name() {
        let table = connections(10, 10);
        let accepted = accept(&table, "192.0.2.1:5061").unwrap();
        assert_eq!(id(table.to_hop(&hop(Transport::Tls, None))), (false, accepted.id()));
        assert!(id(table.to_hop(&hop(Transport::Tls, Some("a.example")))).0);
        accepted.close();
        let (is_new, outgoing) = id(table.to_hop(&hop(Transport::Tls, None)));
        assert!(is_new);
        table.remove(&accepted, &mut Vec::new());
        assert_eq!(id(table.to_hop(&hop(Transport::Tls, None))), (false, outgoing));
    }

    #[test]
    fn queued_messages_are_joined() {
        let table = connections(10, 10);
        let connection = accept(&table, "192.0.2.1:5061").unwrap();
        assert_eq!(take(&connection).0, Poll::Pending);
        let waker = table
            .push(connection.id(), Bytes::from_static(b"one"), Some(1))
            .unwrap();
        assert!(waker.is_some(), "the task waits and has to be woken");
        assert!(connection.push(Bytes::from_static(b"two"), None).unwrap().is_none());
        let (taken, out, origins) = take(&connection);
        assert_eq!(
            (taken, &out[..], &origins[..]),
            (Poll::Ready(Taken::Messages), &b"onetwo"[..], &[1][..])
        );
        assert_eq!(connection.queue.lock().bytes, 0);
        connection.close();
        assert_eq!(take(&connection).0, Poll::Ready(Taken::Close));
    }

    #[test]
    fn a_full_queue_ends_the_connection() {
        let table = connections(10, 10);
        let connection = accept(&table, "192.0.2.1:5061").unwrap();
        let payload = Bytes::from(vec![b'x'; QUEUE_BYTES / 2 - MESSAGE_OVERHEAD]);
        connection.push(payload.clone(), Some(1)).unwrap();
        connection.push(payload, Some(2)).unwrap();
        assert_eq!(connection.push(Bytes::new(), Some(3)).unwrap_err(), Unwritable);
        assert_eq!(take(&connection).0, Poll::Ready(Taken::Congested));
        let mut unwritten = Vec::new();
        table.remove(&connection, &mut unwritten);
        assert_eq!(unwritten, [1, 2]);
        let gone = table.push(connection.id(), Bytes::new(), Some(4));
        assert_eq!(gone.unwrap_err(), Unwritable);
    }
}
