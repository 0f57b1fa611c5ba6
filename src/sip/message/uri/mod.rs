//! URIs: sip and sips (RFC 3261 §19.1), tel (RFC 3966), and any other scheme as opaque bytes.

mod equivalence;
mod host;

use std::borrow::Cow;

use thiserror::Error;

pub use host::Host;

use super::address::Parameters;
use super::grammar::{self, PASSWORD, URI_HEADER, URI_PARAMETER, USER};
use crate::sip::hop::Transport;

/// A URI, read; every part is as written, escapes included.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The user without its password; of a tel URI the number.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The host; `None` when the scheme is neither sip nor sips.
    pub host: Option<Host<'a>>,
    /// The host as written, with the brackets of an IPv6 address; empty when there is no host.
    pub host_bytes: &'a [u8],
    /// The port, when one is written.
    pub port: Option<u16>,
    /// The parameters. Their names may be escaped, so that [`Uri::parameter`] is the way to find one.
    pub parameters: Parameters<'a>,
    /// The headers: what follows the question mark.
    pub headers: Option<&'a [u8]>,
    /// The whole URI.
    pub bytes: &'a [u8],
}

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip`.
    Sip,
    /// `sips`.
    Sips,
    /// `tel` (RFC 3966).
    Tel,
    /// Any other.
    Other,
}

/// Why bytes are not a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UriError {
    /// No scheme and colon.
    #[error("the URI has no scheme")]
    Scheme,
    /// White space, a control character, quotes or angle brackets.
    #[error("the URI has a character that no URI may have")]
    Character,
    /// The user is empty or has a character that must be escaped.
    #[error("the user is malformed")]
    User,
    /// The password has a character that must be escaped.
    #[error("the password is malformed")]
    Password,
    /// The host is no host name, IPv4 address or IPv6 address in brackets.
    #[error("the host is malformed")]
    Host,
    /// The port is not a number up to 65535.
    #[error("the port is malformed")]
    Port,
    /// A parameter is malformed.
    #[error("a parameter is malformed")]
    Parameter,
    /// A header (after the question mark) is malformed.
    #[error("a header is malformed")]
    Header,
    /// More than [`PARTS_MAX`] parameters or headers.
    #[error("the URI has too many parameters or headers")]
    TooMany,
    /// The number of a tel URI is malformed.
    #[error("the telephone number is malformed")]
    Number,
}

/// The most parameters, and the most headers, of one URI: comparing two costs the product of theirs.
pub const PARTS_MAX: usize = 64;

impl<'a> Uri<'a> {
    /// Reads a whole URI, without brackets or white space around it.
    pub fn parse(bytes: &'a [u8]) -> Result<Uri<'a>, UriError> {
        if let Some((start, rest)) = bytes.split_first_chunk::<4>()
            && grammar::is_sip_colon(start)
        {
            return Self::parse_sip(Scheme::Sip, bytes, rest);
        }
        let colon = grammar::scheme_length(bytes).ok_or(UriError::Scheme)?;
        let (scheme, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        if scheme.eq_ignore_ascii_case(b"sips") {
            return Self::parse_sip(Scheme::Sips, bytes, rest);
        }
        if scheme.eq_ignore_ascii_case(b"tel") {
            return Self::parse_tel(bytes, rest);
        }
        if !grammar::is_absolute_uri(bytes) {
            return Err(UriError::Character);
        }
        Ok(Self::opaque(Scheme::Other, bytes))
    }

    fn parse_sip(scheme: Scheme, bytes: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, UriError> {
        let mut uri = Self::opaque(scheme, bytes);
        let rest = uri.read_userinfo(rest)?;
        let (host, host_length) = Host::read(rest).ok_or(UriError::Host)?;
        uri.host = Some(host);
        uri.host_bytes = &rest[..host_length];

        let mut rest = &rest[host_length..];
        if let [b':', tail @ ..] = rest {
            let (port, length) = port_at_start(tail).ok_or(UriError::Port)?;
            uri.port = Some(port);
            rest = &tail[length..];
        }
        if let [b';', tail @ ..] = rest {
            let length = parameters_length(tail)?;
            uri.parameters = Parameters::checked(&tail[..length]);
            rest = &tail[length..];
        }
        if let [b'?', tail @ ..] = rest {
            check_headers(tail)?;
            uri.headers = Some(tail);
            rest = &[];
        }
        match rest {
            [] => Ok(uri),
            _ if uri.port.is_some() => Err(UriError::Port),
            _ => Err(UriError::Host),
        }
    }

    /// Reads what stands before the first `@`, wherever that is; returns what comes after it.
    #[inline]
    fn read_userinfo(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], UriError> {
        // Most users have neither a password nor an escape.
        let length = grammar::span(bytes, USER);
        let at = match bytes.get(length) {
            None => return Ok(bytes),
            Some(b'@') if length > 0 => {
                self.user = Some(&bytes[..length]);
                return Ok(&bytes[length + 1..]);
            }
            Some(_) => match memchr::memchr(b'@', &bytes[length..]) {
                Some(at) => length + at,
                None => return Ok(bytes),
            },
        };
        self.split_userinfo(&bytes[..at])?;
        Ok(&bytes[at + 1..])
    }

    fn split_userinfo(&mut self, userinfo: &'a [u8]) -> Result<(), UriError> {
        let user = match memchr::memchr(b':', userinfo) {
            Some(colon) => {
                let password = &userinfo[colon + 1..];
                if !grammar::is_escaped(password, PASSWORD) {
                    return Err(UriError::Password);
                }
                self.password = Some(password);
                &userinfo[..colon]
            }
            None => userinfo,
        };
        if user.is_empty() || !grammar::is_escaped(user, USER) {
            return Err(UriError::User);
        }
        self.user = Some(user);
        Ok(())
    }

    /// RFC 3966 §3. A local number without `phone-context` is taken, because phones write it so.
    fn parse_tel(bytes: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, UriError> {
        let mut uri = Self::opaque(Scheme::Tel, bytes);
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let number = &rest[..end];
        let is_number = match number {
            [b'+', digits @ ..] => is_number(digits, |byte| byte.is_ascii_digit()),
            digits => is_number(digits, |byte| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#')),
        };
        if !is_number {
            return Err(UriError::Number);
        }
        uri.user = Some(number);
        if let [b';', parameters @ ..] = &rest[end..] {
            if parameters_length(parameters)? != parameters.len() {
                return Err(UriError::Parameter);
            }
            uri.parameters = Parameters::checked(parameters);
        }
        Ok(uri)
    }

    fn opaque(scheme: Scheme, bytes: &'a [u8]) -> Uri<'a> {
        Uri {
            scheme,
            user: None,
            password: None,
            host: None,
            host_bytes: &[],
            port: None,
            parameters: Parameters::default(),
            headers: None,
            bytes,
        }
    }

    /// The value of a parameter, as written; `Some(None)` when it is there without a value.
    pub fn parameter(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.parameters
            .iter()
            .find(|(key, _)| grammar::equal_escaped_ignore_case(key, name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The transport asked for (RFC 3261 §19.1.1); `Some(None)` when it is one that is not known here.
    pub fn transport(&self) -> Option<Option<Transport>> {
        let value = self.parameter("transport")?.unwrap_or_default();
        Some(Transport::from_name(&grammar::unescape(value)))
    }

    /// Whether the URI names a loose router: the `lr` parameter, with or without a value (RFC 3261 §19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.parameter("lr").is_some()
    }

    /// The value of the `maddr` parameter, which [`Host::parse`] reads.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.parameter("maddr").flatten()
    }

    /// The user with its escapes undone.
    pub fn user_unescaped(&self) -> Option<Cow<'a, [u8]>> {
        self.user.map(grammar::unescape)
    }

    /// Names and values of the headers, as written.
    fn header_pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let headers = self.headers.unwrap_or_default();
        headers.split(|byte| *byte == b'&').filter_map(|header| {
            let equals = memchr::memchr(b'=', header)?;
            Some((&header[..equals], &header[equals + 1..]))
        })
    }
}

/// A port: digits, at most 65535.
pub(super) fn port(digits: &[u8]) -> Option<u16> {
    port_at_start(digits)
        .filter(|(_, length)| *length == digits.len())
        .map(|(port, _)| port)
}

/// The port that `bytes` begins with, and how many digits it has; leading zeros are taken.
pub(super) fn port_at_start(bytes: &[u8]) -> Option<(u16, usize)> {
    let mut length = 0;
    let mut port = 0_u32;
    while let Some(digit @ b'0'..=b'9') = bytes.get(length) {
        port = port * 10 + u32::from(digit - b'0');
        if port > u32::from(u16::MAX) {
            return None;
        }
        length += 1;
    }
    (length > 0).then_some((port as u16, length))
}

/// RFC 3261 §25.1 `uri-parameters`, after the first semicolon: how far they go, which is to the headers or to the end.
/// An empty value is taken.
fn parameters_length(text: &[u8]) -> Result<usize, UriError> {
    let mut length = 0;
    for _ in 0..PARTS_MAX {
        let name = grammar::escaped_span(&text[length..], URI_PARAMETER);
        if name == 0 {
            return Err(UriError::Parameter);
        }
        length += name;
        if text.get(length) == Some(&b'=') {
            length += 1;
            length += grammar::escaped_span(&text[length..], URI_PARAMETER);
        }
        match text.get(length) {
            None | Some(b'?') => return Ok(length),
            Some(b';') => length += 1,
            Some(_) => return Err(UriError::Parameter),
        }
    }
    Err(UriError::TooMany)
}

/// RFC 3261 §25.1 `headers`, after the question mark.
fn check_headers(text: &[u8]) -> Result<(), UriError> {
    for (index, header) in text.split(|byte| *byte == b'&').enumerate() {
        if index == PARTS_MAX {
            return Err(UriError::TooMany);
        }
        let equals = memchr::memchr(b'=', header).ok_or(UriError::Header)?;
        let (name, value) = (&header[..equals], &header[equals + 1..]);
        if name.is_empty() || !grammar::is_escaped(name, URI_HEADER) || !grammar::is_escaped(value, URI_HEADER) {
            return Err(UriError::Header);
        }
    }
    Ok(())
}

/// Digits and visual separators, with at least one digit.
fn is_number(text: &[u8], is_digit: impl Fn(u8) -> bool) -> bool {
    text.iter().all(|byte| is_digit(*byte) || is_visual_separator(*byte)) && text.iter().any(|byte| is_digit(*byte))
}

/// RFC 3966 §3 `visual-separator`.
fn is_visual_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn parse(uri: &str) -> Uri<'_> {
        Uri::parse(uri.as_bytes()).unwrap()
    }

    fn error(uri: &str) -> UriError {
        Uri::parse(uri.as_bytes()).unwrap_err()
    }

    #[test]
    fn rfc3261_19_1_1_parts_of_a_uri() {
        let uri = parse("sip:alice:secretword@atlanta.com:5070;transport=tcp;lr?subject=project%20x&priority=urgent");
        assert_eq!(uri.scheme, Scheme::Sip);
        assert_eq!(uri.user, Some(&b"alice"[..]));
        assert_eq!(uri.password, Some(&b"secretword"[..]));
        assert_eq!(uri.host, Some(Host::Name(b"atlanta.com")));
        assert_eq!(uri.host_bytes, b"atlanta.com");
        assert_eq!(uri.port, Some(5070));
        assert_eq!(uri.transport(), Some(Some(Transport::Tcp)));
        assert!(uri.is_loose_router());
        assert_eq!(uri.parameters.bytes(), b"transport=tcp;lr");
        assert_eq!(uri.headers, Some(&b"subject=project%20x&priority=urgent"[..]));
    }

    #[test]
    fn rfc3261_19_1_3_examples() {
        for uri in [
            "sip:alice@atlanta.com",
            "sip:alice:secretword@atlanta.com;transport=tcp",
            "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:+1-212-555-1212:1234@gateway.com;user=phone",
            "sips:1212@gateway.com",
            "sip:alice@192.0.2.4",
            "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
            "sip:alice;day=tuesday@atlanta.com",
        ] {
            parse(uri);
        }
        let uri = parse("sip:alice;day=tuesday@atlanta.com");
        assert_eq!(uri.user, Some(&b"alice;day=tuesday"[..]));
        assert!(uri.parameters.is_empty());
    }

    #[test]
    fn the_user_may_have_any_character_escaped() {
        let uri = parse("sip:I%20have%00%40sp%61ces@example.net");
        assert_eq!(uri.user_unescaped().unwrap(), &b"I have\0@spaces"[..]);
        let uri = parse(
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
        );
        assert_eq!(uri.user, Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
        assert_eq!(uri.password, Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..]));
        assert_eq!(parse("sip:a:@b").password, Some(&b""[..]));
        for malformed in [
            "sip:@b",
            "sip::p@b",
            "sip:a b@c",
            "sip:a%2@b",
            "sip:a%zz@b",
            "sip:a\"b@c",
            "sip:\u{e9}@b",
        ] {
            assert_eq!(error(malformed), UriError::User, "{malformed}");
        }
        assert_eq!(error("sip:a:b:c@d"), UriError::Password);
        assert_eq!(error("sip:a@b@c"), UriError::Host);
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(
            parse("sip:a@192.0.2.4").host,
            Some(Host::V4(Ipv4Addr::new(192, 0, 2, 4)))
        );
        let uri = parse("sip:[2001:db8::10]:5070");
        assert_eq!(uri.host, Some(Host::V6("2001:db8::10".parse::<Ipv6Addr>().unwrap())));
        assert_eq!(uri.host_bytes, b"[2001:db8::10]");
        assert_eq!(uri.port, Some(5070));
        assert_eq!(parse("sip:[2001:db8::10:5070]").port, None);
        for malformed in [
            "sip:",
            "sip:a@",
            "sip:2001:db8::10",
            "sip:[2001:db8::10",
            "sip:a@b c",
            "sip:a@b>",
            "sip:a@b\r\n",
        ] {
            assert!(
                matches!(error(malformed), UriError::Host | UriError::Port),
                "{malformed:?}"
            );
        }
    }

    #[test]
    fn ports_are_numbers() {
        assert_eq!(parse("sip:a@b:05060").port, Some(5060));
        for malformed in [
            "sip:a@b:",
            "sip:a@b:65536",
            "sip:a@b:5060x",
            "sip:a@b:-1",
            "sip:b:99999999999",
        ] {
            assert_eq!(error(malformed), UriError::Port, "{malformed}");
        }
    }

    #[test]
    fn parameters_and_headers_are_checked() {
        assert_eq!(parse("sip:a@b;x=").parameter("x"), Some(Some(&b""[..])));
        assert_eq!(parse("sip:a@b?x=").headers, Some(&b"x="[..]));
        for malformed in [
            "sip:a@b;",
            "sip:a@b;;x",
            "sip:a@b; lr",
            "sip:a@b;=x",
            "sip:a@b;x=%1",
            "sip:a@b;x=\"y\"",
        ] {
            assert_eq!(error(malformed), UriError::Parameter, "{malformed}");
        }
        for malformed in [
            "sip:a@b?",
            "sip:a@b?x",
            "sip:a@b?=x",
            "sip:a@b?x=y&",
            "sip:a@b?x=<y>",
            "sip:a@b;c?d=e&f",
        ] {
            assert_eq!(error(malformed), UriError::Header, "{malformed}");
        }
        let many = |part: &str, count: usize| format!("sip:a@b{}", part.repeat(count));
        assert!(Uri::parse(many(";a", PARTS_MAX).as_bytes()).is_ok());
        assert_eq!(error(&many(";a", PARTS_MAX + 1)), UriError::TooMany);
    }

    #[test]
    fn names_of_parameters_may_be_escaped() {
        let uri = parse("sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31;transport=%55dp");
        assert!(uri.is_loose_router());
        assert_eq!(uri.parameter("name"), Some(Some(&b"v%61lue%25%34%31"[..])));
        assert_eq!(uri.transport(), Some(Some(Transport::Udp)));
        assert_eq!(uri.user_unescaped().unwrap(), &b"caller"[..]);
    }

    #[test]
    fn an_unknown_transport_is_named_and_unknown() {
        assert_eq!(parse("sip:a@b;transport=sctp").transport(), Some(None));
        assert_eq!(parse("sip:a@b;transport").transport(), Some(None));
        assert_eq!(parse("sip:a@b").transport(), None);
        assert_eq!(
            parse("sip:a@b;maddr=239.255.255.1").maddr(),
            Some(&b"239.255.255.1"[..])
        );
    }

    #[test]
    fn rfc3966_3_numbers() {
        let uri = parse("tel:+1-201-555-0123;ext=12");
        assert_eq!(uri.scheme, Scheme::Tel);
        assert_eq!(uri.user, Some(&b"+1-201-555-0123"[..]));
        assert_eq!(uri.host, None);
        assert_eq!(uri.parameter("ext"), Some(Some(&b"12"[..])));
        parse("TEL:7042;phone-context=example.com");
        parse("tel:863-1234;phone-context=+1-914-555");
        parse("tel:*31#");
        for malformed in ["tel:", "tel:+", "tel:+1a", "tel:()", "tel:+1 201", "tel:alice"] {
            assert_eq!(error(malformed), UriError::Number, "{malformed}");
        }
    }

    #[test]
    fn other_schemes_are_opaque() {
        let uri = parse("soap.beep://192.0.2.103:3002");
        assert_eq!((uri.scheme, uri.user, uri.host), (Scheme::Other, None, None));
        parse("urn:service:sos");
        parse("http://www.example.com/a?b#c");
        assert_eq!(error("<sip:user@example.com>"), UriError::Scheme);
        assert_eq!(error("1sip:a@b"), UriError::Scheme);
        assert_eq!(error("alice"), UriError::Scheme);
        assert_eq!(error(""), UriError::Scheme);
        assert_eq!(error("http:"), UriError::Character);
        assert_eq!(error("http://a b"), UriError::Character);
    }
}
