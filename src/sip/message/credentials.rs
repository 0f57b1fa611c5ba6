//! Digest credentials (RFC 3261 §20.7, §20.28; RFC 7616 §3.4). Read only; `sip::digest` judges them.

use std::borrow::Cow;

use thiserror::Error;

use super::grammar::{self, TOKEN, VALUE};

/// The value of an Authorization or Proxy-Authorization header of the scheme Digest. Every part is what stood between
/// the quotes, or the token; only `username` and `realm` have their quoted pairs undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Who.
    pub username: Cow<'a, [u8]>,
    /// The realm of the challenge.
    pub realm: Cow<'a, [u8]>,
    /// The nonce of the challenge.
    pub nonce: &'a [u8],
    /// The digest URI.
    pub uri: &'a [u8],
    /// The response, in hexadecimal.
    pub response: &'a [u8],
    /// The algorithm; MD5 when absent.
    pub algorithm: Option<&'a [u8]>,
    /// The quality of protection.
    pub qop: Option<&'a [u8]>,
    /// How often the nonce has been used.
    pub nonce_count: Option<u32>,
    /// The same as written, which is what the response covers.
    pub nonce_count_bytes: Option<&'a [u8]>,
    /// The client's nonce.
    pub cnonce: Option<&'a [u8]>,
    /// What the challenge gave to be returned.
    pub opaque: Option<&'a [u8]>,
}

/// Why a value holds no digest credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// They are of another scheme.
    #[error("the credentials are of another scheme than Digest")]
    NotDigest,
    /// They are not well-formed, a part is missing, or a part is there twice.
    #[error("the digest credentials are malformed")]
    Malformed,
}

impl<'a> Credentials<'a> {
    /// Reads the value of the header.
    pub fn parse(value: &'a [u8]) -> Result<Credentials<'a>, CredentialsError> {
        let value = grammar::trim(value);
        let (scheme, after) = value.split_at(grammar::span(value, TOKEN));
        let rest = grammar::skip_lws(after);
        if scheme.is_empty() {
            return Err(CredentialsError::Malformed);
        }
        if !scheme.eq_ignore_ascii_case(b"Digest") {
            return Err(CredentialsError::NotDigest);
        }
        if rest.len() == after.len() {
            return Err(CredentialsError::Malformed);
        }
        let parts = Parts::parse(rest).ok_or(CredentialsError::Malformed)?;
        parts.credentials().ok_or(CredentialsError::Malformed)
    }
}

/// The parts as written, quotes included.
#[derive(Default)]
struct Parts<'a> {
    username: Option<&'a [u8]>,
    realm: Option<&'a [u8]>,
    nonce: Option<&'a [u8]>,
    uri: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
    algorithm: Option<&'a [u8]>,
    qop: Option<&'a [u8]>,
    nonce_count: Option<&'a [u8]>,
    cnonce: Option<&'a [u8]>,
    opaque: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// `name=value` between commas; empty elements are passed over (RFC 9110 §5.6.1).
    fn parse(text: &'a [u8]) -> Option<Parts<'a>> {
        let mut parts = Parts::default();
        let mut rest = grammar::skip_lws(text);
        while !rest.is_empty() {
            if let [b',', tail @ ..] = rest {
                rest = grammar::skip_lws(tail);
                continue;
            }
            let (name, tail) = rest.split_at(grammar::span(rest, TOKEN));
            let tail = grammar::skip_lws(grammar::skip_lws(tail).strip_prefix(b"=")?);
            let length = match tail.first()? {
                b'"' => grammar::quoted_length(tail)?,
                _ => grammar::span(tail, VALUE),
            };
            if name.is_empty() || length == 0 {
                return None;
            }
            parts.set(name, &tail[..length])?;
            rest = grammar::skip_lws(&tail[length..]);
            if !matches!(rest, [] | [b',', ..]) {
                return None;
            }
        }
        Some(parts)
    }

    /// A known part may be there once. Clients differ in what they quote, so that any part may be quoted or not.
    fn set(&mut self, name: &[u8], value: &'a [u8]) -> Option<()> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let slot = match name.len() {
            2 if is(b"nc") => &mut self.nonce_count,
            3 if is(b"uri") => &mut self.uri,
            3 if is(b"qop") => &mut self.qop,
            5 if is(b"realm") => &mut self.realm,
            5 if is(b"nonce") => &mut self.nonce,
            6 if is(b"cnonce") => &mut self.cnonce,
            6 if is(b"opaque") => &mut self.opaque,
            8 if is(b"username") => &mut self.username,
            8 if is(b"response") => &mut self.response,
            9 if is(b"algorithm") => &mut self.algorithm,
            _ => return Some(()),
        };
        slot.replace(value).is_none().then_some(())
    }

    fn credentials(self) -> Option<Credentials<'a>> {
        let nonce_count_bytes = self.nonce_count.map(inside);
        let nonce_count = match nonce_count_bytes {
            Some(digits) => Some(nonce_count(digits)?),
            None => None,
        };
        Some(Credentials {
            username: grammar::unquote(self.username?),
            realm: grammar::unquote(self.realm?),
            nonce: inside(self.nonce?),
            uri: inside(self.uri?),
            response: inside(self.response?),
            algorithm: self.algorithm.map(inside),
            qop: self.qop.map(inside),
            nonce_count,
            nonce_count_bytes,
            cnonce: self.cnonce.map(inside),
            opaque: self.opaque.map(inside),
        })
    }
}

/// What stands between the quotes, when there are some.
fn inside(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
    }
}

/// RFC 7616 §3.4: eight hexadecimal digits; fewer are taken.
fn nonce_count(digits: &[u8]) -> Option<u32> {
    if !(1..=8).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |count, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(count << 4 | value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Credentials<'_> {
        Credentials::parse(value.as_bytes()).unwrap()
    }

    #[test]
    fn all_parts_are_read() {
        let credentials = parse(
            "Digest username=\"bob\", realm=\"biloxi.com\",\r\n nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
             uri=\"sip:bob@biloxi.com\", qop=auth, nc=0000000A , cnonce = \"0a4f113b\", algorithm=SHA-256,\
             response=\"6629fae49393a05397450978507c4ef1\", opaque=\"\", userhash=false",
        );
        assert_eq!(&*credentials.username, b"bob");
        assert_eq!(&*credentials.realm, b"biloxi.com");
        assert_eq!(credentials.nonce, b"dcd98b7102dd2f0e8b11d0f600bfb0c093");
        assert_eq!(credentials.uri, b"sip:bob@biloxi.com");
        assert_eq!(credentials.response, b"6629fae49393a05397450978507c4ef1");
        assert_eq!(credentials.algorithm, Some(&b"SHA-256"[..]));
        assert_eq!(credentials.qop, Some(&b"auth"[..]));
        assert_eq!(credentials.nonce_count, Some(10));
        assert_eq!(credentials.nonce_count_bytes, Some(&b"0000000A"[..]));
        assert_eq!(credentials.cnonce, Some(&b"0a4f113b"[..]));
        assert_eq!(credentials.opaque, Some(&b""[..]));
        assert!(matches!(credentials.username, Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_quoted_differs_between_clients() {
        let credentials = parse(
            "digest USERNAME=bob,realm=\"a \\\"b\\\"\",nonce=abc==,uri=sip:b,response=0,qop=\"auth\",nc=\"00000001\",algorithm=\"MD5\",",
        );
        assert_eq!(&*credentials.realm, b"a \"b\"");
        assert_eq!(credentials.nonce, b"abc==");
        assert_eq!(credentials.qop, Some(&b"auth"[..]));
        assert_eq!(credentials.nonce_count, Some(1));
        assert_eq!(credentials.algorithm, Some(&b"MD5"[..]));
    }

    #[test]
    fn another_scheme_is_not_malformed() {
        for value in ["NoOneKnowsThisScheme opaque-data=here", "Basic YWxhZGRpbg==", "Bearer"] {
            assert_eq!(Credentials::parse(value.as_bytes()), Err(CredentialsError::NotDigest));
        }
    }

    #[test]
    fn malformed_credentials_are_refused() {
        let whole = "Digest username=\"a\",realm=\"b\",nonce=\"c\",uri=\"d\",response=\"e\"";
        parse(whole);
        for part in [
            "username=\"a\",",
            "realm=\"b\",",
            "nonce=\"c\",",
            "uri=\"d\",",
            ",response=\"e\"",
        ] {
            let value = whole.replace(part, "");
            assert_eq!(
                Credentials::parse(value.as_bytes()),
                Err(CredentialsError::Malformed),
                "{value}"
            );
        }
        for tail in [
            ",username=\"x\"",
            ",nc=123456789",
            ",nc=g",
            ",nc=\"\"",
            ",x",
            ",x=",
            ",=x",
            ",x=\"y",
            ",x=y z",
            ";x=y",
            ",x=\"y\r\nz\"",
            ",x=y\r\n",
            ",x=\0",
        ] {
            let value = format!("{whole}{tail}");
            assert_eq!(
                Credentials::parse(value.as_bytes()),
                Err(CredentialsError::Malformed),
                "{tail:?}"
            );
        }
        for value in ["", "Digest", "Digest ", "Digest,username=\"a\"", "\"Digest\" a=b"] {
            assert_eq!(
                Credentials::parse(value.as_bytes()),
                Err(CredentialsError::Malformed),
                "{value}"
            );
        }
    }
}
