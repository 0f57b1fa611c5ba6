//! The user part of a temporary GRUU (RFC 5627 §3.2, Appendix A): which phone of which user it means, encrypted and
//! authenticated with AES-GCM-SIV (RFC 8452), so that no table is needed and nobody learns or makes anything of it.
//!
//! ```text
//! token    nonce 12 | ciphertext 48, 96, ... | tag 16, in base64url
//! content  issued u32 | Call-ID u64 | instance u64 | user length u16 | user | zeros
//! ```
//!
//! The content is padded, so that the token's length tells next to nothing of the user's. The nonce is a keyed hash of
//! content and circumstances: two tokens look unrelated, and even equal nonces would show no more than equal contents.

use aws_lc_rs::aead::{AES_128_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24 as Hasher64;
use siphasher::sip128::SipHasher24;
use smallvec::SmallVec;

use crate::sip::location::AddressOfRecord;

/// What a token says beside the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The [`instance_hash`].
    pub instance: u64,
    /// The location service's hash of the Call-ID that the phone registered with.
    pub call_id: u64,
    /// When the token was made, in seconds since 1970.
    pub issued: u32,
}

/// Makes and reads tokens.
pub struct Tokens {
    current: Sealer,
    previous: Option<Sealer>,
}

struct Sealer {
    key: LessSafeKey,
    nonces: [u8; 16],
}

impl Tokens {
    /// With the key of this installation, and the one that it had before, whose tokens are taken still.
    pub fn new(current: &[u8; 16], previous: Option<&[u8; 16]>) -> Tokens {
        Tokens {
            current: Sealer::new(current),
            previous: previous.map(Sealer::new),
        }
    }

    /// The token of a phone of `user`, good in `domain` only. `fresh` is anything that differs from one token to the next.
    pub fn seal(&self, user: &[u8], domain: &str, handle: &Handle, fresh: &[u8]) -> Option<String> {
        let length = u16::try_from(user.len()).ok()?;
        let padded = padded_length(HEADER + user.len())?;
        let mut content: SmallVec<[u8; 64]> = SmallVec::new();
        content.extend_from_slice(&handle.issued.to_be_bytes());
        content.extend_from_slice(&handle.call_id.to_be_bytes());
        content.extend_from_slice(&handle.instance.to_be_bytes());
        content.extend_from_slice(&length.to_be_bytes());
        content.extend_from_slice(user);
        content.resize(padded, 0);
        let mut circumstances = content.clone();
        circumstances.extend_from_slice(fresh);
        let hash = SipHasher24::new_with_key(&self.current.nonces)
            .hash(&circumstances)
            .as_bytes();
        let nonce: [u8; NONCE_LEN] = *hash.first_chunk()?;
        let sealed = self.current.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(domain.as_bytes()),
            &mut content,
        );
        let token = [&nonce, &content[..], sealed.ok()?.as_ref()].concat();
        Some(URL_SAFE_NO_PAD.encode(token))
    }

    /// The user and what else `token` says, when it was made here for `domain`.
    pub fn open(&self, token: &[u8], domain: &str) -> Option<(SmallVec<[u8; 64]>, Handle)> {
        if token.len() > MAX_TEXT {
            return None;
        }
        let raw = URL_SAFE_NO_PAD.decode(token).ok()?;
        let content = std::iter::once(&self.current)
            .chain(&self.previous)
            .find_map(|sealer| sealer.open(&raw, domain))?;
        read(&content)
    }
}

impl Sealer {
    fn new(key: &[u8; 16]) -> Sealer {
        let [cipher, nonces] = [b"temp-gruu cipher", b"temp-gruu nonces"].map(|purpose| derive(key, purpose));
        let cipher = UnboundKey::new(&AES_128_GCM_SIV, &cipher).expect("a key of this length is a key");
        Sealer {
            key: LessSafeKey::new(cipher),
            nonces,
        }
    }

    fn open(&self, raw: &[u8], domain: &str) -> Option<Vec<u8>> {
        let (nonce, sealed) = raw.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(domain.as_bytes()), &mut sealed);
        let length = opened.ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(..)")
    }
}

/// The hash by which a token names an instance, without regard to case. It needs no key: nobody sees it, and instances of
/// one AOR only are compared, which all are its owner's.
pub fn instance_hash(name: &[u8]) -> u64 {
    let lower: SmallVec<[u8; 64]> = name.iter().map(u8::to_ascii_lowercase).collect();
    Hasher64::new().hash(&lower)
}

/// A key of `key` for another purpose.
pub fn derive(key: &[u8; 16], purpose: &[u8; 16]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(key).chain_update(purpose).finalize();
    let mut derived = [0; 16];
    derived.copy_from_slice(&digest[..16]);
    derived
}

fn read(content: &[u8]) -> Option<(SmallVec<[u8; 64]>, Handle)> {
    let (issued, rest) = content.split_first_chunk()?;
    let (call_id, rest) = rest.split_first_chunk()?;
    let (instance, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let user = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    let handle = Handle {
        instance: u64::from_be_bytes(*instance),
        call_id: u64::from_be_bytes(*call_id),
        issued: u32::from_be_bytes(*issued),
    };
    Some((SmallVec::from_slice(user), handle))
}

/// Each class is twice as long as the one before. Users of up to 26 bytes, nearly all, have tokens of the same length.
fn padded_length(length: usize) -> Option<usize> {
    let mut classes = std::iter::successors(Some(CLASS), |class| Some(class * 2));
    classes
        .find(|class| *class >= length)
        .filter(|class| *class <= CLASS_MAX)
}

const HEADER: usize = 22;
const CLASS: usize = 48;
/// The longest address fits.
const CLASS_MAX: usize = CLASS << 5;
const MAX_TEXT: usize = (NONCE_LEN + CLASS_MAX + 16).div_ceil(3) * 4;
const _: () = assert!(HEADER + AddressOfRecord::MAX_LENGTH <= CLASS_MAX);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const HANDLE: Handle = Handle {
        instance: 0x0102_0304_0506_0708,
        call_id: u64::MAX - 3,
        issued: 1_800_000_000,
    };
    const DOMAIN: &str = "example.com";

    fn tokens() -> Tokens {
        Tokens::new(&[7; 16], None)
    }

    fn seal(tokens: &Tokens, user: &[u8], fresh: &[u8]) -> String {
        tokens.seal(user, DOMAIN, &HANDLE, fresh).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_with_the_same_key_in_the_same_domain() {
        let token = seal(&tokens(), b"alice", b"1");
        let open = |tokens: &Tokens, domain| tokens.open(token.as_bytes(), domain);
        let content = Some((SmallVec::from_slice(b"alice"), HANDLE));
        assert_eq!(open(&tokens(), DOMAIN), content);
        assert_eq!(open(&tokens(), "example.org"), None);
        assert_eq!(open(&Tokens::new(&[8; 16], None), DOMAIN), None);
        assert_eq!(open(&Tokens::new(&[8; 16], Some(&[7; 16])), DOMAIN), content);
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed_or_left_out() {
        let token = seal(&tokens(), b"alice", b"1");
        for position in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(tokens().open(&changed, DOMAIN), None, "byte {position}");
            assert_eq!(tokens().open(&token.as_bytes()[..position], DOMAIN), None);
        }
    }

    #[test]
    fn tokens_of_one_phone_have_nothing_in_common() {
        let tokens = tokens();
        let made: Vec<Vec<u8>> = (0..200_u32)
            .map(|number| {
                let token = seal(&tokens, b"alice", &number.to_be_bytes());
                URL_SAFE_NO_PAD.decode(token).unwrap()
            })
            .collect();
        // At each place nearly all of the 256 values that a byte has are seen as often as chance has it.
        for place in 0..made[0].len() {
            let values: BTreeSet<u8> = made.iter().map(|token| token[place]).collect();
            assert!(values.len() > 100, "{} values at {place}", values.len());
        }
    }

    #[test]
    fn the_length_tells_no_names_apart() {
        let lengths: BTreeSet<usize> = (1..=26)
            .map(|length| seal(&tokens(), &vec![b'x'; length], b"").len())
            .collect();
        assert_eq!(lengths, BTreeSet::from([102]));
        let longest = vec![b'x'; AddressOfRecord::MAX_LENGTH];
        let token = seal(&tokens(), &longest, b"");
        assert!(token.len() <= MAX_TEXT);
        assert_eq!(&*tokens().open(token.as_bytes(), DOMAIN).unwrap().0, &*longest);
    }

    #[test]
    fn instances_are_hashed_without_regard_to_case() {
        assert_eq!(instance_hash(b"urn:uuid:AB"), instance_hash(b"URN:uuid:ab"));
        assert_ne!(instance_hash(b"urn:uuid:ab"), instance_hash(b"urn:uuid:ac"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_else_is_opened(bytes in vec(any::<u8>(), 0..200)) {
            let text = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(tokens().open(&bytes, DOMAIN), None);
            prop_assert_eq!(tokens().open(text.as_bytes(), DOMAIN), None);
        }

        #[test]
        fn any_user_and_handle_come_back(
            user in vec(any::<u8>(), 1..1024), instance: u64, call_id: u64, issued: u32, fresh: [u8; 8]
        ) {
            let handle = Handle { instance, call_id, issued };
            let token = tokens().seal(&user, DOMAIN, &handle, &fresh).unwrap();
            let (opened, found) = tokens().open(token.as_bytes(), DOMAIN).unwrap();
            prop_assert_eq!((&*opened, found), (&*user, handle));
        }
    }
}
