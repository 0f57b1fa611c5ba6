//! The hashes of digest authentication (RFC 7616 §3.4): algorithms, HA1, HA2 and the response made of them.

use std::fmt;

use md5::Md5;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A hash algorithm of RFC 7616 §6.1, never in its `-sess` variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `MD5`; also what credentials without `algorithm` mean.
    Md5,
    /// `SHA-256` (RFC 8760).
    Sha256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 2] = [Algorithm::Md5, Algorithm::Sha256];

    /// The token in headers and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// The algorithm that a token names, in any case.
    pub fn from_name(name: &[u8]) -> Option<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// A hash value: an HA1 (as secret as the password within its realm), an HA2 or a response.
#[derive(Clone, Copy)]
pub enum Digest {
    /// By MD5.
    Md5([u8; 16]),
    /// By SHA-256.
    Sha256([u8; 32]),
}

impl Digest {
    /// H(`parts` joined by colons).
    pub(super) fn of(algorithm: Algorithm, parts: &[&[u8]]) -> Digest {
        match algorithm {
            Algorithm::Md5 => Digest::Md5(joined::<Md5>(parts).into()),
            Algorithm::Sha256 => Digest::Sha256(joined::<Sha256>(parts).into()),
        }
    }

    /// HA1 of a user: H(user ":" realm ":" password) (RFC 7616 §3.4.2).
    pub fn ha1(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> Digest {
        Digest::of(algorithm, &[user, realm, password])
    }

    /// Reads 32 hexadecimal digits as MD5, 64 as SHA-256; case does not matter.
    pub fn from_hex(digits: &[u8]) -> Option<Digest> {
        match digits.len() {
            32 => bytes_of(digits).map(Digest::Md5),
            64 => bytes_of(digits).map(Digest::Sha256),
            _ => None,
        }
    }

    /// The algorithm it was made by.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Digest::Md5(_) => Algorithm::Md5,
            Digest::Sha256(_) => Algorithm::Sha256,
        }
    }

    /// Lower-case digits, as the hashes and headers want them.
    pub(super) fn hex(&self) -> Hex {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bytes = self.bytes();
        let mut hex = Hex {
            digits: [0; 64],
            length: bytes.len() * 2,
        };
        for (pair, byte) in hex.digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        hex
    }

    /// Whether `digits` say the same value, in a time that does not tell where they differ.
    pub(super) fn is_hex(&self, digits: &[u8]) -> bool {
        let is_equal = match (self, Digest::from_hex(digits)) {
            (Digest::Md5(own), Some(Digest::Md5(other))) => {
                // Byte by byte would take five times as long.
                u128::from_le_bytes(*own).ct_eq(&u128::from_le_bytes(other))
            }
            (Digest::Sha256(own), Some(Digest::Sha256(other))) => own.ct_eq(&other),
            (Digest::Md5(_) | Digest::Sha256(_), _) => return false,
        };
        is_equal.into()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Digest::Md5(bytes) => bytes,
            Digest::Sha256(bytes) => bytes,
        }
    }
}

/// Says the algorithm only: the value may be a secret.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.algorithm().name())
    }
}

/// The digits of a [`Digest`], in place.
pub(super) struct Hex {
    digits: [u8; 64],
    length: usize,
}

impl Hex {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }
}

/// What a response protects besides the HA1, each value as it stands in the header, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Protected<'a> {
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) nonce: &'a [u8],
    /// Absent from RFC 2069's form only.
    pub(super) counted: Option<Counted<'a>>,
}

/// The values that came with `qop=auth`.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) qop: &'a [u8],
    pub(super) nonce_count: &'a [u8],
    pub(super) cnonce: &'a [u8],
}

impl Protected<'_> {
    /// The right response (RFC 7616 §3.4.1, §3.4.3), with the algorithm of `ha1`.
    pub(super) fn response(&self, ha1: &Digest) -> Digest {
        let algorithm = ha1.algorithm();
        let (ha1, ha2) = (ha1.hex(), Digest::of(algorithm, &[self.method, self.uri]).hex());
        let (ha1, ha2) = (ha1.as_bytes(), ha2.as_bytes());
        let Some(counted) = &self.counted else {
            return Digest::of(algorithm, &[ha1, self.nonce, ha2]);
        };
        let Counted {
            qop,
            nonce_count,
            cnonce,
        } = *counted;
        Digest::of(algorithm, &[ha1, self.nonce, nonce_count, cnonce, qop, ha2])
    }
}

fn joined<H: md5::Digest>(parts: &[&[u8]]) -> md5::digest::Output<H> {
    let mut hash = H::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hash.finalize()
}

fn bytes_of<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    (seen <= 15).then_some(bytes)
}

/// The value of each hexadecimal digit; other bytes have a bit above it.
const NIBBLES: [u8; 256] = {
    let mut table = [0x80; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit] as usize] = digit as u8;
        table[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const RFC2617_RESPONSE: &[u8] = b"6629fae49393a05397450978507c4ef1";

    fn rfc2617() -> (Digest, Protected<'static>) {
        let ha1 = Digest::ha1(Algorithm::Md5, b"Mufasa", b"testrealm@host.com", b"Circle Of Life");
        let protected = Protected {
            method: b"GET",
            uri: b"/dir/index.html",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            counted: Some(Counted {
                qop: b"auth",
                nonce_count: b"00000001",
                cnonce: b"0a4f113b",
            }),
        };
        (ha1, protected)
    }

    #[test]
    fn the_example_of_rfc2617_section_3_5() {
        let (ha1, protected) = rfc2617();

        assert_eq!(ha1.hex().as_bytes(), b"939e7578ed9e3c518a452acee763bce9");
        assert_eq!(protected.response(&ha1).hex().as_bytes(), RFC2617_RESPONSE);
    }

    #[test]
    fn without_qop_the_form_of_rfc2069() {
        let (ha1, mut protected) = rfc2617();
        protected.counted = None;

        assert_eq!(
            protected.response(&ha1).hex().as_bytes(),
            b"670fd8c2df070c60b045671b8b24ff02"
        );
    }

    #[test]
    fn the_examples_of_rfc7616_section_3_9_1() {
        for (algorithm, response) in [
            (Algorithm::Md5, &b"8ca523f5e9506fed4657c9700eebdbec"[..]),
            (
                Algorithm::Sha256,
                b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let ha1 = Digest::ha1(algorithm, b"Mufasa", b"http-auth@example.org", b"Circle of Life");
            let protected = Protected {
                method: b"GET",
                uri: b"/dir/index.html",
                nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                counted: Some(Counted {
                    qop: b"auth",
                    nonce_count: b"00000001",
                    cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                }),
            };

            assert!(protected.response(&ha1).is_hex(response), "{algorithm:?}");
        }
    }

    #[test]
    fn hexadecimal_digits_compare_without_case() {
        let (ha1, protected) = rfc2617();
        let response = protected.response(&ha1);

        assert!(response.is_hex(RFC2617_RESPONSE));
        assert!(response.is_hex(&RFC2617_RESPONSE.to_ascii_uppercase()));
        assert!(!response.is_hex(b"6629fae49393a05397450978507c4ef0"));
        assert!(!response.is_hex(b"6629fae49393a05397450978507c4ef"));
        assert!(!response.is_hex(b"6629fae49393a05397450978507c4efg"));
        assert!(!response.is_hex(&[b'0'; 64]));
        assert!(!response.is_hex(b""));
    }

    #[test]
    fn algorithms_are_named_without_case() {
        assert_eq!(Algorithm::from_name(b"md5"), Some(Algorithm::Md5));
        assert_eq!(Algorithm::from_name(b"Sha-256"), Some(Algorithm::Sha256));
        assert_eq!(Algorithm::from_name(b"MD5-sess"), None);
        assert_eq!(Algorithm::from_name(b"SHA-512-256"), None);
        assert_eq!(Algorithm::from_name(b""), None);
    }

    #[test]
    fn debug_output_holds_no_secret() {
        assert_eq!(format!("{:?}", rfc2617().0), "Digest(MD5)");
    }
}
