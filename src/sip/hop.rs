//! Where a message came from ([`Flow`], RFC 5626 §3) and where one goes ([`Hop`], [`Target`]; RFC 3263).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A SIP transport (RFC 3261 §18, RFC 7118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Whether the transport delivers or fails, so that nothing is retransmitted over it (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// Whether the transport is protected by TLS.
    pub fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    /// The name as Via writes it (RFC 3261 §20.42).
    pub fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// The name as the `transport` parameter of a URI writes it (RFC 3261 §19.1.1).
    pub fn parameter(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// The transport that a `transport` parameter or a Via names, compared without case.
    pub fn from_name(name: &[u8]) -> Option<Transport> {
        [
            Transport::Udp,
            Transport::Tcp,
            Transport::Tls,
            Transport::Ws,
            Transport::Wss,
        ]
        .into_iter()
        .find(|transport| transport.parameter().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The port meant when none is written (RFC 3261 §18.1.1, RFC 7118 §8).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.parameter())
    }
}

/// One stream connection of this process. Ids start at a random number and are never reused, so that an id of an
/// earlier start does not name a connection of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// The way a message came by, over which its sender can be reached as long as the flow lives (RFC 5626 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our address: the one the datagram was sent to, or the connection's. The port is always that of a listener,
    /// on outgoing connections too.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection; `None` on UDP only.
    pub connection: Option<ConnectionId>,
}

/// A place to send to, found by resolution (RFC 3263): a datagram goes there, a stream is connected or reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The transport.
    pub transport: Transport,
    /// The address to send to.
    pub remote: SocketAddr,
    /// The source address of the route to `remote`, with the port of the listener used.
    pub local: SocketAddr,
    /// The host name that led here; what a TLS certificate must name (RFC 5922).
    pub server_name: Option<Arc<str>>,
}

/// Where an outgoing message goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Over an existing flow, and not otherwise: a dead connection fails.
    Flow(Flow),
    /// To a hop; an open connection to the same address and name is reused.
    Hop(Hop),
}

impl Target {
    /// The transport.
    pub fn transport(&self) -> Transport {
        match self {
            Target::Flow(flow) => flow.transport,
            Target::Hop(hop) => hop.transport,
        }
    }

    /// Our address on the way there.
    pub fn local(&self) -> SocketAddr {
        match self {
            Target::Flow(flow) => flow.local,
            Target::Hop(hop) => hop.local,
        }
    }

    /// The peer's address.
    pub fn remote(&self) -> SocketAddr {
        match self {
            Target::Flow(flow) => flow.remote,
            Target::Hop(hop) => hop.remote,
        }
    }
}
