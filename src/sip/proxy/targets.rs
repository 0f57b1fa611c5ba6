//! Whom a request goes to (RFC 3261 §16.5): the bindings of an AOR, or what the Request-URI names elsewhere.

use std::time::Instant;

use smallvec::SmallVec;

use crate::sip::domain::{Domain, ForkOrder};
use crate::sip::gruu::{self, Called, Callee, Device};
use crate::sip::hop::{Flow, Target};
use crate::sip::location::{AddressOfRecord, Binding, Cause, Change, Location, Standing, Which};
use crate::sip::message::Message;
use crate::sip::message::uri::{Scheme, Uri};
use crate::sip::proxy::token::{self, Side};
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
    /// The instance (RFC 5626) that has several flows, of which one at a time is tried.
    instance: Option<InstanceNumber>,
}

/// An instance among those of one request's candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InstanceNumber(u16);

/// How a candidate is reached.
#[derive(Clone, Debug)]
pub enum Way {
    /// Over the flow by which its binding was made.
    Flow(Flow),
    /// Over this target of a dialog; if it is a dead flow, over the one that its owner's phone has now, or at the address
    /// it had.
    Token {
        /// The target.
        target: Target,
        /// The keyed hash of the AOR of who is there, when the token says it.
        owner: Option<u64>,
    },
    /// Over this flow and not otherwise (RFC 5626 §5.3).
    Only(Flow),
    /// By resolving the first Route, else the Request-URI (RFC 3263).
    Resolve,
}

/// The candidates of one request, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    list: SmallVec<[Candidate; 1]>,
    /// Further flows of instances that are in the list, in the order in which they are tried when the flow there fails.
    spares: Vec<Candidate>,
    text: SmallVec<[u8; 160]>,
}

impl Candidates {
    /// Adds one that is tried after the others: with `uri` as Request-URI, and `path` as Route values to be put first (a
    /// stored Path), joined by commas; perhaps empty.
    pub fn add(&mut self, uri: &[u8], path: &[u8], way: Way, group: u16) {
        let candidate = self.write(uri, path, way, group);
        self.list.push(candidate);
    }

    fn write(&mut self, uri: &[u8], path: &[u8], way: Way, group: u16) -> Candidate {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(uri);
        let uri_end = self.text.len() as u32;
        self.text.extend_from_slice(path);
        Candidate {
            start,
            uri_end,
            path_end: self.text.len() as u32,
            group,
            way,
            instance: None,
        }
    }

    /// Puts the next flow of the same instance in the place of the candidate at `index`. Returns whether there is one.
    pub fn take_next_flow(&mut self, index: usize) -> bool {
        let Some(candidate) = self.list.get_mut(index) else {
            return false;
        };
        let is_alike = |spare: &Candidate| candidate.instance.is_some() && spare.instance == candidate.instance;
        let Some(next) = self.spares.iter().position(is_alike) else {
            return false;
        };
        // The group is that of the ringing that it belongs to.
        let group = candidate.group;
        *candidate = self.spares.remove(next);
        candidate.group = group;
        true
    }

    /// Has what `others` had, which then has none.
    pub fn take(&mut self, others: &mut Candidates) {
        self.clear();
        self.text.extend_from_slice(&others.text);
        self.list.extend(others.list.drain(..));
        self.spares.append(&mut others.spares);
        others.clear();
    }

    /// No candidates. What much text has allocated is given back.
    pub fn clear(&mut self) {
        self.list.clear();
        self.spares.clear();
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

/// Adds the bindings that `called` means: all of an address, or those of one phone. Returns whether there may be such
/// bindings: not when it is a GRUU that leads to nobody.
pub fn add_called(
    candidates: &mut Candidates,
    shared: &Shared,
    called: &Called<'_>,
    scheme: Scheme,
    except: Option<&Flow>,
    now: Instant,
) -> bool {
    let Called { aor, domain, callee } = called;
    let device = match callee {
        Callee::Everyone => None,
        Callee::Device(device) if shared.is_valid(device, aor, now) => Some(device),
        Callee::Device(_) | Callee::Nobody => return false,
    };
    add_bindings(candidates, &shared.location, aor, domain, device, scheme, except, now);
    true
}

/// Adds the bindings of `aor` that are not suspended to `candidates`, in groups by q when `domain` rings that way. Of
/// several flows of one instance the one with the highest q, else the latest, is a candidate, and the others are tried
/// when it fails (RFC 5626 §7). `scheme` is that of the Request-URI: a `sips` one reaches `sips` Contacts over protected
/// flows only, and to a `sip` one the scheme of a `sips` Contact is changed (RFC 5630 §4, §5.4). `except` is the flow of
/// a caller who calls their own AOR, to whom the request does not go back. With `device` only that phone's are added, and
/// all are flows of one instance, with reg-id or without (RFC 5627 §6.1).
#[expect(clippy::too_many_arguments, reason = "all that decides who rings")]
fn add_bindings(
    candidates: &mut Candidates,
    location: &Location,
    aor: &AddressOfRecord,
    domain: &Domain,
    device: Option<&Device>,
    scheme: Scheme,
    except: Option<&Flow>,
    now: Instant,
) {
    let first = candidates.list.len();
    let mut instances = Instances::default();
    location.lookup(aor, now, &mut |binding| {
        if binding.is_suspended() || device.is_some_and(|device| !device.has(binding)) {
            return;
        }
        let flow = binding.flow();
        let contact = binding.contact_uri();
        let is_sips = contact.len() > SIPS.len() && contact[..SIPS.len()].eq_ignore_ascii_case(SIPS);
        if scheme == Scheme::Sips && !(is_sips && flow.transport.is_secure()) {
            return;
        }
        let is_callers = except == Some(&flow);
        let is_one_of_several = binding.is_outbound() || device.is_some();
        let instance = is_one_of_several.then(|| instances.find(binding, is_callers));
        if is_callers {
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
        let mut candidate = match is_sips && scheme != Scheme::Sips {
            true => candidates.write(&[b"sip:", &contact[SIPS.len()..]].concat(), path, way, group),
            false => candidates.write(contact, path, way, group),
        };
        candidate.instance = instance.flatten();
        candidates.list.push(candidate);
    });
    if !instances.flows.is_empty() {
        instances.settle(candidates, first);
    }
    if domain.fork == ForkOrder::Priority {
        candidates.list[first..].sort_by_key(|candidate| std::cmp::Reverse(candidate.group));
    }
}

const SIPS: &[u8] = b"sips:";

/// The instances of an AOR and their flows.
#[derive(Default)]
struct Instances {
    /// Their names, one behind the other, and where each ends.
    names: SmallVec<[u8; 64]>,
    ends: SmallVec<[usize; 2]>,
    /// The instance of each flow that is a candidate, and its rank, in the order of the candidates.
    flows: SmallVec<[(InstanceNumber, (u16, Instant)); 2]>,
    /// The instance that calls.
    caller: Option<InstanceNumber>,
}

impl Instances {
    /// The number of the instance that `binding` belongs to; the binding is noted as one of its flows.
    fn find(&mut self, binding: &Binding<'_>, is_callers: bool) -> Option<InstanceNumber> {
        let name = binding.instance()?;
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let mut known = starts.zip(&self.ends);
        let number = known.position(|(start, end)| self.names[start..*end].eq_ignore_ascii_case(name));
        let number = number.unwrap_or_else(|| {
            self.names.extend_from_slice(name);
            self.ends.push(self.names.len());
            self.ends.len() - 1
        });
        // There are not more bindings of an AOR than that.
        let instance = InstanceNumber(number as u16);
        match is_callers {
            true => self.caller = Some(instance),
            false => self.flows.push((instance, (binding.q(), binding.refreshed_at()))),
        }
        Some(instance)
    }

    /// Leaves the best flow of each instance among the candidates from `first` on, and none of the caller's.
    fn settle(self, candidates: &mut Candidates, first: usize) {
        if self.flows.len() == 1 && self.caller.is_none() {
            return;
        }
        let mut ranks = self.flows.iter().map(|(_, rank)| *rank);
        let mut ranked: Vec<(Option<(u16, Instant)>, Candidate)> = candidates
            .list
            .drain(first..)
            .map(|candidate| (candidate.instance.and_then(|_| ranks.next()), candidate))
            .collect();
        ranked.retain(|(_, candidate)| candidate.instance.is_none() || candidate.instance != self.caller);
        let best = |instance: InstanceNumber| {
            let flows = self.flows.iter().filter(|(other, _)| *other == instance);
            flows.map(|(_, rank)| *rank).max()
        };
        let mut rung: SmallVec<[InstanceNumber; 4]> = SmallVec::new();
        let mut spares = Vec::new();
        for (rank, candidate) in ranked {
            match candidate.instance {
                Some(instance) if rung.contains(&instance) || rank != best(instance) => spares.push((rank, candidate)),
                Some(instance) => {
                    rung.push(instance);
                    candidates.list.push(candidate);
                }
                None => candidates.list.push(candidate),
            }
        }
        spares.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        candidates.spares.extend(spares.into_iter().map(|(_, spare)| spare));
    }
}

/// The flow that the phone with the Contact `uri` has now, when it is bound to `aor`.
pub fn present_flow(location: &Location, aor: &AddressOfRecord, uri: &[u8], now: Instant) -> Option<Flow> {
    let parsed = Uri::parse(uri).ok()?;
    let mut found = None;
    location.lookup(aor, now, &mut |binding| {
        let is_it = binding.standing() == Standing::Reachable
            && binding.path().is_empty()
            && (binding.contact_uri() == uri
                || Uri::parse(binding.contact_uri()).is_ok_and(|contact| contact.equivalent(&parsed)));
        if is_it {
            found = Some(binding.flow());
        }
    });
    found
}

/// Where a phone's GRUU leads within a dialog: its Contact, and the flow that it has now.
#[derive(Clone, Debug)]
pub struct Present {
    /// The Contact.
    pub uri: SmallVec<[u8; 64]>,
    /// The flow.
    pub flow: Flow,
}

/// Who `uri`, the Request-URI of a request within a dialog, means when it is a GRUU of ours: the phone at the other
/// `side` of the dialog. That it is there the token proves by its flow or by its owner: of nobody else anything is told.
pub fn present_device(shared: &Shared, request: &Message, uri: &Uri<'_>, side: &Side, now: Instant) -> Option<Present> {
    if !gruu::is_gruu(uri) {
        return None;
    }
    let Called { aor, callee, .. } = shared.called(uri)?;
    let Callee::Device(device) = callee else { return None };
    if !shared.is_valid(&device, &aor, now) {
        return None;
    }
    let is_owner = side.owner == Some(token::owner_hash(&shared.keys.token, &aor, request.call_id()));
    let mut found: Option<(bool, Instant, Present)> = None;
    shared.location.lookup(&aor, now, &mut |binding| {
        let flow = binding.flow();
        let is_there = side.target == Target::Flow(flow);
        let is_better = |(other_is_there, since, _): &(bool, Instant, Present)| {
            (is_there, binding.refreshed_at()) > (*other_is_there, *since)
        };
        if !binding.is_suspended()
            && (is_there || (is_owner && binding.path().is_empty()))
            && device.has(binding)
            && found.as_ref().is_none_or(is_better)
        {
            let uri = SmallVec::from_slice(binding.contact_uri());
            found = Some((is_there, binding.refreshed_at(), Present { uri, flow }));
        }
    });
    found.map(|(_, _, present)| present)
}

/// Notes that the binding by which `request` was to go over `flow` cannot be reached by it.
pub fn suspend(shared: &Shared, request: &Message, which: Which<'_>, cause: Cause, now: Instant) -> Option<Change> {
    let uri = request.parsed_request_uri()?;
    let called = shared.called(&uri)?;
    shared.location.suspend(&called.aor, which, cause, now)
}
