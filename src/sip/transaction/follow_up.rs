//! The requests that a client transaction makes from the one it sent: the ACK to a 300-699 (RFC 3261 §17.1.1.3) and
//! the CANCEL (§9.1).

use smallvec::SmallVec;

use crate::sip::message::Message;
use crate::sip::message::address::split_values;
use crate::sip::message::header::HeaderName;

/// The ACK to `response`, a 300-699 to the INVITE `request`. `None`: what was sent is no readable request.
pub(super) fn ack(request: &[u8], response: &Message) -> Option<Box<[u8]>> {
    // "The To header field in the ACK MUST equal the To header field in the response being acknowledged."
    Some(write(
        &Parts::read(request)?,
        b"ACK",
        response.header(HeaderName::To)?,
        None,
    ))
}

/// The CANCEL of the INVITE `request`, with a Reason (RFC 3326) where one is known.
pub(super) fn cancel(request: &[u8], reason: Option<&[u8]>) -> Option<Box<[u8]>> {
    let parts = Parts::read(request)?;
    Some(write(&parts, b"CANCEL", parts.to, reason))
}

/// What both take over of the request.
struct Parts<'a> {
    uri: &'a [u8],
    /// The topmost value.
    via: &'a [u8],
    routes: SmallVec<[&'a [u8]; 4]>,
    from: &'a [u8],
    to: &'a [u8],
    call_id: &'a [u8],
    /// The digits of CSeq.
    number: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Finds them in one pass. The request is one that we have written, of one that was whole.
    fn read(request: &'a [u8]) -> Option<Parts<'a>> {
        let (start, mut rest) = split_line(request)?;
        let uri_start = memchr::memchr(b' ', start)? + 1;
        let uri_end = memchr::memrchr(b' ', start)?;
        let (mut via, mut from, mut to, mut call_id, mut cseq) = (None, None, None, None, None);
        let mut routes = SmallVec::new();
        while let Some((line, next)) = split_line(rest).filter(|(line, _)| !line.is_empty()) {
            rest = next;
            // The letters with which the names of those looked for begin, in full and in short.
            if !matches!(line[0] | 0x20, b'v' | b'f' | b't' | b'i' | b'c' | b'r') {
                continue;
            }
            let colon = memchr::memchr(b':', line)?;
            let value = line[colon + 1..].trim_ascii();
            let place = match HeaderName::from_bytes(line[..colon].trim_ascii_end()) {
                HeaderName::Via => &mut via,
                HeaderName::From => &mut from,
                HeaderName::To => &mut to,
                HeaderName::CallId => &mut call_id,
                HeaderName::CSeq => &mut cseq,
                HeaderName::Route => {
                    routes.push(value);
                    continue;
                }
                _ => continue,
            };
            place.get_or_insert(value);
        }
        let cseq = cseq?;
        let digits = cseq.iter().take_while(|byte| byte.is_ascii_digit()).count();
        Some(Parts {
            uri: start.get(uri_start..uri_end)?,
            via: first_value(via?)?,
            routes,
            from: from?,
            to: to?,
            call_id: call_id?,
            number: &cseq[..digits],
        })
    }
}

/// Our own Via is alone on its line, so that there is nothing to be parted.
fn first_value(line: &[u8]) -> Option<&[u8]> {
    match memchr::memchr(b',', line) {
        Some(_) => split_values(line).next(),
        None => Some(line),
    }
}

/// The first line, with those that continue it (RFC 3261 §7.3.1), without its end; and what follows.
fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = 0;
    loop {
        end += memchr::memchr(b'\n', &text[end..])? + 1;
        let is_empty = end <= 2;
        if is_empty || !matches!(text.get(end), Some(b' ' | b'\t')) {
            let line = &text[..end - 1];
            return Some((line.strip_suffix(b"\r").unwrap_or(line), &text[end..]));
        }
    }
}

/// Both take over Request-URI, Call-ID, From and the number of CSeq, the top Via as their only one, and "MUST have
/// the same Route header fields" as the request.
fn write(parts: &Parts<'_>, method: &[u8], to: &[u8], reason: Option<&[u8]>) -> Box<[u8]> {
    let mut pieces: SmallVec<[&[u8]; 48]> = SmallVec::new();
    pieces.extend([method, b" ", parts.uri, b" SIP/2.0\r\nVia: ", parts.via]);
    pieces.push(b"\r\nMax-Forwards: 70");
    for route in &parts.routes {
        pieces.extend([b"\r\nRoute: ", *route]);
    }
    pieces.extend([b"\r\nFrom: ", parts.from, b"\r\nTo: ", to]);
    pieces.extend([b"\r\nCall-ID: ", parts.call_id]);
    pieces.extend([b"\r\nCSeq: ", parts.number, b" ", method]);
    if let Some(reason) = reason {
        pieces.extend([b"\r\nReason: ", reason]);
    }
    pieces.push(b"\r\nContent-Length: 0\r\n\r\n");
    pieces.concat().into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;

    use crate::sip::message::limits::Limits;

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
        let ack = ack(INVITE, &response).unwrap();
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
        assert_eq!(ack(b"junk", &response), None);
        assert_eq!(cancel(b"", None), None);
    }
}
