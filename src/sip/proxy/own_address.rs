//! Our own addresses as Via and Record-Route write them (RFC 3261 §16.6 steps 4 and 8).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, BytesMut};

use crate::sip::hop::Transport;
use crate::sip::message::reply::put_decimal;
use crate::sip::shared::{Settings, split_port};

/// The parts of the lines that name one of our addresses.
#[derive(Debug)]
pub struct OwnAddress {
    transport: Transport,
    local: SocketAddr,
    /// `Via: SIP/2.0/UDP host:port;branch=`.
    pub via: BytesMut,
    /// What follows the user part in Record-Route, to the end of the line.
    pub record_route: BytesMut,
}

/// The last few of our addresses that were written.
#[derive(Default)]
pub struct OwnAddresses {
    list: Vec<OwnAddress>,
    next: usize,
}

impl OwnAddresses {
    /// The parts for the address `local`, of the listener of `transport` that owns it.
    pub fn find(&mut self, settings: &Settings, transport: Transport, local: SocketAddr) -> &OwnAddress {
        let is_it = |own: &OwnAddress| own.transport == transport && own.local == local;
        let index = match self.list.iter().position(is_it) {
            Some(index) => index,
            None => self.add(OwnAddress::new(settings, transport, local)),
        };
        &self.list[index]
    }

    fn add(&mut self, own: OwnAddress) -> usize {
        if self.list.len() < ADDRESSES_MAX {
            self.list.push(own);
            return self.list.len() - 1;
        }
        let index = self.next;
        self.next = (index + 1) % ADDRESSES_MAX;
        self.list[index] = own;
        index
    }
}

impl OwnAddress {
    fn new(settings: &Settings, transport: Transport, local: SocketAddr) -> OwnAddress {
        let mut via = BytesMut::new();
        via.put_slice(b"Via: SIP/2.0/");
        via.put_slice(transport.via_name().as_bytes());
        via.put_u8(b' ');
        put_sent_by(settings, transport, local, &mut via);
        via.put_slice(b";branch=");
        let mut record_route = BytesMut::new();
        record_route.put_u8(b'@');
        put_sent_by(settings, transport, local, &mut record_route);
        if transport != Transport::Udp {
            record_route.put_slice(b";transport=");
            record_route.put_slice(transport.parameter().as_bytes());
        }
        record_route.put_slice(b";lr>\r\n");
        OwnAddress {
            transport,
            local,
            via,
            record_route,
        }
    }
}

/// Appends the sent-by: what the listener advertises, else the local address.
fn put_sent_by(settings: &Settings, transport: Transport, local: SocketAddr, out: &mut BytesMut) {
    let listener = settings.listener(transport, local);
    match listener.and_then(|listener| listener.advertise.as_deref()) {
        Some(advertise) => {
            out.put_slice(advertise.as_bytes());
            if split_port(advertise).1.is_some() {
                return;
            }
        }
        // The scope of a link-local address means nothing to others, and no grammar has it. Writing to a BytesMut cannot
        // fail.
        None => match local.ip() {
            IpAddr::V4(ip) => _ = write!(out, "{ip}"),
            IpAddr::V6(ip) => _ = write!(out, "[{ip}]"),
        },
    }
    out.put_u8(b':');
    put_decimal(out, u32::from(local.port()));
}

/// A machine has few addresses that are in use at the same time.
const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sip::shared::Listener;

    fn text(advertise: Option<&str>, local: &str) -> String {
        let local = local.parse().unwrap();
        let listener = Listener {
            transport: Transport::Tcp,
            bind: local,
            advertise: advertise.map(Into::into),
        };
        let settings = Settings {
            domains: Default::default(),
            listeners: vec![listener],
            local_addresses: Vec::new(),
            message: Default::default(),
            recurse: false,
            transaction: Default::default(),
            keep_alive: Default::default(),
        };
        let mut addresses = OwnAddresses::default();
        let own = addresses.find(&settings, Transport::Tcp, local);
        let via = String::from_utf8(own.via.to_vec()).unwrap();
        let sent_by = via["Via: SIP/2.0/TCP ".len()..].strip_suffix(";branch=").unwrap();
        let route = String::from_utf8(own.record_route.to_vec()).unwrap();
        assert_eq!(route, format!("@{sent_by};transport=tcp;lr>\r\n"));
        sent_by.to_owned()
    }

    #[test]
    fn the_sent_by_is_what_is_advertised_else_the_address() {
        assert_eq!(text(None, "192.0.2.1:5060"), "192.0.2.1:5060");
        assert_eq!(text(None, "[2001:db8::1]:5060"), "[2001:db8::1]:5060");
        assert_eq!(text(Some("sip.example.com"), "192.0.2.1:5062"), "sip.example.com:5062");
        assert_eq!(text(Some("sip.example.com:99"), "192.0.2.1:5062"), "sip.example.com:99");
    }

    #[test]
    fn the_sent_by_of_a_link_local_address_has_no_scope() {
        assert_eq!(text(None, "[fe80::1%2]:5060"), "[fe80::1]:5060");
    }

    #[test]
    fn only_a_few_addresses_are_kept() {
        let settings = Settings {
            domains: Default::default(),
            listeners: Vec::new(),
            local_addresses: Vec::new(),
            message: Default::default(),
            recurse: false,
            transaction: Default::default(),
            keep_alive: Default::default(),
        };
        let mut addresses = OwnAddresses::default();
        for port in 1..=100 {
            let local = SocketAddr::from(([192, 0, 2, 1], port));
            let own = addresses.find(&settings, Transport::Udp, local);
            assert!(own.via.ends_with(format!(":{port};branch=").as_bytes()));
        }
        assert_eq!(addresses.list.len(), ADDRESSES_MAX);
    }
}
