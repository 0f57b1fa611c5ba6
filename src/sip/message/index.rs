//! The one pass over the bytes (RFC 3261 §7): where each line begins, what its name is, where its value lies.

use super::essentials::UriPlaces;
use super::grammar::TOKEN;
use super::header::{HeaderName, Words};
use super::limits::Limits;
use super::method::Method;
use super::uri::Uri;
use super::{Message, ParseError, decimal, grammar, scan};

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

/// Fills in the lines of `message`, and returns the first thing that is wrong with them. An error is returned when so
/// much is wrong that there are no lines.
pub(super) fn index(message: &mut Message, limits: &Limits) -> Result<Option<ParseError>, ParseError> {
    let bytes = &message.bytes[..];
    let first_end = line_end(bytes, 0).ok_or(ParseError::StartLine)?;
    if first_end > limits.line_length {
        return Err(ParseError::LineTooLong);
    }
    let (start, request_uri, mut error) = start_line(&bytes[..first_end]);
    message.start = start;
    message.essentials.request_uri = request_uri.map(|uri| UriPlaces::new(bytes, &uri));
    message.headers_start = (first_end + 2) as u16;
    let mut position = first_end + 2;
    loop {
        if bytes[position..].starts_with(b"\r\n") {
            message.body_start = (position + 2) as u16;
            return Ok(error);
        }
        if position == bytes.len() {
            // Every line is whole, only the empty one is missing: enough for a reply.
            message.body_start = position as u16;
            return Ok(error.or(Some(ParseError::Truncated)));
        }
        let named = plain_name(bytes, position);
        let truncated = || error.unwrap_or(ParseError::Truncated);
        let searched = named.map_or(position, |(_, colon)| colon);
        let mut end = line_end(bytes, searched).ok_or_else(truncated)?;
        // RFC 3261 §7.3.1: a line that begins with white space continues the one before.
        while matches!(bytes.get(end + 2), Some(b' ' | b'\t')) {
            end = line_end(bytes, end + 2).ok_or_else(truncated)?;
        }
        if message.lines.len() >= limits.headers {
            return Err(ParseError::TooManyHeaders);
        }
        if end - position > limits.line_length {
            return Err(ParseError::LineTooLong);
        }
        let line = match named {
            Some((name, colon)) => with_value(bytes, name, position, colon, end),
            None => header_line(bytes, position, end).unwrap_or_else(|| {
                error = error.or(Some(ParseError::HeaderLine));
                // It stays in the index as a header of no interest, so that the lines remain contiguous.
                Line {
                    name: HeaderName::Other,
                    start: position as u16,
                    value_start: end as u16,
                    value_end: end as u16,
                }
            }),
        };
        message.present.add(line.name);
        message.lines.push(line);
        position = end + 2;
    }
}

impl Default for StartLine {
    /// A request that says nothing.
    fn default() -> StartLine {
        StartLine::Request {
            method: Method::Other,
            method_end: 0,
            uri_end: 1,
        }
    }
}

/// The position of the CRLF that ends the line at `from`; none when a bare CR or LF comes first.
#[inline]
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let end = scan::find_line_end(bytes, from)?;
    bytes[end..].starts_with(b"\r\n").then_some(end)
}

/// The name of the line at `start`, and where its colon is: when it is a short token with the colon right behind it, as
/// nearly all are.
#[inline]
fn plain_name(bytes: &[u8], start: usize) -> Option<(HeaderName, usize)> {
    let block = u128::from_le_bytes(*bytes[start..].first_chunk::<16>()?);
    let (low, high) = (block as u64, (block >> 64) as u64);
    let colon = scan::first_bit(scan::equal(low, b':'));
    let before = |bit: u64| bit.wrapping_sub(1);
    let (words, length) = if colon != 0 {
        if scan::up_to_cr(low) & before(colon) != 0 {
            return None;
        }
        (Words::of_one(low, colon), scan::first(colon))
    } else {
        let colon = scan::first_bit(scan::equal(high, b':'));
        if colon == 0 || scan::up_to_cr(low) != 0 || scan::up_to_cr(high) & before(colon) != 0 {
            return None;
        }
        (Words::of_two(low, high, colon), 8 + scan::first(colon))
    };
    let name = HeaderName::from_words(words);
    if name == HeaderName::Other && !grammar::is_token(&bytes[start..start + length]) {
        return None;
    }
    Some((name, start + length))
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
    let name = HeaderName::from_bytes(name);
    Some(with_value(bytes, name, start, start + colon, end))
}

/// The line from `start` to `end`, with a value that begins somewhere behind the colon.
#[inline]
fn with_value(bytes: &[u8], name: HeaderName, start: usize, colon: usize, end: usize) -> Line {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let text = &bytes[colon + 1..end];
    // Nearly every value has one space before it, and none behind it.
    let (before, length) = match text {
        [b' ', value @ ..] if !is_space(*value.first().unwrap_or(&b' ')) && !is_space(text[text.len() - 1]) => {
            (1, value.len())
        }
        _ => {
            let before = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
            let behind = text[before..]
                .iter()
                .rev()
                .position(|byte| !is_space(*byte))
                .unwrap_or(0);
            (before, text.len() - before - behind)
        }
    };
    let value_start = colon + 1 + before;
    let value_end = value_start + length;
    Line {
        name,
        start: start as u16,
        value_start: value_start as u16,
        value_end: value_end as u16,
    }
}

/// The start line (RFC 3261 §7.1, §7.2), the Request-URI when it is well-formed, and what is wrong. What is no status
/// line counts as a request, so that it can be answered.
#[inline]
fn start_line(line: &[u8]) -> (StartLine, Option<Uri<'_>>, Option<ParseError>) {
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        let (start, error) = status_line(line);
        return (start, None, error);
    }
    let unreadable = (StartLine::default(), None, Some(ParseError::StartLine));
    let method_end = grammar::span(line, TOKEN);
    if method_end == 0 || line.get(method_end) != Some(&b' ') {
        return unreadable;
    }
    let method = Method::from_bytes(&line[..method_end]);
    // Nearly every line ends so; else what stands behind the last space is the version.
    let uri_end = match line.strip_suffix(b" SIP/2.0") {
        Some(rest) => Some(rest.len()),
        None => memchr::memrchr(b' ', line),
    };
    let Some(uri_end) = uri_end else {
        return unreadable;
    };
    let start = StartLine::Request {
        method,
        method_end: method_end as u16,
        uri_end: uri_end.max(method_end + 1) as u16,
    };
    if uri_end <= method_end + 1 {
        return (start, None, Some(ParseError::StartLine));
    }
    let bytes = &line[method_end + 1..uri_end];
    let version = &line[uri_end + 1..];
    let uri = Uri::parse(bytes).ok();
    // No URI that is well-formed has one of these.
    let is_unsound = |byte: &u8| byte.is_ascii_whitespace() || *byte < b' ' || matches!(byte, b'<' | b'>');
    if uri.is_none() && bytes.iter().any(is_unsound) {
        return (start, None, Some(ParseError::StartLine));
    }
    if version.eq_ignore_ascii_case(b"SIP/2.0") {
        return (start, uri, None);
    }
    let is_version = version.len() >= 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
    let error = if is_version {
        ParseError::Version
    } else {
        ParseError::StartLine
    };
    (start, uri, Some(error))
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
