//! Where the Route headers lead (RFC 3261 §16.4): our own entries, the token among them, and what is left.

use smallvec::SmallVec;

use super::token::{self, Sender, Sides};
use super::validation::address_of;
use crate::sip::hop::Flow;
use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::message::uri::Uri;
use crate::sip::shared::Shared;

/// What the Route headers of a request say.
#[derive(Debug, PartialEq, Eq)]
pub struct Routing {
    /// How many leading Route values are ours, and to be taken out.
    pub own_routes: usize,
    /// The Request-URI to go on with, when a strict router put our own address there (§16.4).
    pub restored_uri: Option<Box<[u8]>>,
    /// The sides of the dialog, when a valid token of ours leads the request.
    pub token: Option<(Sides, Sender)>,
    /// The flow that a valid token of ours in a Path leads to, when it is not the one that the request came by.
    pub flow: Option<Flow>,
    /// Whether one of our own, where there are flows of others to be led to, has a user part that is no token of ours.
    pub has_bad_token: bool,
    /// Whether there is a Route beyond our own.
    pub has_further_route: bool,
}

/// Reads the Route headers of `request`, which came by `flow`.
pub fn preprocess(shared: &Shared, request: &Message, flow: &Flow) -> Routing {
    let mut routing = Routing {
        own_routes: 0,
        restored_uri: None,
        token: None,
        flow: None,
        has_bad_token: false,
        has_further_route: false,
    };
    let to_tag = request.to_tag();
    let read =
        |user: Option<&[u8]>| token::read(&shared.keys.token, user?, request.call_id(), request.from_tag(), to_tag);
    let values: SmallVec<[&[u8]; 4]> = request.values(HeaderName::Route).collect();
    // RFC 3261 §16.4: a strict router has put our Record-Route value into the Request-URI; the real one is the last Route.
    if to_tag.is_some()
        && let Some(uri) = request.parsed_request_uri()
        && shared.settings.is_our_address(&uri)
        && let Some(found) = read(uri.user)
        && let Some(last) = values.last().and_then(|value| address_of(value))
    {
        routing.token = Some(found);
        routing.restored_uri = Some(last.bytes.into());
    }
    let count = values.len() - usize::from(routing.restored_uri.is_some());
    for value in &values[..count] {
        // Two entries of ours stand together when transport or address family changes; more come of nobody's good will.
        if routing.own_routes == MAX_OWN_ROUTES {
            break;
        }
        let Some(uri) = address_of(value).filter(|uri| is_ours(shared, uri)) else {
            break;
        };
        routing.own_routes += 1;
        if routing.token.is_none() && to_tag.is_some() {
            routing.token = read(uri.user);
        }
        if routing.token.is_none() && routing.flow.is_none() && !shared.settings.domains.edges.is_empty() {
            let named = uri.user.map(|user| token::read_flow(&shared.keys.token, user));
            routing.has_bad_token |= named == Some(None);
            // RFC 5626 §5.3.1: from the flow itself the request is on its way out.
            routing.flow = named.flatten().filter(|named| named != flow);
        }
    }
    routing.has_further_route = routing.own_routes < count;
    routing
}

/// A phone may name the domain that we are the edge of as its outbound proxy; its registrar is somebody else.
fn is_ours(shared: &Shared, uri: &Uri<'_>) -> bool {
    let edges = &shared.settings.domains.edges;
    shared.settings.names_us(uri) || (edges.find(uri.host_bytes).is_some() && edges.of_registrar(uri).is_none())
}

const MAX_OWN_ROUTES: usize = 8;
