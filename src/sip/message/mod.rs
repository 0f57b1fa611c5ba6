//! Messages (RFC 3261 §7, §19, §20, §25): an index over one buffer. What every message must have is read once, when the
//! message is taken in; any other header when it is asked for.
//!
//! [`Message::parse`] makes one pass that finds the header lines; typed values ([`via`], [`address`], [`uri`],
//! [`credentials`]) are read from their ranges on demand. Nothing assumes UTF-8. [`splice`] writes changed copies in
//! which everything untouched stays byte-identical; [`reply`] writes responses.

pub mod address;
mod check;
pub mod credentials;
pub mod date;
mod error;
mod essentials;
pub mod framing;
pub mod grammar;
pub mod header;
mod index;
pub mod limits;
pub mod method;
pub mod reply;
mod scan;
pub mod splice;
pub mod uri;
pub mod via;

use bytes::Bytes;
use smallvec::SmallVec;

pub use self::error::{Malformed, ParseError};

use address::{NameAddr, split_values};
use check::Present;
use essentials::Essentials;
use header::HeaderName;
use index::{Line, StartLine, index};
use limits::Limits;
use method::Method;
use uri::Uri;
use via::{CSeq, Via};

/// A SIP message: its bytes, the index of its lines, and what was read of the essential ones. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    start: StartLine,
    headers_start: u16,
    body_start: u16,
    present: Present,
    essentials: Essentials,
    lines: SmallVec<[Line; 24]>,
}

impl Message {
    /// Indexes `bytes`: a whole datagram, or a message that the stream framing cut out. Bytes after the body of a
    /// datagram are dropped (RFC 3261 §18.3).
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, Malformed> {
        if bytes.len() > limits.message_size.min(usize::from(u16::MAX)) {
            let head = bytes.slice(..limits.message_size.min(usize::from(u16::MAX)));
            let request = Message::index(head, limits).ok().map(|(message, _)| message);
            return Err(Malformed {
                error: ParseError::TooLarge,
                request: request.filter(Message::is_answerable).map(Box::new),
            });
        }
        let (mut message, error) = Message::index(bytes, limits).map_err(|error| Malformed { error, request: None })?;
        let error = error
            .or_else(|| message.check(limits).err())
            .or_else(|| message.trim_body().err());
        match error {
            None => Ok(message),
            Some(error) => Err(Malformed::new(error, message)),
        }
    }

    /// The message with its lines, and the first thing that is wrong with them; or what is so wrong that there are none.
    #[inline]
    fn index(bytes: Bytes, limits: &Limits) -> Result<(Message, Option<ParseError>), ParseError> {
        let mut message = Message {
            bytes,
            start: StartLine::default(),
            headers_start: 0,
            body_start: 0,
            present: Present::default(),
            essentials: Essentials::default(),
            lines: SmallVec::new(),
        };
        let error = index(&mut message, limits)?;
        message.read_essentials();
        Ok((message, error))
    }

    /// The whole message as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same message on bytes of its own, so that keeping it does not keep the buffer it came in.
    pub fn detached(&self) -> Message {
        Message {
            bytes: Bytes::copy_from_slice(&self.bytes),
            lines: self.lines.clone(),
            ..*self
        }
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The method of a request; of a response, the one that its CSeq names.
    pub fn method(&self) -> Method {
        match self.start {
            StartLine::Request { method, .. } => method,
            StartLine::Response { .. } => self.essentials.cseq.map_or(Method::Other, |cseq| cseq.method),
        }
    }

    /// The method as written.
    pub fn method_bytes(&self) -> &[u8] {
        match self.start {
            StartLine::Request { method_end, .. } => &self.bytes[..usize::from(method_end)],
            StartLine::Response { .. } => self.cseq().map_or(b"", |cseq| cseq.method),
        }
    }

    /// The Request-URI as written; empty for a response.
    pub fn request_uri(&self) -> &[u8] {
        &self.bytes[self.request_uri_range()]
    }

    /// The Request-URI, read; `None` for a response, and when it is malformed.
    pub fn parsed_request_uri(&self) -> Option<Uri<'_>> {
        self.essentials.request_uri.as_ref()?.uri(&self.bytes)
    }

    /// The status code of a response, 100 to 699.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase of a response; empty for a request.
    pub fn reason_phrase(&self) -> &[u8] {
        match self.start {
            StartLine::Request { .. } => b"",
            StartLine::Response {
                reason_start,
                reason_end,
                ..
            } => &self.bytes[usize::from(reason_start)..usize::from(reason_end)],
        }
    }

    /// The value of the first line of header `name`, trimmed; folds stay in it.
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.lines(name).next()
    }

    /// Whether there is a line of header `name`.
    #[inline]
    pub fn has(&self, name: HeaderName) -> bool {
        self.present.has(name)
    }

    /// Where the value of the first line of header `name` stands.
    pub(crate) fn value_range(&self, name: HeaderName) -> Option<std::ops::Range<usize>> {
        let line = self.lines.iter().find(|line| line.name == name)?;
        Some(usize::from(line.value_start)..usize::from(line.value_end))
    }

    /// The values of all lines of header `name`, in order.
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let lines = match self.present.has(name) {
            true => &self.lines[..],
            false => &[],
        };
        lines
            .iter()
            .filter(move |line| line.name == name)
            .map(|line| self.value(line))
    }

    /// The comma-separated values of all lines of a list header, in order.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.lines(name).flat_map(split_values)
    }

    /// The option tags of header `name` (Require, Proxy-Require) that are not among `known`, as Unsupported lists them
    /// (RFC 3261 §8.2.2.3, §16.3 step 5).
    pub fn unsupported_options(&self, name: HeaderName, known: &[&[u8]]) -> Vec<u8> {
        let mut unsupported = Vec::new();
        for option in self.values(name) {
            if option.is_empty() || known.iter().any(|known| known.eq_ignore_ascii_case(option)) {
                continue;
            }
            if !unsupported.is_empty() {
                unsupported.extend_from_slice(b", ");
            }
            unsupported.extend_from_slice(option);
        }
        unsupported
    }

    /// The values of all lines whose name is `name`, known or not, compared without case.
    pub fn lines_named<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.lines
            .iter()
            .filter(move |line| self.name_bytes(line).eq_ignore_ascii_case(name.as_bytes()))
            .map(|line| self.value(line))
    }

    /// The Call-ID (RFC 3261 §20.8), compared byte by byte.
    #[inline]
    pub fn call_id(&self) -> &[u8] {
        self.essentials.call_id.bytes(&self.bytes)
    }

    /// The body, of any bytes.
    pub fn body(&self) -> &[u8] {
        &self.bytes[usize::from(self.body_start)..]
    }

    /// The first Via value.
    #[inline]
    pub fn top_via(&self) -> Option<Via<'_>> {
        self.essentials.via.as_ref()?.via(&self.bytes)
    }

    /// The branch of the first Via value (RFC 3261 §8.1.1.7).
    #[inline]
    pub fn branch(&self) -> Option<&[u8]> {
        self.essentials.via.as_ref()?.branch(&self.bytes)
    }

    /// The From header.
    #[inline]
    pub fn from(&self) -> Option<NameAddr<'_>> {
        Some(self.essentials.from.as_ref()?.address(&self.bytes))
    }

    /// The tag of the From header (RFC 3261 §19.3).
    #[inline]
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.essentials.from.as_ref()?.tag(&self.bytes)
    }

    /// The To header.
    #[inline]
    pub fn to(&self) -> Option<NameAddr<'_>> {
        Some(self.essentials.to.as_ref()?.address(&self.bytes))
    }

    /// The tag of the To header (RFC 3261 §19.3).
    #[inline]
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.essentials.to.as_ref()?.tag(&self.bytes)
    }

    /// The CSeq header.
    #[inline]
    pub fn cseq(&self) -> Option<CSeq<'_>> {
        Some(self.essentials.cseq.as_ref()?.cseq(&self.bytes))
    }

    /// The Expires header in seconds; what cannot be read counts as absent, what is too large as the largest.
    pub fn expires(&self) -> Option<u32> {
        delta_seconds(self.header(HeaderName::Expires)?)
    }

    /// The Max-Forwards header: absent, or a number, or unreadable (RFC 3261 §20.22: 0 to 255).
    pub fn max_forwards(&self) -> Option<Result<u8, ParseError>> {
        let value = self.header(HeaderName::MaxForwards)?;
        Some(decimal(value).ok_or(ParseError::Value(HeaderName::MaxForwards)))
    }

    /// Where the Request-URI stands; empty for a response.
    pub(crate) fn request_uri_range(&self) -> std::ops::Range<usize> {
        match self.start {
            StartLine::Request {
                method_end, uri_end, ..
            } => usize::from(method_end) + 1..usize::from(uri_end),
            StartLine::Response { .. } => 0..0,
        }
    }

    /// Where the first header line begins.
    pub(crate) fn headers_start(&self) -> usize {
        usize::from(self.headers_start)
    }

    /// Where the empty line after the headers begins.
    pub(crate) fn headers_end(&self) -> usize {
        usize::from(self.body_start).saturating_sub(2)
    }

    /// The lines of header `name`: the range of the whole line with its CRLF, and the value.
    pub(crate) fn line_ranges(&self, name: HeaderName) -> impl Iterator<Item = (std::ops::Range<usize>, &[u8])> {
        self.lines
            .iter()
            .enumerate()
            .filter(move |(_, line)| line.name == name)
            .map(|(index, line)| {
                let end = self
                    .lines
                    .get(index + 1)
                    .map_or(self.headers_end(), |next| usize::from(next.start));
                (usize::from(line.start)..end, self.value(line))
            })
    }

    /// The offset of `part`, which must be a slice of this message.
    pub(crate) fn offset(&self, part: &[u8]) -> usize {
        let offset = (part.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize);
        debug_assert!(offset + part.len() <= self.bytes.len(), "not a part of this message");
        offset
    }

    fn value(&self, line: &Line) -> &[u8] {
        &self.bytes[usize::from(line.value_start)..usize::from(line.value_end)]
    }

    fn name_bytes(&self, line: &Line) -> &[u8] {
        let text = &self.bytes[usize::from(line.start)..usize::from(line.value_start)];
        let colon = memchr::memchr(b':', text).unwrap_or(text.len());
        text[..colon].trim_ascii_end()
    }
}

/// A decimal number of digits only.
pub(crate) fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds (RFC 3261 §25.1 delta-seconds); a number beyond 32 bits counts as the largest.
pub fn delta_seconds(text: &[u8]) -> Option<u32> {
    let text = text.trim_ascii();
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(decimal(text).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "INVITE sip:bob@example.com SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1,\r\n SIP/2.0/TCP b\r\n\
        Max-Forwards : 70\r\nf: <sip:alice@example.com>;tag=1\r\nTo:<sip:bob@example.com>\r\ni: c@a\r\n\
        CSEQ: 7 INVITE\r\nX-Odd: \u{ff}\r\nContent-Length: 4\r\n\r\nbody and more";

    fn parse(text: &str) -> Result<Message, Malformed> {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
    }

    #[test]
    fn compact_forms_folds_and_several_values_per_line_are_read() {
        let message = parse(REQUEST).unwrap();
        assert_eq!(message.method(), Method::Invite);
        assert_eq!(message.request_uri(), b"sip:bob@example.com");
        assert_eq!(message.values(HeaderName::Via).count(), 2);
        assert_eq!(message.top_via().unwrap().branch(), Some(&b"z9hG4bK1"[..]));
        assert_eq!(message.max_forwards(), Some(Ok(70)));
        assert_eq!(message.from().unwrap().tag(), Some(&b"1"[..]));
        assert_eq!(message.call_id(), b"c@a");
        assert_eq!(message.body(), b"body");
        assert_eq!(message.lines_named("x-odd").count(), 1);
    }

    #[test]
    fn a_status_line_may_lack_its_phrase() {
        let text = REQUEST.replacen("INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 100 ", 1);
        let message = parse(&text).unwrap();
        assert_eq!((message.status(), message.reason_phrase()), (Some(100), &b""[..]));
        assert_eq!(message.method(), Method::Invite);
    }

    #[test]
    fn a_malformed_request_that_can_be_answered_is_kept() {
        for (from, to, error) in [
            ("CSEQ: 7 INVITE", "CSEQ: 7 BYE", ParseError::Value(HeaderName::CSeq)),
            (
                "CSEQ: 7 INVITE",
                "CSEQ: 4294967296 INVITE",
                ParseError::Value(HeaderName::CSeq),
            ),
            ("Content-Length: 4", "Content-Length: 400", ParseError::ContentLength),
            ("Content-Length: 4", "Content-Length: -4", ParseError::ContentLength),
            ("X-Odd: ", "X Odd: ", ParseError::HeaderLine),
            (
                "X-Odd: ",
                "To: <sip:x@y>\r\nX-Odd: ",
                ParseError::Repeated(HeaderName::To),
            ),
            ("INVITE sip", "INVITE  sip", ParseError::StartLine),
            (
                "v: SIP/2.0/UDP a;",
                "v: SIP/2.0/UDP a;;,;",
                ParseError::Value(HeaderName::Via),
            ),
            ("\r\n\r\nbody and more", "\r\n", ParseError::Truncated),
            (";tag=1", ";tag", ParseError::Value(HeaderName::From)),
            (
                "To:<sip:bob@example.com>",
                "To:<sip:bob@example.com>;tag;tag=1",
                ParseError::Value(HeaderName::To),
            ),
            (" SIP/2.0\r", " SIP/7.0\r", ParseError::Version),
        ] {
            let malformed = parse(&REQUEST.replacen(from, to, 1)).unwrap_err();
            assert_eq!(malformed.error, error, "{to}");
            assert!(malformed.request.is_some(), "{to}");
        }
    }

    #[test]
    fn what_cannot_be_answered_is_not_kept() {
        for (from, to) in [("i: c@a\r\n", ""), ("X-Odd: ", "X-Odd: \n"), ("\r\n\r\n", "\r\n")] {
            let malformed = parse(&REQUEST.replacen(from, to, 1)).unwrap_err();
            assert!(malformed.request.is_none(), "{from:?}");
        }
    }

    #[test]
    fn limits_hold() {
        let limits = Limits {
            headers: 5,
            ..Limits::default()
        };
        let malformed = Message::parse(Bytes::from_static(REQUEST.as_bytes()), &limits).unwrap_err();
        assert_eq!(malformed.error, ParseError::TooManyHeaders);
        let limits = Limits {
            vias: 1,
            ..Limits::default()
        };
        let malformed = Message::parse(Bytes::from_static(REQUEST.as_bytes()), &limits).unwrap_err();
        assert_eq!(malformed.error, ParseError::TooManyVias);
        let response = REQUEST.replacen("INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 200 OK", 1);
        assert!(Message::parse(Bytes::from(response), &limits).is_ok());
        let limits = Limits {
            line_length: 30,
            ..Limits::default()
        };
        let malformed = Message::parse(Bytes::from_static(REQUEST.as_bytes()), &limits).unwrap_err();
        assert_eq!(malformed.error, ParseError::LineTooLong);
        let short = Message::parse(Bytes::from_static(b"ACK sip:b SIP/2.0\r\n\r\n"), &limits).unwrap_err();
        assert_ne!(short.error, ParseError::LineTooLong);
        let limits = Limits {
            message_size: 100,
            ..Limits::default()
        };
        let malformed = Message::parse(Bytes::from_static(REQUEST.as_bytes()), &limits).unwrap_err();
        assert_eq!(malformed.error, ParseError::TooLarge);
    }
}
