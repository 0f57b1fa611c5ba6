//! What every request is checked for before it goes on (RFC 3261 §16.3, RFC 5393 §4.2, §5.3).

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::sip::message::address::NameAddr;
use crate::sip::message::header::HeaderName;
use crate::sip::message::method::Method;
use crate::sip::message::uri::{Scheme, Uri};
use crate::sip::message::via::Via;
use crate::sip::message::{Message, decimal};
use crate::sip::reason::{Extra, Reason, Refusal};
use crate::sip::shared::Shared;

/// What a valid request says of how far it may still go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The Max-Forwards to be written, already one less.
    pub max_forwards: u8,
    /// The Max-Breadth to be divided over the branches.
    pub max_breadth: u32,
    /// The end of our branch: `-` and the loop hash in 16 hexadecimal digits.
    pub loop_part: LoopPart,
}

/// The end of our branches, by which a request is known that has been here before.
pub type LoopPart = [u8; 1 + HEX_LENGTH];

/// The digits of a hash.
pub const HEX_LENGTH: usize = 16;

/// Checks `request` in the order of §16.3: syntax of the Request-URI, its scheme, Max-Forwards, loops, Proxy-Require;
/// then Max-Breadth.
pub fn validate(shared: &Shared, request: &Message) -> Result<Reach, Refusal> {
    let uri = request.parsed_request_uri().ok_or(Reason::Malformed)?;
    // RFC 3261 §19.1.1: headers are not allowed in a Request-URI, and must not become headers (RFC 4475 §3.1.2.11).
    if uri.headers.is_some() {
        return Err(Reason::Malformed.into());
    }
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {}
        Scheme::Tel | Scheme::Other => {
            if !is_emergency_service(request.request_uri()) {
                return Err(Reason::UnsupportedScheme.into());
            }
        }
    }
    let max_forwards = match request.max_forwards() {
        None => DEFAULT_MAX_FORWARDS,
        Some(Ok(0)) => return Err(Reason::TooManyHops.into()),
        Some(Ok(hops)) => hops - 1,
        Some(Err(_)) => return Err(Reason::Malformed.into()),
    };
    let loop_part = loop_part(loop_hash(&shared.keys.hash, request));
    if has_looped(request, &loop_part) {
        return Err(Reason::Loop.into());
    }
    if !matches!(request.method(), Method::Ack | Method::Cancel) {
        let unsupported = request.unsupported_options(HeaderName::ProxyRequire, &[]);
        if !unsupported.is_empty() {
            return Err(Refusal {
                reason: Reason::ExtensionRequired,
                extra: Extra::Unsupported(unsupported),
            });
        }
    }
    let max_breadth = match request.header(HeaderName::MaxBreadth) {
        None => DEFAULT_MAX_BREADTH,
        Some(value) => decimal::<u32>(value).ok_or(Reason::Malformed)?.min(DEFAULT_MAX_BREADTH),
    };
    if max_breadth == 0 {
        return Err(Reason::MaxBreadthExceeded.into());
    }
    Ok(Reach {
        max_forwards,
        max_breadth,
        loop_part,
    })
}

/// Whether `uri` is an emergency service (RFC 5031).
pub fn is_emergency_service(uri: &[u8]) -> bool {
    uri.len() >= EMERGENCY.len()
        && uri[..EMERGENCY.len()].eq_ignore_ascii_case(EMERGENCY)
        && matches!(uri.get(EMERGENCY.len()), None | Some(b'.'))
}

/// The hash over all that decides where the request goes; the Vias are not in it, for they differ at each pass
/// (RFC 5393 §4.2.2).
fn loop_hash(key: &[u8; 16], request: &Message) -> u64 {
    // Hashing one text is much cheaper than hashing its parts one by one.
    let mut text: SmallVec<[u8; 512]> = SmallVec::new();
    let mut put = |part: &[u8]| {
        text.extend_from_slice(&(part.len() as u32).to_be_bytes());
        text.extend_from_slice(part);
    };
    put(request.request_uri());
    put(request.call_id());
    put(request.header(HeaderName::CSeq).unwrap_or_default());
    put(request.from_tag().unwrap_or_default());
    put(request.to_tag().unwrap_or_default());
    for name in [HeaderName::Route, HeaderName::ProxyRequire] {
        for line in request.lines(name) {
            put(line);
        }
    }
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(&text);
    hasher.finish()
}

/// Whether one of the Vias carries `part` (RFC 3261 §16.3 step 4): the request has been here, unchanged. The hash is
/// keyed with a key of this process, so whoever wrote it was us, under whichever of our host names.
fn has_looped(request: &Message, part: &LoopPart) -> bool {
    // Only where the bytes are there at all the Vias are read.
    request.lines(HeaderName::Via).any(|line| contains(line, part))
        && request
            .values(HeaderName::Via)
            .filter_map(|value| Via::parse(value).ok())
            .any(|via| via.branch().is_some_and(|branch| branch.ends_with(part)))
}

fn contains(line: &[u8], part: &LoopPart) -> bool {
    memchr::memchr_iter(part[0], line).any(|start| line[start..].starts_with(part))
}

fn loop_part(hash: u64) -> LoopPart {
    let mut part = [b'-'; 1 + HEX_LENGTH];
    part[1..].copy_from_slice(&hex(hash));
    part
}

/// A hash in hexadecimal digits.
pub fn hex(hash: u64) -> [u8; HEX_LENGTH] {
    let mut text = [0; HEX_LENGTH];
    for (byte, digits) in hash.to_be_bytes().iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digits[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    text
}

/// The host part of `value`'s address, when it is one.
pub fn address_of(value: &[u8]) -> Option<Uri<'_>> {
    Uri::parse(NameAddr::parse(value).ok()?.uri).ok()
}

const DEFAULT_MAX_FORWARDS: u8 = 70;
/// RFC 5393 §5.3.3.1 recommends 60.
const DEFAULT_MAX_BREADTH: u32 = 60;
const EMERGENCY: &[u8] = b"urn:service:sos";
