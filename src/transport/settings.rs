//! `[[listen]]` and `[limits]`, as far as sockets are concerned.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// What all of TLS has in common.
    pub tls: Tls,
    /// Who is asked for names.
    pub dns: dns::Settings,
}

/// `[tls]`, and the certificates of the domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificates of domains, which clients get that ask for one of their names.
    pub domains: Vec<DomainCertificate>,
    /// A PEM file with the roots that the certificates of peers must lead to; without it those of the system.
    pub roots: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// The certificate of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainCertificate {
    /// The names of the domain, in lower case.
    pub names: Vec<Box<str>>,
    /// Its files.
    pub certificate: CertificateFiles,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// 1.3 (RFC 8446).
    Tls13,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Unasked,
    /// They are asked; who shows one must show one that leads to a root in this file.
    Optional(PathBuf),
    /// Only those are served that show one that leads to a root in this file.
    Required(PathBuf),
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
    /// Whether its clients are asked for theirs.
    pub clients: ClientCertificates,
    /// Whom WebSocket lets in; nobody else looks at it.
    pub web: Arc<Web>,
}

/// Which requests for an upgrade to WebSocket are granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Web {
    /// The origins that pages may have (RFC 6454 §6.1); none: any.
    pub origins: Box<[Box<str>]>,
    /// The path that is asked for; without it any.
    pub path: Option<Box<str>>,
}

impl Settings {
    /// Whom WebSocket lets in whose connections come to `local`.
    pub fn web(&self, transport: Transport, local: SocketAddr) -> Arc<Web> {
        let is_of = |listener: &&Listener| {
            let bind = listener.bind;
            listener.transport == transport
                && bind.port() == local.port()
                && (bind.ip() == local.ip() || bind.ip().is_unspecified() && bind.is_ipv4() == local.is_ipv4())
        };
        let listener = self.listeners.iter().find(is_of);
        listener.map_or_else(Arc::default, |listener| Arc::clone(&listener.web))
    }
}

impl Listener {
    /// One without a certificate.
    pub fn new(transport: Transport, bind: SocketAddr) -> Listener {
        Listener {
            transport,
            bind,
            certificate: None,
            clients: ClientCertificates::Unasked,
            web: Arc::default(),
        }
    }
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
    /// The silence of a WebSocket client after which it is asked whether it is there.
    pub ping: Duration,
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
            ping: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_speaks_for_its_own_family_only() {
        let listener = |bind: &str| {
            let mut listener = Listener::new(Transport::Ws, bind.parse().unwrap());
            let path = Some(bind.into());
            listener.web = Arc::new(Web { path, ..Web::default() });
            listener
        };
        let settings = Settings {
            listeners: ["0.0.0.0:80", "[::]:80", "127.0.0.1:81"].map(listener).into(),
            ..Settings::default()
        };
        for (local, path) in [
            ("127.0.0.1:80", Some("0.0.0.0:80")),
            ("[::1]:80", Some("[::]:80")),
            ("127.0.0.1:81", Some("127.0.0.1:81")),
            ("127.0.0.2:81", None),
        ] {
            let web = settings.web(Transport::Ws, local.parse().unwrap());
            assert_eq!(web.path.as_deref(), path, "{local}");
        }
    }
}
