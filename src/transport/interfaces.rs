//! The addresses of this machine's interfaces: what a wildcard listener stands for.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where Linux tells the local IPv4 addresses: a line with the address, then one that ends in `host LOCAL`.
const IPV4: &str = "/proc/self/net/fib_trie";

/// Where Linux tells the local IPv6 addresses: one a line, in 32 hex digits.
const IPV6: &str = "/proc/self/net/if_inet6";

/// All addresses of the interfaces of this network namespace, without doubles; link-local IPv6 ones are left out,
/// because they mean nothing without an interface.
pub fn addresses() -> Vec<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut addresses = ipv4(&read(IPV4));
    addresses.extend(ipv6(&read(IPV6)));
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn ipv4(text: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in text.lines() {
        if let Some((_, address)) = line.split_once("-- ") {
            last = address.trim().parse().ok();
        } else if line.trim() == "/32 host LOCAL" {
            addresses.extend(last.map(IpAddr::V4));
        }
    }
    addresses
}

fn ipv6(text: &str) -> impl Iterator<Item = IpAddr> {
    let digits = text.lines().filter_map(|line| line.split_whitespace().next());
    digits
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(Ipv6Addr::from)
        .filter(|address| !address.is_unicast_link_local())
        .map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_one_of_them() {
        assert!(addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn broadcast_and_network_addresses_are_none() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n        \
            /32 host LOCAL\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        let expected: [IpAddr; 2] = ["127.0.0.1", "192.0.2.7"].map(|address| address.parse().unwrap());
        assert_eq!(ipv4(text), expected);
    }

    #[test]
    fn link_local_addresses_are_left_out() {
        let text = "00000000000000000000000000000001 01 80 10 80       lo\n\
            fe800000000000000000000000000001 02 40 20 80     eth0\n";
        assert_eq!(ipv6(text).collect::<Vec<_>>(), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }
}
