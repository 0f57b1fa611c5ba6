//! Who registers, and for whom (RFC 3261 §10.3 steps 1 to 5, §22.2): the checks before anything of the request counts.

use std::borrow::Cow;

use crate::sip::digest::{Replayed, User, Verification, Verified};
use crate::sip::domain::{Domain, DomainId, Domains};
use crate::sip::gruu::GRUU;
use crate::sip::location::{AddressOfRecord, Location, Place};
use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::message::uri::Uri;
use crate::sip::reason::{Extra, Reason, Refusal};
use crate::sip::registrar::Registrar;
use crate::sip::registrar::outbound::{OUTBOUND, PATH, supports};

/// What the credentials of a REGISTER are worth, for the realm of the Request-URI's domain. It is found out before the
/// request is matched with transactions; nothing is consumed by it.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'a> {
    /// There are none for that realm.
    Nothing,
    /// They cannot be read.
    Malformed,
    /// They were checked.
    Checked {
        /// The result.
        verification: &'a Verification,
        /// Whether the digest `uri` is the Request-URI, or names this server all the same where that is accepted.
        uri_matches: bool,
    },
}

/// For whom a REGISTER is. It is found out before the request is matched with transactions.
#[derive(Clone, Debug)]
pub struct Address {
    /// The AOR in To.
    pub aor: AddressOfRecord,
    /// Where its bindings are kept.
    pub place: Place,
    /// The domain of the Request-URI, which the AOR belongs to.
    pub domain: DomainId,
}

impl Address {
    /// Reads the Request-URI and To (RFC 3261 §10.3 steps 1 and 5).
    pub fn read(request: &Message, domains: &Domains, location: &Location) -> Result<Address, Reason> {
        let uri = request.parsed_request_uri().ok_or(Reason::Malformed)?;
        let id = domains.host_id(uri.host_bytes).ok_or(Reason::DomainNotServed)?;
        let domain = domains.get(id).ok_or(Reason::DomainNotServed)?;
        if !domain.registration {
            return Err(Reason::RegistrationDisabled);
        }
        let to = request.to().ok_or(Reason::Malformed)?;
        let to_uri = to.parsed_uri().map_err(|_| Reason::Malformed)?;
        let (aor, _) = AddressOfRecord::new(&to_uri, domains)
            .filter(|(_, of_to)| std::ptr::eq(*of_to, domain))
            .ok_or(Reason::AorOutsideDomain)?;
        if to.tag().is_some() && !domain.registrar.allow_to_tag {
            return Err(Reason::ToTagPresent);
        }
        Ok(Address {
            place: location.place(&aor),
            aor,
            domain: id,
        })
    }
}

/// Who sent an authenticated REGISTER, and for which AOR.
#[derive(Clone, Debug)]
pub struct Registrant<'a> {
    /// The AOR in To.
    pub aor: AddressOfRecord,
    /// Where its bindings are kept.
    pub(super) place: Place,
    /// The domain, which both belong to.
    pub domain: &'a Domain,
    /// The nonce count of the credentials.
    pub(super) nonce_count: u32,
    /// Whether the AOR is the user's.
    pub(super) owns_address: bool,
}

impl<'a> Registrar<'a> {
    /// Finds out who sends `request`, whose address was read before. The nonce count is used up by this, so that it is
    /// done once, after it is known that the request is no retransmission.
    ///
    /// To refuse answers somebody who may be a stranger.
    pub fn authenticate(
        &self,
        request: &Message,
        address: &Result<Address, Reason>,
        presented: Presented<'_>,
    ) -> Result<Registrant<'a>, Refusal> {
        let address = address.as_ref().map_err(|reason| *reason)?;
        let domain = self.domains.get(address.domain).ok_or(Reason::DomainNotServed)?;
        let aor = &address.aor;
        check_options(request, domain)?;
        let verified = check_credentials(presented)?;
        self.consume(request, aor, verified)?;
        let owns_address = domain
            .users
            .user(verified.user)
            .is_some_and(|user| self.owns(&user, domain, aor));
        Ok(Registrant {
            aor: aor.clone(),
            place: address.place,
            domain,
            nonce_count: verified.nonce_count,
            owns_address,
        })
    }

    /// RFC 7616 §5.5. A request that made a stored binding is a retransmission that the transactions have forgotten.
    fn consume(&self, request: &Message, aor: &AddressOfRecord, verified: &Verified) -> Result<(), Refusal> {
        let Err(replayed) = self.authenticator.consume(verified) else {
            return Ok(());
        };
        let cseq = request.cseq().ok_or(Reason::Malformed)?.number;
        let nonce_count = verified.nonce_count;
        if self
            .location
            .is_retransmission(aor, request.call_id(), cseq, nonce_count, self.now)
        {
            return Ok(());
        }
        Err(match replayed {
            Replayed::Count => challenge(Reason::NonceReplayed, true),
            Replayed::Forgotten => challenge(Reason::StaleNonce, true),
        })
    }

    /// Whether `aor` is the user's own or one of its identities.
    fn owns(&self, user: &User<'_>, domain: &Domain, aor: &AddressOfRecord) -> bool {
        if aor.user() == user.name() && aor.domain() == domain.name.as_bytes() {
            return true;
        }
        user.identities().iter().any(|identity| {
            // Written as a URI, or as user@domain.
            let uri = match identity.contains(':') {
                true => Cow::Borrowed(&**identity),
                false => Cow::Owned(format!("sip:{identity}")),
            };
            let identity = Uri::parse(uri.as_bytes()).ok();
            let identity = identity.and_then(|uri| AddressOfRecord::new(&uri, self.domains));
            identity.is_some_and(|(identity, _)| identity == *aor)
        })
    }
}

/// RFC 3261 §10.3 step 2; RFC 3327 §5.3 for Path.
fn check_options(request: &Message, domain: &Domain) -> Result<(), Refusal> {
    let unsupported = request.unsupported_options(HeaderName::Require, &[PATH, OUTBOUND, GRUU]);
    if !unsupported.is_empty() {
        return Err(Refusal {
            reason: Reason::ExtensionRequired,
            extra: Extra::Unsupported(unsupported),
        });
    }
    if domain.registrar.strict_path && request.header(HeaderName::Path).is_some() && !supports(request, PATH) {
        return Err(Refusal {
            reason: Reason::PathNotSupported,
            extra: Extra::Unsupported(PATH.to_vec()),
        });
    }
    Ok(())
}

fn check_credentials(presented: Presented<'_>) -> Result<&Verified, Refusal> {
    let (verification, uri_matches) = match presented {
        Presented::Nothing => return Err(challenge(Reason::NoCredentials, false)),
        Presented::Malformed => return Err(Reason::BadCredentials.into()),
        Presented::Checked {
            verification,
            uri_matches,
        } => (verification, uri_matches),
    };
    match verification {
        Verification::Verified(verified) if uri_matches => Ok(verified),
        Verification::Verified(_) => Err(Reason::DigestUriMismatch.into()),
        Verification::Stale => Err(challenge(Reason::StaleNonce, true)),
        Verification::WrongPassword | Verification::UnknownUser => Err(challenge(Reason::BadPassword, false)),
        Verification::WrongRealm | Verification::Unsupported(_) => Err(challenge(Reason::NoCredentials, false)),
    }
}

fn challenge(reason: Reason, stale: bool) -> Refusal {
    Refusal {
        reason,
        extra: Extra::Challenge { stale },
    }
}
