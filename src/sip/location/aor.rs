//! The address-of-record (RFC 3261 §6, §10.3 step 5): the name under which bindings are kept. It does not know
//! whether such a user exists.

use std::fmt;

use smallvec::SmallVec;

use crate::sip::domain::{Domain, Domains};
use crate::sip::message::uri::Uri;

/// An address-of-record in canonical form: the user part unescaped and compared exactly, `@`, and the name of the
/// served domain that the host is or is an alias of.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressOfRecord(SmallVec<[u8; INLINE_LENGTH]>);

impl AddressOfRecord {
    /// The longest address that is served, in bytes.
    pub const MAX_LENGTH: usize = 1024;

    /// The address that `uri` means and the domain it belongs to. `None` when its host is not served here, when it
    /// has no user, or when it is longer than [`AddressOfRecord::MAX_LENGTH`].
    pub fn new<'d>(uri: &Uri<'_>, domains: &'d Domains) -> Option<(AddressOfRecord, &'d Domain)> {
        let domain = domains.find(uri.host_bytes)?;
        let user = uri.user_unescaped()?;
        Some((AddressOfRecord::of_user(&user, domain)?, domain))
    }

    /// The address of `user`, who is written without escapes; `None` as above.
    pub fn of_user(user: &[u8], domain: &Domain) -> Option<AddressOfRecord> {
        if user.is_empty() || user.len() + 1 + domain.name.len() > Self::MAX_LENGTH {
            return None;
        }
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(user);
        bytes.push(b'@');
        bytes.extend_from_slice(domain.name.as_bytes());
        Some(AddressOfRecord(bytes))
    }

    /// The address kept in a record; it came from an `AddressOfRecord` when it was put there.
    pub(super) fn from_stored(bytes: &[u8]) -> AddressOfRecord {
        AddressOfRecord(SmallVec::from_slice(bytes))
    }

    /// `user@domain`, the user unescaped.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The user part, unescaped.
    pub fn user(&self) -> &[u8] {
        &self.0[..self.separator()]
    }

    /// The name of the domain.
    pub fn domain(&self) -> &[u8] {
        self.0.get(self.separator() + 1..).unwrap_or_default()
    }

    /// A user may hold an `@`, a domain may not.
    fn separator(&self) -> usize {
        memchr::memrchr(b'@', &self.0).unwrap_or(self.0.len())
    }
}

/// In one copy, which the list of bytes itself would make one by one.
impl Clone for AddressOfRecord {
    fn clone(&self) -> AddressOfRecord {
        AddressOfRecord::from_stored(&self.0)
    }
}

/// Writes a SIP URI, escaped where RFC 3261 §25.1 does not allow a byte in the user part.
impl fmt::Display for AddressOfRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sip:")?;
        for byte in self.user() {
            match byte {
                byte if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(byte) => {
                    write!(f, "{}", char::from(*byte))?;
                }
                byte => write!(f, "%{byte:02X}")?,
            }
        }
        write!(f, "@{}", String::from_utf8_lossy(self.domain()))
    }
}

impl fmt::Debug for AddressOfRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Addresses up to this length, nearly all of them, live without a heap allocation.
const INLINE_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_stays_one_address_and_is_written_back() {
        let aor = AddressOfRecord::from_stored(b"a b@c@example.com");
        assert_eq!(aor.user(), b"a b@c");
        assert_eq!(aor.domain(), b"example.com");
        assert_eq!(aor.to_string(), "sip:a%20b%40c@example.com");
    }
}
