//! What passes here between phones and the registrar that this server is the edge of (RFC 3327 §5, RFC 5626 §5).
//!
//! Who the phones are is that registrar's business: a request goes to it and to nobody else, whoever sends it, and one
//! that comes back with a token of ours goes over the flow that the token names, or gets 430.

use std::time::Instant;

use super::{Prepared, Refused, Server, dispatch};
use crate::sip::edge::Edge;
use crate::sip::hop::Flow;
use crate::sip::message::Message;
use crate::sip::message::address::NameAddr;
use crate::sip::message::header::HeaderName;
use crate::sip::message::method::Method;
use crate::sip::message::uri::Uri;
use crate::sip::proxy::authorization::{Caller, Presented};
use crate::sip::proxy::forwarding::{PathFlow, Recorded, Template};
use crate::sip::proxy::routing::{self, Routing};
use crate::sip::proxy::targets::Way;
use crate::sip::proxy::validation::{Reach, validate};
use crate::sip::reason::Reason;
use crate::sip::shared::Shared;
use crate::sip::transaction::ServerKey;

/// Nobody's reasons are told to who has not proved who they are.
const STRANGER: Caller = Caller {
    is_authenticated: false,
    domain: None,
};

impl Server {
    /// A REGISTER for a domain whose registrar is elsewhere: it goes there with a Path that leads back over the flow it
    /// came by. `None` when the domain is none of those.
    pub(super) fn register_elsewhere(
        &mut self,
        prepared: &Prepared,
        key: &ServerKey,
        now: Instant,
    ) -> Option<Result<(), Refused>> {
        if self.shared.settings.domains.edges.is_empty() {
            return None;
        }
        let shared = self.shared.clone();
        let request = &prepared.message;
        let uri = request.parsed_request_uri()?;
        let edge = shared.settings.domains.edges.find(uri.host_bytes)?;
        let reach = match validate(&shared, request) {
            Ok(reach) => reach,
            Err(refusal) => return Some(Err(refusal.into())),
        };
        let routing = routing::preprocess(&shared, request, &prepared.flow);
        let path = Some(match keeps_flow(request) {
            true => PathFlow::Outbound,
            false => PathFlow::Plain,
        });
        let template = Template {
            path,
            ..template(reach, &routing, request.method())
        };
        Some(self.forward_to(edge, prepared, key, template, now))
    }

    /// An out-of-dialog request of a phone whose registrar is elsewhere: by a Route that names the registrar, or without
    /// one from or to a domain of it. `None` when it is no such request.
    pub(super) fn forward_outwards(
        &mut self,
        prepared: &Prepared,
        key: &ServerKey,
        reach: Reach,
        routing: &Routing,
        now: Instant,
    ) -> Option<Result<(), Refused>> {
        if self.shared.settings.domains.edges.is_empty() {
            return None;
        }
        let shared = self.shared.clone();
        let edge = responsible(&shared, prepared, routing)?;
        // RFC 5626 §5.3: it was meant for a flow, and nobody knows for which.
        if routing.has_bad_token {
            return Some(Err(Reason::BadToken.into()));
        }
        let template = template(reach, routing, prepared.message.method());
        Some(self.forward_to(edge, prepared, key, template, now))
    }

    /// A request that the token of a flow leads: over that flow and not otherwise.
    pub(super) fn forward_inwards(
        &mut self,
        prepared: &Prepared,
        key: &ServerKey,
        reach: Reach,
        routing: &Routing,
        flow: Flow,
        now: Instant,
    ) -> Result<(), Refused> {
        let request = &prepared.message;
        let template = template(reach, routing, request.method());
        let candidates = &mut self.proxy.candidates;
        candidates.clear();
        candidates.add(request.request_uri(), &[], Way::Only(flow), 0);
        Ok(self.forward(prepared, key, template, &STRANGER, None, now)?)
    }

    fn forward_to(
        &mut self,
        edge: &Edge,
        prepared: &Prepared,
        key: &ServerKey,
        template: Template,
        now: Instant,
    ) -> Result<(), Refused> {
        let request = &prepared.message;
        let candidates = &mut self.proxy.candidates;
        candidates.clear();
        // A Route that names the registrar is there already, or it is put before all others.
        let is_led = first_route(request, template.own_routes).is_some_and(|route| edge.is_registrar(&route));
        let path = match is_led {
            true => &[][..],
            false => edge.registrar.as_bytes(),
        };
        candidates.add(request.request_uri(), path, Way::Resolve, 0);
        let template = Template {
            unreachable: Reason::RegistrarUnreachable,
            ..template
        };
        Ok(self.forward(prepared, key, template, &STRANGER, None, now)?)
    }
}

/// Whose registrar decides about a request; `None` when it is for us to decide.
fn responsible<'s>(shared: &'s Shared, prepared: &Prepared, routing: &Routing) -> Option<&'s Edge> {
    let request = &prepared.message;
    let edges = &shared.settings.domains.edges;
    if routing.has_further_route {
        return edges.of_registrar(&first_route(request, routing.own_routes)?);
    }
    let called = request.parsed_request_uri()?;
    let edge = edges.find(called.host_bytes).or_else(|| {
        if shared.settings.names_us(&called) {
            return None;
        }
        let from = Uri::parse(request.from()?.uri).ok()?;
        edges.find(from.host_bytes)
    });
    // What comes from the registrar itself and names no flow does not go back to it.
    edge.filter(|edge| edge.registrar_address() != Some(prepared.flow.remote.ip()))
}

fn first_route(request: &Message, own_routes: usize) -> Option<Uri<'_>> {
    let value = request.values(HeaderName::Route).nth(own_routes)?;
    Uri::parse(NameAddr::parse(value).ok()?.uri).ok()
}

/// What is the same in all copies. Credentials for the registrar are not ours to read.
fn template(reach: Reach, routing: &Routing, method: Method) -> Template {
    let records = matches!(method, Method::Invite | Method::Subscribe | Method::Refer);
    let record = records.then_some(Recorded::Edge);
    dispatch::template(reach, routing, &Presented::Nothing, record)
}

/// RFC 5626 §5.1: the phone asks for a flow, and we are its first hop.
fn keeps_flow(request: &Message) -> bool {
    let is_flow = |value: &[u8]| {
        NameAddr::parse(value)
            .is_ok_and(|contact| contact.parameter("reg-id").is_some() && contact.parameter("+sip.instance").is_some())
    };
    request.values(HeaderName::Via).nth(1).is_none() && request.values(HeaderName::Contact).any(is_flow)
}
