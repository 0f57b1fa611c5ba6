//! Our own address on the way to a peer: the source address of the route there, with the port of a listener.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::sip::hop::Transport;
use crate::sip::resolution::Means;

/// The listeners that requests are sent from.
#[derive(Clone, Debug)]
pub struct Routes {
    listeners: Vec<(Transport, SocketAddr)>,
}

impl Routes {
    /// Those of the listeners bound to these addresses.
    pub fn new(listeners: Vec<(Transport, SocketAddr)>) -> Routes {
        Routes { listeners }
    }

    /// What can be sent with.
    pub fn means(&self) -> Means {
        Means::of(self.listeners.iter().copied())
    }

    /// The address that `remote` is sent to from. `None` without a listener of that transport and family: nothing could
    /// be answered to; and without a route.
    pub fn local(&self, transport: Transport, remote: SocketAddr) -> Option<SocketAddr> {
        let mut usable = self
            .listeners
            .iter()
            .filter(|(of, bound)| *of == transport && bound.is_ipv4() == remote.is_ipv4())
            .map(|(_, bound)| *bound);
        let first = usable.next()?;
        if usable.next().is_none() && !first.ip().is_unspecified() {
            return Some(first);
        }
        let source = source(remote).ok()?;
        let bound = |address: IpAddr| {
            let mut listeners = self.listeners.iter();
            listeners
                .find(|(of, bound)| *of == transport && bound.ip() == address)
                .map(|(_, bound)| *bound)
        };
        let wildcard = match remote {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let of_wildcard = || {
            let mut local = source;
            local.set_port(bound(wildcard)?.port());
            Some(local)
        };
        bound(source.ip()).or_else(of_wildcard).or(Some(first))
    }
}

/// The source address of the route to `remote`. Nothing is sent for it.
fn source(remote: SocketAddr) -> io::Result<SocketAddr> {
    let socket = match remote {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.connect(remote)?;
    socket.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(listeners: &[(Transport, &str)]) -> Routes {
        let parsed = listeners
            .iter()
            .map(|(transport, bound)| (*transport, bound.parse().unwrap()));
        Routes::new(parsed.collect())
    }

    fn local(routes: &Routes, transport: Transport, remote: &str) -> Option<String> {
        routes
            .local(transport, remote.parse().unwrap())
            .map(|local| local.to_string())
    }

    #[test]
    fn a_wildcard_listener_sends_from_the_address_of_the_route() {
        let routes = routes(&[(Transport::Udp, "0.0.0.0:5080"), (Transport::Tcp, "0.0.0.0:5090")]);
        assert_eq!(
            local(&routes, Transport::Udp, "127.0.0.9:5060").unwrap(),
            "127.0.0.1:5080"
        );
        assert_eq!(
            local(&routes, Transport::Tcp, "127.0.0.9:5060").unwrap(),
            "127.0.0.1:5090"
        );
        assert_eq!(local(&routes, Transport::Tls, "127.0.0.9:5060"), None);
        assert_eq!(local(&routes, Transport::Udp, "[::1]:5060"), None);
    }

    #[test]
    fn the_only_listener_is_taken_whatever_the_route() {
        let routes = routes(&[(Transport::Udp, "127.0.0.2:5060")]);
        assert_eq!(
            local(&routes, Transport::Udp, "127.0.0.9:5060").unwrap(),
            "127.0.0.2:5060"
        );
    }

    #[test]
    fn of_several_listeners_the_one_on_the_route_is_taken() {
        let both = routes(&[(Transport::Udp, "127.0.0.2:5060"), (Transport::Udp, "127.0.0.1:5070")]);
        assert_eq!(
            local(&both, Transport::Udp, "127.0.0.9:5060").unwrap(),
            "127.0.0.1:5070"
        );
        let neither = routes(&[(Transport::Udp, "127.0.0.2:5060"), (Transport::Udp, "127.0.0.3:5060")]);
        assert_eq!(
            local(&neither, Transport::Udp, "127.0.0.9:5060").unwrap(),
            "127.0.0.2:5060"
        );
    }
}
