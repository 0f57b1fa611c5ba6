//! What may be looked up and sent to: host names that a name server can know, addresses that are a host's.

use std::net::IpAddr;

/// The most characters of a name (RFC 1035 §2.3.4, without the dot at the end).
const NAME_MAX: usize = 253;

/// The most characters of a label.
const LABEL_MAX: usize = 63;

/// `name` as it is looked up: in lower case, without a dot at its end. `None` when no name server can know it.
pub fn checked_name(name: &[u8]) -> Option<Box<str>> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > NAME_MAX {
        return None;
    }
    // The underscore is for the names of SRV records, and for the made-up names of containers.
    let is_known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &[u8]| (1..=LABEL_MAX).contains(&label.len()) && label.iter().all(is_known);
    if !name.split(|byte| *byte == b'.').all(is_label) {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    Some(name.to_ascii_lowercase().into())
}

/// Whether `address` is one that a record may lead to: a host's own, not a group's, and not IPv4 in disguise, which no
/// listener of ours can send to.
pub fn is_usable(address: IpAddr) -> bool {
    let is_disguised = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || is_disguised || is_broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_in_one_form() {
        assert_eq!(checked_name(b"Example.COM.").as_deref(), Some("example.com"));
        assert_eq!(checked_name(b"pbx").as_deref(), Some("pbx"));
        assert_eq!(checked_name(b"_sip._udp.a-b.c").as_deref(), Some("_sip._udp.a-b.c"));
    }

    #[test]
    fn what_no_name_server_can_know_is_not_looked_up() {
        let label = "a".repeat(64);
        let long = format!("{}a.example.com", "abcd.".repeat(60));
        for name in [
            "",
            ".",
            "a..b",
            "a..",
            ".a",
            "a b",
            "a/b",
            "b\u{fc}cher.example",
            &label,
            &long,
        ] {
            assert_eq!(checked_name(name.as_bytes()), None, "{name:?}");
        }
        assert!(checked_name("a".repeat(63).as_bytes()).is_some());
    }

    #[test]
    fn only_addresses_of_a_host_are_sent_to() {
        for address in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:192.0.2.1",
        ] {
            assert!(!is_usable(address.parse().unwrap()), "{address}");
        }
        for address in ["192.0.2.1", "127.0.0.1", "2001:db8::1", "::1"] {
            assert!(is_usable(address.parse().unwrap()), "{address}");
        }
    }
}
