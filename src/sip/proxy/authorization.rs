//! Who sends a request, and whether they may (RFC 3261 §22.3; behaviour of `uri_calling`).

use std::sync::Arc;
use std::time::Instant;

use crate::sip::digest::{Authenticator, Replayed, Verification, Verified};
use crate::sip::domain::{Domain, DomainId, Domains, UriCalling};
use crate::sip::location::AddressOfRecord;
use crate::sip::message::Message;
use crate::sip::message::credentials::{Credentials, CredentialsError};
use crate::sip::message::header::HeaderName;
use crate::sip::message::method::Method;
use crate::sip::message::uri::{Scheme, Uri};
use crate::sip::reason::{Extra, Reason, Refusal};
use crate::sip::shared::Shared;

/// What credentials were found, and what they are worth; found out outside the shard's lock.
#[derive(Debug)]
pub enum Presented {
    /// None for a realm of ours.
    Nothing,
    /// They cannot be read.
    Malformed,
    /// They were checked against this realm's users.
    Checked {
        /// The domain that has the realm.
        domain: DomainId,
        /// The result.
        verification: Verification,
        /// Whether the digest `uri` is the Request-URI or names this server all the same. False unless verified.
        uri_matches: bool,
    },
}

/// Somebody whose request goes on.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whether they have proved who they are.
    pub is_authenticated: bool,
    /// The domain on whose account the request goes on.
    pub domain: Option<DomainId>,
}

/// Reads and checks the credentials of `request` in header `name`: the first for a realm of ours. `only` restricts them
/// to one domain.
pub fn present(shared: &Shared, request: &Message, name: HeaderName, only: Option<&Domain>, now: Instant) -> Presented {
    for line in request.lines(name) {
        let credentials = match Credentials::parse(line) {
            Ok(credentials) => credentials,
            Err(CredentialsError::NotDigest) => continue,
            Err(CredentialsError::Malformed) => return Presented::Malformed,
        };
        let domains = &shared.settings.domains;
        let Some(id) = domains.realm_id(&credentials.realm) else {
            continue;
        };
        let Some(domain) = domains.get(id) else { continue };
        if only.is_some_and(|only| only.realm != domain.realm) {
            continue;
        }
        let verification =
            shared
                .authenticator
                .verify(domain, request.method_bytes(), &credentials, shared.epoch.unix(now));
        // Comparing URIs of many parameters costs much more than the digest: only who knows the password has it done.
        let uri_matches = matches!(verification, Verification::Verified(_))
            && digest_uri_matches(shared, domain, request, credentials.uri);
        return Presented::Checked {
            domain: id,
            verification,
            uri_matches,
        };
    }
    Presented::Nothing
}

/// RFC 7616 §3.4.6: the digest uri must be the Request-URI; lenient, it may be another name for this server. Outside
/// REGISTER a user part must be the one that is called all the same: a callee may challenge the caller with a nonce of
/// ours, and the answer, which is for a call to that callee, must not be good for a call to anybody else.
fn digest_uri_matches(shared: &Shared, domain: &Domain, request: &Message, digest_uri: &[u8]) -> bool {
    if digest_uri == request.request_uri() {
        return true;
    }
    let Ok(stated) = Uri::parse(digest_uri) else {
        return false;
    };
    let Some(called) = request.parsed_request_uri() else {
        return false;
    };
    if called.equivalent(&stated) {
        return true;
    }
    if domain.auth.strict_uri || !shared.settings.names_us(&stated) {
        return false;
    }
    request.method() == Method::Register
        || stated.user.is_none()
        || (stated.user_unescaped() == called.user_unescaped() && shared.settings.names_us(&called))
}

/// Decides whether an out-of-dialog `request` may go on, by its credentials and, without them, by the called domain's
/// `uri_calling`. Consumes the nonce count of right credentials.
pub fn authorize(shared: &Shared, request: &Message, presented: &Presented) -> Result<Caller, Refusal> {
    let domains = &shared.settings.domains;
    let from = request.from().ok_or(Reason::Malformed)?;
    let from_uri = Uri::parse(from.uri).map_err(|_| Reason::Malformed)?;
    let from_domain = domains.find(from_uri.host_bytes);
    let called = request.parsed_request_uri();
    let called_domain = called.as_ref().and_then(|uri| domains.find(uri.host_bytes));
    if let Presented::Checked {
        domain,
        verification,
        uri_matches,
    } = presented
        && let Some(domain) = domains.get(*domain)
    {
        return authenticate(
            &shared.authenticator,
            domains,
            domain,
            &from_uri,
            verification,
            *uri_matches,
        );
    }
    if let Some(domain) = called_domain
        && domain.uri_calling == UriCalling::Unrestricted
    {
        return Ok(Caller {
            is_authenticated: false,
            domain: domains.id(domain),
        });
    }
    if matches!(presented, Presented::Malformed) {
        return Err(Reason::BadCredentials.into());
    }
    match (from_domain, called_domain.map(|domain| domain.uri_calling)) {
        (Some(_), _) | (None, Some(UriCalling::Internal)) => Err(challenge(Reason::ProxyCredentials, false)),
        (None, Some(UriCalling::Disabled | UriCalling::Unrestricted)) => Err(Reason::UriCallingDisabled.into()),
        (None, None) => Err(Reason::RelayDenied.into()),
    }
}

/// The domain whose realm a challenge to `request` names: From's if served, else the Request-URI's.
pub fn challenging_domain<'a>(domains: &'a Domains, request: &Message) -> Option<&'a Domain> {
    let from = request
        .from()
        .and_then(|from| Uri::parse(from.uri).ok())
        .and_then(|uri| domains.find(uri.host_bytes));
    from.or_else(|| {
        request
            .parsed_request_uri()
            .and_then(|uri| domains.find(uri.host_bytes))
    })
    .or_else(|| domains.iter().next())
}

fn authenticate(
    authenticator: &Authenticator,
    domains: &Domains,
    domain: &Domain,
    from: &Uri<'_>,
    verification: &Verification,
    uri_matches: bool,
) -> Result<Caller, Refusal> {
    let verified = match verification {
        Verification::Verified(verified) => verified,
        Verification::Stale => return Err(challenge(Reason::StaleNonce, true)),
        Verification::WrongPassword | Verification::UnknownUser => return Err(challenge(Reason::BadPassword, false)),
        Verification::WrongRealm | Verification::Unsupported(_) => {
            return Err(challenge(Reason::ProxyCredentials, false));
        }
    };
    if !uri_matches {
        return Err(Reason::DigestUriMismatch.into());
    }
    authenticator.consume(verified).map_err(|replayed| match replayed {
        Replayed::Count => challenge(Reason::NonceReplayed, true),
        Replayed::Forgotten => challenge(Reason::StaleNonce, true),
    })?;
    if !may_call_as(domains, domain, verified, from) {
        return Err(Reason::CallerIdInvalid.into());
    }
    Ok(Caller {
        is_authenticated: true,
        domain: domains.id(domain),
    })
}

/// Whether `from` is the user's own AOR, one of its identities, or anonymous (RFC 3323 §4.1.1.3).
fn may_call_as(domains: &Domains, domain: &Domain, verified: &Verified, from: &Uri<'_>) -> bool {
    let Some(user) = domain.users.user(verified.user) else {
        return false;
    };
    let own_name = from.user_unescaped();
    let is_own_domain = domains
        .find(from.host_bytes)
        .is_some_and(|found| Arc::ptr_eq(&found.name, &domain.name));
    if is_own_domain && own_name.as_deref() == Some(user.name()) {
        return true;
    }
    if is_anonymous(from) {
        return true;
    }
    user.identities().iter().any(|identity| {
        let text = identity.as_bytes();
        match Uri::parse(text) {
            Ok(uri) if matches!(uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel) => {
                same_identity(domains, &uri, from)
            }
            Ok(_) | Err(_) => {
                let full = [b"sip:", text].concat();
                Uri::parse(&full).is_ok_and(|uri| same_identity(domains, &uri, from))
            }
        }
    })
}

fn same_identity(domains: &Domains, identity: &Uri<'_>, from: &Uri<'_>) -> bool {
    match (
        AddressOfRecord::new(identity, domains),
        AddressOfRecord::new(from, domains),
    ) {
        (Some((a, _)), Some((b, _))) => a == b,
        _ => {
            identity.user_unescaped() == from.user_unescaped()
                && identity.host_bytes.eq_ignore_ascii_case(from.host_bytes)
                && identity.host.is_some() == from.host.is_some()
                && (identity.host.is_some() || identity.equivalent(from))
        }
    }
}

fn is_anonymous(from: &Uri<'_>) -> bool {
    from.host_bytes.eq_ignore_ascii_case(b"anonymous.invalid")
        && from.user.is_none_or(|user| user.eq_ignore_ascii_case(b"anonymous"))
}

fn challenge(reason: Reason, stale: bool) -> Refusal {
    Refusal {
        reason,
        extra: Extra::Challenge { stale },
    }
}
