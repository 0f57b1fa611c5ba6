//! What every message must have (RFC 3261 §8.1.1) and the Request-URI, as they were read when the message was taken in:
//! the places of their parts, so that asking for them reads nothing twice.

use std::net::Ipv4Addr;

use super::address::{NameAddr, Parameters};
use super::method::Method;
use super::uri::{Host, Scheme, Uri};
use super::via::{CSeq, Noted, Via};
use crate::sip::hop::Transport;

/// Each is `None` when it is missing or cannot be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Essentials {
    pub(super) via: Option<ViaPlaces>,
    pub(super) from: Option<AddressPlaces>,
    pub(super) to: Option<AddressPlaces>,
    pub(super) cseq: Option<CSeqPlaces>,
    pub(super) call_id: Place,
    pub(super) request_uri: Option<UriPlaces>,
}

/// Where a part stands in the message. No part of interest stands at its very beginning, so that 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    start: u16,
    end: u16,
}

impl Place {
    /// The place of `part`, which is a slice of `message`, or has no bytes.
    #[inline]
    pub(super) fn of(message: &[u8], part: &[u8]) -> Place {
        if part.is_empty() {
            return Place::default();
        }
        let start = (part.as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
        debug_assert!(start + part.len() <= message.len(), "not a part of this message");
        Place {
            start: start as u16,
            end: (start + part.len()) as u16,
        }
    }

    /// The same of a part that may be missing; one that is there may have no bytes.
    #[inline]
    fn of_optional(message: &[u8], part: Option<&[u8]>) -> Place {
        let Some(part) = part else {
            return Place::default();
        };
        let start = (part.as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
        debug_assert!(
            start > 0 && start + part.len() <= message.len(),
            "not a part of this message"
        );
        Place {
            start: start as u16,
            end: (start + part.len()) as u16,
        }
    }

    #[inline]
    pub(super) fn bytes(self, message: &[u8]) -> &[u8] {
        &message[usize::from(self.start)..usize::from(self.end)]
    }

    #[inline]
    pub(super) fn optional(self, message: &[u8]) -> Option<&[u8]> {
        (self.start != 0).then(|| self.bytes(message))
    }
}

/// A [`Via`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaPlaces {
    value: Place,
    transport_bytes: Place,
    host_bytes: Place,
    parameters: Place,
    branch: Place,
    received: Place,
    rport: Place,
    port: Option<u16>,
    host: HostKind,
    transport: Option<Transport>,
    repeats_rport: bool,
}

impl ViaPlaces {
    #[inline]
    pub(super) fn new(message: &[u8], via: &Via<'_>) -> ViaPlaces {
        ViaPlaces {
            value: Place::of(message, via.bytes),
            transport_bytes: Place::of(message, via.transport_bytes),
            host_bytes: Place::of(message, via.host_bytes),
            parameters: Place::of(message, via.parameters.bytes()),
            branch: Place::of_optional(message, via.branch()),
            received: Place::of_optional(message, via.received()),
            rport: Place::of_optional(message, via.noted.rport),
            port: via.port,
            host: HostKind::of(via.host),
            transport: via.transport,
            repeats_rport: via.noted.repeats_rport,
        }
    }

    #[inline]
    pub(super) fn via<'a>(&self, message: &'a [u8]) -> Option<Via<'a>> {
        let host_bytes = self.host_bytes.bytes(message);
        Some(Via {
            transport: self.transport,
            transport_bytes: self.transport_bytes.bytes(message),
            host: self.host.host(host_bytes)?,
            host_bytes,
            port: self.port,
            parameters: Parameters::checked(self.parameters.bytes(message)),
            bytes: self.value.bytes(message),
            noted: Noted {
                branch: self.branch.optional(message).map(Some),
                received: self.received.optional(message).map(Some),
                rport: self.rport.optional(message),
                repeats_rport: self.repeats_rport,
            },
        })
    }

    #[inline]
    pub(super) fn branch<'a>(&self, message: &'a [u8]) -> Option<&'a [u8]> {
        self.branch.optional(message)
    }
}

/// A [`NameAddr`].
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressPlaces {
    value: Place,
    display: Place,
    uri: Place,
    parameters: Place,
    tag: Place,
    /// Whether there is a tag without a value, which RFC 3261 §25.1 `tag-param` does not know.
    pub(super) has_bare_tag: bool,
}

impl AddressPlaces {
    #[inline]
    pub(super) fn new(message: &[u8], address: &NameAddr<'_>) -> AddressPlaces {
        AddressPlaces {
            value: Place::of(message, address.bytes),
            display: Place::of_optional(message, address.display),
            uri: Place::of(message, address.uri),
            parameters: Place::of(message, address.parameters.bytes()),
            tag: Place::of_optional(message, address.tag()),
            has_bare_tag: address.tag == Some(None),
        }
    }

    #[inline]
    pub(super) fn address<'a>(&self, message: &'a [u8]) -> NameAddr<'a> {
        NameAddr {
            display: self.display.optional(message),
            uri: self.uri.bytes(message),
            parameters: Parameters::checked(self.parameters.bytes(message)),
            bytes: self.value.bytes(message),
            tag: match self.tag.optional(message) {
                None if self.has_bare_tag => Some(None),
                tag => tag.map(Some),
            },
        }
    }

    #[inline]
    pub(super) fn tag<'a>(&self, message: &'a [u8]) -> Option<&'a [u8]> {
        self.tag.optional(message)
    }
}

/// A [`CSeq`].
#[derive(Clone, Copy, Debug)]
pub(super) struct CSeqPlaces {
    number: u32,
    method_bytes: Place,
    pub(super) method: Method,
}

impl CSeqPlaces {
    #[inline]
    pub(super) fn new(message: &[u8], cseq: &CSeq<'_>) -> CSeqPlaces {
        CSeqPlaces {
            number: cseq.number,
            method_bytes: Place::of(message, cseq.method),
            method: Method::from_bytes(cseq.method),
        }
    }

    #[inline]
    pub(super) fn cseq<'a>(&self, message: &'a [u8]) -> CSeq<'a> {
        CSeq {
            number: self.number,
            method: self.method_bytes.bytes(message),
        }
    }
}

/// A [`Uri`].
#[derive(Clone, Copy, Debug)]
pub(super) struct UriPlaces {
    bytes: Place,
    user: Place,
    password: Place,
    host_bytes: Place,
    parameters: Place,
    headers: Place,
    port: Option<u16>,
    host: Option<HostKind>,
    scheme: Scheme,
}

impl UriPlaces {
    #[inline]
    pub(super) fn new(message: &[u8], uri: &Uri<'_>) -> UriPlaces {
        UriPlaces {
            bytes: Place::of(message, uri.bytes),
            user: Place::of_optional(message, uri.user),
            password: Place::of_optional(message, uri.password),
            host_bytes: Place::of(message, uri.host_bytes),
            parameters: Place::of(message, uri.parameters.bytes()),
            headers: Place::of_optional(message, uri.headers),
            port: uri.port,
            host: uri.host.map(HostKind::of),
            scheme: uri.scheme,
        }
    }

    #[inline]
    pub(super) fn uri<'a>(&self, message: &'a [u8]) -> Option<Uri<'a>> {
        let host_bytes = self.host_bytes.bytes(message);
        Some(Uri {
            scheme: self.scheme,
            user: self.user.optional(message),
            password: self.password.optional(message),
            host: match self.host {
                Some(kind) => Some(kind.host(host_bytes)?),
                None => None,
            },
            host_bytes,
            port: self.port,
            parameters: Parameters::checked(self.parameters.bytes(message)),
            headers: self.headers.optional(message),
            bytes: self.bytes.bytes(message),
        })
    }
}

/// What a [`Host`] is. IPv6 addresses are rare and large, and are read again.
#[derive(Clone, Copy, Debug)]
enum HostKind {
    Name,
    V4([u8; 4]),
    V6,
}

impl HostKind {
    #[inline]
    fn of(host: Host<'_>) -> HostKind {
        match host {
            Host::Name(_) => HostKind::Name,
            Host::V4(address) => HostKind::V4(address.octets()),
            Host::V6(_) => HostKind::V6,
        }
    }

    #[inline]
    fn host(self, bytes: &[u8]) -> Option<Host<'_>> {
        match self {
            HostKind::Name => Some(Host::Name(bytes)),
            HostKind::V4(octets) => Some(Host::V4(Ipv4Addr::from(octets))),
            HostKind::V6 => Host::parse(bytes),
        }
    }
}
