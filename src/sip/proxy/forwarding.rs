//! The forwarded request (RFC 3261 §16.6): a copy in which only what a proxy must touch is changed.
//!
//! The copies of one request differ in their first lines only: Request-URI, our Via and Record-Route, Routes of a path,
//! Max-Breadth. All that follows, the stem, is made once.

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::own_address::OwnAddresses;
use super::token::{self, Side, Sides};
use super::validation::Reach;
use crate::sip::domain::DomainId;
use crate::sip::hop::{Flow, Target};
use crate::sip::message::Message;
use crate::sip::message::credentials::Credentials;
use crate::sip::message::header::HeaderName;
use crate::sip::message::reply::{put_decimal, via_edits};
use crate::sip::message::splice::Splice;
use crate::sip::message::uri::Uri;
use crate::sip::reason::Reason;
use crate::sip::shared::Shared;

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
    pub record: Option<Recorded>,
    /// The flow in the Path that a REGISTER for another registrar gets, whose token leads back here.
    pub path: Option<PathFlow>,
    /// What its sender hears when none of those it goes to can be reached.
    pub unreachable: Reason,
    /// Whether credentials for a realm of ours were found and checked.
    pub has_checked_credentials: bool,
}

/// On whose account a dialog goes through here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A domain served here.
    Domain(DomainId),
    /// One whose registrar is elsewhere.
    Edge,
}

/// What the Path of a REGISTER says of the flow that it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFlow {
    /// Where it leads.
    Plain,
    /// That it is kept as the phone asks for, too (`ob`, RFC 5626 §5.1).
    Outbound,
}

/// One copy to be written.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// The request as it came.
    pub request: &'a Message,
    /// A number that no other request has as long as this one may be forwarded again; `None` for one that never is.
    pub number: Option<u64>,
    /// The way it came by.
    pub flow: &'a Flow,
    /// What is the same in all copies.
    pub template: &'a Template,
    /// The Request-URI, perhaps with headers, which are left out.
    pub uri: &'a [u8],
    /// Route values to be put first, joined by commas; perhaps empty.
    pub path: &'a [u8],
    /// Where it goes.
    pub target: &'a Target,
    /// The branch id of its client transaction, without the loop hash.
    pub branch: &'a [u8],
    /// Its share of Max-Breadth.
    pub breadth: u32,
}

/// Writes copies, and keeps what the next one of the same request will need again.
#[derive(Default)]
pub struct Copier {
    /// All of the last request behind our own lines, as it is sent.
    stem: BytesMut,
    /// The request that the stem is of, and whether its Route lines are left out.
    stem_of: Option<(u64, bool)>,
    addresses: OwnAddresses,
    /// The hash of the domain that was named last.
    domain_hash: Option<(DomainId, u64)>,
    /// The changes to the request.
    text: BytesMut,
}

impl Copier {
    /// Writes one copy to the end of `out`.
    pub fn write(&mut self, shared: &Shared, draft: &Draft<'_>, out: &mut BytesMut) {
        let is_strict = is_strict_route(draft);
        let template = draft.template;
        let rewrites_routes =
            template.own_routes > 0 || template.drop_last_route || !draft.path.is_empty() || is_strict;
        let key = draft.number.map(|number| (number, rewrites_routes));
        if key.is_none() || self.stem_of != key {
            self.write_stem(shared, draft, rewrites_routes);
            self.stem_of = key;
        }
        let routes: SmallVec<[&[u8]; 4]> = match rewrites_routes {
            true => routes(draft, is_strict),
            false => SmallVec::new(),
        };
        // RFC 3261 §16.6 step 6: a strict router gets the place of the Request-URI.
        let strict = if is_strict { first_route_uri(draft) } else { None };
        out.reserve(self.stem.len() + FIRST_LINES + draft.uri.len() + draft.path.len());
        out.put_slice(draft.request.method_bytes());
        out.put_u8(b' ');
        out.put_slice(without_headers(strict.map_or(draft.uri, |uri| uri.bytes)));
        out.put_slice(b" SIP/2.0\r\n");
        self.put_via(shared, draft, out);
        if let Some(recorded) = template.record {
            self.put_record_routes(shared, draft, recorded, out);
        }
        if let Some(path) = template.path {
            self.put_path(shared, draft, path, out);
        }
        for value in routes {
            out.put_slice(b"Route: ");
            out.put_slice(value);
            out.put_slice(b"\r\n");
        }
        if is_strict {
            out.put_slice(b"Route: <");
            out.put_slice(draft.uri);
            out.put_slice(b">\r\n");
        }
        out.put_slice(b"Max-Breadth: ");
        put_decimal(out, draft.breadth);
        out.put_slice(b"\r\n");
        // A datagram may do without Content-Length; on a stream nothing else says where the message ends (RFC 3261
        // §18.3, §20.14).
        if draft.target.transport().is_reliable() && draft.request.header(HeaderName::ContentLength).is_none() {
            out.put_slice(b"Content-Length: ");
            // No message is longer than its limit, which has 16 bits.
            put_decimal(out, draft.request.body().len() as u32);
            out.put_slice(b"\r\n");
        }
        out.put_slice(&self.stem);
    }

    /// Forgets request `number`, whose number may be given to another.
    pub fn forget(&mut self, number: u64) {
        if self.stem_of.is_some_and(|(of, _)| of == number) {
            self.stem_of = None;
        }
    }

    /// Makes the stem: the headers and the body as they came, but for what is changed in all copies alike.
    fn write_stem(&mut self, shared: &Shared, draft: &Draft<'_>, rewrites_routes: bool) {
        let (request, template) = (draft.request, draft.template);
        let mut splice = Splice::new(request, &mut self.text);
        splice.remove(0..request.headers_start());
        if let Some(via) = request.top_via() {
            for (range, edit) in via_edits(request, &via, draft.flow.remote) {
                splice.replace_with(range, |out| edit.write(out));
            }
        }
        splice.set(HeaderName::MaxForwards, |out| {
            put_decimal(out, u32::from(template.reach.max_forwards))
        });
        splice.remove_lines(HeaderName::MaxBreadth);
        if rewrites_routes {
            splice.remove_lines(HeaderName::Route);
        }
        // The only line there is has been read before.
        let is_known = template.has_checked_credentials && request.lines(HeaderName::ProxyAuthorization).count() == 1;
        splice.remove_lines_where(HeaderName::ProxyAuthorization, |value| {
            is_known
                || Credentials::parse(value)
                    .is_ok_and(|credentials| shared.settings.domains.find_realm(&credentials.realm).is_some())
        });
        self.stem.clear();
        splice.write(&mut self.stem);
    }

    fn domain_hash(&mut self, shared: &Shared, domain: DomainId) -> u64 {
        match self.domain_hash {
            Some((last, hash)) if last == domain => hash,
            Some(_) | None => {
                let name = shared.settings.domains.get(domain).map_or("", |domain| &domain.name);
                let hash = token::name_hash(&shared.keys.token, name.as_bytes());
                self.domain_hash = Some((domain, hash));
                hash
            }
        }
    }

    /// Appends our Via line (§16.6 step 8).
    fn put_via(&mut self, shared: &Shared, draft: &Draft<'_>, out: &mut BytesMut) {
        let address = self
            .addresses
            .find(&shared.settings, draft.target.transport(), draft.target.local());
        out.put_slice(&address.via);
        out.put_slice(draft.branch);
        out.put_slice(&draft.template.reach.loop_part);
        out.put_slice(b"\r\n");
    }

    /// Appends the Path (RFC 3327 §5.2) that leads from the next hop to the flow that the request came by.
    fn put_path(&mut self, shared: &Shared, draft: &Draft<'_>, path: PathFlow, out: &mut BytesMut) {
        out.put_slice(b"Path: <sip:");
        token::write_flow(&shared.keys.token, draft.flow, out);
        let own = self
            .addresses
            .find(&shared.settings, draft.target.transport(), draft.target.local());
        let end = b">\r\n";
        out.put_slice(own.record_route.strip_suffix(end).unwrap_or(&own.record_route));
        if path == PathFlow::Outbound {
            out.put_slice(b";ob");
        }
        out.put_slice(end);
    }

    /// Appends our Record-Route (§16.6 step 4): one entry, or two when transport or address family change on the way.
    fn put_record_routes(&mut self, shared: &Shared, draft: &Draft<'_>, recorded: Recorded, out: &mut BytesMut) {
        let (flow, target) = (draft.flow, draft.target);
        let request = draft.request;
        let from_tag = request.from_tag().unwrap_or_default();
        let domain_hash = match recorded {
            Recorded::Domain(domain) => self.domain_hash(shared, domain),
            Recorded::Edge => 0,
        };
        let sides = Sides {
            caller: Side {
                target: Target::Flow(*flow),
                owner: caller_owner(shared, draft),
            },
            callee: Side {
                target: target.clone(),
                owner: callee_owner(shared, draft),
            },
        };
        let name: &[u8] = match request.request_uri().get(..5) {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"sips:") => b"Record-Route: <sips:",
            Some(_) | None => b"Record-Route: <sip:",
        };
        let start = out.len() + name.len();
        out.put_slice(name);
        token::write(
            &shared.keys.token,
            &sides,
            request.call_id(),
            from_tag,
            domain_hash,
            out,
        );
        let token = start..out.len();
        let own = self
            .addresses
            .find(&shared.settings, target.transport(), target.local());
        out.put_slice(&own.record_route);
        if target.transport() != flow.transport || target.local() != flow.local {
            out.put_slice(name);
            out.extend_from_within(token);
            let own = self.addresses.find(&shared.settings, flow.transport, flow.local);
            out.put_slice(&own.record_route);
        }
    }
}

/// Of a caller on a connection, which may end before the dialog does, the hash of the AOR that they have proved to be
/// theirs.
fn caller_owner(shared: &Shared, draft: &Draft<'_>) -> Option<u64> {
    draft.flow.connection?;
    if !draft.template.has_checked_credentials {
        return None;
    }
    let from = Uri::parse(draft.request.from()?.uri).ok()?;
    owner(shared, draft, &from)
}

/// Of a callee on a connection the hash of the AOR that was called.
fn callee_owner(shared: &Shared, draft: &Draft<'_>) -> Option<u64> {
    match draft.target {
        Target::Flow(flow) if flow.connection.is_some() => owner(shared, draft, &draft.request.parsed_request_uri()?),
        Target::Flow(_) | Target::Hop(_) => None,
    }
}

fn owner(shared: &Shared, draft: &Draft<'_>, uri: &Uri<'_>) -> Option<u64> {
    let called = shared.called(uri)?;
    let call_id = draft.request.call_id();
    Some(token::owner_hash(&shared.keys.token, &called.aor, call_id))
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

/// Adds Content-Length where `transport` needs one and there is none (RFC 3261 §18.3, §20.14).
pub fn add_content_length(splice: &mut Splice<'_>, transport: crate::sip::hop::Transport) {
    let message = splice.message();
    if !transport.is_reliable() || message.header(HeaderName::ContentLength).is_some() {
        return;
    }
    // No message is longer than its limit, which has 16 bits.
    let length = message.body().len() as u32;
    splice.set(HeaderName::ContentLength, |out| put_decimal(out, length));
}

/// Whether the first Route to come is a strict router (§16.6 step 6).
fn is_strict_route(draft: &Draft<'_>) -> bool {
    first_route_uri(draft).is_some_and(|uri| !uri.is_loose_router())
}

fn first_route_uri<'a>(draft: &Draft<'a>) -> Option<Uri<'a>> {
    super::validation::address_of(first_route(draft.request, draft.template, draft.path)?)
}

/// The first Route value of the copy: of the candidate's path, else of what is left of the request's.
pub fn first_route<'a>(request: &'a Message, template: &Template, path: &'a [u8]) -> Option<&'a [u8]> {
    if !path.is_empty() {
        return crate::sip::message::address::split_values(path).next();
    }
    request.header(HeaderName::Route)?;
    let total = request.values(HeaderName::Route).count();
    let left = total.saturating_sub(template.own_routes + usize::from(template.drop_last_route));
    if left == 0 {
        return None;
    }
    request.values(HeaderName::Route).nth(template.own_routes)
}

/// The Route values of a copy that does not have those of the request as they came: without our own, with the path, and
/// for a strict router without the first, which has become the Request-URI. The values themselves stay as they are.
fn routes<'a>(draft: &Draft<'a>, is_strict: bool) -> SmallVec<[&'a [u8]; 4]> {
    let template = draft.template;
    let values: SmallVec<[&[u8]; 4]> = draft.request.values(HeaderName::Route).collect();
    let end = values.len() - usize::from(template.drop_last_route && !values.is_empty());
    let kept = values[..end].iter().skip(template.own_routes).copied();
    let path = crate::sip::message::address::split_values(draft.path).filter(|value| !value.is_empty());
    path.chain(kept).skip(usize::from(is_strict)).collect()
}

/// What Via, Record-Route and Max-Breadth commonly take.
const FIRST_LINES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_uri_has_no_headers() {
        assert_eq!(without_headers(b"sip:a@b?x=y"), b"sip:a@b");
        assert_eq!(without_headers(b"sip:a?b@c"), b"sip:a?b@c");
        assert_eq!(without_headers(b"sip:a?b@c;x?d=e"), b"sip:a?b@c;x");
    }
}
