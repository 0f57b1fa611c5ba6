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
        Self::read(bytes)
            .filter(|(_, length)| *length == bytes.len())
            .map(|(host, _)| host)
    }

    /// Reads the host that `bytes` begins with, as far as the characters of a host go, and says how long it is.
    #[inline]
    pub(in crate::sip::message) fn read(bytes: &'a [u8]) -> Option<(Host<'a>, usize)> {
        match bytes.first()? {
            b'[' => {
                let end = bytes.iter().position(|byte| *byte == b']')?;
                Some((Host::V6(ipv6(&bytes[1..end])?), end + 1))
            }
            b'0'..=b'9' => match ipv4_at_start(bytes) {
                Some((address, length)) if !bytes.get(length).is_some_and(|byte| grammar::is(*byte, HOST)) => {
                    Some((Host::V4(address), length))
                }
                Some(_) | None => Self::read_name(bytes),
            },
            _ => Self::read_name(bytes),
        }
    }

    fn read_name(bytes: &'a [u8]) -> Option<(Host<'a>, usize)> {
        let mut length = 0;
        let mut previous = b'.';
        while let Some(&byte) = bytes.get(length)
            && grammar::is(byte, HOST)
        {
            // A label is not empty, and neither begins nor ends with a hyphen.
            let is_misplaced = match byte {
                b'.' => matches!(previous, b'.' | b'-'),
                b'-' => previous == b'.',
                _ => false,
            };
            if is_misplaced {
                return None;
            }
            previous = byte;
            length += 1;
        }
        let written = &bytes[..length];
        let name = written.strip_suffix(b".").unwrap_or(written);
        // RFC 3261 §25.1: `toplabel` begins with a letter. Here it must only not be a number, which leaves no doubt
        // whether a host is an address, and takes the made-up names of containers.
        let last = name
            .iter()
            .rposition(|byte| !byte.is_ascii_digit())
            .map(|index| name[index]);
        let ends_in_number = name.last().is_some_and(u8::is_ascii_digit) && matches!(last, None | Some(b'.'));
        if length == 0 || previous == b'-' || ends_in_number {
            return None;
        }
        Some((Host::Name(written), length))
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

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    ipv4_at_start(bytes)
        .filter(|(_, length)| *length == bytes.len())
        .map(|(address, _)| address)
}

/// The IPv4 address that `bytes` begins with, and its length: four numbers of one to three digits up to 255, without
/// leading zeros.
fn ipv4_at_start(bytes: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let start = at;
        let mut number = 0_u32;
        while let Some(digit @ b'0'..=b'9') = bytes.get(at)
            && at < start + 4
        {
            number = number * 10 + u32::from(digit - b'0');
            at += 1;
        }
        let has_leading_zero = at > start + 1 && bytes[start] == b'0';
        if at == start || at == start + 4 || has_leading_zero {
            return None;
        }
        *octet = u8::try_from(number).ok()?;
    }
    Some((Ipv4Addr::from(octets), at))
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
