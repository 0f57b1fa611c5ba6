//! Hosts (RFC 3261 §25.1 `host`): names and addresses, as URIs and Via write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memmem;

use crate::sip::message::grammar::{self, HOST};

/// A host.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// A name, as written.
    Name(&'a [u8]),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; it was written in brackets.
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Reads a host name, an IPv4 address or an IPv6 address in brackets.
    pub fn parse(bytes: &'a [u8]) -> Option<Host<'a>> {
        if let [b'[', inside @ .., b']'] = bytes {
            return ipv6(inside).map(Host::V6);
        }
        if grammar::span(bytes, HOST) != bytes.len() {
            return None;
        }
        let name = bytes.strip_suffix(b".").unwrap_or(bytes);
        let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        // RFC 3261 §25.1: `toplabel` begins with a letter. Here it must only not be a number, which leaves no doubt
        // whether a host is an address, and takes the made-up names of containers.
        if !last.is_empty() && last.iter().all(u8::is_ascii_digit) {
            return ipv4(bytes).map(Host::V4);
        }
        name.split(|byte| *byte == b'.')
            .all(is_label)
            .then_some(Host::Name(bytes))
    }

    /// Reads an address only; an IPv6 address with or without brackets (RFC 5118 §4.5).
    pub fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
        match bytes {
            [b'[', inside @ .., b']'] => ipv6(inside).map(IpAddr::V6),
            _ if memchr::memchr(b':', bytes).is_some() => ipv6(bytes).map(IpAddr::V6),
            _ => ipv4(bytes).map(IpAddr::V4),
        }
    }

    /// The address, when the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

/// Names are equal whatever their case; a name never equals an address (RFC 3261 §19.1.4).
impl PartialEq for Host<'_> {
    fn eq(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Host::Name(left), Host::Name(right)) => left.eq_ignore_ascii_case(right),
            (Host::V4(left), Host::V4(right)) => left == right,
            (Host::V6(left), Host::V6(right)) => left == right,
            (Host::Name(_) | Host::V4(_) | Host::V6(_), _) => false,
        }
    }
}

impl Eq for Host<'_> {}

/// As a URI writes it: IPv6 in brackets.
impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(&String::from_utf8_lossy(name)),
            Host::V4(address) => address.fmt(f),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

fn is_label(label: &[u8]) -> bool {
    !matches!(label, [] | [b'-', ..] | [.., b'-'])
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn ipv6(bytes: &[u8]) -> Option<Ipv6Addr> {
    let mut text = [0; LONGEST_ADDRESS];
    let bytes = match memmem::find(bytes, b":::") {
        Some(colons) => without_third_colon(bytes, colons, &mut text)?,
        None => bytes,
    };
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// RFC 5118 §4.10: the grammar of RFC 3261 wrongly asks for three colons before an embedded IPv4 address, so that "an
/// implementation must tolerate both" three and two.
fn without_third_colon<'a>(bytes: &[u8], colons: usize, text: &'a mut [u8; LONGEST_ADDRESS]) -> Option<&'a [u8]> {
    ipv4(&bytes[colons + 3..])?;
    let text = text.get_mut(..bytes.len() - 1)?;
    let (head, tail) = text.split_at_mut(colons);
    head.copy_from_slice(&bytes[..colons]);
    tail.copy_from_slice(&bytes[colons + 1..]);
    Some(text)
}

/// The longest way to write an IPv6 address: six groups of four digits, and an IPv4 address.
const LONGEST_ADDRESS: usize = 6 * 5 + 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for name in [
            "example.com",
            "example.com.",
            "a",
            "3com.example",
            "x-1.y_2",
            "3f2a1bc4d5e6",
            "fold-and-staple.example.com",
        ] {
            assert_eq!(
                Host::parse(name.as_bytes()),
                Some(Host::Name(name.as_bytes())),
                "{name}"
            );
        }
        assert_eq!(Host::parse(b"192.0.2.1"), Some(Host::V4(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(
            Host::parse(b"[::ffff:192.0.2.10]"),
            ipv6(b"::ffff:192.0.2.10").map(Host::V6)
        );
        for malformed in [
            "",
            ".",
            "a..b",
            ".a",
            "-a.b",
            "a-.b",
            "a b",
            "a\r\n",
            "300.1.1.1",
            "1.2.3",
            "192.0.2.1.",
            "2001:db8::1",
            "[]",
            "[2001:db8:::1]",
            "[2001:db8::::192.0.2.1]",
            "[1::2:::192.0.2.1]",
            "[1:2:3:4:5:6:::192.0.2.1]",
            "[:::192.0.2]",
            "[01234567890:01234567890:0123456789:::192.0.2.1]",
            "[fe80::1%eth0]",
            "[192.0.2.1]",
            "[2001:db8::1",
            "\u{e9}.com",
        ] {
            assert_eq!(Host::parse(malformed.as_bytes()), None, "{malformed:?}");
        }
    }

    #[test]
    fn rfc5118_4_5_an_address_may_lack_its_brackets() {
        let address = "2001:db8::9:255".parse().ok();
        assert_eq!(Host::parse_address(b"2001:db8::9:255"), address);
        assert_eq!(Host::parse_address(b"[2001:db8::9:255]"), address);
        assert_eq!(Host::parse_address(b"192.0.2.5"), "192.0.2.5".parse().ok());
        assert_eq!(Host::parse_address(b"example.com"), None);
    }

    #[test]
    fn rfc5118_4_10_three_colons_are_two() {
        for (wrong, right) in [
            ("[2001:db8:::192.0.2.1]", "[2001:db8::192.0.2.1]"),
            ("[:::192.0.2.1]", "[::192.0.2.1]"),
            ("[1:2:3:4:5:::192.0.2.1]", "[1:2:3:4:5:0:192.0.2.1]"),
        ] {
            assert!(Host::parse(wrong.as_bytes()).is_some(), "{wrong}");
            assert_eq!(Host::parse(wrong.as_bytes()), Host::parse(right.as_bytes()));
        }
    }

    #[test]
    fn hosts_compare_and_print() {
        assert_eq!(Host::Name(b"AtLanTa.CoM"), Host::Name(b"atlanta.com"));
        assert_eq!(Host::parse(b"[2001:DB8:0::1]"), Host::parse(b"[2001:db8::1]"));
        assert_ne!(Host::parse(b"192.0.2.4"), Host::parse(b"phone21.boxesbybob.com"));
        assert_eq!(Host::parse(b"[2001:DB8:0::1]").unwrap().to_string(), "[2001:db8::1]");
    }
}
