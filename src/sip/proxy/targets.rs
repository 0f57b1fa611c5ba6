//! Whom a request goes to (RFC 3261 §16.5): the bindings of an AOR, or what the Request-URI names elsewhere.

use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::sip::domain::{Domain, ForkOrder};
use crate::sip::hop::{Flow, Target};
use crate::sip::location::{AddressOfRecord, Location};
use crate::sip::message::Message;
use crate::sip::message::uri::Uri;
use crate::sip::shared::Shared;

/// Somebody to be tried.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The Request-URI of the branch.
    pub uri: Bytes,
    /// Route values to be put first (a stored Path), joined by commas; perhaps empty.
    pub path: Bytes,
    /// The way to go: a flow, or resolution of the first Route or the Request-URI.
    pub way: Way,
    /// The group: those with a higher one are tried first.
    pub group: u16,
}

/// How a candidate is reached.
#[derive(Clone, Debug)]
pub enum Way {
    /// Over the flow by which its binding was made.
    Flow(Flow),
    /// Over this target, and if it is a dead flow, at the address it had.
    Token(Target),
    /// By resolving the first Route, else the Request-URI (RFC 3263).
    Resolve,
}

/// The candidates of one request.
pub type Candidates = SmallVec<[Candidate; 2]>;

/// The bindings of `aor`, in groups by q when `domain` rings that way. `except` is the flow of a caller who calls
/// their own AOR, to which the request does not go back.
pub fn bindings(
    location: &Location,
    aor: &AddressOfRecord,
    domain: &Domain,
    except: Option<&Flow>,
    now: Instant,
) -> Candidates {
    let mut candidates = Candidates::new();
    location.lookup(aor, now, &mut |binding| {
        if except == Some(&binding.flow()) {
            return;
        }
        candidates.push(Candidate {
            uri: Bytes::copy_from_slice(binding.contact_uri()),
            path: Bytes::copy_from_slice(binding.path()),
            way: if binding.path().is_empty() {
                Way::Flow(binding.flow())
            } else {
                Way::Resolve
            },
            group: match domain.fork {
                ForkOrder::Parallel => 0,
                ForkOrder::Priority => binding.q(),
            },
        });
    });
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.group));
    candidates
}

/// Notes that the binding by which `request` was to go over `flow` cannot be reached by it, so that it may give way to
/// a new one ([`Overflow::ReplaceUnreachable`](crate::sip::location::Overflow)).
pub fn mark_unreachable(shared: &Shared, request: &Message, flow: &Flow) {
    let aor = Uri::parse(request.request_uri())
        .ok()
        .and_then(|uri| AddressOfRecord::new(&uri, &shared.settings.domains));
    if let Some((aor, _)) = aor {
        shared.location.mark_unreachable(&aor, flow);
    }
}

/// What lies elsewhere: found by resolving the first Route or `uri` itself.
pub fn elsewhere(uri: &[u8]) -> Candidates {
    let mut candidates = Candidates::new();
    candidates.push(Candidate {
        uri: Bytes::copy_from_slice(uri),
        path: Bytes::new(),
        way: Way::Resolve,
        group: 0,
    });
    candidates
}
