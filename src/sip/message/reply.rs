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
    // What is copied is no longer than the request's head; the rest is for what is added here and by the caller.
    out.reserve(request.headers_end() + 512);
    put_status_line(out, status, phrase);
    let mut copy = Copy::new(out, request);
    copy_vias(&mut copy, remote);
    copy.header(HeaderName::From, b"From: ");
    match to_tag.filter(|_| request.to().is_some() && request.to_tag().is_none()) {
        Some(tag) => copy.header_with(HeaderName::To, b"To: ", |copy| {
            copy.put(b";tag=");
            copy.put(tag);
        }),
        None => copy.header(HeaderName::To, b"To: "),
    }
    copy.header(HeaderName::CallId, b"Call-ID: ");
    copy.header(HeaderName::CSeq, b"CSeq: ");
    if status == 100 && request.has(HeaderName::Timestamp) {
        copy.header(HeaderName::Timestamp, b"Timestamp: ");
    }
    copy.flush();
}

fn put_status_line(out: &mut BytesMut, status: u16, phrase: &str) {
    let mut start = *b"SIP/2.0 000 ";
    start[8] += (status / 100 % 10) as u8;
    start[9] += (status / 10 % 10) as u8;
    start[10] += (status % 10) as u8;
    out.put_slice(&start);
    out.put_slice(phrase.as_bytes());
    out.put_slice(b"\r\n");
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
        match self {
            ViaText::NewReceived(address) => {
                out.put_slice(b";received=");
                put_address(out, address);
            }
            ViaText::Received(address) => put_address(out, address),
            ViaText::Rport(port) => {
                out.put_u8(b'=');
                put_decimal(out, u32::from(port));
            }
        }
    }
}

/// Appends `address` as text; an IPv6 address without brackets.
pub fn put_address(out: &mut BytesMut, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let mut text = [0; 15];
            let mut length = 0;
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    text[length] = b'.';
                    length += 1;
                }
                for (unit, is_written) in [(100, octet >= 100), (10, octet >= 10), (1, true)] {
                    if is_written {
                        text[length] = b'0' + octet / unit % 10;
                        length += 1;
                    }
                }
            }
            out.put_slice(&text[..length]);
        }
        // Writing to a BytesMut cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
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
    let mut end = request.offset(via.bytes) + via.bytes.len();
    if via.noted.repeats_rport {
        for (name, value) in via.parameters.iter() {
            if name.eq_ignore_ascii_case(b"rport") {
                let start = request.offset(name) + name.len();
                let stop = value.map_or(start, |value| request.offset(value) + value.len());
                edits.push((start..stop, ViaText::Rport(remote.port())));
            }
        }
    } else if let Some(assignment) = via.noted.rport {
        let start = request.offset(assignment);
        edits.push((start..start + assignment.len(), ViaText::Rport(remote.port())));
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
            if !same_host || via.noted.rport.is_some() {
                while end > 0 && request.bytes()[end - 1].is_ascii_whitespace() {
                    end -= 1;
                }
                edits.push((end..end, ViaText::NewReceived(address)));
            }
        }
    }
    match &mut edits[..] {
        [] | [_] => {}
        [first, second] => {
            if (second.0.start, second.0.end) < (first.0.start, first.0.end) {
                std::mem::swap(first, second);
            }
        }
        more => more.sort_by_key(|(range, _)| (range.start, range.end)),
    }
    edits
}

/// Parts of a message on their way into a reply. What stands together in the message is copied at once.
struct Copy<'a> {
    out: &'a mut BytesMut,
    message: &'a Message,
    pending: Range<usize>,
}

impl<'a> Copy<'a> {
    fn new(out: &'a mut BytesMut, message: &'a Message) -> Copy<'a> {
        Copy {
            out,
            message,
            pending: 0..0,
        }
    }

    #[inline]
    fn take(&mut self, range: Range<usize>) {
        if range.start == self.pending.end {
            self.pending.end = range.end;
            return;
        }
        self.flush();
        self.pending = range;
    }

    fn flush(&mut self) {
        self.out.put_slice(&self.message.bytes()[self.pending.clone()]);
        self.pending = 0..0;
    }

    fn put(&mut self, text: &[u8]) {
        self.flush();
        self.out.put_slice(text);
    }

    /// The first line of header `name`, which `start` writes with its colon and a space.
    fn header(&mut self, name: HeaderName, start: &[u8]) {
        self.header_with(name, start, |_| {});
    }

    /// The same, with what `add` puts behind the value.
    fn header_with(&mut self, name: HeaderName, start: &[u8], add: impl FnOnce(&mut Self)) {
        let Some(value) = self.message.value_range(name) else {
            self.put(start);
            add(self);
            return self.put(b"\r\n");
        };
        self.line(start, value, |copy, value| {
            copy.take(value);
            add(copy);
        });
    }

    /// A line with `value`, which `write` takes over.
    #[inline]
    fn line(&mut self, start: &[u8], value: Range<usize>, write: impl FnOnce(&mut Self, Range<usize>)) {
        let bytes = self.message.bytes();
        if bytes[..value.start].ends_with(start) {
            self.take(value.start - start.len()..value.start);
        } else {
            self.put(start);
        }
        let end = value.end;
        write(self, value);
        // A value ends at the end of its line, or at white space before that.
        if bytes[end..].starts_with(b"\r\n") {
            self.take(end..end + 2);
        } else {
            self.put(b"\r\n");
        }
    }
}

fn copy_vias(copy: &mut Copy<'_>, remote: SocketAddr) {
    let request = copy.message;
    let mut edits = match request.top_via() {
        Some(via) => via_edits(request, &via, remote),
        None => SmallVec::new(),
    };
    for line in request.lines(HeaderName::Via) {
        let start = request.offset(line);
        copy.line(b"Via: ", start..start + line.len(), |copy, value| {
            let mut position = value.start;
            for (range, text) in edits.drain(..) {
                copy.take(position..range.start);
                copy.flush();
                text.write(copy.out);
                position = range.end;
            }
            copy.take(position..value.end);
        });
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
