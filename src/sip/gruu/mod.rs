//! GRUUs (RFC 5627): URIs that lead to one phone of an address-of-record. The public one shows the address and the
//! instance; the temporary one is a [`token`], which shows neither. Nothing is kept of either.

pub mod token;

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use crate::sip::domain::{Domain, Domains};
use crate::sip::location::{AddressOfRecord, Binding, Location};
use crate::sip::message::grammar;
use crate::sip::message::uri::Uri;
use token::{Handle, Tokens};

/// The option tag.
pub const GRUU: &[u8] = b"gruu";

/// Whom a URI of a served domain means.
#[derive(Debug)]
pub struct Called<'d> {
    /// The address. Of [`Callee::Nobody`] it says nothing.
    pub aor: AddressOfRecord,
    /// Its domain.
    pub domain: &'d Domain,
    /// Which of its phones.
    pub callee: Callee,
}

/// Which phones of an address are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// All of them: the URI is no GRUU.
    Everyone,
    /// One, by a GRUU.
    Device(Device),
    /// None: the URI has the form of a GRUU, and we have never given it to anybody.
    Nobody,
}

/// One phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// The instance with this name, without the angle brackets.
    Named(SmallVec<[u8; 64]>),
    /// The one that a temporary GRUU was given to.
    Hidden(Handle),
}

impl<'d> Called<'d> {
    /// Reads `uri`; `None` when it is no address of a served domain.
    pub fn read(uri: &Uri<'_>, domains: &'d Domains, tokens: &Tokens) -> Option<Called<'d>> {
        let (aor, domain) = AddressOfRecord::new(uri, domains)?;
        let called = |aor, callee| Called { aor, domain, callee };
        if !is_gruu(uri) {
            return Some(called(aor, Callee::Everyone));
        }
        let value = uri.parameter(GR).flatten().unwrap_or_default();
        if !value.is_empty() {
            // RFC 5627 §5.2: what was written there is the instance.
            let name = grammar::unescape(value);
            let callee = match is_instance(&name) {
                true => Callee::Device(Device::Named(SmallVec::from_slice(&name))),
                false => Callee::Nobody,
            };
            return Some(called(aor, callee));
        }
        let found = tokens
            .open(aor.user(), &domain.name)
            .and_then(|(user, handle)| Some((AddressOfRecord::of_user(&user, domain)?, handle)));
        Some(match found {
            Some((aor, handle)) => called(aor, Callee::Device(Device::Hidden(handle))),
            None => called(aor, Callee::Nobody),
        })
    }
}

impl Device {
    /// Whether `binding` is one of this phone's.
    pub fn has(&self, binding: &Binding<'_>) -> bool {
        let Some(name) = instance(binding) else { return false };
        match self {
            Device::Named(wanted) => name.eq_ignore_ascii_case(wanted),
            Device::Hidden(handle) => handle.instance == token::instance_hash(name),
        }
    }

    /// Whether the GRUU still means the phone. A public one always does. A temporary one does while a binding lives that
    /// was there when it was given, refreshed since then under one Call-ID (RFC 5627 §3.2). What was before `started`, the
    /// second of the start of this process, is not known, and the Call-ID decides alone. Times are given in seconds since 1970 by `unix`.
    pub fn is_valid(
        &self,
        location: &Location,
        aor: &AddressOfRecord,
        started: u32,
        unix: impl Fn(Instant) -> u32,
        now: Instant,
    ) -> bool {
        let Device::Hidden(handle) = self else { return true };
        let mut is_valid = false;
        location.lookup(aor, now, &mut |binding| {
            is_valid |= self.has(binding)
                && binding.call_id_hash() == handle.call_id
                && (handle.issued <= started || handle.issued >= unix(binding.registered_at()));
        });
        is_valid
    }
}

/// Whether `uri` has the form of a GRUU (RFC 5627 §6.1).
pub fn is_gruu(uri: &Uri<'_>) -> bool {
    !uri.parameters.is_empty() && uri.parameter(GR).is_some()
}

/// The instance of `binding` without the angle brackets, when a GRUU can be made of it.
pub fn instance<'a>(binding: &Binding<'a>) -> Option<&'a [u8]> {
    let name = binding.instance()?.strip_prefix(b"<")?.strip_suffix(b">")?;
    is_instance(name).then_some(name)
}

/// RFC 5626 §4.1: an instance is a URN.
fn is_instance(name: &[u8]) -> bool {
    let is_printable = |byte: &u8| byte.is_ascii_graphic() && !b"<>\"\\".contains(byte);
    name.len() <= MAX_INSTANCE
        && name
            .split_at_checked(URN.len())
            .is_some_and(|(scheme, rest)| scheme.eq_ignore_ascii_case(URN) && !rest.is_empty())
        && name.iter().all(is_printable)
}

/// A time since 1970 in whole seconds.
pub fn seconds(unix: Duration) -> u32 {
    u32::try_from(unix.as_secs()).unwrap_or(u32::MAX)
}

/// What both GRUUs of one binding are made of.
#[derive(Debug)]
pub struct Maker<'a> {
    /// What makes the temporary one.
    pub tokens: &'a Tokens,
    /// The address.
    pub aor: &'a AddressOfRecord,
    /// Its domain.
    pub domain: &'a Domain,
    /// The time in seconds since 1970.
    pub unix: u32,
    /// Anything that is different at each answer: two tokens over the same would be equal.
    pub fresh: &'a [u8],
}

impl Maker<'_> {
    /// Appends the Contact parameters `pub-gruu` and `temp-gruu` (RFC 5627 §5.2, §5.3), when `binding` has an instance.
    pub fn put(&self, binding: &Binding<'_>, out: &mut BytesMut) {
        let Some(instance) = instance(binding) else { return };
        out.put_slice(b";pub-gruu=\"");
        out.put_slice(self.aor.to_string().as_bytes());
        out.put_slice(b";gr=");
        for byte in instance {
            match byte {
                byte if byte.is_ascii_alphanumeric() || PLAIN.contains(byte) => out.put_u8(*byte),
                byte => out.put_slice(format!("%{byte:02X}").as_bytes()),
            }
        }
        out.put_slice(b"\"");
        let handle = Handle {
            instance: token::instance_hash(instance),
            call_id: binding.call_id_hash(),
            issued: self.unix,
        };
        let Some(token) = self
            .tokens
            .seal(self.aor.user(), &self.domain.name, &handle, self.fresh)
        else {
            return;
        };
        out.put_slice(b";temp-gruu=\"sip:");
        out.put_slice(token.as_bytes());
        out.put_u8(b'@');
        out.put_slice(self.domain.name.as_bytes());
        out.put_slice(b";gr\"");
    }
}

/// The name of the URI parameter.
const GR: &str = "gr";
const URN: &[u8] = b"urn:";
/// What a URI parameter holds unescaped, beside letters and digits (RFC 3261 §25.1 `paramchar`).
const PLAIN: &[u8] = b"-_.!~*'()[]/:&+$";
/// The longest instance that has GRUUs, in bytes; a UUID's has 45.
const MAX_INSTANCE: usize = 256;
