//! What a REGISTER will do to each binding of its AOR (RFC 3261 §10.3 steps 6 and 7), decided before anything is done.

use smallvec::SmallVec;

use crate::sip::location::record::{Binding, Fields, Moment, instance, reg_id};
use crate::sip::location::standing::Standing;
use crate::sip::location::{ContactUpdate, Contacts, Counts, MAX_BINDINGS, Overflow, Refused, Update};
use crate::sip::message::uri::Uri;

/// An update and when it is done.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) update: &'a Update<'a>,
    /// The keyed hash of its Call-ID.
    pub(super) call_id: u64,
    pub(super) now: Moment,
}

impl<'a> Request<'a> {
    /// What is written for `contact`; `registered_at` is since when its binding is registered.
    pub(super) fn fields(&self, contact: &ContactUpdate<'a>, registered_at: u32) -> Fields<'a> {
        Fields {
            uri: contact.uri.bytes,
            parameters: contact.parameters.bytes(),
            path: self.update.path,
            q: contact.q,
            call_id: self.call_id,
            cseq: self.update.cseq,
            nonce_count: self.update.nonce_count,
            granted_secs: granted_secs(contact),
            registered_at,
            now: self.now,
            flow: self.update.flow,
            is_outbound: contact.is_outbound,
        }
    }

    /// Since when `binding` is registered under one Call-ID once it is refreshed by this: another one begins anew
    /// (RFC 5627 §3.2).
    pub(super) fn registered_second(&self, binding: &Binding<'_>) -> u32 {
        match binding.call_id() == self.call_id {
            true => binding.registered_second(),
            false => self.now.second(),
        }
    }

    /// The contacts, none of them when all bindings go.
    pub(super) fn contacts(&self) -> &'a [ContactUpdate<'a>] {
        match self.update.contacts {
            Contacts::RemoveAll => &[],
            Contacts::Each(contacts) => contacts,
        }
    }

    /// RFC 3261 §10.3: "if the Call-ID agrees, and the CSeq value is not higher, the update MUST be aborted".
    pub(super) fn is_in_order(&self, binding: &Binding<'_>) -> bool {
        binding.call_id() != self.call_id || binding.cseq() < self.update.cseq
    }

    /// Whether `binding` is what this very request has made of `contact` before.
    pub(super) fn has_made(&self, contact: &ContactUpdate<'_>, binding: &Binding<'_>) -> bool {
        binding.call_id() == self.call_id
            && binding.cseq() == self.update.cseq
            && binding.contact_uri() == contact.uri.bytes
            && binding.parameters() == contact.parameters.bytes()
            && binding.path() == self.update.path
            && binding.granted() == contact.expires
    }
}

/// What becomes of a binding.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It stays as it is.
    Keep,
    /// Its time is over.
    Expire,
    /// It becomes what the contact of this index says.
    Refresh(usize),
    /// Its owner removes it.
    Remove,
    /// It gives way to a new one.
    Displace,
}

/// What a request does.
#[derive(Debug)]
pub(super) struct Plan {
    /// To each binding that there is, in their order.
    pub(super) fates: SmallVec<[Fate; USUAL_BINDINGS]>,
    /// The indexes of the contacts that become new bindings.
    pub(super) added: SmallVec<[usize; USUAL_BINDINGS]>,
    /// The sums.
    pub(super) counts: Counts,
}

impl Plan {
    pub(super) fn new(bindings: &[Binding<'_>], request: &Request<'_>) -> Result<Plan, Refused> {
        let fates = bindings.iter().map(|binding| match binding.is_live(request.now) {
            true => Fate::Keep,
            false => Fate::Expire,
        });
        let mut plan = Plan {
            fates: fates.collect(),
            added: SmallVec::new(),
            counts: Counts::default(),
        };
        let is_repeated = match request.update.contacts {
            Contacts::RemoveAll => plan.remove_all(bindings, request)?,
            Contacts::Each(contacts) => plan.place(contacts, bindings, request)?,
        };
        let does_nothing = plan.added.is_empty() && plan.fates.iter().all(Fate::is_idle);
        if is_repeated && !does_nothing {
            return Err(Refused::OutOfOrder);
        }
        plan.make_room(bindings, request.update)?;
        plan.count(bindings);
        Ok(plan)
    }

    fn remove_all(&mut self, bindings: &[Binding<'_>], request: &Request<'_>) -> Result<bool, Refused> {
        for (binding, fate) in bindings.iter().zip(&mut self.fates) {
            if matches!(fate, Fate::Expire) {
                continue;
            }
            if !request.is_in_order(binding) {
                return Err(Refused::OutOfOrder);
            }
            *fate = Fate::Remove;
        }
        Ok(false)
    }

    /// Finds the binding of each contact. Returns whether one of them was made by this very request before.
    fn place(
        &mut self,
        contacts: &[ContactUpdate<'_>],
        bindings: &[Binding<'_>],
        request: &Request<'_>,
    ) -> Result<bool, Refused> {
        let mut is_repeated = false;
        for (number, contact) in contacts.iter().enumerate() {
            let is_removal = granted_secs(contact) == 0;
            let Some(index) = self.find(contact, bindings) else {
                self.added.retain(|earlier| !is_same(contact, &contacts[*earlier]));
                if !is_removal {
                    self.added.push(number);
                }
                continue;
            };
            let binding = &bindings[index];
            if request.has_made(contact, binding) {
                is_repeated = true;
                continue;
            }
            if !request.is_in_order(binding) {
                return Err(Refused::OutOfOrder);
            }
            self.fates[index] = match is_removal {
                true => Fate::Remove,
                false => Fate::Refresh(number),
            };
        }
        Ok(is_repeated)
    }

    /// The live binding that `contact` speaks of. Since equivalence of URIs is not transitive there may be several: the
    /// one written alike is meant then.
    fn find(&self, contact: &ContactUpdate<'_>, bindings: &[Binding<'_>]) -> Option<usize> {
        let live = || (0..bindings.len()).filter(|index| !matches!(self.fates[*index], Fate::Expire));
        if let Some((instance, reg_id)) = outbound_key(contact) {
            return live().find(|index| {
                let binding = &bindings[*index];
                binding.is_outbound()
                    && binding.reg_id() == Some(reg_id)
                    && binding
                        .instance()
                        .is_some_and(|other| other.eq_ignore_ascii_case(instance))
            });
        }
        live()
            .find(|index| bindings[*index].contact_uri() == contact.uri.bytes)
            .or_else(|| {
                live().find(|index| {
                    Uri::parse(bindings[*index].contact_uri()).is_ok_and(|uri| uri.equivalent(&contact.uri))
                })
            })
    }

    /// Keeps the limit of bindings: it binds new ones only, a refresh is always accepted. Those suspended give way first,
    /// whatever the policy: they cannot be rung.
    fn make_room(&mut self, bindings: &[Binding<'_>], update: &Update<'_>) -> Result<(), Refused> {
        if self.added.is_empty() {
            return Ok(());
        }
        let staying = self.fates.iter().filter(|fate| fate.stays()).count();
        let limit = update.max_contacts.min(MAX_BINDINGS);
        let excess = (staying + self.added.len()).saturating_sub(limit);
        for _ in 0..excess {
            let untouched = || (0..bindings.len()).filter(|index| matches!(self.fates[*index], Fate::Keep));
            let since = |index: &usize| bindings[*index].standing_second();
            let suspended = untouched()
                .filter(|index| bindings[*index].is_suspended())
                .min_by_key(since);
            let candidate = suspended.or_else(|| match update.overflow {
                Overflow::Reject => None,
                Overflow::ReplaceOldest => untouched().min_by_key(|index| bindings[*index].refreshed_moment()),
                Overflow::ReplaceUnreachable => untouched()
                    .filter(|index| bindings[*index].standing() != Standing::Reachable)
                    .min_by_key(since),
            });
            self.fates[candidate.ok_or(Refused::TooManyContacts)?] = Fate::Displace;
        }
        Ok(())
    }

    /// No count is above [`MAX_BINDINGS`].
    fn count(&mut self, bindings: &[Binding<'_>]) {
        for (binding, fate) in bindings.iter().zip(&self.fates) {
            match fate {
                Fate::Keep => {}
                Fate::Expire => self.counts.expired += 1,
                Fate::Refresh(_) => {
                    self.counts.refreshed += 1;
                    self.counts.resumed += u16::from(binding.is_suspended());
                }
                Fate::Remove => self.counts.removed += 1,
                Fate::Displace => self.counts.displaced += 1,
            }
        }
        self.counts.added = self.added.len() as u16;
    }
}

impl Fate {
    /// Whether the request does nothing to the binding.
    fn is_idle(&self) -> bool {
        match self {
            Fate::Keep | Fate::Expire => true,
            Fate::Refresh(_) | Fate::Remove | Fate::Displace => false,
        }
    }

    fn stays(&self) -> bool {
        match self {
            Fate::Keep | Fate::Refresh(_) => true,
            Fate::Expire | Fate::Remove | Fate::Displace => false,
        }
    }
}

/// RFC 5626 §6: with instance and reg-id these two name the binding, whatever the URI.
pub(super) fn outbound_key<'a>(contact: &ContactUpdate<'a>) -> Option<(&'a [u8], u32)> {
    if !contact.is_outbound {
        return None;
    }
    Some((instance(&contact.parameters)?, reg_id(&contact.parameters)?))
}

/// Whether two contacts of one request speak of the same binding.
fn is_same(contact: &ContactUpdate<'_>, other: &ContactUpdate<'_>) -> bool {
    match outbound_key(contact) {
        Some((instance, reg_id)) => outbound_key(other)
            .is_some_and(|(other, other_id)| other_id == reg_id && other.eq_ignore_ascii_case(instance)),
        None => contact.uri.equivalent(&other.uri),
    }
}

pub(super) fn granted_secs(contact: &ContactUpdate<'_>) -> u32 {
    u32::try_from(contact.expires.as_secs()).unwrap_or(u32::MAX)
}

/// Plans for so many bindings need no allocation.
pub(super) const USUAL_BINDINGS: usize = 10;
