//! What this server answers itself: refusals, its own capabilities, registrations.

use std::time::Instant;

use bytes::{BufMut, BytesMut};

use super::{Prepared, Refused, Server};
use crate::sip::digest::Challenge;
use crate::sip::hop::Flow;
use crate::sip::location::AddressOfRecord;
use crate::sip::message::Message;
use crate::sip::message::method::Method;
use crate::sip::message::reply::{put_decimal, put_header};
use crate::sip::message::uri::Uri;
use crate::sip::proxy::authorization::{Presented, challenging_domain};
use crate::sip::proxy::engine::put_warning;
use crate::sip::reason::{Extra, Reason, Refusal};
use crate::sip::registrar::{self, Registrar};
use crate::sip::shared::Shared;
use crate::sip::transaction::ServerKey;

impl Server {
    /// A request to this server itself (RFC 3261 §11.2): it tells what it can do, takes keep-alives, and is nobody else.
    pub(super) fn answer_here(&mut self, request: &Message, flow: &Flow, key: &ServerKey) -> Result<(), Refused> {
        match request.method() {
            Method::Options | Method::Notify => {
                self.respond_ok(request, flow, key);
                Ok(())
            }
            _ => Err(Reason::NotHere.into()),
        }
    }

    /// 200 with what is supported here, outside any transaction: a repeated request gets the same again.
    pub(super) fn respond_ok(&mut self, request: &Message, flow: &Flow, key: &ServerKey) {
        self.proxy
            .engine
            .respond_stateless(request, flow, key, 200, "OK", |_, out| {
                put_header(out, "Allow", ALLOW);
                put_header(out, "Accept", b"*/*");
                put_header(out, "Supported", SUPPORTED);
            });
    }

    /// REGISTER (§10.3).
    pub(super) fn register(&mut self, prepared: &Prepared, key: &ServerKey, now: Instant) -> Result<(), Refused> {
        let (request, flow) = (&prepared.message, &prepared.flow);
        let shared = &self.shared;
        let registrar = Registrar {
            domains: &shared.settings.domains,
            location: &shared.location,
            authenticator: &shared.authenticator,
            gruus: &shared.gruus,
            unix_now: shared.epoch.unix(now),
            now,
        };
        let presented = match &prepared.presented {
            Presented::Nothing => registrar::Presented::Nothing,
            Presented::Malformed => registrar::Presented::Malformed,
            Presented::Checked {
                verification,
                uri_matches,
                ..
            } => registrar::Presented::Checked {
                verification,
                uri_matches: *uri_matches,
            },
        };
        let address = prepared.address.as_ref().unwrap_or(&Err(Reason::Malformed));
        let registrant = registrar.authenticate(request, address, presented)?;
        self.lines.clear();
        let change = registrar
            .register(&registrant, request, flow, &mut self.lines)
            .map_err(|refusal| Refused {
                refusal,
                is_authenticated: true,
            })?;
        self.proxy.engine.changes.extend(change);
        let lines = &self.lines;
        let engine = &mut self.proxy.engine;
        // Where there is no room for a transaction, a repeated request is known by the bindings it made.
        engine.answer(request, flow, key, 200, "OK", |out| out.put_slice(lines), now);
        Ok(())
    }

    /// Whether `request` is from `aor`.
    pub(super) fn is_from(&self, request: &Message, aor: &AddressOfRecord) -> bool {
        let from = request.from().and_then(|from| Uri::parse(from.uri).ok());
        let from = from.and_then(|from| AddressOfRecord::new(&from, &self.shared.settings.domains));
        from.is_some_and(|(from, _)| from == *aor)
    }

    /// Refuses: on a transaction and with the reason to those who are authenticated, else without keeping anything.
    pub(super) fn refuse(&mut self, prepared: &Prepared, key: &ServerKey, refused: Refused, now: Instant) {
        let (request, flow) = (&prepared.message, &prepared.flow);
        let Refused {
            refusal,
            is_authenticated,
        } = refused;
        tracing::debug!(reason = refusal.reason.name(), remote = %flow.remote, "refused");
        if matches!(refusal.reason, Reason::BadPassword | Reason::NonceReplayed) {
            self.count_failure(request, flow);
        }
        let engine = &mut self.proxy.engine;
        if !is_authenticated || !engine.transactions.has_room(now) {
            engine.counts.transactions_refused += u64::from(is_authenticated);
            return self.refuse_stateless(request, flow, key, &refusal, now);
        }
        engine.counts.refuse(refusal.reason);
        let (status, phrase) = status_line(request, refusal.reason);
        let shared = &self.shared;
        let write = |out: &mut BytesMut| put_extra(shared, request, &refusal, true, now, out);
        if request.method() != Method::Invite {
            return engine.answer(request, flow, key, status, phrase, write, now);
        }
        if let Some(server) = engine.create_server(request, flow, key, now) {
            engine.respond_with(server, request, flow.remote, status, phrase, write, now);
        }
    }

    /// Counts a failed authentication against its source and the AOR that it was for.
    fn count_failure(&mut self, request: &Message, flow: &Flow) {
        self.proxy.engine.counts.authentication_failures += 1;
        let address = match request.method() {
            Method::Register => request.to(),
            _ => request.from(),
        };
        let uri = address.and_then(|address| Uri::parse(address.uri).ok());
        let aor = uri.and_then(|uri| AddressOfRecord::new(&uri, &self.shared.settings.domains));
        let name = aor.as_ref().map_or(&b""[..], |(aor, _)| aor.as_bytes());
        let count = self.shared.failures.count(flow.remote.ip(), name);
        if count.is_worth_telling() {
            tracing::warn!(
                source = %flow.remote.ip(),
                from_source = count.source,
                for_address = count.address,
                "many failed authentications"
            );
        }
    }

    /// Refuses without keeping anything (RFC 3261 §8.2.7).
    pub(super) fn refuse_stateless(
        &mut self,
        request: &Message,
        flow: &Flow,
        key: &ServerKey,
        refusal: &Refusal,
        now: Instant,
    ) {
        self.proxy.engine.counts.refuse(refusal.reason);
        let (status, phrase) = status_line(request, refusal.reason);
        self.proxy
            .engine
            .respond_stateless(request, flow, key, status, phrase, |shared, out| {
                put_extra(shared, request, refusal, false, now, out);
            });
    }
}

/// The registrar challenges with 401, the proxy with 407 (RFC 3261 §22.2, §22.3).
fn status_line(request: &Message, reason: Reason) -> (u16, &'static str) {
    match (reason.status(), request.method()) {
        (401, Method::Register) => (401, reason.phrase()),
        (401, _) => (407, Reason::ProxyCredentials.phrase()),
        (status, _) => (status, reason.phrase()),
    }
}

fn put_extra(shared: &Shared, request: &Message, refusal: &Refusal, says_why: bool, now: Instant, out: &mut BytesMut) {
    match &refusal.extra {
        Extra::None => {}
        Extra::MinExpires(seconds) => {
            out.put_slice(b"Min-Expires: ");
            put_decimal(out, *seconds);
            out.put_slice(b"\r\n");
        }
        Extra::Unsupported(options) => put_header(out, "Unsupported", options),
        Extra::Allow => put_header(out, "Allow", ALLOW),
        Extra::RetryAfter(seconds) => {
            out.put_slice(b"Retry-After: ");
            put_decimal(out, *seconds);
            out.put_slice(b"\r\n");
        }
        Extra::Challenge { stale } => put_challenge(shared, request, *stale, now, out),
    }
    if says_why {
        put_warning(shared, request, refusal.reason, out);
    }
}

fn put_challenge(shared: &Shared, request: &Message, stale: bool, now: Instant, out: &mut BytesMut) {
    let domains = &shared.settings.domains;
    let (domain, header) = match request.method() {
        Method::Register => {
            let uri = request.parsed_request_uri();
            (uri.and_then(|uri| domains.find(uri.host_bytes)), Challenge::Www)
        }
        _ => (challenging_domain(domains, request), Challenge::Proxy),
    };
    if let Some(domain) = domain {
        shared
            .authenticator
            .challenge(domain, header, stale, shared.epoch.unix(now), out);
    }
}

/// What requests are taken here, for ourselves or for others.
const ALLOW: &[u8] =
    b"INVITE, ACK, CANCEL, BYE, REGISTER, OPTIONS, NOTIFY, MESSAGE, INFO, UPDATE, REFER, PRACK, SUBSCRIBE, PUBLISH";
/// The extensions that this server itself supports.
const SUPPORTED: &[u8] = b"path, outbound, gruu";
