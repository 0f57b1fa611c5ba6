//! Where a URI leads (RFC 3263): a [`Question`] is made of it here, its host is looked up elsewhere, and the places to
//! try are put in order here. A and AAAA records only; NAPTR and SRV are not asked for.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::sip::hop::Transport;
use crate::sip::message::uri::{Host, Scheme, Uri};

/// The most places that one question leads to; more addresses of a host are not tried.
pub const MAX_HOPS: usize = 8;

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
    /// A host name, in lower case.
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
}

/// Why a URI leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotResolvable {
    /// Its scheme is neither `sip` nor `sips`.
    #[error("only sip and sips URIs name a host")]
    Scheme,
    /// It has no host, or its `maddr` is none.
    #[error("the URI names no host")]
    Host,
    /// Its transport is not known here, or not possible with its scheme.
    #[error("the URI asks for a transport that cannot be used")]
    Transport,
}

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
        let question = Question {
            host: question_host(host.ok_or(NotResolvable::Host)?)?,
            port: uri.port,
            transport,
            secure,
            too_large_for_udp: false,
        };
        match question.transports() {
            [] => Err(NotResolvable::Transport),
            _ => Ok(question),
        }
    }

    /// The transports to be tried, in this order.
    fn transports(&self) -> &'static [Transport] {
        match (self.transport, self.secure) {
            // RFC 3261 §26.2.2: `sips` with `transport=tcp` means TLS over TCP.
            (None | Some(Transport::Tcp | Transport::Tls), true) => &[Transport::Tls],
            (Some(Transport::Ws | Transport::Wss), true) => &[Transport::Wss],
            (Some(Transport::Udp), true) => &[],
            (Some(Transport::Udp), false) => &[Transport::Udp],
            (Some(Transport::Tcp), false) => &[Transport::Tcp],
            (Some(Transport::Tls), false) => &[Transport::Tls],
            (Some(Transport::Ws), false) => &[Transport::Ws],
            (Some(Transport::Wss), false) => &[Transport::Wss],
            // RFC 3261 §18.1.1: where only the size led to TCP and it cannot be reached, UDP is tried after all.
            (None, false) if self.too_large_for_udp => &[Transport::Tcp, Transport::Udp],
            // RFC 3263 §4.1: without a NAPTR or SRV record, UDP.
            (None, false) => &[Transport::Udp],
        }
    }
}

fn question_host(host: Host<'_>) -> Result<QuestionHost, NotResolvable> {
    match host {
        Host::V4(address) => Ok(QuestionHost::Address(address.into())),
        Host::V6(address) => Ok(QuestionHost::Address(address.into())),
        Host::Name(name) => match std::str::from_utf8(name) {
            Ok(name) => Ok(QuestionHost::Name(name.to_ascii_lowercase().into())),
            Err(_) => Err(NotResolvable::Host),
        },
    }
}

/// The places that `question` leads to when its host has `addresses`, in the order to be tried (RFC 3263 §4.2).
pub fn hops(question: &Question, addresses: &[IpAddr]) -> Vec<(Transport, SocketAddr)> {
    let hops = question.transports().iter().flat_map(|transport| {
        let port = question.port.unwrap_or(transport.default_port());
        let usable = addresses.iter().filter(|address| !address.is_unspecified());
        usable.map(move |address| (*transport, SocketAddr::new(*address, port)))
    });
    hops.filter(|(_, remote)| remote.port() != 0).take(MAX_HOPS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(transport: Option<Transport>, port: Option<u16>) -> Question {
        Question {
            host: QuestionHost::Name("example.com".into()),
            port,
            transport,
            secure: false,
            too_large_for_udp: false,
        }
    }

    fn addresses() -> [IpAddr; 2] {
        ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]
    }

    fn text(question: &Question) -> Vec<String> {
        let hops = hops(question, &addresses());
        hops.iter()
            .map(|(transport, remote)| format!("{transport} {remote}"))
            .collect()
    }

    fn from_uri(uri: &str) -> Result<Question, NotResolvable> {
        Question::from_uri(&Uri::parse(uri.as_bytes()).unwrap())
    }

    #[test]
    fn a_uri_names_host_port_and_transport() {
        let expected = question(Some(Transport::Tcp), Some(5070));
        assert_eq!(from_uri("sip:alice@EXAMPLE.com:5070;transport=TCP"), Ok(expected));
        assert_eq!(from_uri("sip:example.com"), Ok(question(None, None)));
        let address = from_uri("sip:alice@[2001:db8::1]").unwrap();
        assert_eq!(address.host, QuestionHost::Address(addresses()[1]));
    }

    #[test]
    fn maddr_decides_over_the_host() {
        let address = from_uri("sip:alice@example.com;maddr=192.0.2.1").unwrap();
        assert_eq!(address.host, QuestionHost::Address(addresses()[0]));
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        assert_eq!(from_uri("tel:+15550100"), Err(NotResolvable::Scheme));
        assert_eq!(
            from_uri("sip:example.com;transport=sctp"),
            Err(NotResolvable::Transport)
        );
        assert_eq!(
            from_uri("sips:example.com;transport=udp"),
            Err(NotResolvable::Transport)
        );
    }

    #[test]
    fn without_a_transport_udp_is_taken() {
        assert_eq!(
            text(&question(None, None)),
            ["udp 192.0.2.1:5060", "udp [2001:db8::1]:5060"]
        );
    }

    #[test]
    fn a_written_port_and_transport_are_kept() {
        let question = question(Some(Transport::Tls), Some(5091));
        assert_eq!(text(&question), ["tls 192.0.2.1:5091", "tls [2001:db8::1]:5091"]);
    }

    #[test]
    fn a_large_message_tries_tcp_first() {
        let large = Question {
            too_large_for_udp: true,
            ..question(None, None)
        };
        let expected = [
            "tcp 192.0.2.1:5060",
            "tcp [2001:db8::1]:5060",
            "udp 192.0.2.1:5060",
            "udp [2001:db8::1]:5060",
        ];
        assert_eq!(text(&large), expected);
        let large = Question {
            transport: Some(Transport::Udp),
            ..large
        };
        assert_eq!(text(&large), ["udp 192.0.2.1:5060", "udp [2001:db8::1]:5060"]);
    }

    #[test]
    fn sips_needs_tls() {
        let secure = Question {
            secure: true,
            ..question(Some(Transport::Tcp), None)
        };
        assert_eq!(text(&secure), ["tls 192.0.2.1:5061", "tls [2001:db8::1]:5061"]);
        let secure = Question {
            transport: Some(Transport::Udp),
            ..secure
        };
        assert_eq!(text(&secure), [""; 0]);
    }

    #[test]
    fn the_places_have_a_limit() {
        let many = vec![IpAddr::from([192, 0, 2, 1]); 100];
        assert_eq!(hops(&question(None, None), &many).len(), MAX_HOPS);
        assert_eq!(hops(&question(None, None), &[IpAddr::from([0, 0, 0, 0])]), []);
    }
}
