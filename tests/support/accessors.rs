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
use ringbinder::sip::message::via::Via;

const ADDRESSES: [HeaderName; 7] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::Contact,
    HeaderName::Route,
    HeaderName::RecordRoute,
    HeaderName::Path,
    HeaderName::ReferTo,
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
