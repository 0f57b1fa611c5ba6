//! The client's side: credentials that answer a challenge (RFC 7616 §3.4, RFC 3261 §22.2-22.3).

use thiserror::Error;

use super::challenge::put_quoted;
use super::hash::{Algorithm, Counted, Digest, Protected};
use crate::sip::message::address::split_values;
use crate::sip::message::grammar::unquote;

/// A request that was challenged, and who sends it.
#[derive(Clone, Copy)]
pub struct Challenged<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The Request-URI.
    pub uri: &'a [u8],
    /// The user name, unquoted.
    pub user: &'a [u8],
    /// The password.
    pub password: &'a [u8],
    /// A random token, new for each challenge.
    pub cnonce: &'a str,
    /// How often the nonce was answered, this time included.
    pub nonce_count: u32,
}

/// Why a challenge cannot be answered. Of several challenges the first that can be is to be answered (RFC 8760 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChallengeError {
    /// It is of another scheme.
    #[error("the challenge is not one of digest authentication")]
    NotDigest,
    /// It has no realm or no nonce.
    #[error("the challenge is malformed")]
    Malformed,
    /// Its algorithm is unknown here.
    #[error("the algorithm of the challenge is not supported")]
    Algorithm,
    /// It offers protections, but not `auth`.
    #[error("the challenge does not offer qop=auth")]
    Qop,
}

/// The value of the Authorization or Proxy-Authorization header that answers the value of one challenge header.
pub fn response(challenge: &[u8], request: &Challenged<'_>) -> Result<Vec<u8>, ChallengeError> {
    let offer = Offer::parse(challenge)?;
    let algorithm = match offer.algorithm {
        Some(name) => Algorithm::from_name(&unquote(name)).ok_or(ChallengeError::Algorithm)?,
        None => Algorithm::Md5,
    };
    let nonce_count = format!("{:08x}", request.nonce_count);
    let counted = Counted {
        qop: b"auth",
        nonce_count: nonce_count.as_bytes(),
        cnonce: request.cnonce.as_bytes(),
    };
    let protected = Protected {
        method: request.method,
        uri: request.uri,
        nonce: bare(offer.nonce),
        // RFC 7616 §3.4: without qop in the challenge the answer has none.
        counted: offer.qop.is_some().then_some(counted),
    };
    if offer.qop.is_some_and(|qop| !offers_auth(qop)) {
        return Err(ChallengeError::Qop);
    }
    let ha1 = Digest::ha1(algorithm, request.user, &unquote(offer.realm), request.password);
    let mut user = Vec::new();
    put_quoted(request.user, &mut user);

    // The realm, nonce and opaque go back as they came, in their quotes.
    let mut value = b"Digest username=".to_vec();
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| value.extend_from_slice(part));
    put(&[&user, b", realm=", offer.realm, b", nonce=", offer.nonce]);
    put(&[b", uri=\"", request.uri, b"\", response=\""]);
    put(&[protected.response(&ha1).hex().as_bytes(), b"\""]);
    if let Some(name) = offer.algorithm {
        put(&[b", algorithm=", name]);
    }
    if let Some(opaque) = offer.opaque {
        put(&[b", opaque=", opaque]);
    }
    if protected.counted.is_some() {
        put(&[b", qop=auth, nc=", counted.nonce_count]);
        put(&[b", cnonce=\"", counted.cnonce, b"\""]);
    }
    Ok(value)
}

/// A challenge: the values as they stand there, quotes included.
struct Offer<'a> {
    realm: &'a [u8],
    nonce: &'a [u8],
    algorithm: Option<&'a [u8]>,
    qop: Option<&'a [u8]>,
    opaque: Option<&'a [u8]>,
}

impl<'a> Offer<'a> {
    fn parse(challenge: &'a [u8]) -> Result<Offer<'a>, ChallengeError> {
        const SCHEME: usize = b"Digest".len();
        let Some((scheme, rest)) = challenge.trim_ascii().split_at_checked(SCHEME) else {
            return Err(ChallengeError::NotDigest);
        };
        if !scheme.eq_ignore_ascii_case(b"Digest") || !rest.first().is_some_and(u8::is_ascii_whitespace) {
            return Err(ChallengeError::NotDigest);
        }
        let value = |wanted: &str| {
            split_values(rest).find_map(|parameter| {
                let equals = parameter.iter().position(|byte| *byte == b'=')?;
                let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
                name.eq_ignore_ascii_case(wanted.as_bytes()).then_some(value)
            })
        };
        Ok(Offer {
            realm: value("realm").ok_or(ChallengeError::Malformed)?,
            nonce: value("nonce").ok_or(ChallengeError::Malformed)?,
            algorithm: value("algorithm"),
            qop: value("qop"),
            opaque: value("opaque"),
        })
    }
}

fn offers_auth(qop: &[u8]) -> bool {
    bare(qop)
        .split(|byte| *byte == b',')
        .any(|offer| offer.trim_ascii().eq_ignore_ascii_case(b"auth"))
}

/// A value without its quotes.
fn bare(value: &[u8]) -> &[u8] {
    match value {
        [b'"', text @ .., b'"'] => text,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: Challenged<'static> = Challenged {
        method: b"REGISTER",
        uri: b"sip:example.com",
        user: b"bob",
        password: b"zanzibar",
        cnonce: "c",
        nonce_count: 10,
    };

    fn answered(challenge: &str) -> Result<String, ChallengeError> {
        response(challenge.as_bytes(), &BOB).map(|value| String::from_utf8(value).expect("ASCII in, ASCII out"))
    }

    #[test]
    fn the_example_of_rfc7616_section_3_9_1_is_answered() {
        let mufasa = Challenged {
            method: b"GET",
            uri: b"/dir/index.html",
            user: b"Mufasa",
            password: b"Circle of Life",
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            nonce_count: 1,
        };
        let challenge = b"Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
            opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

        let expected = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", uri=\"/dir/index.html\", \
            response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\", algorithm=SHA-256, \
            opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\", qop=auth, nc=00000001, \
            cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\"";
        let value = response(challenge, &mufasa).expect("it can be answered");
        assert_eq!(String::from_utf8_lossy(&value), expected);
    }

    #[test]
    fn a_challenge_without_qop_is_answered_without() {
        let value = answered("digest nonce=\"n\",realm=\"r\"").expect("it can be answered");

        assert!(!value.contains("qop"), "{value}");
        assert!(!value.contains("algorithm"), "{value}");
        assert!(!value.contains("nc="), "{value}");
    }

    #[test]
    fn a_challenge_that_cannot_be_answered_says_why() {
        for (challenge, error) in [
            ("", ChallengeError::NotDigest),
            ("Basic realm=\"r\"", ChallengeError::NotDigest),
            ("Digestive realm=\"r\", nonce=\"n\"", ChallengeError::NotDigest),
            ("Digest realm=\"r\"", ChallengeError::Malformed),
            ("Digest nonce=\"n\", qop=\"auth\"", ChallengeError::Malformed),
            (
                "Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess",
                ChallengeError::Algorithm,
            ),
            ("Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"", ChallengeError::Qop),
        ] {
            assert_eq!(answered(challenge), Err(error), "{challenge}");
        }
    }
}
