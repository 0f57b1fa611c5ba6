//! The location service against a plain model of it: a list of bindings, searched from end to end.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::sip::hop::{ConnectionId, Flow, Transport};
use crate::sip::location::{
    AddressOfRecord, Cause, ContactUpdate, Contacts, Counts, Location, Overflow, Refused, Standing, Update, Which,
};
use crate::sip::message::address::Parameters;
use crate::sip::message::uri::Uri;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Apply(Register),
    /// The last REGISTER comes again.
    Repeat,
    Suspend {
        flow: u16,
        cause: Cause,
    },
    Resume {
        flow: u16,
    },
    Close {
        flow: u16,
        limit: usize,
    },
    Wait {
        millis: u64,
    },
    Expire {
        limit: usize,
    },
}

#[derive(Clone, Debug)]
struct Register {
    aor: usize,
    remove_all: bool,
    contacts: Vec<Contact>,
    call_id: u8,
    cseq: u32,
    flow: u16,
    max_contacts: usize,
    overflow: Overflow,
}

#[derive(Clone, Debug, PartialEq)]
struct Contact {
    /// Which binding it speaks of.
    identity: usize,
    /// How that is written.
    spelling: usize,
    expires_secs: u32,
}

impl Contact {
    fn uri(&self) -> &'static str {
        URIS[self.identity][self.spelling]
    }

    fn parameters(&self) -> &'static str {
        PARAMETERS[self.identity]
    }
}

/// Contacts of the same line are one binding: by RFC 3261 §19.1.4, or by instance and reg-id.
const URIS: [[&str; 2]; 5] = [
    ["sip:alice@192.0.2.1:5062", "sip:%61lice@192.0.2.1:5062;x=1"],
    ["sip:alice@pc.example.com", "sip:alice@PC.Example.Com"],
    ["sip:alice@pc.example.com:5060", "sip:alice@pc.EXAMPLE.com:5060"],
    ["sip:one@198.51.100.1", "sip:other@198.51.100.77:9;transport=tcp"],
    ["sip:one@198.51.100.2", "sip:another@198.51.100.2"],
];

const PARAMETERS: [&str; 5] = [
    "",
    "q=0.5",
    "",
    "+sip.instance=\"<urn:uuid:a>\";reg-id=1",
    "+sip.instance=\"<urn:uuid:a>\";reg-id=2",
];

#[derive(Clone, Debug)]
struct Known {
    contact: Contact,
    call_id: u8,
    cseq: u32,
    flow: u16,
    refreshed_ms: u64,
    standing: Standing,
    since: u64,
}

impl Known {
    fn is_suspended(&self) -> bool {
        matches!(self.standing, Standing::Suspended(_))
    }

    /// All connections here are TLS, where nothing but the flow leads to the phone.
    fn after(&self, cause: Cause) -> Standing {
        match cause {
            Cause::FlowClosed | Cause::SendFailed if self.flow.is_multiple_of(2) => Standing::Doubtful(cause),
            _ => Standing::Suspended(cause),
        }
    }

    fn set(&mut self, standing: Standing, now_ms: u64) {
        let stays = matches!(
            (self.standing, standing),
            (Standing::Suspended(_), Standing::Suspended(_) | Standing::Doubtful(_))
                | (Standing::Doubtful(_), Standing::Doubtful(_))
        );
        if self.is_live(now_ms) && !stays && self.standing != standing {
            self.standing = standing;
            self.since = now_ms / 1000;
        }
    }

    fn is_live(&self, now_ms: u64) -> bool {
        now_ms < self.refreshed_ms + u64::from(self.contact.expires_secs) * 1000
    }
}

/// What a consumer is to see of a binding.
#[derive(Debug, PartialEq)]
struct Seen {
    uri: String,
    cseq: u32,
    flow: Flow,
    left_ms: u128,
    standing: Standing,
}

#[derive(Default)]
struct Model {
    now_ms: u64,
    bindings: [Vec<Known>; 2],
}

impl Model {
    /// RFC 3261 §10.3 steps 6 and 7 and the limit, on a copy.
    fn apply(&mut self, register: &Register) -> Result<Counts, Refused> {
        let now_ms = self.now_ms;
        let old = &self.bindings[register.aor];
        let mut list: Vec<Known> = old.iter().filter(|known| known.is_live(now_ms)).cloned().collect();
        let live_before = list.clone();
        let is_late = |known: &Known| known.call_id == register.call_id && known.cseq >= register.cseq;
        let mut is_repeated = false;
        if register.remove_all {
            if list.iter().any(is_late) {
                return Err(Refused::OutOfOrder);
            }
            list.clear();
        }
        let contacts = if register.remove_all {
            &[][..]
        } else {
            &register.contacts
        };
        for contact in contacts {
            let before = live_before
                .iter()
                .find(|known| known.contact.identity == contact.identity);
            if let Some(before) = before {
                let is_same =
                    before.call_id == register.call_id && before.cseq == register.cseq && before.contact == *contact;
                if is_same {
                    is_repeated = true;
                    continue;
                }
                if is_late(before) {
                    return Err(Refused::OutOfOrder);
                }
            }
            let known = Known {
                contact: contact.clone(),
                call_id: register.call_id,
                cseq: register.cseq,
                flow: register.flow,
                refreshed_ms: now_ms,
                standing: Standing::Reachable,
                since: 0,
            };
            let place = list.iter().position(|known| known.contact.identity == contact.identity);
            match (place, contact.expires_secs) {
                // The place of a binding that was there before is kept even if it is removed and comes back.
                (Some(place), _) if before.is_some() => list[place] = known,
                (Some(place), 0) => drop(list.remove(place)),
                (Some(place), _) => {
                    list.remove(place);
                    list.push(known);
                }
                (None, 0) => {}
                (None, _) => list.push(known),
            }
        }
        let removed_now = |known: &Known| known.contact.expires_secs == 0;
        let was_there = |known: &Known| {
            live_before
                .iter()
                .any(|before| before.contact.identity == known.contact.identity)
        };
        let touched = |known: &Known| {
            contacts
                .iter()
                .any(|contact| contact.identity == known.contact.identity)
        };
        let added = list.iter().filter(|known| !was_there(known)).count();
        let is_resumed = |before: &&Known| {
            let after = list
                .iter()
                .find(|known| known.contact.identity == before.contact.identity);
            before.is_suspended() && after.is_some_and(|after| !removed_now(after) && !after.is_suspended())
        };
        let resumed = live_before.iter().filter(is_resumed).count();
        let refreshed = list
            .iter()
            .filter(|known| was_there(known) && !removed_now(known))
            .filter(|known| !live_before.iter().any(|before| is_unchanged(before, known)))
            .count();
        list.retain(|known| !removed_now(known));
        let removed = live_before.len() + added - list.len();
        if is_repeated && added + refreshed + removed > 0 {
            return Err(Refused::OutOfOrder);
        }
        let mut displaced = 0;
        while added > 0 && list.len() > register.max_contacts {
            let candidates = || (0..list.len()).filter(|index| !touched(&list[*index]));
            let suspended = candidates()
                .filter(|index| list[*index].is_suspended())
                .min_by_key(|index| list[*index].since);
            let oldest = suspended.or_else(|| match register.overflow {
                Overflow::Reject => None,
                Overflow::ReplaceOldest => candidates().min_by_key(|index| list[*index].refreshed_ms),
                Overflow::ReplaceUnreachable => candidates()
                    .filter(|index| list[*index].standing != Standing::Reachable)
                    .min_by_key(|index| list[*index].since),
            });
            list.remove(oldest.ok_or(Refused::TooManyContacts)?);
            displaced += 1;
        }
        let counts = Counts {
            added: added as u16,
            refreshed: refreshed as u16,
            removed: removed as u16,
            displaced: displaced as u16,
            expired: 0,
            suspended: 0,
            resumed: resumed as u16,
        };
        if !counts.is_idle() {
            self.bindings[register.aor] = list;
        }
        Ok(counts)
    }

    /// The pairs of a connection and an AOR that depends on it.
    fn connected(&self) -> usize {
        let pairs = self.bindings.iter().enumerate().flat_map(|(aor, list)| {
            list.iter()
                .filter(|known| known.is_live(self.now_ms) && known.flow % 2 == 1)
                .filter(|known| known.standing == Standing::Reachable)
                .map(move |known| (aor, known.flow))
        });
        pairs.collect::<std::collections::BTreeSet<_>>().len()
    }

    fn seen(&self, aor: usize) -> Vec<Seen> {
        let live = self.bindings[aor].iter().filter(|known| known.is_live(self.now_ms));
        live.map(|known| Seen {
            uri: known.contact.uri().to_owned(),
            cseq: known.cseq,
            flow: flow(known.flow),
            left_ms: u128::from(known.refreshed_ms + u64::from(known.contact.expires_secs) * 1000 - self.now_ms),
            standing: known.standing,
        })
        .collect()
    }
}

fn is_unchanged(before: &Known, after: &Known) -> bool {
    before.contact == after.contact
        && (before.call_id, before.cseq, before.flow, before.refreshed_ms)
            == (after.call_id, after.cseq, after.flow, after.refreshed_ms)
}

fn flow(number: u16) -> Flow {
    let is_stream = number % 2 == 1;
    Flow {
        transport: if is_stream { Transport::Tls } else { Transport::Udp },
        local: "192.0.2.200:5060".parse().unwrap(),
        remote: match is_stream {
            true => format!("[2001:db8::{number}]:4000").parse().unwrap(),
            false => format!("198.51.100.{number}:4000").parse().unwrap(),
        },
        connection: is_stream.then_some(ConnectionId(u64::from(number))),
    }
}

fn apply(
    location: &Location,
    register: &Register,
    now: Instant,
) -> (Result<Option<super::Change>, Refused>, Vec<Seen>) {
    let contacts: Vec<ContactUpdate<'_>> = register
        .contacts
        .iter()
        .map(|contact| ContactUpdate {
            uri: Uri::parse(contact.uri().as_bytes()).unwrap(),
            parameters: Parameters::parse(contact.parameters().as_bytes()).unwrap_or_default(),
            q: 1000,
            is_outbound: contact.parameters().contains("reg-id"),
            expires: Duration::from_secs(u64::from(contact.expires_secs)),
        })
        .collect();
    let update = Update {
        contacts: match register.remove_all {
            true => Contacts::RemoveAll,
            false => Contacts::Each(&contacts),
        },
        call_id: &[register.call_id],
        cseq: register.cseq,
        nonce_count: register.cseq,
        flow: &flow(register.flow),
        path: b"",
        max_contacts: register.max_contacts,
        overflow: register.overflow,
    };
    let mut listed = Vec::new();
    let result = location.apply(&aor(register.aor), &update, now, &mut |binding| {
        listed.push(seen(binding, now))
    });
    (result, listed)
}

fn seen(binding: &super::Binding<'_>, now: Instant) -> Seen {
    Seen {
        uri: String::from_utf8(binding.contact_uri().to_vec()).unwrap(),
        cseq: binding.cseq(),
        flow: binding.flow(),
        left_ms: binding.expires_at().duration_since(now).as_millis(),
        standing: binding.standing(),
    }
}

fn lookup(location: &Location, number: usize, now: Instant) -> (Vec<Seen>, u64) {
    let mut found = Vec::new();
    let revision = location.lookup(&aor(number), now, &mut |binding| found.push(seen(binding, now)));
    (found, revision)
}

fn aor(number: usize) -> AddressOfRecord {
    AddressOfRecord::from_stored([&b"alice@example.com"[..], b"bob@example.com"][number])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let contact = (0..URIS.len(), 0..2usize, 0..5u32).prop_map(|(identity, spelling, expires_secs)| Contact {
        identity,
        spelling,
        expires_secs: expires_secs * 5,
    });
    let overflow = prop_oneof![
        Just(Overflow::Reject),
        Just(Overflow::ReplaceOldest),
        Just(Overflow::ReplaceUnreachable)
    ];
    let ids = (0..2usize, 0..3u8, 1..20u32, 1..5u16);
    let register = (ids, prop::bool::weighted(0.1), vec(contact, 0..4), 1..4usize, overflow).prop_map(
        |((aor, call_id, cseq, flow), remove_all, contacts, max_contacts, overflow)| {
            Step::Apply(Register {
                aor,
                remove_all,
                contacts,
                call_id,
                cseq,
                flow,
                max_contacts,
                overflow,
            })
        },
    );
    let cause = prop_oneof![
        Just(Cause::FlowClosed),
        Just(Cause::SendFailed),
        Just(Cause::FlowRefused),
        Just(Cause::Silent)
    ];
    let step = prop_oneof![
        6 => register,
        2 => Just(Step::Repeat),
        2 => (1..5u16, cause).prop_map(|(flow, cause)| Step::Suspend { flow, cause }),
        1 => (1..5u16).prop_map(|flow| Step::Resume { flow }),
        1 => (1..5u16, 1..3usize).prop_map(|(flow, limit)| Step::Close { flow, limit }),
        3 => (0..40u64).prop_map(|halves| Step::Wait { millis: halves * 500 }),
        2 => (0..4usize).prop_map(|limit| Step::Expire { limit }),
    ];
    vec(step, 1..60)
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in steps()) {
        let start = Instant::now();
        let location = Location::new([7; 16], start);
        let mut model = Model::default();
        let mut revisions = [0; 2];
        let mut note = |change: &super::Change| {
            let aor = usize::from(change.aor == aor(1));
            assert!(change.revision > std::mem::replace(&mut revisions[aor], change.revision));
        };
        let mut last = None;
        for step in steps {
            let step = match (step, &last) {
                (Step::Repeat, None) => continue,
                (Step::Repeat, Some(last)) => Step::Apply(Register::clone(last)),
                (step, _) => step,
            };
            let now = start + Duration::from_millis(model.now_ms);
            match step {
                Step::Apply(register) => {
                    let expected = model.apply(&register);
                    let (result, listed) = apply(&location, &register, now);
                    prop_assert_eq!(result.as_ref().err(), expected.as_ref().err());
                    last = Some(register.clone());
                    if let (Ok(change), Ok(counts)) = (result, expected) {
                        prop_assert_eq!(change.is_none(), counts.is_idle());
                        prop_assert_eq!(listed, model.seen(register.aor));
                        if let Some(change) = change {
                            prop_assert_eq!(Counts { expired: 0, ..change.counts }, counts);
                            note(&change);
                        }
                    }
                }
                Step::Suspend { flow: number, cause } => {
                    let now_ms = model.now_ms;
                    for (index, known) in model.bindings.iter_mut().enumerate() {
                        for known in known.iter_mut().filter(|known| known.flow == number) {
                            known.set(known.after(cause), now_ms);
                        }
                        let change = location.suspend(&aor(index), Which::Flow(&flow(number)), cause, now);
                        change.iter().for_each(&mut note);
                    }
                }
                Step::Resume { flow: number } => {
                    let now_ms = model.now_ms;
                    for (index, known) in model.bindings.iter_mut().enumerate() {
                        for known in known.iter_mut().filter(|known| known.flow == number) {
                            known.set(Standing::Reachable, now_ms);
                        }
                        let change = location.resume(&aor(index), Which::Flow(&flow(number)), now);
                        change.iter().for_each(&mut note);
                    }
                }
                Step::Close { flow: number, limit } => {
                    let now_ms = model.now_ms;
                    let held = |known: &&mut Known| known.flow == number && known.standing == Standing::Reachable;
                    if let Some(connection) = flow(number).connection {
                        for known in model.bindings.iter_mut().flatten().filter(held) {
                            known.set(Standing::Suspended(Cause::FlowClosed), now_ms);
                        }
                        let mut changes = Vec::new();
                        while location.close_connection(connection, now, limit, &mut changes) {}
                        changes.iter().for_each(&mut note);
                    }
                }
                Step::Repeat => unreachable!("replaced above"),
                Step::Wait { millis } => model.now_ms += millis,
                Step::Expire { limit } => {
                    let mut changes = Vec::new();
                    let is_more_due = location.expire(now, (0, 1), limit, &mut changes);
                    if !is_more_due && model.now_ms % 1000 == 0 {
                        let live = model.seen(0).len() + model.seen(1).len();
                        prop_assert_eq!(location.bindings(), live as u64);
                    }
                    prop_assert!(changes.len() <= limit);
                    changes.iter().for_each(&mut note);
                }
            }
            let now = start + Duration::from_millis(model.now_ms);
            // Those that have expired stay until they are swept.
            prop_assert!(location.connected() >= model.connected());
            for number in 0..2 {
                prop_assert_eq!(lookup(&location, number, now).0, model.seen(number));
            }
        }
        // Whatever was left unswept goes in the end, and nothing remains of it.
        let end = start + Duration::from_millis(model.now_ms) + Duration::from_secs(60);
        let mut changes = Vec::new();
        while location.expire(end, (0, 1), 1, &mut changes) {}
        changes.iter().for_each(&mut note);
        prop_assert_eq!(location.bindings(), 0);
        prop_assert_eq!(location.addresses(), 0);
        prop_assert_eq!(location.connected(), 0);
    }
}
