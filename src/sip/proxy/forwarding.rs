//! The forwarded request (RFC 3261 §16.6): a copy in which only what a proxy must touch is changed.

use std::net::SocketAddr;

use bytes::{BufMut, BytesMut};

use super::targets::Candidate;
use super::token::{self, Sides};
use super::validation::{Reach, write_loop_part};
use crate::sip::hop::{Flow, Target, Transport};
use crate::sip::message::Message;
use crate::sip::message::credentials::Credentials;
use crate::sip::message::header::HeaderName;
use crate::sip::message::reply::{put_decimal, via_edits};
use crate::sip::message::splice::Splice;
use crate::sip::message::uri::{Scheme, Uri};
use crate::sip::shared::{Settings, Shared};

/// What is the same in all copies of a request.
#[derive(Clone, Debug)]
pub struct Template {
    /// Max-Forwards and the loop hash.
    pub reach: Reach,
    /// How many leading Route values are ours, and go.
    pub own_routes: usize,
    /// Whether the last Route value goes too, because it has become the Request-URI (§16.4).
    pub drop_last_route: bool,
    /// The domain named in the token, when we want to stay in the path; else nothing is recorded.
    pub record: Option<std::sync::Arc<str>>,
}

/// Writes the copy of `request` that goes to `target` for `candidate`. `branch` is the branch id of its client
/// transaction, without the loop hash.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one ingredient of the copy, and none belongs to another"
)]
pub fn write_request(
    shared: &Shared,
    request: &Message,
    flow: &Flow,
    template: &Template,
    candidate: &Candidate,
    target: &Target,
    branch: &[u8],
    breadth: u32,
    text: &mut BytesMut,
    out: &mut BytesMut,
) {
    let mut splice = Splice::new(request, text);
    let strict = strict_route(request, template, candidate);
    let target_uri = strict.as_deref().unwrap_or(&candidate.uri);
    splice.replace(request.request_uri_range(), without_headers(target_uri));
    splice.prepend(|out| {
        put_via(&shared.settings, target, branch, template.reach.loop_hash, out);
        if let Some(domain) = &template.record {
            put_record_routes(shared, request, flow, target, domain, out);
        }
    });
    if let Some(via) = request.top_via() {
        for (range, edit) in via_edits(request, &via, flow.remote) {
            splice.replace_with(range, |out| edit.write(out));
        }
    }
    splice.set(HeaderName::MaxForwards, |out| {
        put_decimal(out, u32::from(template.reach.max_forwards))
    });
    splice.set(HeaderName::MaxBreadth, |out| put_decimal(out, breadth));
    edit_routes(&mut splice, template, candidate, strict.is_some());
    splice.remove_lines_where(HeaderName::ProxyAuthorization, |value| {
        Credentials::parse(value)
            .is_ok_and(|credentials| shared.settings.domains.find_realm(&credentials.realm).is_some())
    });
    add_content_length(&mut splice, target.transport());
    splice.write(out);
}

/// `uri` as a Request-URI: without the headers that a Contact may have (RFC 3261 §16.6 step 2, §19.1.1).
fn without_headers(uri: &[u8]) -> &[u8] {
    if memchr::memchr(b'?', uri).is_none() {
        return uri;
    }
    // A question mark in the user part is none that begins headers.
    let headers = Uri::parse(uri).ok().and_then(|uri| uri.headers);
    headers.map_or(uri, |headers| &uri[..uri.len() - headers.len() - 1])
}

/// A datagram may do without Content-Length; on a stream nothing else says where the message ends (RFC 3261 §18.3,
/// §20.14).
pub fn add_content_length(splice: &mut Splice<'_>, transport: Transport) {
    let message = splice.message();
    if !transport.is_reliable() || message.header(HeaderName::ContentLength).is_some() {
        return;
    }
    // No message is longer than its limit, which has 16 bits.
    let length = message.body().len() as u32;
    splice.set(HeaderName::ContentLength, |out| put_decimal(out, length));
}

/// Appends the sent-by of our Via: what the listener advertises, else the local address.
pub fn put_sent_by(settings: &Settings, target: &Target, out: &mut BytesMut) {
    use std::fmt::Write;
    let local = target.local();
    // Writing to a BytesMut cannot fail.
    let _ = match settings
        .listener(target.transport(), local)
        .and_then(|listener| listener.advertise.as_deref())
    {
        Some(advertise) => match crate::sip::shared::split_port(advertise).1 {
            Some(_) => write!(out, "{advertise}"),
            None => write!(out, "{advertise}:{}", local.port()),
        },
        // The scope of a link-local address means nothing to others, and no grammar has it.
        None => write!(out, "{}", SocketAddr::new(local.ip(), local.port())),
    };
}

/// Appends our Via line (§16.6 step 8).
pub fn put_via(settings: &Settings, target: &Target, branch: &[u8], loop_hash: u64, out: &mut BytesMut) {
    out.put_slice(b"Via: SIP/2.0/");
    out.put_slice(target.transport().via_name().as_bytes());
    out.put_u8(b' ');
    put_sent_by(settings, target, out);
    out.put_slice(b";branch=");
    out.put_slice(branch);
    let mut part = [0; 17];
    write_loop_part(loop_hash, &mut part);
    out.put_slice(&part);
    out.put_slice(b"\r\n");
}

/// Appends our Record-Route (§16.6 step 4): one entry, or two when transport or address family change on the way.
fn put_record_routes(
    shared: &Shared,
    request: &Message,
    flow: &Flow,
    target: &Target,
    domain: &str,
    out: &mut BytesMut,
) {
    let from_tag = request.from().and_then(|from| from.tag()).unwrap_or_default();
    let sides = Sides {
        caller: Target::Flow(*flow),
        callee: target.clone(),
    };
    let is_secure = Uri::parse(request.request_uri()).is_ok_and(|uri| uri.scheme == Scheme::Sips);
    let mut put = |side: &Target| {
        out.put_slice(if is_secure {
            b"Record-Route: <sips:"
        } else {
            b"Record-Route: <sip:"
        });
        token::write(&shared.keys.token, &sides, request.call_id(), from_tag, domain, out);
        out.put_u8(b'@');
        put_sent_by(&shared.settings, side, out);
        if side.transport() != Transport::Udp {
            out.put_slice(b";transport=");
            out.put_slice(side.transport().parameter().as_bytes());
        }
        out.put_slice(b";lr>\r\n");
    };
    put(target);
    let differs = target.transport() != flow.transport || target.local().is_ipv4() != flow.local.is_ipv4();
    if differs || target.local() != flow.local {
        put(&Target::Flow(*flow));
    }
}

/// The new Request-URI when the first Route to come is a strict router (§16.6 step 6).
fn strict_route(request: &Message, template: &Template, candidate: &Candidate) -> Option<Vec<u8>> {
    let first = first_route(request, template, candidate)?;
    let uri = super::validation::address_of(first)?;
    (!uri.is_loose_router()).then(|| uri.bytes.to_vec())
}

/// The first Route value of the copy: of the candidate's path, else of what is left of the request's.
pub fn first_route<'a>(request: &'a Message, template: &Template, candidate: &'a Candidate) -> Option<&'a [u8]> {
    if !candidate.path.is_empty() {
        return crate::sip::message::address::split_values(&candidate.path).next();
    }
    let total = request.values(HeaderName::Route).count();
    let left = total.saturating_sub(template.own_routes + usize::from(template.drop_last_route));
    if left == 0 {
        return None;
    }
    request.values(HeaderName::Route).nth(template.own_routes)
}

/// Takes our own Routes out, puts the path in, and for a strict router moves the Request-URI to the end.
fn edit_routes(splice: &mut Splice<'_>, template: &Template, candidate: &Candidate, is_strict: bool) {
    let request = splice.message();
    if template.own_routes == 0 && !template.drop_last_route && candidate.path.is_empty() && !is_strict {
        return;
    }
    // The rare case is written anew, line by line; the values themselves stay as they are.
    let total = request.values(HeaderName::Route).count();
    let end = total - usize::from(template.drop_last_route && total > 0);
    let kept = request.values(HeaderName::Route).take(end).skip(template.own_routes);
    let path = crate::sip::message::address::split_values(&candidate.path).filter(|value| !value.is_empty());
    splice.remove_lines(HeaderName::Route);
    splice.prepend(|out| {
        for value in path.chain(kept).skip(usize::from(is_strict)) {
            out.put_slice(b"Route: ");
            out.put_slice(value);
            out.put_slice(b"\r\n");
        }
        if is_strict {
            out.put_slice(b"Route: <");
            out.put_slice(&candidate.uri);
            out.put_slice(b">\r\n");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::SocketAddrV6;

    #[test]
    fn the_sent_by_of_a_link_local_address_has_no_scope() {
        let settings = Settings {
            domains: Default::default(),
            listeners: Vec::new(),
            local_addresses: Vec::new(),
            message: Default::default(),
            recurse: false,
            transaction: Default::default(),
        };
        let local = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 5060, 0, 2));
        let target = Target::Flow(Flow {
            transport: Transport::Udp,
            local,
            remote: local,
            connection: None,
        });
        let mut out = BytesMut::new();
        put_sent_by(&settings, &target, &mut out);
        assert_eq!(&out[..], b"[fe80::1]:5060");
    }
}
