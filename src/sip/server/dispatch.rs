//! What a new request is, and what becomes of it.

use super::{Prepared, Refused, Server};
use crate::sip::gruu;
use crate::sip::hop::Target;
use crate::sip::location::AddressOfRecord;
use crate::sip::message::Message;
use crate::sip::message::method::Method;
use crate::sip::message::uri::{Scheme, Uri};
use crate::sip::proxy::authorization::{Caller, Presented, authorize};
use crate::sip::proxy::forwarding::{Recorded, Template};
use crate::sip::proxy::routing::{self, Routing};
use crate::sip::proxy::targets::{Candidates, Way};
use crate::sip::proxy::token::Side;
use crate::sip::proxy::validation::{Reach, validate};
use crate::sip::proxy::{Forwarding, targets};
use crate::sip::reason::{Extra, Reason, Refusal};
use crate::sip::shared::Shared;
use crate::sip::transaction::ServerKey;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Server {
    /// Decides what a new request is, and does it.
    pub(super) fn act(&mut self, prepared: &Prepared, key: &ServerKey, now: Instant) -> Result<(), Refused> {
        let (request, flow) = (&prepared.message, &prepared.flow);
        if request.method() == Method::Register {
            self.check_stopping(prepared)?;
            return match self.register_elsewhere(prepared, key, now) {
                Some(done) => done,
                None => self.register(prepared, key, now),
            };
        }
        self.proxy.candidates.clear();
        let reach = match validate(&self.shared, request) {
            Ok(reach) => reach,
            // RFC 3261 §11: whoever holds an OPTIONS whose hops have run out may answer it as if it were for them.
            Err(refusal) if refusal.reason == Reason::TooManyHops && request.method() == Method::Options => {
                self.respond_ok(request, flow, key);
                return Ok(());
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let routing = routing::preprocess(&self.shared, request, flow);
        if let Some((sides, sender)) = &routing.token {
            let side = sides.other(*sender);
            add_in_dialog(&mut self.proxy.candidates, &self.shared, request, &routing, side, now);
            let caller = Caller {
                is_authenticated: true,
                domain: None,
            };
            let template = template(reach, &routing, &prepared.presented, None);
            return Ok(self.forward(prepared, key, template, &caller, None, now)?);
        }
        // A request within a dialog that the registrar behind us led here by its Path is one under way, too.
        if let Some(to) = routing.flow {
            return self.forward_inwards(prepared, key, reach, &routing, to, now);
        }
        self.check_stopping(prepared)?;
        if let Some(done) = self.forward_outwards(prepared, key, reach, &routing, now) {
            return done;
        }
        let uri = request.parsed_request_uri().ok_or(Refusal::from(Reason::Malformed))?;
        if uri.user.is_none() && uri.host.is_some() && !routing.has_further_route && self.shared.settings.names_us(&uri)
        {
            return self.answer_here(request, flow, key);
        }
        if matches!(request.method(), Method::Subscribe | Method::Publish)
            && !gruu::is_gruu(&uri)
            && AddressOfRecord::new(&uri, &self.shared.settings.domains)
                .is_some_and(|(aor, _)| self.is_from(request, &aor))
        {
            return Err(Refusal {
                reason: Reason::MethodNotServed,
                extra: Extra::Allow,
            }
            .into());
        }
        let caller = authorize(&self.shared, request, &prepared.presented).map_err(|refusal| Refused {
            // Nobody hears of identities before the password was right.
            is_authenticated: refusal.reason == Reason::CallerIdInvalid,
            refusal,
        })?;
        self.forward_out_of_dialog(prepared, key, reach, &routing, &uri, &caller, now)
            .map_err(|refusal| Refused {
                refusal,
                is_authenticated: caller.is_authenticated,
            })
    }

    /// Refuses new work once the process is about to end.
    fn check_stopping(&self, prepared: &Prepared) -> Result<(), Refusal> {
        if self.shared.is_stopping.load(Ordering::Relaxed) {
            return Err(busy(Reason::Stopping, prepared.call_id_hash));
        }
        Ok(())
    }

    /// A request whose sender may send it, and which no token leads.
    #[expect(clippy::too_many_arguments, reason = "all that is known of the request by now")]
    fn forward_out_of_dialog(
        &mut self,
        prepared: &Prepared,
        key: &ServerKey,
        reach: Reach,
        routing: &Routing,
        uri: &Uri<'_>,
        caller: &Caller,
        now: Instant,
    ) -> Result<(), Refusal> {
        let request = &prepared.message;
        let has_to_tag = request.to_tag().is_some();
        if has_to_tag && routing.own_routes > 0 && !caller.is_authenticated {
            return Err(bad_token(&self.shared, request));
        }
        let records = !has_to_tag && matches!(request.method(), Method::Invite | Method::Subscribe | Method::Refer);
        let template = template(
            reach,
            routing,
            &prepared.presented,
            caller.domain.filter(|_| records).map(Recorded::Domain),
        );
        if routing.has_further_route {
            if !caller.is_authenticated {
                return Err(Reason::RelayDenied.into());
            }
            self.proxy.candidates.add(uri.bytes, &[], Way::Resolve, 0);
            return self.forward(prepared, key, template, caller, None, now);
        }
        let shared = &self.shared;
        let Some(called) = shared.called(uri) else {
            if uri.host.is_none() || shared.settings.names_us(uri) {
                return Err(Reason::NotHere.into());
            }
            if !caller.is_authenticated {
                return Err(Reason::RelayDenied.into());
            }
            self.proxy.candidates.add(uri.bytes, &[], Way::Resolve, 0);
            return self.forward(prepared, key, template, caller, None, now);
        };
        let mut may_exist = true;
        if !has_to_tag || !self.proxy.add_answerer(request) {
            let own = !has_to_tag && self.is_from(request, &called.aor);
            let except = own.then_some(&prepared.flow);
            let candidates = &mut self.proxy.candidates;
            may_exist = targets::add_called(candidates, shared, &called, uri.scheme, except, now);
        }
        let domain = called.domain;
        if self.proxy.candidates.list().is_empty() {
            let is_known = domain.users.find(called.aor.user()).is_some();
            // To strangers unknown and offline look the same.
            let reason = if !may_exist && caller.is_authenticated {
                Reason::UnknownGruu
            } else if uri.scheme == Scheme::Sips && is_known && caller.is_authenticated {
                Reason::NoSecureBinding
            } else if is_known || !caller.is_authenticated {
                Reason::NoBinding
            } else {
                Reason::UnknownUser
            };
            return Err(reason.into());
        }
        let ring_timeout = domain.ring_timeout;
        self.forward(prepared, key, template, caller, ring_timeout, now)
    }

    /// Forwards to the proxy's candidates.
    pub(super) fn forward(
        &mut self,
        prepared: &Prepared,
        key: &ServerKey,
        template: Template,
        caller: &Caller,
        ring_timeout: Option<Duration>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let forwarding = Forwarding {
            request: &prepared.message,
            flow: prepared.flow,
            key,
            template,
            is_authenticated: caller.is_authenticated,
            ring_timeout,
        };
        self.proxy
            .forward(forwarding, now)
            .map_err(|reason| busy(reason, prepared.call_id_hash))
    }
}

/// Adds the candidate of a request within a dialog: its Request-URI as it came, and the way that the token names. When the
/// Request-URI is a GRUU of the phone that is there, its Contact takes the place, and the flow that the phone has now that
/// of one that has ended (RFC 5627 §6.1).
pub(super) fn add_in_dialog(
    candidates: &mut Candidates,
    shared: &Shared,
    request: &Message,
    routing: &Routing,
    side: &Side,
    now: Instant,
) {
    let uri = routing.restored_uri.as_deref().unwrap_or(request.request_uri());
    let parsed = match &routing.restored_uri {
        Some(uri) => Uri::parse(uri).ok(),
        None => request.parsed_request_uri(),
    };
    let present = parsed.and_then(|uri| targets::present_device(shared, request, &uri, side, now));
    if let Some(present) = present {
        let way = Way::Token {
            target: Target::Flow(present.flow),
            owner: side.owner,
        };
        return candidates.add(&present.uri, &[], way, 0);
    }
    let way = Way::Token {
        target: side.target.clone(),
        owner: side.owner,
    };
    candidates.add(uri, &[], way, 0);
}

pub(super) fn template(reach: Reach, routing: &Routing, presented: &Presented, record: Option<Recorded>) -> Template {
    Template {
        reach,
        own_routes: routing.own_routes,
        drop_last_route: routing.restored_uri.is_some(),
        record,
        path: None,
        unreachable: Reason::NoBinding,
        has_checked_credentials: matches!(presented, Presented::Checked { .. }),
    }
}

/// Whoever sends a wrong token may prove that they are a user of ours; nobody else has a way around it.
fn bad_token(shared: &Shared, request: &Message) -> Refusal {
    let from = request.from().and_then(|from| Uri::parse(from.uri).ok());
    if from.is_some_and(|from| shared.settings.domains.find(from.host_bytes).is_some()) {
        return Refusal {
            reason: Reason::ProxyCredentials,
            extra: Extra::Challenge { stale: false },
        };
    }
    Reason::BadToken.into()
}

/// `spread` is anything that differs from call to call.
fn busy(reason: Reason, spread: u64) -> Refusal {
    Refusal {
        reason,
        extra: Extra::RetryAfter(RETRY_AFTER + (spread % RETRY_SPREAD) as u32),
    }
}

/// Seconds until an overloaded server may be asked again, at least; not everybody at the same time.
const RETRY_AFTER: u32 = 5;
const RETRY_SPREAD: u64 = 10;
