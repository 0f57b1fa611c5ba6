//! Nonces that carry their own state under a MAC (RFC 7616 §5.4, §3.3): nothing is kept about a challenge.

use std::fmt;
use std::time::Duration;

use siphasher::sip128::SipHasher24;
use subtle::ConstantTimeEq;

/// Bytes of a nonce as text.
const TEXT: usize = BYTES / 3 * 4;

/// Bytes of a nonce: a multiple of three, so that base64 has one way only to write it.
const BYTES: usize = 36;

/// Bytes of the fields under the MAC: seconds, start, sequence.
const FIELDS: usize = 24;

/// The keys of the nonces, from the state directory.
#[derive(Clone)]
pub struct Keys {
    /// New nonces are made with it.
    pub current: [u8; 16],
    /// Nonces of it are still accepted.
    pub previous: Option<[u8; 16]>,
}

impl Keys {
    /// A key for another purpose than nonces.
    pub(super) fn derived(&self, purpose: &[u8]) -> [u8; 16] {
        // No input of a nonce's MAC is this short, so that no nonce shows a derived key.
        debug_assert!(purpose.len() < FIELDS);
        SipHasher24::new_with_key(&self.current).hash(purpose).as_bytes()
    }
}

/// Without the keys.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// What a nonce says. The realm is under its MAC, too: a nonce of one realm is none in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    /// When it was made, in Unix seconds.
    pub(super) issued_secs: u64,
    /// Which start of which node made it.
    pub(super) start: u64,
    /// Its number within that start.
    pub(super) sequence: u64,
}

impl Nonce {
    /// The nonce as text, of characters that need no quoting.
    pub(super) fn text(&self, keys: &Keys, realm: &[u8]) -> [u8; TEXT] {
        let mut bytes = [0; BYTES];
        let fields = [self.issued_secs, self.start, self.sequence];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        let mac = mac(&keys.current, &bytes[..FIELDS], realm);
        bytes[FIELDS..].copy_from_slice(&mac);
        encoded(&bytes)
    }

    /// Reads a nonce that one of `keys` made for `realm`; any other bytes are `None`.
    pub(super) fn read(text: &[u8], keys: &Keys, realm: &[u8]) -> Option<Nonce> {
        let bytes = decoded(text.try_into().ok()?)?;
        let (fields, found) = bytes.split_at(FIELDS);
        let is_made_by = |key: &[u8; 16]| bool::from(mac(key, fields, realm).ct_eq(found));
        if !is_made_by(&keys.current) && !keys.previous.as_ref().is_some_and(is_made_by) {
            return None;
        }
        let (fields, _) = fields.as_chunks::<8>();
        Some(Nonce {
            issued_secs: u64::from_be_bytes(fields[0]),
            start: u64::from_be_bytes(fields[1]),
            sequence: u64::from_be_bytes(fields[2]),
        })
    }

    /// Whether it is no older than `lifetime`. One further in the future (the clock was set back) is not fresh.
    pub(super) fn is_fresh(&self, lifetime: Duration, unix_now: Duration) -> bool {
        unix_now.as_secs().abs_diff(self.issued_secs) <= lifetime.as_secs()
    }
}

/// Base64 with the alphabet for URLs (RFC 4648 §5). Of this one length nothing is left over or padded, which makes it a
/// quarter of the work that a decoder of any text has.
fn encoded(bytes: &[u8; BYTES]) -> [u8; TEXT] {
    let mut text = [0; TEXT];
    for (four, three) in text.as_chunks_mut::<4>().0.iter_mut().zip(bytes.as_chunks::<3>().0) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        *four = [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize]);
    }
    text
}

/// The reverse; `None` when a character is not of the alphabet.
fn decoded(text: &[u8; TEXT]) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let mut seen = 0;
    for (three, four) in bytes.as_chunks_mut::<3>().0.iter_mut().zip(text.as_chunks::<4>().0) {
        let [a, b, c, d] = four.map(|character| SEXTETS[usize::from(character)]);
        seen |= a | b | c | d;
        let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        let [_, first, second, third] = bits.to_be_bytes();
        *three = [first, second, third];
    }
    (seen <= 63).then_some(bytes)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The value of each character of [`ALPHABET`]; other bytes have a bit above it.
const SEXTETS: [u8; 256] = {
    let mut table = [0x80; 256];
    let mut value = 0;
    while value < 64 {
        table[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    table
};

fn mac(key: &[u8; 16], fields: &[u8], realm: &[u8]) -> [u8; BYTES - FIELDS] {
    use std::hash::Hasher as _;

    use siphasher::sip128::Hasher128 as _;

    let mut hasher = SipHasher24::new_with_key(key);
    // Fields are of one length, so that no two pairs of fields and realm give the same bytes.
    hasher.write(fields);
    hasher.write(realm);
    let full = hasher.finish128().as_bytes();
    let mut mac = [0; BYTES - FIELDS];
    mac.copy_from_slice(&full[..BYTES - FIELDS]);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce {
        issued_secs: 1_800_000_000,
        start: u64::MAX,
        sequence: 7,
    };

    fn keys(current: u8, previous: Option<u8>) -> Keys {
        Keys {
            current: [current; 16],
            previous: previous.map(|byte| [byte; 16]),
        }
    }

    #[test]
    fn a_nonce_is_read_back_by_its_key_and_realm_only() {
        let text = NONCE.text(&keys(1, None), b"example.com");

        assert_eq!(Nonce::read(&text, &keys(1, None), b"example.com"), Some(NONCE));
        assert_eq!(Nonce::read(&text, &keys(2, Some(1)), b"example.com"), Some(NONCE));
        assert_eq!(Nonce::read(&text, &keys(2, None), b"example.com"), None);
        assert_eq!(Nonce::read(&text, &keys(1, None), b"example.org"), None);
    }

    #[test]
    fn a_nonce_with_any_character_changed_is_none() {
        let keys = keys(1, None);
        let text = NONCE.text(&keys, b"example.com");
        for index in 0..TEXT {
            for change in [1, 2, 0x20, 0x80] {
                let mut forged = text;
                forged[index] ^= change;
                assert_eq!(Nonce::read(&forged, &keys, b"example.com"), None, "{index}");
            }
        }
        assert_eq!(Nonce::read(&text[..TEXT - 1], &keys, b"example.com"), None);
        assert_eq!(Nonce::read(b"", &keys, b"example.com"), None);
    }

    #[test]
    fn it_is_written_as_base64_for_urls() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;

        for start in 0..64 {
            let bytes: [u8; BYTES] = std::array::from_fn(|index| (index as u8 + start).wrapping_mul(57));
            let text = encoded(&bytes);
            assert_eq!(text.as_slice(), URL_SAFE_NO_PAD.encode(bytes).as_bytes());
            assert_eq!(decoded(&text), Some(bytes));
        }
    }

    #[test]
    fn a_nonce_lives_its_lifetime() {
        let lifetime = Duration::from_secs(300);
        let at = |secs: u64| NONCE.is_fresh(lifetime, Duration::from_secs(secs));

        assert!(at(NONCE.issued_secs));
        assert!(at(NONCE.issued_secs + 300));
        assert!(!at(NONCE.issued_secs + 301));
        assert!(at(NONCE.issued_secs - 5));
        assert!(!at(NONCE.issued_secs - 301));
    }

    #[test]
    fn debug_output_holds_no_key() {
        assert_eq!(format!("{:?}", keys(1, Some(2))), "Keys { .. }");
    }
}
