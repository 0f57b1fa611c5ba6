//! What may go wrong when a listener is opened, said so that the operator knows what to do.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use thiserror::Error;

use crate::sip::hop::Transport;

/// Why a listener could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The port is taken.
    #[error("{transport} {bind}: address already in use: another server is listening there; stop it or change bind")]
    InUse {
        /// The listener's transport.
        transport: Transport,
        /// The listener's address.
        bind: SocketAddr,
    },
    /// The address is not one of this machine's.
    #[error("{transport} {bind}: this machine has no such address; change bind")]
    NoSuchAddress {
        /// The listener's transport.
        transport: Transport,
        /// The listener's address.
        bind: SocketAddr,
    },
    /// Low ports are not for everybody.
    #[error(
        "{transport} {bind}: permission denied: a port below 1024 needs CAP_NET_BIND_SERVICE; grant it or change bind"
    )]
    Denied {
        /// The listener's transport.
        transport: Transport,
        /// The listener's address.
        bind: SocketAddr,
    },
    /// Anything else.
    #[error("{transport} {bind}: cannot listen: {error}")]
    Failed {
        /// The listener's transport.
        transport: Transport,
        /// The listener's address.
        bind: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

impl OpenError {
    /// Reads what the system says about a listener.
    pub fn new(transport: Transport, bind: SocketAddr, error: io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::AddrInUse => OpenError::InUse { transport, bind },
            io::ErrorKind::AddrNotAvailable => OpenError::NoSuchAddress { transport, bind },
            io::ErrorKind::PermissionDenied => OpenError::Denied { transport, bind },
            _ => OpenError::Failed { transport, bind, error },
        }
    }
}

/// A socket for `address`, not yet bound; an IPv6 one is for IPv6 only.
pub(super) fn socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}
