//! `[[domain]]` with its `[domain.registrar]` and `[domain.auth]`, upon the `[registrar]` and `[auth]` of all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::credentials::CredentialLists;
use super::file::{self, File, Key, Number};
use super::report::{Place, Report, Severity};
use super::{hosts, value};
use crate::sip::digest::{self, Algorithm, Users};
use crate::sip::domain::{Domain, Domains, ForkOrder, UriCalling};
use crate::sip::edge::{Edge, Edges};
use crate::sip::location::{self, Overflow};
use crate::sip::message::uri::{Scheme, Uri};
use crate::sip::registrar;
use crate::transport;

/// The longest ringing: timer C ends it anyway (RFC 3261 §16.6 step 11).
const RING_TIMEOUT_MAX: u32 = 180;

/// The longest lifetime of a binding: what fits into the location service with room to spare.
const EXPIRES_MAX: u32 = 10 * 365 * 86_400;

/// The longest Flow-Timer.
const FLOW_TIMER_MAX: u32 = 3600;

/// The longest life of a nonce.
const NONCE_LIFETIME_MAX: u32 = 86_400;

/// The served domains; what is wrong goes to the report. `key` hashes the names of users.
pub fn domains(file: &File, key: [u8; 16], report: &mut Report) -> Domains {
    if file.domain.is_empty() && file.edge.is_empty() {
        let message = "there is no [[domain]], so nobody can register or call";
        let help = "add [[domain]] with name = \"example.com\"";
        report.missing(Severity::Warning, Place::File, message, help);
    }
    let mut lists = CredentialLists::new(&file.credential_list, report);
    // How long a connection may be silent.
    let idle = file.limits.idle_secs.as_ref().map(|idle| seconds(idle.get_ref().0));
    let idle = idle.unwrap_or(transport::settings::Limits::default().idle);
    check_flow_timers(file, idle, report);
    let registrar = registrar_settings(&file.registrar, &registrar_defaults(idle), report);
    let auth = auth_settings(&file.auth, &digest::Settings::default(), report);
    let mut claims = Claims::default();
    let mut found = Vec::new();
    for entry in &file.domain {
        let domain = entry.get_ref();
        let Some(name) = name(entry, &mut claims, report) else {
            continue;
        };
        let realm = realm(domain, &name, &mut claims, report);
        let auth = auth_settings(&domain.auth, &auth, report);
        let registration = value(&domain.registration, true);
        let named = domain.credential_lists.as_ref();
        let users = lists.users(
            named.map_or(&[][..], |lists| lists.get_ref()),
            &realm,
            &auth.algorithms,
            key,
            report,
        );
        warn_if_nobody(entry, &users, registration, report);
        found.push(Domain {
            aliases: aliases(domain, &name, &mut claims, report),
            name: name.into(),
            realm: realm.into(),
            registration,
            uri_calling: match value(&domain.uri_calling, file::UriCalling::Internal) {
                file::UriCalling::Disabled => UriCalling::Disabled,
                file::UriCalling::Internal => UriCalling::Internal,
                file::UriCalling::Unrestricted => UriCalling::Unrestricted,
            },
            fork: match value(&domain.fork, file::Fork::Parallel) {
                file::Fork::Parallel => ForkOrder::Parallel,
                file::Fork::Q => ForkOrder::Priority,
            },
            ring_timeout: ranged(&domain.ring_timeout, "ring_timeout", 1..=RING_TIMEOUT_MAX, report).map(seconds),
            registrar: registrar_settings(&domain.registrar, &registrar, report),
            auth,
            users: Arc::new(users),
        });
    }
    lists.warn_of_unused(report);
    let edges = file.edge.iter().filter_map(|entry| edge(entry, &mut claims, report));
    let edges = Edges::new(edges.collect());
    Domains::new(found).with_edges(edges)
}

/// A domain whose registrar is elsewhere.
fn edge(entry: &Spanned<file::Edge>, claims: &mut Claims, report: &mut Report) -> Option<Edge> {
    let written = entry.get_ref();
    for (key, is_there, help) in [
        ("domain", written.domain.is_some(), "as in domain = \"example.com\""),
        (
            "registrar",
            written.registrar.is_some(),
            "as in registrar = \"sip:10.0.0.5;transport=tcp\"",
        ),
    ] {
        if !is_there {
            let message = format!("this [[edge]] has no `{key}`");
            report.missing(Severity::Error, Place::Span(entry.span()), &message, help);
        }
    }
    let domain = written.domain.as_ref()?;
    let name = host(domain, report)?;
    let mut names: Vec<Box<str>> = Vec::new();
    for written in std::iter::once(domain).chain(written.aliases.iter().flat_map(|aliases| aliases.get_ref())) {
        if let Some(alias) = host(written, report)
            && claims.claim(&alias, written, &name, report)
        {
            names.push(alias.into());
        }
    }
    let registrar = written.registrar.as_ref()?;
    let route = registrar_route(registrar.get_ref());
    if route.is_none() {
        let message = format!("`registrar` cannot be {:?}", registrar.get_ref());
        report.error(registrar.span(), message).help =
            Some("a SIP URI without a user, as in \"sip:10.0.0.5;transport=tcp\"".to_owned());
    }
    Some(Edge {
        names,
        registrar: route?,
    })
}

/// The Route value that leads to `uri`.
fn registrar_route(uri: &str) -> Option<Box<str>> {
    let parsed = Uri::parse(uri.as_bytes()).ok()?;
    let is_usable = matches!(parsed.scheme, Scheme::Sip | Scheme::Sips)
        && parsed.user.is_none()
        && parsed.host.is_some()
        && parsed.headers.is_none()
        && parsed.maddr().is_none()
        && !matches!(parsed.transport(), Some(None))
        && !uri.contains(['<', '>', '"', ',', ' ']);
    let loose = if parsed.is_loose_router() { "" } else { ";lr" };
    is_usable.then(|| format!("<{uri}{loose}>").into())
}

/// Not written, the Flow-Timer follows the silence that connections may keep.
fn registrar_defaults(idle: Duration) -> registrar::Settings {
    let defaults = registrar::Settings::default();
    let longest = seconds((idle.as_secs() / 2).min(u64::from(FLOW_TIMER_MAX)) as u32);
    registrar::Settings {
        flow_timer: defaults
            .flow_timer
            .map(|timer| timer.min(longest))
            .filter(|timer| !timer.is_zero()),
        ..defaults
    }
}

/// The number of a key if it lies in `range`; otherwise that goes to the report.
pub fn ranged(key: &Key<Number>, name: &str, range: std::ops::RangeInclusive<u32>, report: &mut Report) -> Option<u32> {
    let written = key.as_ref()?;
    let number = written.get_ref().0;
    if range.contains(&number) {
        return Some(number);
    }
    let (least, most) = range.into_inner();
    report.error(
        written.span(),
        format!("`{name}` must be from {least} to {most}, not {number}"),
    );
    None
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

/// Which domain has a name, alias or realm.
#[derive(Default)]
struct Claims {
    hosts: BTreeMap<String, String>,
    realms: BTreeMap<String, String>,
}

impl Claims {
    fn claim(&mut self, host: &str, written: &Spanned<String>, domain: &str, report: &mut Report) -> bool {
        let Some(owner) = self.hosts.insert(host.to_owned(), domain.to_owned()) else {
            return true;
        };
        report.error(
            written.span(),
            format!("`{host}` is a name of the domain `{owner}` already"),
        );
        self.hosts.insert(host.to_owned(), owner);
        false
    }
}

fn name(entry: &Spanned<file::Domain>, claims: &mut Claims, report: &mut Report) -> Option<String> {
    let Some(written) = &entry.get_ref().name else {
        let (place, help) = (Place::Span(entry.span()), "as in name = \"example.com\"");
        report.missing(Severity::Error, place, "this [[domain]] has no `name`", help);
        return None;
    };
    let name = host(written, report)?;
    claims.claim(&name, written, &name, report).then_some(name)
}

fn aliases(domain: &file::Domain, name: &str, claims: &mut Claims, report: &mut Report) -> Vec<Box<str>> {
    let mut found: Vec<Box<str>> = Vec::new();
    for written in domain.aliases.iter().flat_map(|aliases| aliases.get_ref()) {
        let Some(alias) = host(written, report) else { continue };
        if claims.claim(&alias, written, name, report) {
            found.push(alias.into());
        }
    }
    found
}

fn host(written: &Spanned<String>, report: &mut Report) -> Option<String> {
    let host = hosts::host(written.get_ref());
    if host.is_none() {
        let message = format!("{:?} is neither a host name nor an address", written.get_ref());
        report.error(written.span(), message).help = Some("as in \"example.com\"; no port, no \"sip:\"".to_owned());
    }
    host
}

fn realm(domain: &file::Domain, name: &str, claims: &mut Claims, report: &mut Report) -> String {
    let realm = domain.realm.as_ref().map_or(name, |realm| realm.get_ref());
    let span = domain
        .realm
        .as_ref()
        .or(domain.name.as_ref())
        .map(Spanned::span)
        .unwrap_or_default();
    if realm.is_empty() || realm.contains(['"', '\\']) || realm.chars().any(char::is_control) {
        report.error(
            span.clone(),
            "a `realm` is not empty and has no quotes, backslashes or control characters",
        );
    }
    // Credentials name the realm only, so that it must lead to one domain.
    if let Some(owner) = claims.realms.insert(realm.to_owned(), name.to_owned()) {
        report
            .error(span, format!("the domain `{owner}` has the realm `{realm}` already"))
            .help = Some("make one an alias of the other, or give it a realm of its own".to_owned());
    }
    realm.to_owned()
}

fn warn_if_nobody(entry: &Spanned<file::Domain>, users: &Users, registration: bool, report: &mut Report) {
    if !registration || !users.is_empty() || report.has_errors() {
        return;
    }
    let span = entry.get_ref().name.as_ref().map_or(entry.span(), Spanned::span);
    let help = "name a list in `credential_lists`, or set registration = false";
    let message = "the domain has no users, so nobody can register";
    report.missing(Severity::Warning, Place::Span(span), message, help);
}

fn registrar_settings(
    written: &file::Registrar,
    outer: &registrar::Settings,
    report: &mut Report,
) -> registrar::Settings {
    let mut expires = |key, name, outer| {
        let range = if name == "min_expires" {
            0..=EXPIRES_MAX
        } else {
            1..=EXPIRES_MAX
        };
        ranged(key, name, range, report).map_or(outer, seconds)
    };
    let min = expires(&written.min_expires, "min_expires", outer.min_expires);
    let max = expires(&written.max_expires, "max_expires", outer.max_expires);
    let default = expires(&written.default_expires, "default_expires", outer.default_expires);
    let contacts_max = location::MAX_BINDINGS as u32;
    let max_contacts = ranged(&written.max_contacts, "max_contacts", 1..=contacts_max, report);
    check_bounds(written, [min, default, max], report);
    registrar::Settings {
        min_expires: min,
        max_expires: max,
        // Not written here it follows the bounds, so that who moves one key need not move another.
        default_expires: default.max(min).min(max),
        max_contacts: max_contacts.map_or(outer.max_contacts, |number| number as usize),
        overflow: written
            .overflow
            .as_ref()
            .map_or(outer.overflow, |overflow| match overflow.get_ref() {
                file::Overflow::Reject => Overflow::Reject,
                file::Overflow::ReplaceOldest => Overflow::ReplaceOldest,
                file::Overflow::ReplaceUnreachable => Overflow::ReplaceUnreachable,
            }),
        strict_path: value(&written.strict_path, outer.strict_path),
        allow_to_tag: value(&written.allow_to_tag, outer.allow_to_tag),
        flow_timer: match ranged(&written.flow_timer, "flow_timer", 0..=FLOW_TIMER_MAX, report) {
            Some(0) => None,
            Some(number) => Some(seconds(number)),
            None => outer.flow_timer,
        },
        service_route: match &written.service_route {
            Some(written) => service_route(written, report),
            None => outer.service_route.clone(),
        },
    }
}

/// Each as a Route value, in angle brackets.
fn service_route(written: &Spanned<Vec<Spanned<String>>>, report: &mut Report) -> Vec<Box<str>> {
    let mut found: Vec<Box<str>> = Vec::new();
    for route in written.get_ref() {
        let text = route.get_ref();
        let is_route = Uri::parse(text.as_bytes())
            .is_ok_and(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips) && uri.is_loose_router());
        if is_route && !text.contains(['<', '>', '"', ',']) && !text.chars().any(char::is_control) {
            found.push(format!("<{text}>").into());
        } else {
            report
                .error(route.span(), format!("`service_route` cannot have {text:?}"))
                .help = Some("a SIP URI with lr, as in \"sip:proxy.example.com;lr\"".to_owned());
        }
    }
    found
}

/// A connection that is closed for its silence before its phone breaks it is none that can be kept.
fn check_flow_timers(file: &File, idle: Duration, report: &mut Report) {
    let of_domains = file.domain.iter().map(|domain| &domain.get_ref().registrar);
    for written in std::iter::once(&file.registrar).chain(of_domains) {
        if let Some(timer) = &written.flow_timer
            && seconds(timer.get_ref().0) >= idle
        {
            let message = format!(
                "`flow_timer` ({}) is not below `idle_secs` ({})",
                timer.get_ref().0,
                idle.as_secs()
            );
            report.error(timer.span(), message).help =
                Some("connections would be closed before their phones say anything".to_owned());
        }
    }
}

/// Whether the bounds that hold after what is written here make sense; what was wrong before is not said again.
fn check_bounds(written: &file::Registrar, [min, default, max]: [Duration; 3], report: &mut Report) {
    let bound = written.min_expires.as_ref().or(written.max_expires.as_ref());
    let (min_secs, default_secs, max_secs) = (min.as_secs(), default.as_secs(), max.as_secs());
    if let Some(bound) = bound
        && min > max
    {
        let message = format!("`min_expires` ({min_secs}) is above `max_expires` ({max_secs})");
        report.error(bound.span(), message).help =
            Some("registrations would be refused, whatever they ask for".to_owned());
    } else if let Some(written) = &written.default_expires
        && (default < min || default > max)
    {
        let message = format!(
            "`default_expires` ({default_secs}) lies outside `min_expires` ({min_secs}) and `max_expires` ({max_secs})"
        );
        report.error(written.span(), message);
    }
}

fn auth_settings(written: &file::Auth, outer: &digest::Settings, report: &mut Report) -> digest::Settings {
    let lifetime = ranged(
        &written.nonce_lifetime,
        "nonce_lifetime",
        1..=NONCE_LIFETIME_MAX,
        report,
    );
    digest::Settings {
        algorithms: match &written.algorithms {
            Some(written) => algorithms(written, report),
            None => outer.algorithms.clone(),
        },
        nonce_lifetime: lifetime.map_or(outer.nonce_lifetime, seconds),
        strict_uri: value(&written.strict_uri, outer.strict_uri),
    }
}

fn algorithms(written: &Spanned<Vec<Spanned<String>>>, report: &mut Report) -> Vec<Algorithm> {
    let mut found = Vec::new();
    if written.get_ref().is_empty() {
        report
            .error(written.span(), "without `algorithms` nobody can authenticate")
            .help = Some("[\"MD5\"], or [\"SHA-256\", \"MD5\"]".to_owned());
    }
    for name in written.get_ref() {
        match Algorithm::from_name(name.get_ref().as_bytes()) {
            Some(algorithm) if found.contains(&algorithm) => {
                report.error(name.span(), format!("{} is named twice", algorithm.name()));
            }
            Some(algorithm) => found.push(algorithm),
            None => {
                let message = format!("`algorithms` cannot be {:?}", name.get_ref());
                report.error(name.span(), message).help = Some("MD5 or SHA-256".to_owned());
            }
        }
    }
    found
}
