//! The basic rules of the grammar (RFC 3261 §25.1): character classes, linear white space, quoted strings, escapes.
//! A fold (CRLF and white space) is white space everywhere; any other CR, LF or control character is refused.

use std::borrow::Cow;

use super::scan;

/// `token`.
pub(super) const TOKEN: u8 = 1 << 0;
/// `user` without escapes: unreserved and user-unreserved.
pub(super) const USER: u8 = 1 << 1;
/// `password` without escapes.
pub(super) const PASSWORD: u8 = 1 << 2;
/// `paramchar` of a URI without escapes.
pub(super) const URI_PARAMETER: u8 = 1 << 3;
/// `hnv-unreserved` and unreserved: what a header in a URI is made of, escapes aside.
pub(super) const URI_HEADER: u8 = 1 << 4;
/// What an unquoted value of a header parameter may hold here: any visible ASCII character that does not end it.
/// Wider than `token / host`, because peers write IPv6 addresses, URIs and base64 there (RFC 5118 §4.5).
pub(super) const VALUE: u8 = 1 << 5;
/// What a host name is made of; the underscore, because names of containers have it.
pub(super) const HOST: u8 = 1 << 6;
/// Any visible ASCII character that may stand in a URI between `<` and `>`.
pub(super) const URI: u8 = 1 << 7;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        let alphanumeric = byte.is_ascii_alphanumeric();
        let unreserved = alphanumeric || among(byte, b"-_.!~*'()");
        let mut class = 0;
        if alphanumeric || among(byte, b"-.!%*_+`'~") {
            class |= TOKEN;
        }
        if unreserved || among(byte, b"&=+$,;?/") {
            class |= USER;
        }
        if unreserved || among(byte, b"&=+$,") {
            class |= PASSWORD;
        }
        if unreserved || among(byte, b"[]/:&+$") {
            class |= URI_PARAMETER;
        }
        if unreserved || among(byte, b"[]/?:+$") {
            class |= URI_HEADER;
        }
        if !among(byte, b"\";,<>") {
            class |= VALUE;
        }
        if alphanumeric || among(byte, b"-._") {
            class |= HOST;
        }
        if !among(byte, b"\"<>") {
            class |= URI;
        }
        classes[byte as usize] = class;
        byte += 1;
    }
    classes
}

const fn among(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether `byte` belongs to the class.
#[inline]
pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// How many bytes at the start of `bytes` belong to the class.
#[inline]
pub(super) fn span(bytes: &[u8], class: u8) -> usize {
    let mut length = 0;
    while let Some([first, second, third, fourth]) = bytes[length..].first_chunk::<4>() {
        if !is(*first, class) {
            return length;
        }
        if !is(*second, class) {
            return length + 1;
        }
        if !is(*third, class) {
            return length + 2;
        }
        if !is(*fourth, class) {
            return length + 3;
        }
        length += 4;
    }
    let rest = &bytes[length..];
    length + rest.iter().position(|byte| !is(*byte, class)).unwrap_or(rest.len())
}

/// How many bytes at the start of `bytes` belong to the class or to escapes (`%` and two hexadecimal digits).
pub(super) fn escaped_span(bytes: &[u8], class: u8) -> usize {
    let mut length = 0;
    loop {
        length += span(&bytes[length..], class);
        match &bytes[length..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => length += 3,
            _ => return length,
        }
    }
}

/// Whether `name` is `letters`, which are of lower case and nothing but letters, in any case.
#[inline]
pub(super) fn is_name<const N: usize>(name: &[u8], letters: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else {
        return false;
    };
    let differing = name
        .iter()
        .zip(letters)
        .fold(0, |all, (byte, letter)| all | (byte | 0x20) ^ letter);
    differing == 0
}

/// Whether `bytes` is one token.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && span(bytes, TOKEN) == bytes.len()
}

/// Whether every byte of `bytes` belongs to the class or is part of an escape (`%` and two hexadecimal digits).
pub(super) fn is_escaped(bytes: &[u8], class: u8) -> bool {
    escaped_span(bytes, class) == bytes.len()
}

/// Whether `bytes` is an absolute URI: a scheme, a colon, and something visible after it.
pub(super) fn is_absolute_uri(bytes: &[u8]) -> bool {
    starts_absolute_uri(bytes) && span(bytes, URI) == bytes.len()
}

/// Whether `bytes` has a scheme, a colon, and something after it.
#[inline]
pub(super) fn starts_absolute_uri(bytes: &[u8]) -> bool {
    scheme_length(bytes).is_some_and(|colon| bytes.len() > colon + 1)
}

/// The length of the scheme of a URI, when one stands before its first colon.
#[inline]
pub(super) fn scheme_length(bytes: &[u8]) -> Option<usize> {
    if let Some(start) = bytes.first_chunk::<4>()
        && is_sip_colon(start)
    {
        return Some(3);
    }
    if !bytes.first()?.is_ascii_alphabetic() {
        return None;
    }
    let length = bytes
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'-' | b'.'))?;
    (bytes[length] == b':').then_some(length)
}

/// Whether `start` is `sip:` in any case.
#[inline]
pub(super) fn is_sip_colon(start: &[u8; 4]) -> bool {
    u32::from_le_bytes(*start) | u32::from_le_bytes([0x20, 0x20, 0x20, 0]) == u32::from_le_bytes(*b"sip:")
}

/// `bytes` without the linear white space at its start.
#[inline]
pub(super) fn skip_lws(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [b' ' | b'\t', tail @ ..] => tail,
            [b'\r', b'\n', b' ' | b'\t', ..] => &rest[2..],
            _ => return rest,
        };
    }
}

/// `bytes` without the linear white space at both ends.
#[inline]
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = skip_lws(bytes);
    while let [head @ .., b' ' | b'\t'] = rest {
        rest = head;
        while let [head @ .., b' ' | b'\t'] = rest {
            rest = head;
        }
        if let [head @ .., b'\r', b'\n'] = rest {
            rest = head;
        }
    }
    rest
}

/// The length of the quoted string that `bytes` starts with, quotes included; `None` when it is malformed.
pub(super) fn quoted_length(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut index = 1;
    loop {
        index = scan::find_quoted_end(bytes, index)?;
        index += match &bytes[index..] {
            [b'"', ..] => return Some(index + 1),
            // quoted-pair: anything but CR and LF.
            [b'\\', b'\r' | b'\n', ..] => return None,
            [b'\\', _, ..] => 2,
            [b'\r', b'\n', b' ' | b'\t', ..] => 3,
            [b'\t', ..] => 1,
            _ => return None,
        };
    }
}

/// The text of a value: a quoted string without its quotes, quoted pairs and folds; anything else as it is.
pub fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', text @ .., b'"'] = value else {
        return Cow::Borrowed(value);
    };
    if memchr::memchr2(b'\\', b'\r', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'\\', [escaped, tail @ ..]) => {
                out.push(*escaped);
                tail
            }
            (b'\r', _) => {
                out.push(b' ');
                let unfolded = skip_lws(rest);
                if unfolded.len() == rest.len() { tail } else { unfolded }
            }
            _ => {
                out.push(byte);
                tail
            }
        };
    }
    Cow::Owned(out)
}

/// `bytes` with every escape (`%` and two hexadecimal digits) replaced by the byte it stands for.
pub fn unescape(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(Units { rest: bytes }.map(|unit| unit as u8).collect())
}

/// Whether two parts of URIs are equal once escapes are undone; an escaped reserved character differs from the
/// same character unescaped (RFC 3261 §19.1.4).
pub(super) fn equal_escaped(left: &[u8], right: &[u8]) -> bool {
    left == right || Units { rest: left }.eq(Units { rest: right })
}

/// The same without regard to case.
pub(super) fn equal_escaped_ignore_case(left: &[u8], right: &[u8]) -> bool {
    left.eq_ignore_ascii_case(right)
        || Units { rest: left }
            .map(lower_case)
            .eq(Units { rest: right }.map(lower_case))
}

fn lower_case(unit: u16) -> u16 {
    match u8::try_from(unit) {
        Ok(byte) => u16::from(byte.to_ascii_lowercase()),
        Err(_) => unit,
    }
}

/// The characters of a part of a URI. An escaped reserved character is marked by [`Units::ESCAPED`].
struct Units<'a> {
    rest: &'a [u8],
}

impl Units<'_> {
    const ESCAPED: u16 = 0x100;
}

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (&byte, tail) = self.rest.split_first()?;
        if let (b'%', [high, low, after @ ..]) = (byte, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            self.rest = after;
            let decoded = high << 4 | low;
            let mark = if b";/?:@&=+$,".contains(&decoded) {
                Self::ESCAPED
            } else {
                0
            };
            return Some(u16::from(decoded) | mark);
        }
        self.rest = tail;
        Some(u16::from(byte))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// A decimal number; `None` when `bytes` is not only digits or the number does not fit.
pub fn decimal(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_white_space_and_bare_line_ends_are_not() {
        assert_eq!(skip_lws(b" \t\r\n  \r\n\tx"), b"x");
        assert_eq!(skip_lws(b"\r\nx"), b"\r\nx");
        assert_eq!(skip_lws(b"\n x"), b"\n x");
        assert_eq!(trim(b" a b\r\n \t"), b"a b");
        assert_eq!(trim(b"a\r\n"), b"a\r\n");
        assert_eq!(trim(b"\r\n \r\n "), b"");
    }

    #[test]
    fn a_quoted_string_ends_at_its_quote() {
        assert_eq!(quoted_length(br#""a\"b" c"#), Some(6));
        assert_eq!(quoted_length(b"\"NUL:\\\0 \xff\" c"), Some(10));
        assert_eq!(quoted_length(b"\"a\r\n b\""), Some(7));
        for malformed in [
            &b"\"a"[..],
            b"\"a\\",
            b"\"a\\\"",
            b"\"a\0\"",
            b"\"a\x7f\"",
            b"\"a\r\nb\"",
            b"\"a\n b\"",
            b"\"a\\\r\n b\"",
            b"a",
            b"",
        ] {
            assert_eq!(quoted_length(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn quotes_pairs_and_folds_are_undone() {
        assert_eq!(unquote(b"plain"), &b"plain"[..]);
        assert!(matches!(unquote(b"\"plain\""), Cow::Borrowed(b"plain")));
        assert_eq!(unquote(br#""J \\\"R\"""#), &br#"J \"R""#[..]);
        assert_eq!(unquote(b"\"a\r\n  b\""), &b"a b"[..]);
        assert_eq!(unquote(b"\"\""), &b""[..]);
        assert_eq!(unquote(b"\""), &b"\""[..]);
    }

    #[test]
    fn escapes_are_undone() {
        assert!(matches!(unescape(b"alice"), Cow::Borrowed(_)));
        assert_eq!(unescape(b"%61l%69ce%00%3B"), &b"alice\0;"[..]);
        assert_eq!(unescape(b"a%2"), &b"a%2"[..]);
    }

    #[test]
    fn an_escaped_reserved_character_is_another() {
        assert!(equal_escaped(b"%61", b"a"));
        assert!(equal_escaped(b"%3b%40", b"%3B%40"));
        assert!(!equal_escaped(b"%3B", b";"));
        assert!(!equal_escaped(b"%41", b"a"));
        assert!(equal_escaped_ignore_case(b"%41", b"a"));
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(decimal(b"0068"), Some(68));
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        for not in [&b""[..], b"4294967296", b"-1", b"+1", b"1 ", b"0x1"] {
            assert_eq!(decimal(not), None);
        }
    }
}
