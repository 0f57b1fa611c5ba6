//! The header lines of a challenge (RFC 7616 §3.3, RFC 8760 §2.3).

use bytes::{BufMut, BytesMut};

use super::hash::Algorithm;

/// The header that carries a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// `WWW-Authenticate`, in a 401 (RFC 3261 §20.44).
    Www,
    /// `Proxy-Authenticate`, in a 407 (RFC 3261 §20.27).
    Proxy,
}

impl Challenge {
    /// The name of the header.
    pub fn name(self) -> &'static str {
        match self {
            Challenge::Www => "WWW-Authenticate",
            Challenge::Proxy => "Proxy-Authenticate",
        }
    }

    /// Appends a line per algorithm, the preferred one first. Without `stale` nothing is said of staleness.
    pub(super) fn write(self, algorithms: &[Algorithm], realm: &[u8], nonce: &[u8], stale: bool, out: &mut BytesMut) {
        for algorithm in algorithms {
            out.put_slice(self.name().as_bytes());
            out.put_slice(b": Digest realm=");
            put_quoted(realm, out);
            out.put_slice(b", nonce=\"");
            out.put_slice(nonce);
            out.put_slice(b"\", qop=\"auth\", algorithm=");
            out.put_slice(algorithm.name().as_bytes());
            if stale {
                out.put_slice(b", stale=true");
            }
            out.put_slice(b"\r\n");
        }
    }
}

/// `text` as a quoted-string (RFC 3261 §25.1); control characters, which it cannot hold, are left out.
pub(super) fn put_quoted(text: &[u8], out: &mut impl BufMut) {
    out.put_u8(b'"');
    for byte in text.iter().filter(|byte| !byte.is_ascii_control()) {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_one_line_per_algorithm_in_order() {
        let mut out = BytesMut::from(&b"before\r\n"[..]);
        Challenge::Proxy.write(
            &[Algorithm::Sha256, Algorithm::Md5],
            b"example.com",
            b"abc",
            true,
            &mut out,
        );
        Challenge::Www.write(&[Algorithm::Md5], b"example.com", b"abc", false, &mut out);

        let expected = "before\r\n\
            Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"abc\", qop=\"auth\", algorithm=SHA-256, stale=true\r\n\
            Proxy-Authenticate: Digest realm=\"example.com\", nonce=\"abc\", qop=\"auth\", algorithm=MD5, stale=true\r\n\
            WWW-Authenticate: Digest realm=\"example.com\", nonce=\"abc\", qop=\"auth\", algorithm=MD5\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_quoted_string_cannot_be_left_from_inside() {
        let mut out = Vec::new();
        put_quoted(b"a \"b\" \\ \r\nVia: c \xc3\xa9", &mut out);

        assert_eq!(out, b"\"a \\\"b\\\" \\\\ Via: c \xc3\xa9\"");
    }
}
