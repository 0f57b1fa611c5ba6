//! The registrar (RFC 3261 §10.3; RFC 3327, RFC 5626 §6, RFC 5627 §5): binds addresses-of-record to contacts.
//!
//! It knows no transaction: retransmissions have ended there before a request comes here.

mod access;
mod answer;
mod contacts;
mod outbound;
mod settings;
#[cfg(test)]
mod tests;

use std::cell::LazyCell;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use smallvec::SmallVec;

pub use crate::sip::location::Overflow;
pub use access::{Address, Presented, Registrant};
pub use settings::Settings;

use crate::sip::digest::Authenticator;
use crate::sip::domain::Domains;
use crate::sip::gruu::token::Tokens;
use crate::sip::gruu::{self, GRUU, Maker};
use crate::sip::hop::Flow;
use crate::sip::location::{Binding, Change, Location, Refused, Update};
use crate::sip::message::Message;
use crate::sip::message::address::NameAddr;
use crate::sip::message::header::HeaderName;
use crate::sip::reason::{Reason, Refusal};
use contacts::ContactList;

/// What the registrar works with, for one request.
#[derive(Clone, Copy, Debug)]
pub struct Registrar<'a> {
    /// The served domains.
    pub domains: &'a Domains,
    /// The bindings.
    pub location: &'a Location,
    /// Nonces and their counts.
    pub authenticator: &'a Authenticator,
    /// What makes temporary GRUUs.
    pub gruus: &'a Tokens,
    /// The time since 1970-01-01 UTC, for Date.
    pub unix_now: Duration,
    /// The same time.
    pub now: Instant,
}

impl Registrar<'_> {
    /// Does what `request` of `registrant` asks for, all or nothing of it (RFC 3261 §10.3 steps 5 to 8). On success
    /// `out` has got the header lines that belong into the 200.
    ///
    /// To refuse says something of the registrant's own bindings only, so that the reply may say why.
    pub fn register(
        &self,
        registrant: &Registrant<'_>,
        request: &Message,
        flow: &Flow,
        out: &mut BytesMut,
    ) -> Result<Option<Change>, Refusal> {
        if !registrant.owns_address {
            return Err(Reason::NotYourAor.into());
        }
        let settings = &registrant.domain.registrar;
        let list = ContactList::read(request, settings)?;
        let path = read_path(request)?;
        // RFC 5630 §5.2: behind a Path the way to the phone is its edge's business.
        if path.is_empty() && !flow.transport.is_secure() && list.has_sips() {
            return Err(Reason::UnprotectedContact.into());
        }
        if list.has_gruu_of(&registrant.aor, self.domains) {
            return Err(Reason::ContactIsGruu.into());
        }
        let outbound = outbound::negotiate(request, &list, flow)?;
        // RFC 3327 §5.3: who does not say that they know Path does not get it back.
        let told_path = match path.is_empty() || outbound::supports(request, outbound::PATH) {
            true => &path[..],
            false => &[],
        };
        // RFC 5627 §5.2: GRUUs are for those who ask for them. Who has no instance is not even asked.
        let fresh = LazyCell::new(|| outbound::supports(request, GRUU).then(|| self.circumstances(request)));
        let mut list_binding = |binding: &Binding<'_>| {
            answer::put_contact(binding, out);
            if binding.parameters().len() >= INSTANCE_LENGTH_MIN
                && let Some(fresh) = &*fresh
            {
                self.maker(registrant, fresh).put(binding, out);
            }
            answer::put_expiry(binding, self.now, out);
        };
        let updates = list.updates();
        let Some(contacts) = list.contacts(&updates) else {
            self.location.lookup(&registrant.aor, self.now, &mut list_binding);
            answer::finish(told_path, outbound, settings, self.unix_now, out);
            return Ok(None);
        };
        let update = Update {
            contacts,
            call_id: request.call_id(),
            cseq: request.cseq().ok_or(Reason::Malformed)?.number,
            nonce_count: registrant.nonce_count,
            flow,
            path: &path,
            max_contacts: settings.max_contacts,
            overflow: settings.overflow,
        };
        let change = self
            .location
            .apply_at(registrant.place, &registrant.aor, &update, self.now, &mut list_binding)
            .map_err(|refused| match refused {
                Refused::TooManyContacts => Reason::TooManyContacts,
                Refused::OutOfOrder => Reason::OutOfOrder,
                Refused::TooLong => Reason::BadContact,
            })?;
        answer::finish(told_path, outbound, settings, self.unix_now, out);
        Ok(change)
    }

    fn maker<'m>(&'m self, registrant: &'m Registrant<'_>, fresh: &'m [u8]) -> Maker<'m> {
        Maker {
            tokens: self.gruus,
            aor: &registrant.aor,
            domain: registrant.domain,
            unix: gruu::seconds(self.unix_now),
            fresh,
        }
    }

    /// What is different at each REGISTER.
    fn circumstances(&self, request: &Message) -> Vec<u8> {
        let cseq = request.header(HeaderName::CSeq).unwrap_or_default();
        let time = self.unix_now.as_nanos().to_be_bytes();
        [request.call_id(), cseq, &time].concat()
    }
}

/// The Path values joined by commas (RFC 3327 §5.3).
fn read_path(request: &Message) -> Result<SmallVec<[u8; 128]>, Refusal> {
    let mut path = SmallVec::new();
    for value in request.values(HeaderName::Path) {
        let is_route = NameAddr::parse(value).is_ok_and(|hop| hop.parsed_uri().is_ok());
        if !is_route || path.len() + value.len() > MAX_PATH {
            return Err(Reason::Malformed.into());
        }
        if !path.is_empty() {
            path.extend_from_slice(b", ");
        }
        contacts::put_unfolded(value, &mut path);
    }
    Ok(path)
}

/// Shorter parameters hold no `+sip.instance` of which a GRUU could be made.
const INSTANCE_LENGTH_MIN: usize = "+sip.instance=<urn:x>".len();

/// The longest Path that is kept with a binding, in bytes.
const MAX_PATH: usize = 4096;
