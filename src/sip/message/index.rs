//! The one pass over the bytes (RFC 3261 §7): where each line begins, what its name is, where its value lies.

use bytes::Bytes;
use smallvec::SmallVec;

use super::header::HeaderName;
use super::limits::Limits;
use super::method::Method;
use super::{Message, ParseError, decimal, grammar};

#[derive(Clone, Copy, Debug)]
pub(super) enum StartLine {
    Request {
        method: Method,
        method_end: u16,
        uri_end: u16,
    },
    Response {
        status: u16,
        reason_start: u16,
        reason_end: u16,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) name: HeaderName,
    pub(super) start: u16,
    pub(super) value_start: u16,
    pub(super) value_end: u16,
}

/// The lines of `bytes`, as far as they go, and the first thing that is wrong with them.
pub(super) fn index(bytes: Bytes, limits: &Limits) -> (Option<Message>, Option<ParseError>) {
    let Some(first_end) = line_end(&bytes, 0) else {
        return (None, Some(ParseError::StartLine));
    };
    if first_end > limits.line_length {
        return (None, Some(ParseError::LineTooLong));
    }
    let (start, mut error) = start_line(&bytes[..first_end]);
    let mut message = Message {
        start,
        lines: SmallVec::new(),
        headers_start: (first_end + 2) as u16,
        body_start: 0,
        bytes,
    };
    let bytes = &message.bytes;
    let mut position = first_end + 2;
    loop {
        if bytes[position..].starts_with(b"\r\n") {
            message.body_start = (position + 2) as u16;
            return (Some(message), error);
        }
        if position == bytes.len() {
            // Every line is whole, only the empty one is missing: enough for a reply.
            message.body_start = position as u16;
            return (Some(message), error.or(Some(ParseError::Truncated)));
        }
        let mut end = match line_end(bytes, position) {
            Some(end) => end,
            None => return (None, error.or(Some(ParseError::Truncated))),
        };
        // RFC 3261 §7.3.1: a line that begins with white space continues the one before.
        while matches!(bytes.get(end + 2), Some(b' ' | b'\t')) {
            match line_end(bytes, end + 2) {
                Some(next) => end = next,
                None => return (None, error.or(Some(ParseError::Truncated))),
            }
        }
        if message.lines.len() >= limits.headers {
            return (None, Some(ParseError::TooManyHeaders));
        }
        if end - position > limits.line_length {
            return (None, Some(ParseError::LineTooLong));
        }
        match header_line(bytes, position, end) {
            Some(line) => message.lines.push(line),
            None => {
                error = error.or(Some(ParseError::HeaderLine));
                // It stays in the index as a header of no interest, so that the lines remain contiguous.
                let end = end as u16;
                message.lines.push(Line {
                    name: HeaderName::Other,
                    start: position as u16,
                    value_start: end,
                    value_end: end,
                });
            }
        }
        position = end + 2;
    }
}

/// The position of the CRLF that ends the line at `from`; none when a bare CR or LF comes first.
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let end = from + memchr::memchr2(b'\r', b'\n', bytes.get(from..)?)?;
    bytes[end..].starts_with(b"\r\n").then_some(end)
}

fn header_line(bytes: &[u8], start: usize, end: usize) -> Option<Line> {
    let line = &bytes[start..end];
    let colon = memchr::memchr(b':', line)?;
    // RFC 3261 §25.1: HCOLON = *( SP / HTAB ) ":" SWS.
    let mut name_end = colon;
    while name_end > 0 && matches!(line[name_end - 1], b' ' | b'\t') {
        name_end -= 1;
    }
    let name = &line[..name_end];
    if !grammar::is_token(name) {
        return None;
    }
    let mut value_start = colon + 1;
    while value_start < line.len() && matches!(line[value_start], b' ' | b'\t' | b'\r' | b'\n') {
        value_start += 1;
    }
    let mut value_end = line.len();
    while value_end > value_start && matches!(line[value_end - 1], b' ' | b'\t' | b'\r' | b'\n') {
        value_end -= 1;
    }
    Some(Line {
        name: HeaderName::from_bytes(name),
        start: start as u16,
        value_start: (start + value_start) as u16,
        value_end: (start + value_end) as u16,
    })
}

/// The start line (RFC 3261 §7.1, §7.2). What is no status line counts as a request, so that it can be answered.
fn start_line(line: &[u8]) -> (StartLine, Option<ParseError>) {
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        return status_line(line);
    }
    let unreadable = StartLine::Request {
        method: Method::Other,
        method_end: 0,
        uri_end: 1,
    };
    let Some(method_end) = memchr::memchr(b' ', line) else {
        return (unreadable, Some(ParseError::StartLine));
    };
    let method = &line[..method_end];
    let Some(uri_end) = memchr::memrchr(b' ', line) else {
        return (unreadable, Some(ParseError::StartLine));
    };
    if !grammar::is_token(method) {
        return (unreadable, Some(ParseError::StartLine));
    }
    let start = StartLine::Request {
        method: Method::from_bytes(method),
        method_end: method_end as u16,
        uri_end: uri_end.max(method_end + 1) as u16,
    };
    if uri_end <= method_end + 1 {
        return (start, Some(ParseError::StartLine));
    }
    let uri = &line[method_end + 1..uri_end];
    let version = &line[uri_end + 1..];
    if uri
        .iter()
        .any(|byte| byte.is_ascii_whitespace() || *byte < b' ' || matches!(byte, b'<' | b'>'))
    {
        return (start, Some(ParseError::StartLine));
    }
    if version.eq_ignore_ascii_case(b"SIP/2.0") {
        return (start, None);
    }
    let is_version = version.len() >= 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
    (
        start,
        Some(if is_version {
            ParseError::Version
        } else {
            ParseError::StartLine
        }),
    )
}

fn status_line(line: &[u8]) -> (StartLine, Option<ParseError>) {
    let unreadable = StartLine::Response {
        status: 0,
        reason_start: 0,
        reason_end: 0,
    };
    if line.len() < 8 || !line[..8].eq_ignore_ascii_case(b"SIP/2.0 ") {
        return (unreadable, Some(ParseError::Version));
    }
    let Some(digits) = line.get(8..11) else {
        return (unreadable, Some(ParseError::StartLine));
    };
    let status: Option<u16> = decimal(digits);
    let status = status.filter(|status| (100..700).contains(status));
    // RFC 4475 §3.1.1.13: the reason phrase may be empty; the space before it may not be missing, but some leave it out.
    let ends_well = matches!(line.get(11), None | Some(b' '));
    let (Some(status), true) = (status, ends_well) else {
        return (unreadable, Some(ParseError::StartLine));
    };
    let reason_start = line.len().min(12) as u16;
    (
        StartLine::Response {
            status,
            reason_start,
            reason_end: line.len() as u16,
        },
        None,
    )
}
