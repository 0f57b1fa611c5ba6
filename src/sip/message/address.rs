//! Addresses with a display name and parameters: From, To, Contact, Route, Record-Route, Path
//! (RFC 3261 §20.10, §20.20, §20.30, §20.34, §20.39; RFC 3327), and the parameters and lists they share with others.

use thiserror::Error;

use super::grammar::{self, TOKEN, URI, VALUE};
use super::uri::{Uri, UriError};

/// The `name-addr` or `addr-spec` of a header with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, with its quotes when it has some.
    pub display: Option<&'a [u8]>,
    /// The URI, without angle brackets.
    pub uri: &'a [u8],
    /// The parameters of the header (not of the URI).
    pub parameters: Parameters<'a>,
    /// The whole value as written, without white space around it.
    pub bytes: &'a [u8],
    /// The value of the first parameter `tag`, noted while all were read; `Some(None)` when it has none.
    pub(super) tag: Option<Option<&'a [u8]>>,
}

/// Why a value is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The display name is neither a quoted string nor tokens.
    #[error("the display name is neither a quoted string nor tokens")]
    Display,
    /// There is no absolute URI, or an angle bracket is missing.
    #[error("there is no absolute URI where one is needed")]
    Uri,
    /// The URI has a comma or a question mark and no angle brackets (RFC 3261 §20).
    #[error("a URI with a comma or question mark needs angle brackets")]
    Brackets,
    /// What follows the URI is not a list of parameters.
    #[error("what follows the URI is not a list of parameters")]
    Parameters,
}

impl<'a> NameAddr<'a> {
    /// Reads one value of a header. The URI must be absolute; its insides are read by [`NameAddr::parsed_uri`].
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, AddressError> {
        let bytes = grammar::trim(value);
        let display_length = display_length(bytes)?;
        if bytes.get(display_length) != Some(&b'<') {
            return Self::without_brackets(bytes);
        }
        let inside = &bytes[display_length + 1..];
        let end = grammar::span(inside, URI);
        if inside.get(end) != Some(&b'>') || !grammar::starts_absolute_uri(&inside[..end]) {
            return Err(AddressError::Uri);
        }
        let display = grammar::trim(&bytes[..display_length]);
        let display = (!display.is_empty()).then_some(display);
        Self::with_parameters(bytes, display, &inside[..end], &inside[end + 1..])
    }

    /// RFC 3261 §20: without angle brackets "any semicolon-delimited parameters are header-parameters, not URI
    /// parameters".
    fn without_brackets(bytes: &'a [u8]) -> Result<NameAddr<'a>, AddressError> {
        let end = bytes
            .iter()
            .position(|byte| matches!(byte, b';' | b' ' | b'\t' | b'\r'))
            .unwrap_or(bytes.len());
        let uri = &bytes[..end];
        if !grammar::is_absolute_uri(uri) {
            return Err(AddressError::Uri);
        }
        if memchr::memchr2(b',', b'?', uri).is_some() {
            return Err(AddressError::Brackets);
        }
        Self::with_parameters(bytes, None, uri, &bytes[end..])
    }

    /// The address whose parameters are `after`.
    #[inline]
    fn with_parameters(
        bytes: &'a [u8],
        display: Option<&'a [u8]>,
        uri: &'a [u8],
        after: &'a [u8],
    ) -> Result<NameAddr<'a>, AddressError> {
        let mut tag = None;
        let parameters = match grammar::skip_lws(after) {
            [] => Parameters::default(),
            [b';', text @ ..] => {
                let note = |parameter: Parameter<'a>| {
                    if tag.is_none() && grammar::is_name(parameter.name, b"tag") {
                        tag = Some(parameter.value);
                    }
                };
                match Parameters::read(text, note) {
                    Some((parameters, [])) => parameters,
                    Some(_) | None => return Err(AddressError::Parameters),
                }
            }
            _ => return Err(AddressError::Parameters),
        };
        Ok(NameAddr {
            display,
            uri,
            parameters,
            bytes,
            tag,
        })
    }

    /// The URI, read.
    pub fn parsed_uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri)
    }

    /// The tag of a From or To (RFC 3261 §19.3).
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.tag.flatten()
    }

    /// The value of a header parameter; `Some(None)` when it is there without a value.
    pub fn parameter(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.parameters.get(name)
    }
}

/// The length of what stands where a display name may stand: a quoted string or tokens, and white space.
fn display_length(bytes: &[u8]) -> Result<usize, AddressError> {
    if bytes.first() == Some(&b'<') {
        return Ok(0);
    }
    if bytes.first() == Some(&b'"') {
        let quoted = grammar::quoted_length(bytes).ok_or(AddressError::Display)?;
        let rest = grammar::skip_lws(&bytes[quoted..]);
        return match rest.first() {
            Some(b'<') => Ok(bytes.len() - rest.len()),
            _ => Err(AddressError::Display),
        };
    }
    let mut rest = bytes;
    loop {
        // Names in UTF-8 without quotes are common and harmless.
        let length = rest
            .iter()
            .take_while(|byte| grammar::is(**byte, TOKEN) || !byte.is_ascii())
            .count();
        let after = grammar::skip_lws(&rest[length..]);
        if after.len() == rest.len() {
            return Ok(bytes.len() - rest.len());
        }
        rest = after;
    }
}

/// Parameters of a header or a URI, known to be well-formed: `name[=value]` between semicolons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Parameters<'a>(&'a [u8]);

impl<'a> Parameters<'a> {
    /// Reads parameters without a semicolon before the first: at least one.
    pub fn parse(text: &'a [u8]) -> Option<Parameters<'a>> {
        match Self::read(text, |_| ())? {
            (_, []) => Some(Parameters(text)),
            (_, _) => None,
        }
    }

    /// Reads the parameters that `text` begins with (`generic-param`, RFC 3261 §25.1), at least one, and shows each to
    /// `see`. Returns what follows after white space; it does not begin with a semicolon.
    #[inline]
    pub(super) fn read(text: &'a [u8], mut see: impl FnMut(Parameter<'a>)) -> Option<(Parameters<'a>, &'a [u8])> {
        let mut rest = text;
        loop {
            rest = grammar::skip_lws(rest);
            let (name, after) = rest.split_at(grammar::span(rest, TOKEN));
            if name.is_empty() {
                return None;
            }
            let mut end = after;
            let mut value = None;
            rest = grammar::skip_lws(after);
            if let [b'=', tail @ ..] = rest {
                let tail = grammar::skip_lws(tail);
                let length = match tail.first()? {
                    b'"' => grammar::quoted_length(tail)?,
                    _ => grammar::span(tail, VALUE),
                };
                if length == 0 {
                    return None;
                }
                value = Some(&tail[..length]);
                end = &tail[length..];
                rest = grammar::skip_lws(end);
            }
            let assignment = &after[..after.len() - end.len()];
            see(Parameter {
                name,
                value,
                assignment,
            });
            match rest {
                [b';', tail @ ..] => rest = tail,
                _ => return Some((Parameters(&text[..text.len() - end.len()]), rest)),
            }
        }
    }

    /// Parameters that the caller has found to be well-formed (those of a URI).
    pub(super) fn checked(text: &'a [u8]) -> Parameters<'a> {
        Parameters(text)
    }

    /// The text after the first semicolon, as written; empty when there are no parameters.
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name with its value as written (quotes included), in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        ParameterIter { rest: self.0 }
    }

    /// The value of the first parameter of that name, in any case; `Some(None)` when it has no value. A quoted value
    /// keeps its quotes ([`grammar::unquote`]).
    pub fn get(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

/// One parameter, while all are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter<'a> {
    pub(super) name: &'a [u8],
    /// As written, quotes included.
    pub(super) value: Option<&'a [u8]>,
    /// What stands between the name and the end of the value, equals sign included; empty without a value.
    pub(super) assignment: &'a [u8],
}

struct ParameterIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ParameterIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let end_of_name = self
            .rest
            .iter()
            .position(|byte| matches!(byte, b'=' | b';'))
            .unwrap_or(self.rest.len());
        let name = grammar::trim(&self.rest[..end_of_name]);
        let after = &self.rest[end_of_name..];
        let [b'=', tail @ ..] = after else {
            self.rest = after.get(1..).unwrap_or_default();
            return Some((name, None));
        };
        let value = grammar::skip_lws(tail);
        let quoted = grammar::quoted_length(value).unwrap_or(0);
        let end = memchr::memchr(b';', &value[quoted..]).map_or(value.len(), |semicolon| quoted + semicolon);
        self.rest = value.get(end + 1..).unwrap_or_default();
        Some((name, Some(grammar::trim(&value[..end]))))
    }
}

/// The values of a header line: parted at commas outside quotes and angle brackets, without white space around them
/// (RFC 3261 §7.3.1). Two commas in a row enclose an empty value.
pub fn split_values(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    Values { rest: Some(line) }
}

struct Values<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let Some(comma) = next_comma(rest) else {
            self.rest = None;
            return Some(grammar::trim(rest));
        };
        self.rest = Some(&rest[comma + 1..]);
        Some(grammar::trim(&rest[..comma]))
    }
}

/// The first comma outside quotes and angle brackets. An open quote or bracket takes in the rest of the line.
fn next_comma(bytes: &[u8]) -> Option<usize> {
    let mut index = 0;
    loop {
        index += memchr::memchr3(b',', b'"', b'<', &bytes[index..])?;
        index += match bytes[index] {
            b',' => return Some(index),
            b'"' => grammar::quoted_length(&bytes[index..])?,
            _ => memchr::memchr(b'>', &bytes[index..])?,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> NameAddr<'_> {
        NameAddr::parse(value.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_addr_has_its_parts() {
        let value = "  \"Bob \\\" <x>, Jr.\"\t<sips:bob@biloxi.com;lr?a=b> ;tag=a48s ; q = 0.33; secure ";
        let address = parse(value);
        assert_eq!(address.display, Some(&br#""Bob \" <x>, Jr.""#[..]));
        assert_eq!(address.uri, b"sips:bob@biloxi.com;lr?a=b");
        assert_eq!(address.tag(), Some(&b"a48s"[..]));
        assert_eq!(address.parameter("Q"), Some(Some(&b"0.33"[..])));
        assert_eq!(address.parameter("secure"), Some(None));
        assert_eq!(address.parameter("none"), None);
        assert_eq!(address.bytes, value.trim().as_bytes());
        assert_eq!(address.parsed_uri().unwrap().user, Some(&b"bob"[..]));
    }

    #[test]
    fn without_brackets_the_parameters_are_the_headers() {
        let address = parse("sip:+12125551212@server.phone2net.com;tag=887s;lr");
        assert_eq!(address.uri, b"sip:+12125551212@server.phone2net.com");
        assert_eq!(address.tag(), Some(&b"887s"[..]));
        assert_eq!(address.parameter("lr"), Some(None));
        assert_eq!(address.display, None);
    }

    #[test]
    fn display_names_are_tokens_or_quoted() {
        assert_eq!(parse("caller<sip:a@b>").display, Some(&b"caller"[..]));
        assert_eq!(
            parse("J. R \r\n Hacker <sip:a@b>").display,
            Some(&b"J. R \r\n Hacker"[..])
        );
        assert_eq!(parse("Jürgen <sip:a@b>").display, Some("Jürgen".as_bytes()));
        assert_eq!(parse("\"\" <sip:a@b>").display, Some(&b"\"\""[..]));
        assert_eq!(parse("<sip:a@b>").display, None);
        let error = |value: &[u8]| NameAddr::parse(value).unwrap_err();
        assert_eq!(error(b"\"Mr. J. User <sip:j.user@example.com>"), AddressError::Display);
        assert_eq!(error(b"\"a\" b <sip:a@b>"), AddressError::Display);
        assert_eq!(
            error(b"Bell, Alexander <sip:a.g.bell@example.com>;tag=43"),
            AddressError::Uri
        );
        assert_eq!(error(b"\"a\r\nContact: b\" <sip:a@b>"), AddressError::Display);
        assert_eq!(error(b"a\rb <sip:a@b>"), AddressError::Uri);
    }

    #[test]
    fn the_uri_is_absolute_and_has_no_white_space() {
        for value in [
            "",
            "<>",
            "<sip:>",
            "*",
            "alan@jasomi.com",
            "< sip:t.watson@example.org >",
            "<sip:a b@c>",
            "<sip:a@b",
            "sip:a@b>",
            "<sip:a@b\r\n ;lr>",
            "<sip:a@b\0>",
            "<<sip:a@b>>",
            "<sip:ä@b>",
        ] {
            assert_eq!(NameAddr::parse(value.as_bytes()), Err(AddressError::Uri), "{value:?}");
        }
        assert_eq!(parse("<http://www.example.com>;tag=3").uri, b"http://www.example.com");
        assert_eq!(parse("isbn:2983792873").uri, b"isbn:2983792873");
    }

    #[test]
    fn a_comma_or_question_mark_needs_brackets() {
        let error = |value: &str| NameAddr::parse(value.as_bytes()).unwrap_err();
        assert_eq!(error("sip:a@b?Route=%3Csip:c%3E"), AddressError::Brackets);
        assert_eq!(error("sip:a,b@c"), AddressError::Brackets);
        assert_eq!(parse("<sip:a,b@c?d=e>").uri, b"sip:a,b@c?d=e");
    }

    #[test]
    fn parameters_are_checked() {
        for value in [
            "<sip:a@b>;",
            "<sip:a@b>;;;;",
            "<sip:a@b>;tag=",
            "<sip:a@b>;=x",
            "<sip:a@b>;a=b c",
            "<sip:a@b>;a=\"b",
            "<sip:a@b>;a=\"b\"c",
            "<sip:a@b> x",
            "<sip:a@b>, <sip:c@d>",
            "<sip:a@b>;a\r\nb",
            "<sip:a@b>;a=b\r\n",
            "<sip:a@b>;a=b\0",
            "sip:a@b;a=<b>",
            "sip:a@b ;",
        ] {
            let result = NameAddr::parse(value.as_bytes());
            assert_eq!(result, Err(AddressError::Parameters), "{value:?}");
        }
    }

    #[test]
    fn quoted_and_folded_parameters_are_read() {
        let address = parse("<sip:a@b>;+sip.instance=\"<urn:uuid:1;2,3>\"\r\n ; reg-id\r\n\t=\r\n 1;a");
        let all: Vec<_> = address.parameters.iter().collect();
        assert_eq!(
            all,
            [
                (&b"+sip.instance"[..], Some(&b"\"<urn:uuid:1;2,3>\""[..])),
                (b"reg-id", Some(b"1")),
                (b"a", None),
            ]
        );
    }

    #[test]
    fn values_are_parted_at_commas() {
        let split = |line: &'static str| split_values(line.as_bytes()).collect::<Vec<_>>();
        assert_eq!(
            split("\"a,\\\",b\" <sip:c,d@e>;f=\"g,h\" , sip:i@j\r\n ,<sip:k@l>"),
            [&b"\"a,\\\",b\" <sip:c,d@e>;f=\"g,h\""[..], b"sip:i@j", b"<sip:k@l>"]
        );
        assert_eq!(split("a,, b,"), [&b"a"[..], b"", b"b", b""]);
        assert_eq!(split(""), [b""]);
        assert_eq!(split("a\"b, c"), [b"a\"b, c"]);
        assert_eq!(split("<a, b"), [b"<a, b"]);
    }
}
