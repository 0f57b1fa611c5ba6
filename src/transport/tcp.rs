//! TCP: listening, accepting and connecting; TLS begins with it too (RFC 3261 §18).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpSocket;
use tracing::{debug, warn};

use super::counters::Counters;
use super::mmsg;
use super::open::{self, OpenError};
use super::table::{Connection, Connections, Refused};
use crate::sip::hop::{Hop, Transport};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 4096;

/// The most connections accepted before other tasks have their turn.
const ACCEPTS_PER_TURN: usize = 64;

/// The pause after an error of accepting; one of them is that no more files can be open.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The silence after which the kernel asks whether the peer is still there, and the pause between two such questions.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// A listening socket, not yet served.
#[derive(Debug)]
pub struct Listening {
    /// TCP, or what is built on it.
    pub transport: Transport,
    /// The bound address.
    pub local: SocketAddr,
    socket: TcpListener,
}

/// A connection that was accepted and entered in the table.
#[derive(Debug)]
pub struct Accepted<O> {
    /// Its socket.
    pub stream: TcpStream,
    /// Its entry, which is to be removed when it ends.
    pub connection: Arc<Connection<O>>,
}

/// Listens on `bind`.
pub fn open(transport: Transport, bind: SocketAddr) -> Result<Listening, OpenError> {
    listen(transport, bind).map_err(|error| OpenError::new(transport, bind, error))
}

fn listen(transport: Transport, bind: SocketAddr) -> io::Result<Listening> {
    let socket = open::socket(bind, Type::STREAM)?;
    // Connections of an earlier start that linger do not keep the port from us; a listener does.
    socket.set_reuse_address(true)?;
    socket.bind(&bind.into())?;
    // Linux hands these on to the connections, which saves four calls for each.
    configure(SockRef::from(&socket));
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from(socket);
    Ok(Listening {
        transport,
        local: socket.local_addr()?,
        socket,
    })
}

/// Accepts connections for ever, enters them in `connections` and hands each to `deal`. Those above a limit are closed
/// at once.
pub async fn accept<O: Copy>(
    listening: Listening,
    connections: &Connections<O>,
    counters: &Counters,
    deal: impl Fn(Accepted<O>),
) -> io::Result<()> {
    let Listening {
        transport,
        local,
        socket,
    } = listening;
    let socket = mmsg::register(socket)?;
    let mut is_failing = false;
    'waiting: loop {
        let mut ready = socket.readable().await?;
        for _ in 0..ACCEPTS_PER_TURN {
            match accept_one(&socket) {
                Ok((stream, remote)) => {
                    is_failing = false;
                    counters.connections_accepted.add(1);
                    enter(transport, local, stream, remote, connections, counters, &deal);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    continue 'waiting;
                }
                // accept(2): the peer is gone already.
                Err(error) if is_of_one_connection(&error) => debug!(%local, %error, "cannot accept a connection"),
                Err(error) => {
                    counters.accept_errors.add(1);
                    if !is_failing {
                        warn!(%transport, %local, %error, "cannot accept connections; trying again");
                    }
                    is_failing = true;
                    tokio::time::sleep(ERROR_PAUSE).await;
                    break;
                }
            }
        }
        drop(ready);
        // There are more, but other tasks have their turn first.
        tokio::task::yield_now().await;
    }
}

fn accept_one(socket: &AsyncFd<OwnedFd>) -> io::Result<(Socket, SocketAddr)> {
    let (stream, remote) = SockRef::from(socket.get_ref()).accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)?;
    let remote = remote.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream, remote))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable | TimedOut
    )
}

fn enter<O: Copy>(
    transport: Transport,
    bound: SocketAddr,
    stream: Socket,
    remote: SocketAddr,
    connections: &Connections<O>,
    counters: &Counters,
    deal: &impl Fn(Accepted<O>),
) {
    match connections.accept(transport, local_of(&stream, bound), remote) {
        Ok(connection) => {
            let stream = TcpStream::from(stream);
            deal(Accepted { stream, connection });
        }
        Err(Refused::TooMany) => {
            counters.connections_refused.add(1);
            debug!(%transport, %remote, "too many connections");
        }
        Err(Refused::TooManyOfSource) => {
            counters.connections_refused_of_source.add(1);
            debug!(%transport, %remote, "too many connections of one source");
        }
    }
}

/// The local address of a connection that was accepted at `bound`.
fn local_of(stream: &Socket, bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let local = stream.local_addr().ok().and_then(|local| local.as_socket());
    local.unwrap_or(bound)
}

/// Connects to `hop` from its local address.
pub async fn connect(hop: &Hop) -> io::Result<tokio::net::TcpStream> {
    let socket = match hop.remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if !hop.local.ip().is_unspecified() && hop.local.is_ipv4() == hop.remote.is_ipv4() {
        // The port is the listener's; a connection has one of its own.
        let mut local = hop.local;
        local.set_port(0);
        socket.bind(local)?;
    }
    let stream = socket.connect(hop.remote).await?;
    configure(SockRef::from(&stream));
    Ok(stream)
}

/// What every connection is set to, and every listener for those accepted by it. None of it matters enough to fail.
fn configure(socket: SockRef<'_>) {
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE_INTERVAL);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keep_alive);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_inherit_the_settings_of_their_listener() {
        let listening = open(Transport::Tcp, "127.0.0.1:0".parse().unwrap()).unwrap();
        let _peer = TcpStream::connect(listening.local).unwrap();
        let (stream, _) = listening.socket.accept().unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE_INTERVAL);
    }
}
