//! Changed copies of a message: ranges are replaced, what lies between stays byte-identical (RFC 3261 §16.6).

use std::ops::Range;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::Message;
use super::header::HeaderName;

/// A list of changes to one message. The texts to be put in are written into a buffer that the caller lends, so that
/// nothing is allocated when it is used again.
pub struct Splice<'a> {
    message: &'a Message,
    text: &'a mut BytesMut,
    edits: SmallVec<[Edit; 12]>,
}

#[derive(Clone, Copy, Debug)]
struct Edit {
    start: u32,
    end: u32,
    text_start: u32,
    text_end: u32,
}

impl<'a> Splice<'a> {
    /// No changes yet. `text` is cleared.
    pub fn new(message: &'a Message, text: &'a mut BytesMut) -> Splice<'a> {
        text.clear();
        Splice {
            message,
            text,
            edits: SmallVec::new(),
        }
    }

    /// The message that is changed.
    pub fn message(&self) -> &'a Message {
        self.message
    }

    /// Puts what `write` appends in the place of `range`. Ranges must not overlap; of several at one place the first
    /// comes first.
    pub fn replace_with(&mut self, range: Range<usize>, write: impl FnOnce(&mut BytesMut)) {
        let text_start = self.text.len() as u32;
        write(self.text);
        let text_end = self.text.len() as u32;
        self.edits.push(Edit {
            start: range.start as u32,
            end: range.end as u32,
            text_start,
            text_end,
        });
    }

    /// Puts `text` in the place of `range`.
    pub fn replace(&mut self, range: Range<usize>, text: &[u8]) {
        self.replace_with(range, |out| out.put_slice(text));
    }

    /// Takes `range` out.
    pub fn remove(&mut self, range: Range<usize>) {
        self.replace(range, b"");
    }

    /// Puts what `write` appends before the first header line.
    pub fn prepend(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let at = self.message.headers_start();
        self.replace_with(at..at, write);
    }

    /// Puts what `write` appends after the last header line.
    pub fn append(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let at = self.message.headers_end();
        self.replace_with(at..at, write);
    }

    /// Gives header `name` the value that `write` appends: in place of the first line's value, else as a new last line.
    pub fn set(&mut self, name: HeaderName, write: impl FnOnce(&mut BytesMut)) {
        let message = self.message;
        match message.header(name) {
            Some(value) => {
                let at = message.offset(value);
                self.replace_with(at..at + value.len(), write);
            }
            None => self.append(|out| {
                out.put_slice(name.as_str().as_bytes());
                out.put_slice(b": ");
                write(out);
                out.put_slice(b"\r\n");
            }),
        }
    }

    /// Takes every line of header `name` out.
    pub fn remove_lines(&mut self, name: HeaderName) {
        self.remove_lines_where(name, |_| true);
    }

    /// Takes the lines of header `name` out whose value `unwanted` names.
    pub fn remove_lines_where(&mut self, name: HeaderName, mut unwanted: impl FnMut(&[u8]) -> bool) {
        let message = self.message;
        for (range, value) in message.line_ranges(name) {
            if unwanted(value) {
                self.remove(range);
            }
        }
    }

    /// Takes the first `count` comma-separated values of list header `name` out, and the lines that this empties.
    pub fn remove_first_values(&mut self, name: HeaderName, mut count: usize) {
        let message = self.message;
        for (line, value) in message.line_ranges(name) {
            if count == 0 {
                return;
            }
            let total = super::address::split_values(value).count();
            if total <= count {
                count -= total;
                self.remove(line);
                continue;
            }
            if let Some(rest) = super::address::split_values(value).nth(count) {
                self.remove(message.offset(value)..message.offset(rest));
            }
            return;
        }
    }

    /// Writes the changed message to the end of `out`.
    pub fn write(mut self, out: &mut BytesMut) {
        self.edits.sort_by_key(|edit| (edit.start, edit.end));
        let bytes = self.message.bytes();
        out.reserve(bytes.len() + self.text.len());
        let mut position = 0;
        for edit in &self.edits {
            let (start, end) = (edit.start as usize, edit.end as usize);
            debug_assert!(start >= position, "overlapping changes");
            if start < position {
                continue;
            }
            out.put_slice(&bytes[position..start]);
            out.put_slice(&self.text[edit.text_start as usize..edit.text_end as usize]);
            position = end;
        }
        out.put_slice(&bytes[position..]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;
    use bytes::Bytes;

    const REQUEST: &str = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
        Route: <sip:p1;lr>, <sip:p2;lr>\r\nroute: <sip:p3;lr>\r\nFrom: <sip:alice@example.com>;tag=1\r\n\
        To: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\nX-Odd:  \u{ff}\r\n\r\n\u{0}body";

    fn changed(change: impl FnOnce(&mut Splice<'_>)) -> String {
        let message = Message::parse(Bytes::from_static(REQUEST.as_bytes()), &Limits::default()).unwrap();
        let mut text = BytesMut::new();
        let mut splice = Splice::new(&message, &mut text);
        change(&mut splice);
        let mut out = BytesMut::new();
        splice.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn without_changes_the_copy_is_the_same() {
        assert_eq!(changed(|_| {}), REQUEST);
    }

    #[test]
    fn only_what_is_named_changes() {
        let copy = changed(|splice| {
            splice.set(HeaderName::MaxForwards, |out| out.put_slice(b"69"));
            splice.prepend(|out| out.put_slice(b"Via: SIP/2.0/TCP us\r\n"));
            splice.replace(splice.message().request_uri_range(), b"sip:x@y");
        });
        let expected = REQUEST
            .replacen("sip:bob@example.com", "sip:x@y", 1)
            .replacen("Via: ", "Via: SIP/2.0/TCP us\r\nVia: ", 1)
            .replacen("\r\n\r\n", "\r\nMax-Forwards: 69\r\n\r\n", 1);
        assert_eq!(copy, expected);
    }

    #[test]
    fn first_values_go_and_emptied_lines_with_them() {
        let first = changed(|splice| splice.remove_first_values(HeaderName::Route, 1));
        assert_eq!(first, REQUEST.replacen("<sip:p1;lr>, ", "", 1));
        let two = changed(|splice| splice.remove_first_values(HeaderName::Route, 2));
        assert_eq!(two, REQUEST.replacen("Route: <sip:p1;lr>, <sip:p2;lr>\r\n", "", 1));
        let all = changed(|splice| splice.remove_first_values(HeaderName::Route, 3));
        assert!(!all.to_ascii_lowercase().contains("route"));
    }
}
