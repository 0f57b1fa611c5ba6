//! Hosts as the configuration writes them (RFC 3261 §25.1 `host`), in the one form in which they are compared.

use std::net::Ipv6Addr;

use crate::sip::message::uri::Uri;

/// The host in lower case; an IPv6 address shortened and in brackets, which may be missing in `text`.
pub fn host(text: &str) -> Option<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Some(format!("[{address}]"));
    }
    let uri = format!("sip:{text}");
    let uri = Uri::parse(uri.as_bytes()).ok()?;
    (uri.host_bytes == text.as_bytes()).then(|| text.to_ascii_lowercase())
}

/// `host` or `host:port`, in the same form.
pub fn host_and_port(text: &str) -> Option<String> {
    if let Some(host) = host(text) {
        return Some(host);
    }
    let (name, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    // Without brackets the last part of an IPv6 address would pass for a port.
    let host = host(name).filter(|_| !name.contains(':') || name.starts_with('['))?;
    Some(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (text, expected) in [
            ("Example.COM", Some("example.com")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("2001:DB8:0::1", Some("[2001:db8::1]")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("localhost", Some("localhost")),
            ("", None),
            ("example.com:5060", None),
            ("sip:example.com", None),
            ("alice@example.com", None),
            ("exa mple.com", None),
            ("example.com;x", None),
            ("-x-", None),
        ] {
            assert_eq!(host(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_port_may_follow() {
        for (text, expected) in [
            ("Example.COM", Some("example.com")),
            ("example.com:5070", Some("example.com:5070")),
            ("[2001:db8::1]:5070", Some("[2001:db8::1]:5070")),
            ("2001:db8::1", Some("[2001:db8::1]")),
            ("example.com:0", None),
            ("example.com:99999", None),
            ("example.com:", None),
            (":5060", None),
            ("a:b:c", None),
        ] {
            assert_eq!(host_and_port(text).as_deref(), expected, "{text}");
        }
    }
}
