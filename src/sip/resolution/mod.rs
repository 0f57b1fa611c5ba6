//! Where a URI leads (RFC 3263): a [`Question`] is made of it here, and a [`Resolution`] says which records have to be
//! looked up for it, takes their answers, and puts the places to try in order. Nothing is looked up here.

mod name;
mod order;
mod records;
mod search;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;
use thiserror::Error;

use crate::sip::hop::Transport;
use crate::sip::message::uri::{Host, Scheme, Uri};

pub use name::{checked_name, is_usable};
pub use records::{Answer, LeftOut, Lookup, Naptr, RecordKind, Srv};
pub use search::{MAX_HOPS, MAX_TARGETS, Resolution};

/// Names a question: the shard that asked, and its own number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryId {
    /// The shard to be told the answer.
    pub shard: u16,
    /// The shard's number for the question.
    pub id: u64,
}

/// What RFC 3263 §4 calls TARGET.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QuestionHost {
    /// A host name that can be looked up, in lower case and without a dot at its end.
    Name(Box<str>),
    /// An address, which needs no look-up.
    Address(IpAddr),
}

/// What has to be known of a URI to find the places it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The host, or the `maddr` parameter.
    pub host: QuestionHost,
    /// The port, if one is written.
    pub port: Option<u16>,
    /// The transport, if one is written.
    pub transport: Option<Transport>,
    /// Whether the way must be protected by TLS (`sips`).
    pub secure: bool,
    /// Whether the message must not go over UDP when another transport is possible (RFC 3261 §18.1.1).
    pub too_large_for_udp: bool,
    /// Decides which SRV targets of one priority come first (RFC 2782). A new one for each request.
    pub seed: u64,
    /// Who sent the request; nobody may have too many names looked up.
    pub source: Option<IpAddr>,
}

/// Why a URI leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotResolvable {
    /// Its scheme is neither `sip` nor `sips`.
    #[error("only sip and sips URIs name a host")]
    Scheme,
    /// It has no host, or one that no name server can know, or its `maddr` is none.
    #[error("the URI names no host that can be looked up")]
    Host,
    /// Its transport is not known here, or not possible with its scheme.
    #[error("the URI asks for a transport that cannot be used")]
    Transport,
}

/// What can be sent with: the transports and address families of our listeners. A set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means(u16);

impl Means {
    /// Those of listeners bound to these addresses.
    pub fn of(listeners: impl IntoIterator<Item = (Transport, SocketAddr)>) -> Means {
        let bits = listeners
            .into_iter()
            .map(|(transport, bound)| Means::bit(transport, bound.ip()));
        Means(bits.fold(0, |set, bit| set | bit))
    }

    /// Whether `transport` can be used to `address`.
    pub fn reach(self, transport: Transport, address: IpAddr) -> bool {
        self.0 & Means::bit(transport, address) != 0
    }

    /// Whether `transport` can be used at all.
    pub fn have(self, transport: Transport) -> bool {
        self.kinds(transport).next().is_some()
    }

    /// The records that hold addresses to which `transport` can be used.
    pub fn kinds(self, transport: Transport) -> impl Iterator<Item = RecordKind> {
        let bits = self.0 >> (transport as u16 * 2);
        let families = [(1, RecordKind::A), (2, RecordKind::Aaaa)];
        families
            .into_iter()
            .filter(move |(bit, _)| bits & bit != 0)
            .map(|(_, kind)| kind)
    }

    fn bit(transport: Transport, address: IpAddr) -> u16 {
        1 << (transport as u16 * 2 + u16::from(address.is_ipv6()))
    }
}

/// A few transports, in the order to be tried.
pub type Transports = SmallVec<[Transport; 2]>;

impl Question {
    /// The question that `uri` puts: RFC 3263 §4.1, §4.2.
    pub fn from_uri(uri: &Uri<'_>) -> Result<Question, NotResolvable> {
        let secure = match uri.scheme {
            Scheme::Sip => false,
            Scheme::Sips => true,
            Scheme::Tel | Scheme::Other => return Err(NotResolvable::Scheme),
        };
        let host = match uri.maddr() {
            Some(maddr) => Host::parse(maddr),
            None => uri.host,
        };
        let transport = match uri.transport() {
            Some(None) => return Err(NotResolvable::Transport),
            Some(transport) => transport,
            None => None,
        };
        if secure && transport == Some(Transport::Udp) {
            return Err(NotResolvable::Transport);
        }
        Ok(Question {
            host: question_host(host.ok_or(NotResolvable::Host)?)?,
            port: uri.port,
            transport,
            secure,
            too_large_for_udp: false,
            seed: 0,
            source: None,
        })
    }

    /// The transports to be tried where no record says which: those that the URI allows, as far as we have `means`.
    fn transports(&self, means: Means) -> Transports {
        let allowed: &[Transport] = match (self.transport, self.secure) {
            // RFC 3261 §26.2.2: `sips` with `transport=tcp` means TLS over TCP.
            (None | Some(Transport::Tcp | Transport::Tls), true) => &[Transport::Tls],
            (Some(Transport::Ws | Transport::Wss), true) => &[Transport::Wss],
            (Some(Transport::Udp), true) => &[],
            (Some(transport), false) => return std::iter::once(transport).filter(|one| means.have(*one)).collect(),
            // RFC 3261 §18.1.1: where only the size led to TCP and it cannot be reached, UDP is tried after all.
            (None, false) if self.too_large_for_udp => &[Transport::Tcp, Transport::Udp],
            // RFC 3263 §4.1: without a NAPTR or SRV record, UDP.
            (None, false) if means.have(Transport::Udp) => &[Transport::Udp],
            (None, false) => &[Transport::Tcp],
        };
        allowed.iter().copied().filter(|one| means.have(*one)).collect()
    }

    /// The transports whose SRV records are asked for where no NAPTR record says which (RFC 3263 §4.1).
    fn srv_transports(&self, means: Means) -> Transports {
        match (self.transport, self.secure) {
            (None, false) => {
                let both = match self.too_large_for_udp {
                    true => [Transport::Tcp, Transport::Udp],
                    false => [Transport::Udp, Transport::Tcp],
                };
                both.into_iter().filter(|one| means.have(*one)).collect()
            }
            (Some(_), _) | (None, true) => self.transports(means),
        }
    }
}

fn question_host(host: Host<'_>) -> Result<QuestionHost, NotResolvable> {
    match host {
        Host::V4(address) => Ok(QuestionHost::Address(address.into())),
        Host::V6(address) => Ok(QuestionHost::Address(address.into())),
        Host::Name(name) => checked_name(name).map(QuestionHost::Name).ok_or(NotResolvable::Host),
    }
}
