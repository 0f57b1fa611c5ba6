//! The records that a resolution asks for, and which of them are of use (RFC 3263 §4.1, RFC 2782, RFC 3403).

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

use super::name::checked_name;
use super::{Means, Question};
use crate::sip::hop::Transport;

/// A kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// RFC 3403: which transports a domain prefers.
    Naptr,
    /// RFC 2782: the hosts and ports of a service.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// Something to be looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lookup {
    /// The records.
    pub kind: RecordKind,
    /// The name that has them, as [`checked_name`] makes it.
    pub name: Box<str>,
}

/// What a look-up has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// NAPTR records.
    Naptr(Vec<Naptr>),
    /// SRV records.
    Srv(Vec<Srv>),
    /// A or AAAA records.
    Addresses(Vec<IpAddr>),
    /// There are no such records.
    Nothing,
    /// Nobody could say.
    Failed,
}

/// A NAPTR record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// The lowest comes first.
    pub order: u16,
    /// Among those of one order, the lowest comes first.
    pub preference: u16,
    /// What kind of record follows.
    pub flags: Box<[u8]>,
    /// The service.
    pub service: Box<[u8]>,
    /// Whether the record has a regular expression.
    pub has_regexp: bool,
    /// The name that follows; empty for the root.
    pub replacement: Box<str>,
}

/// A SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// The lowest comes first.
    pub priority: u16,
    /// The share of the requests among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; empty for the root, which means that the service is not offered.
    pub target: Box<str>,
}

/// Why a record is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeftOut {
    /// It is about another service.
    #[error("no service of SIP")]
    Service,
    /// It does not lead to SRV records by its replacement (RFC 3263 §4.1: flag "s").
    #[error("does not lead to SRV records")]
    NotTerminal,
    /// The URI is `sips`.
    #[error("not protected by TLS")]
    NotSecure,
    /// Nothing could be sent.
    #[error("no listener for {0}")]
    NoListener(Transport),
    /// RFC 2782: the target is the root.
    #[error("the service is not offered")]
    NotOffered,
    /// The name, the port or the address is not one that can be used.
    #[error("cannot be used")]
    Unusable,
}

impl Naptr {
    /// The transport and the name of the SRV records that the record leads to.
    pub fn service(&self, question: &Question, means: Means) -> Result<(Transport, Box<str>), LeftOut> {
        let is = |name: &str| self.service.eq_ignore_ascii_case(name.as_bytes());
        let transport = match () {
            () if is("SIP+D2U") => Transport::Udp,
            () if is("SIP+D2T") => Transport::Tcp,
            () if is("SIPS+D2T") => Transport::Tls,
            // RFC 7118 §8.
            () if is("SIP+D2W") => Transport::Ws,
            () if is("SIPS+D2W") => Transport::Wss,
            () => return Err(LeftOut::Service),
        };
        if !self.flags.eq_ignore_ascii_case(b"s") || self.has_regexp {
            return Err(LeftOut::NotTerminal);
        }
        if question.secure && !transport.is_secure() {
            return Err(LeftOut::NotSecure);
        }
        if !means.have(transport) {
            return Err(LeftOut::NoListener(transport));
        }
        let name = checked_name(self.replacement.as_bytes()).ok_or(LeftOut::Unusable)?;
        Ok((transport, name))
    }
}

impl Srv {
    /// The host that the record leads to.
    pub fn host(&self) -> Result<Box<str>, LeftOut> {
        if self.target.is_empty() || &*self.target == "." {
            return Err(LeftOut::NotOffered);
        }
        if self.port == 0 {
            return Err(LeftOut::Unusable);
        }
        checked_name(self.target.as_bytes()).ok_or(LeftOut::Unusable)
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordKind::Naptr => "NAPTR",
            RecordKind::Srv => "SRV",
            RecordKind::A => "A",
            RecordKind::Aaaa => "AAAA",
        })
    }
}
