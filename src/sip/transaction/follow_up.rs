//! The requests that a client transaction makes from the one it sent: the ACK to a 300-699 (RFC 3261 §17.1.1.3) and
//! the CANCEL (§9.1).

use bytes::Bytes;

use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::message::limits::Limits;

/// Our own requests have passed the limits before they grew by what a proxy adds.
const UNLIMITED: Limits = Limits {
    message_size: Limits::MESSAGE_SIZE_MAX,
    headers: usize::MAX,
    line_length: usize::MAX,
    vias: usize::MAX,
};

/// The ACK to `response`, a 300-699 to the INVITE `request`. `None`: what was sent is no readable request.
pub(super) fn ack(request: Box<[u8]>, response: &Message) -> Option<Box<[u8]>> {
    let request = Message::parse(Bytes::from(request), &UNLIMITED).ok()?;
    // "The To header field in the ACK MUST equal the To header field in the response being acknowledged."
    write(&request, b"ACK", response.header(HeaderName::To)?, None)
}

/// The CANCEL of the INVITE `request`, with a Reason (RFC 3326) where one is known.
pub(super) fn cancel(request: &[u8], reason: Option<&[u8]>) -> Option<Box<[u8]>> {
    let request = Message::parse(Bytes::copy_from_slice(request), &UNLIMITED).ok()?;
    write(&request, b"CANCEL", request.header(HeaderName::To)?, reason)
}

/// Both take over Request-URI, Call-ID, From and the number of CSeq, the top Via as their only one, and "MUST have
/// the same Route header fields" as the request.
fn write(request: &Message, method: &[u8], to: &[u8], reason: Option<&[u8]>) -> Option<Box<[u8]>> {
    let via = request.values(HeaderName::Via).next()?;
    let number = request.cseq()?.number.to_string();
    let mut out = Vec::with_capacity(request.bytes().len());
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(request.request_uri());
    out.extend_from_slice(b" SIP/2.0\r\n");
    header(&mut out, "Via", &[via]);
    header(&mut out, "Max-Forwards", &[b"70"]);
    for route in request.lines(HeaderName::Route) {
        header(&mut out, "Route", &[route]);
    }
    header(&mut out, "From", &[request.header(HeaderName::From)?]);
    header(&mut out, "To", &[to]);
    header(&mut out, "Call-ID", &[request.call_id()]);
    header(&mut out, "CSeq", &[number.as_bytes(), b" ", method]);
    if let Some(reason) = reason {
        header(&mut out, "Reason", &[reason]);
    }
    header(&mut out, "Content-Length", &[b"0"]);
    out.extend_from_slice(b"\r\n");
    Some(out.into_boxed_slice())
}

fn header(out: &mut Vec<u8>, name: &str, value: &[&[u8]]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    for part in value {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:bob@192.0.2.4:5061;transport=udp SIP/2.0\r\n\
        Via: SIP/2.0/UDP proxy.example.com;branch=z9hG4bK1-2, SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKx\r\n\
        v: SIP/2.0/TCP 192.0.2.8;branch=z9hG4bKy\r\n\
        Max-Forwards: 12\r\n\
        Route: <sip:one.example.com;lr>,\r\n <sip:two.example.com;lr>\r\n\
        Route: <sip:three.example.com;lr>\r\n\
        f: \"A, <B>\" <sip:alice@example.com>;tag=1928\r\n\
        To: <sip:bob@example.com>\r\n\
        Call-ID: a84b4c@example.com\r\n\
        CSeq: 314159 INVITE\r\n\
        Proxy-Require: x\r\n\
        Contact: <sip:alice@192.0.2.9>\r\n\
        Content-Type: text/plain\r\n\
        Content-Length: 4\r\n\r\nbody";

    const BUSY: &[u8] = b"SIP/2.0 486 Busy Here\r\n\
        Via: SIP/2.0/UDP proxy.example.com;branch=z9hG4bK1-2;received=192.0.2.1\r\n\
        From: \"A, <B>\" <sip:alice@example.com>;tag=1928\r\n\
        t: <sip:bob@example.com>;tag=314\r\n\
        Call-ID: a84b4c@example.com\r\n\
        CSeq: 314159 INVITE\r\n\
        Content-Length: 0\r\n\r\n";

    #[test]
    fn the_ack_has_the_to_of_the_response_and_the_rest_of_the_request() {
        let response = Message::parse(Bytes::from_static(BUSY), &Limits::default()).unwrap();
        let ack = ack(INVITE.into(), &response).unwrap();
        let expected = "ACK sip:bob@192.0.2.4:5061;transport=udp SIP/2.0\r\n\
            Via: SIP/2.0/UDP proxy.example.com;branch=z9hG4bK1-2\r\n\
            Max-Forwards: 70\r\n\
            Route: <sip:one.example.com;lr>,\r\n <sip:two.example.com;lr>\r\n\
            Route: <sip:three.example.com;lr>\r\n\
            From: \"A, <B>\" <sip:alice@example.com>;tag=1928\r\n\
            To: <sip:bob@example.com>;tag=314\r\n\
            Call-ID: a84b4c@example.com\r\n\
            CSeq: 314159 ACK\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(std::str::from_utf8(&ack).unwrap(), expected);
    }

    #[test]
    fn the_cancel_has_the_to_of_the_request_and_no_body_or_require() {
        let cancel = cancel(INVITE, Some(b"SIP;cause=200;text=\"Call completed elsewhere\"")).unwrap();
        let expected = "CANCEL sip:bob@192.0.2.4:5061;transport=udp SIP/2.0\r\n\
            Via: SIP/2.0/UDP proxy.example.com;branch=z9hG4bK1-2\r\n\
            Max-Forwards: 70\r\n\
            Route: <sip:one.example.com;lr>,\r\n <sip:two.example.com;lr>\r\n\
            Route: <sip:three.example.com;lr>\r\n\
            From: \"A, <B>\" <sip:alice@example.com>;tag=1928\r\n\
            To: <sip:bob@example.com>\r\n\
            Call-ID: a84b4c@example.com\r\n\
            CSeq: 314159 CANCEL\r\n\
            Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(std::str::from_utf8(&cancel).unwrap(), expected);
    }

    #[test]
    fn of_what_is_no_request_nothing_is_made() {
        let response = Message::parse(Bytes::from_static(BUSY), &Limits::default()).unwrap();
        assert_eq!(ack(b"junk"[..].into(), &response), None);
        assert_eq!(cancel(b"", None), None);
    }
}
