//! Whom a request goes to (RFC 3261 §16.5): the bindings of an AOR, or what the Request-URI names elsewhere.

use std::time::Instant;

use smallvec::SmallVec;

use crate::sip::domain::{Domain, ForkOrder};
use crate::sip::hop::{Flow, Target};
use crate::sip::location::{AddressOfRecord, Cause, Change, Location, Which};
use crate::sip::message::Message;
use crate::sip::shared::Shared;

/// Somebody to be tried. Its texts are in the [`Candidates`] that it is one of.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where the Request-URI begins and ends in the text; the Route values follow it.
    start: u32,
    uri_end: u32,
    path_end: u32,
    /// The group: those with a higher one are tried first.
    pub group: u16,
    /// The way to go: a flow, or resolution of the first Route or the Request-URI.
    pub way: Way,
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

/// The candidates of one request, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    list: SmallVec<[Candidate; 1]>,
    text: SmallVec<[u8; 160]>,
}

impl Candidates {
    /// Adds one that is tried after the others: with `uri` as Request-URI, and `path` as Route values to be put first (a
    /// stored Path), joined by commas; perhaps empty.
    pub fn add(&mut self, uri: &[u8], path: &[u8], way: Way, group: u16) {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(uri);
        let uri_end = self.text.len() as u32;
        self.text.extend_from_slice(path);
        self.list.push(Candidate {
            start,
            uri_end,
            path_end: self.text.len() as u32,
            group,
            way,
        });
    }

    /// Has what `others` had, which then has none.
    pub fn take(&mut self, others: &mut Candidates) {
        self.clear();
        self.text.extend_from_slice(&others.text);
        self.list.extend(others.list.drain(..));
        others.clear();
    }

    /// No candidates. What much text has allocated is given back.
    pub fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
        if self.text.capacity() > TEXT_KEPT || self.list.capacity() > LIST_KEPT {
            *self = Candidates::default();
        }
    }

    /// All of them.
    pub fn list(&self) -> &[Candidate] {
        &self.list
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Candidate> {
        self.list.get_mut(index)
    }

    /// Forgets those from `index` on.
    pub fn truncate(&mut self, index: usize) {
        self.list.truncate(index);
    }

    /// The Request-URI of one of them.
    pub fn uri(&self, candidate: &Candidate) -> &[u8] {
        &self.text[candidate.start as usize..candidate.uri_end as usize]
    }

    /// The Route values of one of them, joined by commas; perhaps empty.
    pub fn path(&self, candidate: &Candidate) -> &[u8] {
        &self.text[candidate.uri_end as usize..candidate.path_end as usize]
    }
}

/// Text and places that are kept for the next request.
const TEXT_KEPT: usize = 4096;
const LIST_KEPT: usize = 32;

/// Adds the bindings of `aor` that are not suspended to `candidates`, in groups by q when `domain` rings that way. `except` is the flow of a
/// caller who calls their own AOR, to which the request does not go back.
pub fn add_bindings(
    candidates: &mut Candidates,
    location: &Location,
    aor: &AddressOfRecord,
    domain: &Domain,
    except: Option<&Flow>,
    now: Instant,
) {
    let first = candidates.list.len();
    location.lookup(aor, now, &mut |binding| {
        if binding.is_suspended() {
            return;
        }
        let flow = binding.flow();
        if except == Some(&flow) {
            return;
        }
        let path = binding.path();
        let way = match path.is_empty() {
            true => Way::Flow(flow),
            false => Way::Resolve,
        };
        let group = match domain.fork {
            ForkOrder::Parallel => 0,
            ForkOrder::Priority => binding.q(),
        };
        candidates.add(binding.contact_uri(), path, way, group);
    });
    if domain.fork == ForkOrder::Priority {
        candidates.list[first..].sort_by_key(|candidate| std::cmp::Reverse(candidate.group));
    }
}

/// Notes that the binding by which `request` was to go over `flow` cannot be reached by it.
pub fn suspend(shared: &Shared, request: &Message, which: Which<'_>, cause: Cause, now: Instant) -> Option<Change> {
    let uri = request.parsed_request_uri()?;
    let (aor, _) = AddressOfRecord::new(&uri, &shared.settings.domains)?;
    shared.location.suspend(&aor, which, cause, now)
}
