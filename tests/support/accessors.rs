//! Asks a message for everything it can be asked for, and for a reply and a changed copy. Used by property tests and
//! by fuzzing.

use std::net::SocketAddr;

use bytes::{BufMut, BytesMut};
use ringbinder::sip::message::Message;
use ringbinder::sip::message::address::NameAddr;
use ringbinder::sip::message::credentials::Credentials;
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::message::reply;
use ringbinder::sip::message::splice::Splice;
use ringbinder::sip::message::uri::Uri;
use ringbinder::sip::message::via::{CSeq, Via};

const ADDRESSES: [HeaderName; 7] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::Contact,
    HeaderName::Route,
    HeaderName::RecordRoute,
    HeaderName::Path,
    HeaderName::ReferTo,
];

const ALL: [HeaderName; 8] = [
    HeaderName::Via,
    HeaderName::Contact,
    HeaderName::MaxForwards,
    HeaderName::ContentLength,
    HeaderName::ProxyAuthorization,
    HeaderName::WwwAuthenticate,
    HeaderName::Route,
    HeaderName::Supported,
];

/// Reads every part that has a typed value. Nothing may panic; what was taken as a message can be copied and replied to.
pub fn read_everything(message: &Message) {
    let _ = (message.method(), message.method_bytes(), message.status());
    let _ = (message.reason_phrase(), message.body(), message.call_id());
    let _ = (message.expires(), message.max_forwards(), message.detached());
    assert!(message.cseq().is_some() && message.from().is_some() && message.to().is_some());
    if let Ok(uri) = Uri::parse(message.request_uri()) {
        read_uri(&uri);
    }
    compare(message);
    for value in message.values(HeaderName::Via) {
        if let Ok(via) = Via::parse(value) {
            let _ = (via.branch(), via.received_address(), via.rport(), via.maddr());
            let _ = via.host.to_string();
        }
    }
    for value in ADDRESSES.into_iter().flat_map(|name| message.values(name)) {
        read_address(value);
    }
    for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
        for line in message.lines(name) {
            let _ = Credentials::parse(line);
        }
    }
    copy(message);
    if message.is_request() {
        respond(message);
    }
}

/// What was noted when the message was taken in is what the headers say when they are read again.
fn compare(message: &Message) {
    let uri = Uri::parse(message.request_uri()).ok();
    assert_eq!(format!("{:?}", message.parsed_request_uri()), format!("{uri:?}"));
    let from = message
        .header(HeaderName::From)
        .map(|value| NameAddr::parse(value).unwrap());
    let to = message
        .header(HeaderName::To)
        .map(|value| NameAddr::parse(value).unwrap());
    assert_eq!((message.from(), message.to()), (from, to));
    for (tag, address) in [(message.from_tag(), from), (message.to_tag(), to)] {
        assert_eq!(tag, address.unwrap().parameters.get("tag").flatten());
    }
    let cseq = message
        .header(HeaderName::CSeq)
        .map(|value| CSeq::parse(value).unwrap());
    assert_eq!(message.cseq(), cseq);
    assert_eq!(Some(message.call_id()), message.header(HeaderName::CallId));
    let (noted, via) = (
        message.top_via().unwrap(),
        message.values(HeaderName::Via).next().unwrap(),
    );
    let via = Via::parse(via).unwrap();
    assert_eq!(
        (
            noted.transport,
            noted.transport_bytes,
            noted.host,
            noted.host_bytes,
            noted.port,
            noted.bytes
        ),
        (
            via.transport,
            via.transport_bytes,
            via.host,
            via.host_bytes,
            via.port,
            via.bytes
        )
    );
    assert_eq!((noted.parameters, noted.rport()), (via.parameters, via.rport()));
    let parameter = |name| via.parameters.get(name).flatten();
    assert_eq!(
        (noted.branch(), noted.received()),
        (parameter("branch"), parameter("received"))
    );
    assert_eq!(message.branch(), via.branch());
    let digits = |text: &[u8]| {
        text.iter()
            .all(u8::is_ascii_digit)
            .then(|| String::from_utf8_lossy(text).parse().ok())
    };
    let rport = via.parameters.get("rport").map(|port| digits(port?).flatten());
    assert_eq!(via.rport(), rport);
    for name in ALL {
        assert_eq!(message.has(name), message.lines(name).next().is_some());
        let named = message.lines_named(name.as_str()).count();
        assert!(message.lines(name).count() >= named);
    }
}

fn read_address(value: &[u8]) {
    let Ok(address) = NameAddr::parse(value) else {
        return;
    };
    for (name, _) in address.parameters.iter() {
        assert!(!name.is_empty());
    }
    let _ = address.tag();
    if let Ok(uri) = address.parsed_uri() {
        read_uri(&uri);
    }
}

fn read_uri(uri: &Uri<'_>) {
    let _ = (
        uri.user_unescaped(),
        uri.transport(),
        uri.is_loose_router(),
        uri.maddr(),
    );
    assert!(uri.equivalent(uri));
    let again = Uri::parse(uri.bytes).expect("it has been read before");
    assert!(uri.equivalent(&again));
}

/// A forwarded copy is a message again.
fn copy(message: &Message) {
    let (mut text, mut out) = (BytesMut::new(), BytesMut::new());
    let mut splice = Splice::new(message, &mut text);
    splice.remove_first_values(HeaderName::Route, 1);
    splice.prepend(|out| out.put_slice(b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"));
    splice.set(HeaderName::MaxForwards, |out| out.put_slice(b"69"));
    splice.write(&mut out);
    let roomy = Limits {
        headers: Limits::default().headers + 2,
        vias: Limits::default().vias + 1,
        ..Limits::default()
    };
    if out.len() <= roomy.message_size {
        let copy = Message::parse(out.freeze(), &roomy).expect("a copy of a message is a message");
        assert_eq!(copy.body(), message.body());
        assert_eq!(copy.call_id(), message.call_id());
    }
}

/// A reply is a message.
fn respond(message: &Message) {
    let source = SocketAddr::from(([192, 0, 2, 1], 5060));
    let mut out = BytesMut::new();
    reply::begin(&mut out, message, source, 200, "OK", Some(b"tag"));
    reply::finish(&mut out);
    if out.len() <= Limits::default().message_size {
        let reply = Message::parse(out.freeze(), &Limits::default()).expect("a reply is a message");
        assert_eq!(reply.status(), Some(200));
        let top = reply.top_via().expect("it has a Via");
        assert_eq!(top.branch(), message.top_via().and_then(|via| via.branch()));
        assert!(reply.to().is_some_and(|to| to.tag().is_some()));
    }
}
