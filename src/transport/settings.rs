//! `[[listen]]` and `[limits]`, as far as sockets are concerned.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::dns;
use crate::sip::hop::Transport;
use crate::sip::message::limits;

/// What to listen on, and the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where requests are received.
    pub listeners: Vec<Listener>,
    /// Limits of messages.
    pub message: limits::Limits,
    /// Limits of connections.
    pub limits: Limits,
    /// Who is asked for names.
    pub dns: dns::Settings,
}

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// The address to bind, perhaps a wildcard.
    pub bind: SocketAddr,
    /// The files of its certificate; only TLS and WSS have one.
    pub certificate: Option<CertificateFiles>,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those that lead to its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Bounds on connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most connections in all, outgoing ones included; more are closed at once.
    pub connections: usize,
    /// The most connections accepted from one IPv4 address or one IPv6 /64; more are closed at once.
    pub connections_per_source: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long an accepted connection may take to bring its first whole message, and any connection to bring the
    /// rest of a message that has begun.
    pub first_message: Duration,
    /// How long a connection may be silent in both directions.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 20_000,
            connections_per_source: 200,
            handshake: Duration::from_secs(10),
            first_message: Duration::from_secs(30),
            // A little more than the longest registration: a phone that only refreshes keeps its connection.
            idle: Duration::from_secs(3900),
        }
    }
}
