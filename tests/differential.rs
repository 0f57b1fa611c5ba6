//! Ordinary messages are read as another parser (rsip) reads them. It knows no compact forms, folds, IPv6, unknown
//! methods, several values on a line or dots in users, so that the messages made here have none.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::convert::TryFrom;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use ringbinder::sip::message::Message;
use ringbinder::sip::message::address::NameAddr;
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::message::uri::{Scheme, Uri};
use ringbinder::sip::message::via::Via;
use rsip::headers::ToTypedHeader;
use rsip::message::HeadersExt;
use rsip::typed;

proptest! {
    // A failure becomes a test by name, with its bytes, rather than a line in a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_read_alike(line in request_line(), headers in headers(), body in "[ -~]{0,40}") {
        let (method, uri) = line;
        let text = message(&format!("{method} {uri} SIP/2.0"), &method, &headers, &body);
        prop_assert_eq!(ours(&text), theirs_of_request(&text));
    }

    #[test]
    fn a_response_is_read_alike(method in method(), status in status(), headers in headers(), body in "[ -~]{0,40}") {
        let text = message(&format!("SIP/2.0 {status} Some Reason"), method, &headers, &body);
        prop_assert_eq!(ours(&text), theirs_of_response(&text));
    }
}

/// What both must agree upon.
#[derive(Debug, Default, PartialEq)]
struct Facts {
    method: String,
    status: Option<u16>,
    request_uri: Option<UriFacts>,
    vias: Vec<(String, String, Option<String>, Option<String>)>,
    from: (UriFacts, Option<String>),
    to: (UriFacts, Option<String>),
    call_id: String,
    cseq: (u32, String),
    max_forwards: u32,
    contacts: Vec<(UriFacts, Option<u32>)>,
    expires: Option<u32>,
    body: Vec<u8>,
}

#[derive(Debug, Default, PartialEq)]
struct UriFacts {
    is_sips: bool,
    user: Option<String>,
    host: String,
    port: Option<u16>,
    transport: Option<String>,
    is_loose_router: bool,
}

fn ours(text: &str) -> Facts {
    let message = Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap();
    let address = |address: NameAddr<'_>| (our_uri(&address.parsed_uri().unwrap()), address.tag().map(string));
    let cseq = message.cseq().unwrap();
    Facts {
        method: string(message.method_bytes()),
        status: message.status(),
        request_uri: message
            .is_request()
            .then(|| our_uri(&Uri::parse(message.request_uri()).unwrap())),
        vias: message.values(HeaderName::Via).map(our_via).collect(),
        from: address(message.from().unwrap()),
        to: address(message.to().unwrap()),
        call_id: string(message.call_id()),
        cseq: (cseq.number, string(cseq.method)),
        max_forwards: message.max_forwards().unwrap().unwrap().into(),
        contacts: message.values(HeaderName::Contact).map(our_contact).collect(),
        expires: message.expires(),
        body: message.body().to_vec(),
    }
}

fn our_uri(uri: &Uri<'_>) -> UriFacts {
    UriFacts {
        is_sips: uri.scheme == Scheme::Sips,
        user: uri.user.map(string),
        host: string(uri.host_bytes),
        port: uri.port,
        transport: uri.transport().map(|transport| transport.unwrap().to_string()),
        is_loose_router: uri.is_loose_router(),
    }
}

fn our_via(value: &[u8]) -> (String, String, Option<String>, Option<String>) {
    let via = Via::parse(value).unwrap();
    let port = via.port.map_or(String::new(), |port| format!(":{port}"));
    (
        via.transport.unwrap().via_name().to_owned(),
        format!("{}{port}", via.host),
        via.branch().map(string),
        via.received_address().map(|address| address.to_string()),
    )
}

fn our_contact(value: &[u8]) -> (UriFacts, Option<u32>) {
    let contact = NameAddr::parse(value).unwrap();
    let expires = contact.parameter("expires").flatten();
    (
        our_uri(&contact.parsed_uri().unwrap()),
        expires.map(|seconds| string(seconds).parse().unwrap()),
    )
}

fn theirs_of_request(text: &str) -> Facts {
    let request = rsip::Request::try_from(text.as_bytes()).unwrap();
    Facts {
        method: request.method().to_string(),
        request_uri: Some(their_uri(request.uri())),
        body: request.body().clone(),
        ..theirs(&request)
    }
}

fn theirs_of_response(text: &str) -> Facts {
    let response = rsip::Response::try_from(text.as_bytes()).unwrap();
    Facts {
        status: Some(response.status_code().code()),
        body: response.body().clone(),
        ..theirs(&response)
    }
}

fn theirs(message: &impl HeadersExt) -> Facts {
    let headers = || message.headers().iter();
    let from = message.from_header().unwrap().typed().unwrap();
    let to = message.to_header().unwrap().typed().unwrap();
    let cseq = message.cseq_header().unwrap().typed().unwrap();
    let vias = headers().filter_map(|header| match header {
        rsip::Header::Via(via) => Some(their_via(&via.typed().unwrap())),
        _ => None,
    });
    let expires = headers().find_map(|header| match header {
        rsip::Header::Expires(expires) => Some(expires.seconds().unwrap()),
        _ => None,
    });
    Facts {
        method: cseq.method.to_string(),
        vias: vias.collect(),
        from: (their_uri(&from.uri), from.tag().map(|tag| tag.value().to_owned())),
        to: (their_uri(&to.uri), to.tag().map(|tag| tag.value().to_owned())),
        call_id: rsip::headers::UntypedHeader::value(message.call_id_header().unwrap()).to_owned(),
        cseq: (cseq.seq, cseq.method.to_string()),
        max_forwards: message.max_forwards_header().unwrap().num().unwrap(),
        contacts: message
            .contact_headers()
            .iter()
            .map(|contact| their_contact(&contact.typed().unwrap()))
            .collect(),
        expires,
        ..Facts::default()
    }
}

fn their_uri(uri: &rsip::Uri) -> UriFacts {
    UriFacts {
        is_sips: uri.is_sips().unwrap(),
        user: uri.user().map(str::to_owned),
        host: uri.host().to_string(),
        port: uri.port().map(|port| *port.value()),
        transport: uri
            .transport()
            .map(|transport| transport.to_string().to_ascii_lowercase()),
        is_loose_router: uri.params.contains(&rsip::Param::Lr),
    }
}

fn their_via(via: &typed::Via) -> (String, String, Option<String>, Option<String>) {
    (
        via.transport.to_string(),
        via.uri.host_with_port.to_string(),
        via.branch().map(|branch| branch.value().to_owned()),
        via.received().unwrap().map(|address| address.to_string()),
    )
}

fn their_contact(contact: &typed::Contact) -> (UriFacts, Option<u32>) {
    let expires = contact.expires().map(|expires| expires.seconds().unwrap());
    (their_uri(&contact.uri), expires)
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The lines that differ between messages, CSeq and Content-Length aside.
fn headers() -> impl Strategy<Value = Vec<String>> {
    let via = (
        select(&["UDP", "TCP", "TLS", "WS", "WSS"][..]),
        host(),
        "(:[1-9][0-9]{0,3})?",
        "(;received=192\\.0\\.2\\.[1-9])?",
        "z9hG4bK[a-zA-Z0-9.-]{1,20}",
    )
        .prop_map(|(transport, host, port, received, branch)| {
            format!("Via: SIP/2.0/{transport} {host}{port}{received};branch={branch}")
        });
    let contact = (display(), uri(), "(;q=0\\.[0-9])?", "(;expires=[0-9]{1,4})?")
        .prop_map(|(display, uri, q, expires)| format!("Contact: {display}<{uri}>{q}{expires}"));
    (
        prop::collection::vec(via, 1..4),
        (display(), uri(), "[a-z0-9]{1,12}"),
        (display(), uri(), "(;tag=[a-z0-9]{1,12})?"),
        "[a-zA-Z0-9-]{1,16}(@[a-z0-9.]{1,12})?",
        0u8..,
        prop::collection::vec(contact, 0..3),
        prop::option::of(0u32..100_000),
    )
        .prop_map(|(vias, from, to, call_id, hops, contacts, expires)| {
            let mut lines = vias;
            lines.push(format!("From: {}<{}>;tag={}", from.0, from.1, from.2));
            lines.push(format!("To: {}<{}>{}", to.0, to.1, to.2));
            lines.push(format!("Call-ID: {call_id}"));
            lines.push(format!("Max-Forwards: {hops}"));
            lines.extend(contacts);
            lines.extend(expires.map(|seconds| format!("Expires: {seconds}")));
            lines
        })
}

fn message(start: &str, method: &str, headers: &[String], body: &str) -> String {
    let number = start.len() + headers.len();
    let length = body.len();
    format!(
        "{start}\r\n{}\r\nCSeq: {number} {method}\r\nContent-Length: {length}\r\n\r\n{body}",
        headers.join("\r\n")
    )
}

fn request_line() -> impl Strategy<Value = (String, String)> {
    (method().prop_map(str::to_owned), uri())
}

fn method() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "INVITE",
            "ACK",
            "BYE",
            "CANCEL",
            "OPTIONS",
            "REGISTER",
            "INFO",
            "MESSAGE",
            "NOTIFY",
            "PRACK",
            "PUBLISH",
            "REFER",
            "SUBSCRIBE",
            "UPDATE",
        ][..],
    )
}

fn status() -> impl Strategy<Value = u16> {
    select(
        &[
            100, 180, 183, 200, 202, 302, 400, 401, 403, 404, 407, 408, 480, 486, 487, 500, 503, 600, 603,
        ][..],
    )
}

fn uri() -> impl Strategy<Value = String> {
    (
        "sips?",
        "([a-z][a-z0-9_-]{0,9}@)?",
        host(),
        "(:[1-9][0-9]{0,3})?",
        "(;transport=(udp|tcp|tls|ws))?",
        "(;lr)?",
    )
        .prop_map(|(scheme, user, host, port, transport, lr)| format!("{scheme}:{user}{host}{port}{transport}{lr}"))
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9]{0,7}(\\.[a-z][a-z0-9]{0,5}){0,2}", "192\\.0\\.2\\.[1-9]"]
}

fn display() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[A-Z][a-z]{0,6} ",
        "\"[A-Z][a-z]{0,6} [A-Z][a-z]{0,6}\" "
    ]
}
