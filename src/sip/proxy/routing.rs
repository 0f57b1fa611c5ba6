//! Where the Route headers lead (RFC 3261 §16.4): our own entries, the token among them, and what is left.

use smallvec::SmallVec;

use super::token::{self, Sender, Sides};
use super::validation::address_of;
use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
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
    /// Whether there is a Route beyond our own.
    pub has_further_route: bool,
}

/// Reads the Route headers of `request`.
pub fn preprocess(shared: &Shared, request: &Message) -> Routing {
    let mut routing = Routing {
        own_routes: 0,
        restored_uri: None,
        token: None,
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
        let Some(uri) = address_of(value).filter(|uri| shared.settings.names_us(uri)) else {
            break;
        };
        routing.own_routes += 1;
        if routing.token.is_none() && to_tag.is_some() {
            routing.token = read(uri.user);
        }
    }
    routing.has_further_route = routing.own_routes < count;
    routing
}

const MAX_OWN_ROUTES: usize = 8;
