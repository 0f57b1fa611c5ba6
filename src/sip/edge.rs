//! The domains that this server is the edge of (RFC 5626 §3): another registrar serves them, and phones reach it through
//! this server, which keeps their flows.

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::sip::message::address::NameAddr;
use crate::sip::message::uri::{Host, Uri};

/// A domain whose registrar is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Its names, in lower case.
    pub names: Vec<Box<str>>,
    /// The way to its registrar, as a Route value: `<sip:10.0.0.5;transport=tcp;lr>`.
    pub registrar: Box<str>,
}

/// All of them, found by name.
#[derive(Debug, Default)]
pub struct Edges {
    list: Vec<Edge>,
    by_host: HashMap<Box<[u8]>, usize>,
}

impl Edges {
    /// Indexes `list`. Where two claim one name the first keeps it (configuration refuses that earlier).
    pub fn new(list: Vec<Edge>) -> Edges {
        let mut by_host = HashMap::new();
        for (index, edge) in list.iter().enumerate() {
            for name in &edge.names {
                by_host
                    .entry(name.to_ascii_lowercase().into_bytes().into())
                    .or_insert(index);
            }
        }
        Edges { list, by_host }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The one that `host` (any case; IPv6 in brackets) names.
    pub fn find(&self, host: &[u8]) -> Option<&Edge> {
        if self.list.is_empty() {
            return None;
        }
        let index = match host.iter().any(u8::is_ascii_uppercase) {
            false => self.by_host.get(host),
            true => self.by_host.get(&*host.to_ascii_lowercase()),
        };
        self.list.get(*index?)
    }

    /// The one whose registrar `route` leads to.
    pub fn of_registrar(&self, route: &Uri<'_>) -> Option<&Edge> {
        self.list.iter().find(|edge| edge.is_registrar(route))
    }
}

impl Edge {
    /// The address of its registrar, when that is not a name.
    pub fn registrar_address(&self) -> Option<IpAddr> {
        match self.registrar_uri()?.host? {
            Host::V4(address) => Some(address.into()),
            Host::V6(address) => Some(address.into()),
            Host::Name(_) => None,
        }
    }

    /// Whether `route` leads to its registrar: scheme, host, port and transport are those of the configuration, and nothing
    /// leads elsewhere.
    pub fn is_registrar(&self, route: &Uri<'_>) -> bool {
        self.registrar_uri().is_some_and(|registrar| {
            registrar.scheme == route.scheme
                && registrar.host_bytes.eq_ignore_ascii_case(route.host_bytes)
                && registrar.port == route.port
                && registrar.transport() == route.transport()
                && route.maddr().is_none()
        })
    }

    fn registrar_uri(&self) -> Option<Uri<'_>> {
        Uri::parse(NameAddr::parse(self.registrar.as_bytes()).ok()?.uri).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_found_by_name_and_its_registrar_by_where_it_is() {
        let edges = Edges::new(vec![Edge {
            names: vec!["example.net".into(), "sip.example.net".into()],
            registrar: "<sip:10.0.0.5:5070;transport=tcp;lr>".into(),
        }]);
        assert!(edges.find(b"SIP.Example.Net").is_some());
        assert!(edges.find(b"example.com").is_none());
        for (uri, is_it) in [
            ("sip:orig@10.0.0.5:5070;transport=TCP;lr", true),
            ("sip:10.0.0.5:5070;lr", false),
            ("sip:10.0.0.5;transport=tcp;lr", false),
            ("sip:10.0.0.6:5070;transport=tcp;lr", false),
            ("sip:10.0.0.5:5070;transport=tcp;maddr=192.0.2.9;lr", false),
        ] {
            let uri = Uri::parse(uri.as_bytes()).unwrap();
            assert_eq!(edges.of_registrar(&uri).is_some(), is_it);
        }
    }
}
