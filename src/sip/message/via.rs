//! Via (RFC 3261 §20.42, RFC 3581) and CSeq (§20.16): what a transaction is recognised by.

use std::net::IpAddr;

use thiserror::Error;

use super::address::{Parameter, Parameters};
use super::grammar::{self, TOKEN};
use super::uri::{Host, port, port_at_start};
use crate::sip::hop::Transport;

/// One value of a Via header.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport; `None` when it is one that is not known here.
    pub transport: Option<Transport>,
    /// The transport as written.
    pub transport_bytes: &'a [u8],
    /// The host of `sent-by`.
    pub host: Host<'a>,
    /// The host as written, with the brackets of an IPv6 address.
    pub host_bytes: &'a [u8],
    /// The port of `sent-by`, when one is written.
    pub port: Option<u16>,
    /// The parameters.
    pub parameters: Parameters<'a>,
    /// The whole value as written, without white space around it.
    pub bytes: &'a [u8],
    pub(super) noted: Noted<'a>,
}

/// The parameters that transactions and replies need, noted while all were read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noted<'a> {
    /// The value of the first of that name; `Some(None)` when it has none.
    pub(super) branch: Option<Option<&'a [u8]>>,
    /// The same.
    pub(super) received: Option<Option<&'a [u8]>>,
    /// What stands between the first of that name and the end of its value: nothing, or the equals sign and the port.
    pub(super) rport: Option<&'a [u8]>,
    /// Whether there is another `rport`.
    pub(super) repeats_rport: bool,
}

impl<'a> Noted<'a> {
    #[inline]
    fn note(&mut self, parameter: Parameter<'a>) {
        let name = parameter.name;
        if grammar::is_name(name, b"branch") {
            self.branch = self.branch.or(Some(parameter.value));
        } else if grammar::is_name(name, b"rport") {
            self.repeats_rport = self.rport.is_some();
            self.rport = self.rport.or(Some(parameter.assignment));
        } else if grammar::is_name(name, b"received") {
            self.received = self.received.or(Some(parameter.value));
        }
    }
}

/// Why a value is not a Via.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ViaError {
    /// No `SIP/2.0/transport` at the start. The version is not looked at: that of the start line counts.
    #[error("the Via does not begin with a protocol, a version and a transport")]
    Protocol,
    /// No host where one is needed.
    #[error("the host of the Via is malformed")]
    Host,
    /// The port is not a number up to 65535.
    #[error("the port of the Via is malformed")]
    Port,
    /// What follows `sent-by` is not a list of parameters.
    #[error("what follows the host of the Via is not a list of parameters")]
    Parameters,
}

impl<'a> Via<'a> {
    /// Reads one value of a Via header.
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, ViaError> {
        let bytes = grammar::trim(value);
        match Self::read_first(bytes)? {
            (via, []) => Ok(via),
            (_, _) => Err(ViaError::Parameters),
        }
    }

    /// Reads the first value of a Via line, and returns what follows: nothing, or a comma and more. No comma can stand
    /// within a well-formed value but in a quoted string, so that this agrees with parting the values first.
    #[inline]
    pub(super) fn read_first(bytes: &'a [u8]) -> Result<(Via<'a>, &'a [u8]), ViaError> {
        let rest = match bytes.strip_prefix(b"SIP/2.0/") {
            Some(rest) => grammar::skip_lws(rest),
            None => {
                let (_, rest) = token_and_slash(bytes).ok_or(ViaError::Protocol)?;
                token_and_slash(rest).ok_or(ViaError::Protocol)?.1
            }
        };
        let (transport_bytes, after) = rest.split_at(grammar::span(rest, TOKEN));
        let rest = grammar::skip_lws(after);
        if transport_bytes.is_empty() || rest.len() == after.len() {
            return Err(ViaError::Protocol);
        }

        let (host, length) = Host::read(rest).ok_or(ViaError::Host)?;
        let (host_bytes, mut end) = rest.split_at(length);
        let mut rest = grammar::skip_lws(end);
        let mut port = None;
        if let [b':', tail @ ..] = rest {
            let tail = grammar::skip_lws(tail);
            let (number, length) = port_at_start(tail).ok_or(ViaError::Port)?;
            port = Some(number);
            end = &tail[length..];
            rest = grammar::skip_lws(end);
        }

        let mut noted = Noted::default();
        let mut parameters = Parameters::default();
        if let [b';', text @ ..] = rest {
            (parameters, rest) =
                Parameters::read(text, |parameter| noted.note(parameter)).ok_or(ViaError::Parameters)?;
            end = &text[parameters.bytes().len()..];
        }
        if !matches!(rest, [] | [b',', ..]) {
            return Err(ViaError::Parameters);
        }
        let via = Via {
            transport: Transport::from_name(transport_bytes),
            transport_bytes,
            host,
            host_bytes,
            port,
            parameters,
            bytes: &bytes[..bytes.len() - end.len()],
            noted,
        };
        Ok((via, rest))
    }

    /// The value of a parameter; `Some(None)` when it is there without a value.
    pub fn parameter(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.parameters.get(name)
    }

    /// The branch (RFC 3261 §8.1.1.7).
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.noted.branch.flatten()
    }

    /// The address that the next hop saw the request come from, as written (§18.2.1).
    pub fn received(&self) -> Option<&'a [u8]> {
        self.noted.received.flatten()
    }

    /// The same, read; an IPv6 address with or without brackets (RFC 5118 §4.5).
    pub fn received_address(&self) -> Option<IpAddr> {
        Host::parse_address(self.received()?)
    }

    /// The `rport` parameter (RFC 3581 §3); `Some(None)` when it asks for the port to be filled in.
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.noted.rport?.iter().position(|byte| *byte == b'=');
        Some(value.and_then(|equals| port(grammar::skip_lws(&self.noted.rport?[equals + 1..]))))
    }

    /// The value of the `maddr` parameter, which [`Host::parse`] reads.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.parameter("maddr").flatten()
    }
}

/// A token and the slash after it, with white space around either (`SLASH`).
fn token_and_slash(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (token, rest) = bytes.split_at(grammar::span(bytes, TOKEN));
    if token.is_empty() {
        return None;
    }
    let rest = grammar::skip_lws(rest).strip_prefix(b"/")?;
    Some((token, grammar::skip_lws(rest)))
}

/// The value of a CSeq header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number, less than 2^31 (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: &'a [u8],
}

/// Why a value is not a CSeq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CSeqError {
    /// No number less than 2^31.
    #[error("the CSeq has no number below 2147483648")]
    Number,
    /// No method after white space.
    #[error("the CSeq has no method")]
    Method,
}

impl<'a> CSeq<'a> {
    /// Reads the value of a CSeq header.
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, CSeqError> {
        let value = grammar::trim(value);
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = grammar::decimal(&value[..digits])
            .filter(|number| *number < 1 << 31)
            .ok_or(CSeqError::Number)?;
        let method = grammar::skip_lws(&value[digits..]);
        if method.len() == value.len() - digits || !grammar::is_token(method) {
            return Err(CSeqError::Method);
        }
        Ok(CSeq { number, method })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Via<'_> {
        Via::parse(value.as_bytes()).unwrap()
    }

    fn error(value: &str) -> ViaError {
        Via::parse(value.as_bytes()).unwrap_err()
    }

    #[test]
    fn rfc3261_20_42_a_via_has_its_parts() {
        let via =
            parse("SIP/2.0/UDP erlang.bell-telephone.com:5060;branch=z9hG4bK87asdks7;rport;maddr=224.2.0.1;ttl=16");
        assert_eq!(via.transport, Some(Transport::Udp));
        assert_eq!(via.host, Host::Name(b"erlang.bell-telephone.com"));
        assert_eq!(via.port, Some(5060));
        assert_eq!(via.branch(), Some(&b"z9hG4bK87asdks7"[..]));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(via.maddr(), Some(&b"224.2.0.1"[..]));
        assert_eq!(via.received(), None);
    }

    #[test]
    fn white_space_and_folds_may_stand_between_the_parts() {
        let value = "  SIP  / 2.0\r\n /UDP\r\n    first.example.com: 4000;ttl=16\r\n  ;maddr=224.2.0.1 ;branch  =   z9hG4bKa7c6a8dlze.1 ";
        let via = parse(value);
        assert_eq!(via.transport_bytes, b"UDP");
        assert_eq!(via.host_bytes, b"first.example.com");
        assert_eq!(via.port, Some(4000));
        assert_eq!(via.branch(), Some(&b"z9hG4bKa7c6a8dlze.1"[..]));
        assert_eq!(via.bytes, value.trim().as_bytes());
        assert_eq!(parse("SIP/2.0/TCP h : 1 ; a").port, Some(1));
    }

    #[test]
    fn any_transport_and_version_is_read() {
        let via = parse("SIP/7.0/UNKNOWN c.example.com");
        assert_eq!(via.transport, None);
        assert_eq!(via.transport_bytes, b"UNKNOWN");
        assert_eq!(via.branch(), None);
        assert_eq!(parse("sip/2.0/tls c").transport, Some(Transport::Tls));
    }

    #[test]
    fn rfc5118_4_5_received_with_and_without_brackets() {
        let via = parse("SIP/2.0/UDP [2001:db8::9:1]:6050;received=2001:db8::9:255;branch=z9hG4bKas3");
        assert_eq!(via.host_bytes, b"[2001:db8::9:1]");
        assert_eq!(via.port, Some(6050));
        assert_eq!(via.received(), Some(&b"2001:db8::9:255"[..]));
        assert_eq!(via.received_address(), "2001:db8::9:255".parse().ok());
        assert_eq!(via.branch(), Some(&b"z9hG4bKas3"[..]));
        let bracketed = parse("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];rport=5080");
        assert_eq!(bracketed.received_address(), via.received_address());
        assert_eq!(bracketed.rport(), Some(Some(5080)));
        assert_eq!(
            parse("SIP/2.0/UDP a;received=192.0.2.1").received_address(),
            "192.0.2.1".parse().ok()
        );
        assert_eq!(parse("SIP/2.0/UDP a;received=b").received_address(), None);
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in [
            "",
            "SIP",
            "SIP/2.0",
            "SIP/2.0/",
            "SIP/2.0/UDP",
            "SIP/2.0/UDPhost;a",
            "SIP//UDP h",
            "/2.0/UDP h",
        ] {
            assert_eq!(error(value), ViaError::Protocol, "{value:?}");
        }
        for value in [
            "SIP/2.0/UDP ;branch=a",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP [::x]",
            "SIP/2.0/UDP a..b",
            "SIP/2.0/UDP \"a\"",
        ] {
            assert_eq!(error(value), ViaError::Host, "{value:?}");
        }
        for value in [
            "SIP/2.0/UDP a:",
            "SIP/2.0/UDP a:b",
            "SIP/2.0/UDP a:65536",
            "SIP/2.0/UDP abcd:db8::1",
        ] {
            assert!(
                matches!(error(value), ViaError::Port | ViaError::Parameters),
                "{value:?}"
            );
        }
        for value in [
            "SIP/2.0/UDP a;;,;,,",
            "SIP/2.0/UDP a;",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP a, SIP/2.0/UDP b",
            "SIP/2.0/UDP a;b\r\nX: y",
        ] {
            assert_eq!(error(value), ViaError::Parameters, "{value:?}");
        }
    }

    #[test]
    fn rfc3261_20_16_cseq() {
        let parse = |value: &'static str| CSeq::parse(value.as_bytes());
        assert_eq!(
            parse("4711 INVITE"),
            Ok(CSeq {
                number: 4711,
                method: b"INVITE"
            })
        );
        assert_eq!(
            parse(" 0009\r\n  INVITE "),
            Ok(CSeq {
                number: 9,
                method: b"INVITE"
            })
        );
        assert_eq!(parse("2147483647 A").map(|cseq| cseq.number), Ok(2_147_483_647));
        for value in [
            "",
            "INVITE",
            "-1 INVITE",
            "2147483648 INVITE",
            "36893488147419103232 REGISTER",
        ] {
            assert_eq!(parse(value), Err(CSeqError::Number), "{value}");
        }
        for value in ["1", "1 ", "1INVITE", "1 INV ITE", "1 INVITE;x", "1 INV\r\nITE", "1 \0"] {
            assert_eq!(parse(value), Err(CSeqError::Method), "{value}");
        }
    }
}
