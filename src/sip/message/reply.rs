//! Responses to a request (RFC 3261 §8.2.6), and what the receiver adds to the top Via (§18.2.1, RFC 3581 §4).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::Message;
use super::header::HeaderName;
use super::uri::Host;
use super::via::Via;

/// Writes the status line and the headers that a response copies: Via (stamped with the source `remote`), From, To,
/// Call-ID, CSeq; Timestamp in a 100 (§8.2.6.1). `to_tag` is added when To has none. Header lines of the caller's own
/// follow, then [`finish`].
pub fn begin(
    out: &mut BytesMut,
    request: &Message,
    remote: SocketAddr,
    status: u16,
    phrase: &str,
    to_tag: Option<&[u8]>,
) {
    out.reserve(512);
    out.put_slice(b"SIP/2.0 ");
    put_decimal(out, u32::from(status));
    out.put_u8(b' ');
    out.put_slice(phrase.as_bytes());
    out.put_slice(b"\r\n");
    put_vias(out, request, remote);
    put_header(out, "From", request.header(HeaderName::From).unwrap_or_default());
    let to = request.header(HeaderName::To).unwrap_or_default();
    out.put_slice(b"To: ");
    out.put_slice(to);
    if let Some(tag) = to_tag.filter(|_| request.to().is_some_and(|to| to.tag().is_none())) {
        out.put_slice(b";tag=");
        out.put_slice(tag);
    }
    out.put_slice(b"\r\n");
    put_header(out, "Call-ID", request.call_id());
    put_header(out, "CSeq", request.header(HeaderName::CSeq).unwrap_or_default());
    if status == 100
        && let Some(timestamp) = request.header(HeaderName::Timestamp)
    {
        put_header(out, "Timestamp", timestamp);
    }
}

/// Ends a response that has no body.
pub fn finish(out: &mut BytesMut) {
    out.put_slice(b"Content-Length: 0\r\n\r\n");
}

/// Appends one header line. `value` comes from a message, where folds are legal.
pub fn put_header(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Appends `number` in decimal digits.
pub fn put_decimal(out: &mut BytesMut, mut number: u32) {
    let mut digits = [0_u8; 10];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
}

/// One change to the top Via: the bytes at the range give way to the text.
pub type ViaEdit = (Range<usize>, ViaText);

/// What is put into the top Via.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViaText {
    /// `;received=` and the address, as a new parameter.
    NewReceived(IpAddr),
    /// The address, in place of a wrong value.
    Received(IpAddr),
    /// `=` and the port, behind `rport`.
    Rport(u16),
}

impl ViaText {
    /// Appends the text.
    pub fn write(self, out: &mut BytesMut) {
        // Writing to a BytesMut cannot fail.
        let _ = match self {
            ViaText::NewReceived(address) => write!(out, ";received={address}"),
            ViaText::Received(address) => write!(out, "{address}"),
            ViaText::Rport(port) => write!(out, "={port}"),
        };
    }
}

/// What must change in the top Via of `request`, which came from `remote`: `received` when its host is another or
/// `rport` is asked for, and the value of `rport`. Ranges are offsets into the message.
pub fn via_edits(request: &Message, via: &Via<'_>, remote: SocketAddr) -> SmallVec<[ViaEdit; 2]> {
    let mut edits: SmallVec<[ViaEdit; 2]> = SmallVec::new();
    let address = remote.ip().to_canonical();
    let same_host = match via.host {
        Host::V4(host) => IpAddr::V4(host) == address,
        Host::V6(host) => IpAddr::V6(host).to_canonical() == address,
        Host::Name(_) => false,
    };
    let rport = via.rport();
    let mut end = request.offset(via.bytes) + via.bytes.len();
    // The parameter names and values are found again by their place, so that nothing else of the Via moves.
    for (name, value) in via.parameters.iter() {
        if name.eq_ignore_ascii_case(b"rport") {
            let start = request.offset(name) + name.len();
            let stop = value.map_or(start, |value| request.offset(value) + value.len());
            edits.push((start..stop, ViaText::Rport(remote.port())));
        }
    }
    match via.received() {
        Some(value) if !value.is_empty() => {
            let start = request.offset(value);
            let is_right = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) == Some(address);
            if !is_right {
                edits.push((start..start + value.len(), ViaText::Received(address)));
            }
        }
        Some(_) | None => {
            if !same_host || rport.is_some() {
                while end > 0 && request.bytes()[end - 1].is_ascii_whitespace() {
                    end -= 1;
                }
                edits.push((end..end, ViaText::NewReceived(address)));
            }
        }
    }
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    edits
}

fn put_vias(out: &mut BytesMut, request: &Message, remote: SocketAddr) {
    let mut is_top = true;
    for line in request.lines(HeaderName::Via) {
        out.put_slice(b"Via: ");
        let edits = match request.top_via() {
            Some(via) if is_top => via_edits(request, &via, remote),
            _ => SmallVec::new(),
        };
        is_top = false;
        let base = request.offset(line);
        let mut position = 0;
        for (range, text) in edits {
            out.put_slice(&line[position..range.start - base]);
            text.write(out);
            position = range.end - base;
        }
        out.put_slice(&line[position..]);
        out.put_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;
    use bytes::Bytes;

    fn top_via_of_reply(via: &str, remote: &str) -> String {
        let text = format!(
            "OPTIONS sip:x SIP/2.0\r\nVia: {via}\r\nVia: SIP/2.0/UDP other\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x>\r\n\
             Call-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        let request = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        let mut out = BytesMut::new();
        begin(&mut out, &request, remote.parse().unwrap(), 200, "OK", Some(b"t"));
        finish(&mut out);
        let reply = Message::parse(out.freeze(), &Limits::default()).unwrap();
        assert_eq!(reply.to().unwrap().tag(), Some(&b"t"[..]));
        assert_eq!(reply.lines(HeaderName::Via).nth(1), Some(&b"SIP/2.0/UDP other"[..]));
        String::from_utf8(reply.header(HeaderName::Via).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn the_top_via_says_where_the_request_came_from() {
        for (via, remote, expected) in [
            (
                "SIP/2.0/UDP 192.0.2.1;branch=z",
                "192.0.2.1:5060",
                "SIP/2.0/UDP 192.0.2.1;branch=z",
            ),
            (
                "SIP/2.0/UDP 192.0.2.1;branch=z",
                "192.0.2.2:5060",
                "SIP/2.0/UDP 192.0.2.1;branch=z;received=192.0.2.2",
            ),
            (
                "SIP/2.0/UDP pc.example.com;branch=z",
                "192.0.2.2:1",
                "SIP/2.0/UDP pc.example.com;branch=z;received=192.0.2.2",
            ),
            (
                "SIP/2.0/UDP 192.0.2.1;rport;branch=z",
                "192.0.2.1:99",
                "SIP/2.0/UDP 192.0.2.1;rport=99;branch=z;received=192.0.2.1",
            ),
            (
                "SIP/2.0/UDP 192.0.2.1;rport=1;received=6.6.6.6;branch=z",
                "192.0.2.1:99",
                "SIP/2.0/UDP 192.0.2.1;rport=99;received=192.0.2.1;branch=z",
            ),
            (
                "SIP/2.0/UDP [2001:db8::1];branch=z",
                "[2001:db8::1]:5060",
                "SIP/2.0/UDP [2001:db8::1];branch=z",
            ),
            (
                "SIP/2.0/UDP 192.0.2.1;branch=z, SIP/2.0/UDP 192.0.2.7",
                "192.0.2.2:5060",
                "SIP/2.0/UDP 192.0.2.1;branch=z;received=192.0.2.2, SIP/2.0/UDP 192.0.2.7",
            ),
        ] {
            assert_eq!(top_via_of_reply(via, remote), expected);
        }
    }
}
