//! Messages out of a stream (RFC 3261 §18.3) and the keep-alives between them (RFC 5626 §3.5.1, §4.4.1). What lies
//! inside a message is not looked at, Content-Length excepted.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::limits::Limits;
use super::{grammar, scan};

/// What a stream is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Message(Bytes),
    /// A CRLF after another: the second half of the peer's keep-alive, to be answered with one CRLF.
    Ping,
    /// A CRLF by itself: the answer to our keep-alive, the first half of the peer's, or an empty line before a message,
    /// which is to be ignored (RFC 3261 §7.5).
    Pong,
}

/// Why a stream cannot be read on. The connection is lost, because nobody knows where the next message begins; `head`
/// is there for a last reply.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    /// Head and body together are longer than [`Limits::message_size`].
    #[error("the message is too large")]
    TooLarge {
        /// The whole head.
        head: Bytes,
    },
    /// The head alone reaches [`Limits::message_size`].
    #[error("the header fields of the message are too long")]
    HeadTooLong {
        /// What was seen of the head.
        head: Bytes,
    },
    /// RFC 3261 §18.3: "The Content-Length header field MUST be used with stream oriented transports."
    #[error("the message has no Content-Length")]
    NoContentLength {
        /// The whole head.
        head: Bytes,
    },
    /// Content-Length is not a number, or there are two that differ.
    #[error("the Content-Length of the message is malformed")]
    BadContentLength {
        /// The whole head.
        head: Bytes,
    },
}

impl FramingError {
    /// The head of the message as far as it was seen.
    pub fn head(&self) -> &Bytes {
        match self {
            FramingError::TooLarge { head }
            | FramingError::HeadTooLong { head }
            | FramingError::NoContentLength { head }
            | FramingError::BadContentLength { head } => head,
        }
    }
}

/// Cuts the bytes of one stream into frames, however they come in. Each byte of a head is looked at once, those of a
/// body never.
#[derive(Debug)]
pub struct Framer {
    message_size: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Between messages.
    Between { after: Line },
    /// In the head of a message.
    Head(Head),
    /// In a message of known length.
    Body { length: usize },
    /// An error has been reported.
    Failed,
}

/// What came before the place between messages.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// A message, or a whole keep-alive.
    Whole,
    /// A CRLF that may be the first half of a keep-alive.
    Half,
}

/// What has been seen of the head of a message.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// No line ends within so many bytes that is not accounted for here.
    searched: usize,
    /// Where the last line begins whose end, with its folds, has not been seen.
    line: usize,
    content_length: ContentLength,
}

/// What the Content-Length lines of a head agree upon.
#[derive(Clone, Copy, Debug, Default)]
enum ContentLength {
    /// There is none so far.
    #[default]
    Missing,
    /// This number.
    Is(usize),
    /// No number, or two.
    Bad,
}

impl Framer {
    /// A framer for the start of a stream.
    pub fn new(limits: &Limits) -> Framer {
        Framer {
            message_size: limits.message_size,
            state: State::Between { after: Line::Whole },
        }
    }

    /// The next frame, taken off the front of `buffer`; `None` until more bytes are appended. After an error there is
    /// nothing more.
    pub fn next_frame(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FramingError> {
        let frame = self.advance(buffer);
        if frame.is_err() {
            self.state = State::Failed;
        }
        frame
    }

    fn advance(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FramingError> {
        loop {
            match self.state {
                State::Between { after } => match buffer.as_ref() {
                    [] | [b'\r'] => return Ok(None),
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        return Ok(Some(self.keep_alive(after)));
                    }
                    _ => self.state = State::Head(Head::default()),
                },
                State::Head(mut head) => {
                    let head_length = head.search(buffer);
                    if head_length.unwrap_or(buffer.len()) > self.message_size {
                        let head = buffer.split_to(self.message_size).freeze();
                        return Err(FramingError::HeadTooLong { head });
                    }
                    let Some(head_length) = head_length else {
                        self.state = State::Head(head);
                        return Ok(None);
                    };
                    let length = self.message_length(buffer, head_length, head.content_length)?;
                    self.state = State::Body { length };
                }
                State::Body { length } => {
                    if buffer.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Between { after: Line::Whole };
                    return Ok(Some(Frame::Message(buffer.split_to(length).freeze())));
                }
                State::Failed => return Ok(None),
            }
        }
    }

    fn keep_alive(&mut self, after: Line) -> Frame {
        let (frame, after) = match after {
            Line::Whole => (Frame::Pong, Line::Half),
            Line::Half => (Frame::Ping, Line::Whole),
        };
        self.state = State::Between { after };
        frame
    }

    /// The length of the message whose whole head is there.
    fn message_length(
        &self,
        buffer: &mut BytesMut,
        head_length: usize,
        content_length: ContentLength,
    ) -> Result<usize, FramingError> {
        let mut head = || buffer.split_to(head_length).freeze();
        match content_length {
            ContentLength::Is(length) if length <= self.message_size - head_length => Ok(head_length + length),
            ContentLength::Is(_) => Err(FramingError::TooLarge { head: head() }),
            ContentLength::Missing => Err(FramingError::NoContentLength { head: head() }),
            ContentLength::Bad => Err(FramingError::BadContentLength { head: head() }),
        }
    }
}

impl Head {
    /// Searches on in the bytes of a message. The length of the head with its empty line, once that is there.
    fn search(&mut self, message: &[u8]) -> Option<usize> {
        let mut from = self.searched;
        while let Some(at) = scan::find_line_end(message, from) {
            from = at + 2;
            match message[at..] {
                // RFC 3261 §7.3.1: the line goes on.
                [b'\r', b'\n', b' ' | b'\t', ..] => continue,
                // What follows decides. This line end is looked at again with it.
                [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => {
                    self.searched = at;
                    return None;
                }
                [b'\r', b'\n', ..] => {}
                // A CR or an LF alone is part of a line.
                _ => {
                    from = at + 1;
                    continue;
                }
            }
            // The first line is the start line.
            if self.line > 0 {
                self.content_length.agree_with(&message[self.line..at]);
            }
            self.line = at + 2;
            if message[self.line..].starts_with(b"\r\n") {
                return Some(at + 4);
            }
        }
        self.searched = message.len();
        None
    }
}

impl ContentLength {
    /// Takes in a line without its CRLF, whatever header it is of.
    fn agree_with(&mut self, line: &[u8]) {
        let Some(value) = content_length_value(line) else {
            return;
        };
        *self = match (*self, body_length(grammar::trim(value))) {
            (ContentLength::Missing, Some(length)) => ContentLength::Is(length),
            (ContentLength::Is(other), Some(length)) if other == length => ContentLength::Is(length),
            _ => ContentLength::Bad,
        };
    }
}

const CONTENT_LENGTH: &[u8] = b"Content-Length";

/// The value of the line, when its header is Content-Length or `l` (RFC 3261 §20.14).
fn content_length_value(line: &[u8]) -> Option<&[u8]> {
    let rest = match line.first()? {
        b'C' | b'c' => {
            let (name, rest) = line.split_at_checked(CONTENT_LENGTH.len())?;
            name.eq_ignore_ascii_case(CONTENT_LENGTH).then_some(rest)?
        }
        b'L' | b'l' => &line[1..],
        _ => return None,
    };
    rest.trim_ascii_start().strip_prefix(b":")
}

/// Digits only; a number that does not fit is as good as the largest that does.
fn body_length(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(grammar::decimal(digits).map_or(usize::MAX, |length| length as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n";
    const MESSAGE: &str = "MESSAGE sip:a SIP/2.0\r\nl:\r\n 9\r\nX: y\r\n l: 3\r\n\r\na\r\n\r\nb\r\n\r";
    const OK: &str = "SIP/2.0 200 OK\r\ncONTENT-lENGTH \t: 0002 \r\n\r\n\r\n";

    fn framer() -> Framer {
        Framer::new(&Limits::default())
    }

    /// The frames of the stream when it comes in these pieces.
    fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
        let (mut framer, mut buffer, mut frames) = (framer(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(frame) = framer.next_frame(&mut buffer).unwrap() {
                frames.push(frame);
            }
        }
        assert!(buffer.is_empty(), "{buffer:?} is left");
        frames
    }

    fn error(head: &str) -> FramingError {
        let error = framer().next_frame(&mut BytesMut::from(head)).unwrap_err();
        assert_eq!(error.head(), head.as_bytes());
        error
    }

    fn with_header(header: &str) -> String {
        format!("OPTIONS sip:a SIP/2.0\r\n{header}\r\n\r\n")
    }

    #[test]
    fn rfc3261_18_3_any_segmentation_gives_the_same_frames() {
        let stream = format!("\r\n{OPTIONS}\r\n\r\n{MESSAGE}{OK}\r\n\r\n\r\n{OPTIONS}\r\n\r\n").into_bytes();
        let message = |text: &'static str| Frame::Message(Bytes::from_static(text.as_bytes()));
        let expected = [
            Frame::Pong,
            message(OPTIONS),
            Frame::Pong,
            Frame::Ping,
            message(MESSAGE),
            message(OK),
            Frame::Pong,
            Frame::Ping,
            Frame::Pong,
            message(OPTIONS),
            Frame::Pong,
            Frame::Ping,
        ];
        assert_eq!(frames([&stream[..]]), expected);
        assert_eq!(frames(stream.chunks(1)), expected, "byte by byte");
        for one in 0..=stream.len() {
            let (head, tail) = stream.split_at(one);
            assert_eq!(frames([head, tail]), expected, "split at {one}");
            for two in (0..=tail.len()).step_by(7) {
                let (middle, tail) = tail.split_at(two);
                assert_eq!(frames([head, middle, tail]), expected, "split at {one} and {two} later");
            }
        }
    }

    #[test]
    fn a_head_is_searched_once() {
        let (mut framer, mut buffer) = (framer(), BytesMut::new());
        for length in 1..=1000 {
            buffer.extend_from_slice(b"x");
            assert_eq!(framer.next_frame(&mut buffer), Ok(None));
            assert!(matches!(framer.state, State::Head(Head { searched, .. }) if searched == length));
        }
    }

    #[test]
    fn rfc5626_4_4_1_a_ping_is_two_line_ends() {
        assert_eq!(frames([&b"\r\n\r\n"[..]]), [Frame::Pong, Frame::Ping]);
        assert_eq!(frames([&b"\r"[..], b"\n\r", b"\n"]), [Frame::Pong, Frame::Ping]);
        let mut buffer = BytesMut::from("\r\n");
        assert_eq!(framer().next_frame(&mut buffer), Ok(Some(Frame::Pong)));
    }

    #[test]
    fn rfc3261_18_3_content_length_is_needed() {
        for header in [
            "X: 1",
            "Content-Length-X: 1",
            "X: 1\r\n l: 0",
            "lx: 1",
            "Content-Length",
            "x-l: 1",
        ] {
            assert!(
                matches!(error(&with_header(header)), FramingError::NoContentLength { .. }),
                "{header}"
            );
        }
    }

    #[test]
    fn content_length_is_one_number() {
        for header in [
            "Content-Length: -999",
            "l: +1",
            "l:",
            "l: 1 2",
            "l: 1, 1",
            "l: 0x1",
            "l: 1\nl: 2",
            "l: 1\rl: 2",
            "Content-Length: 13\r\nContent-Length: 5",
            "l: 1\r\nCONTENT-LENGTH: 2",
        ] {
            assert!(
                matches!(error(&with_header(header)), FramingError::BadContentLength { .. }),
                "{header}"
            );
        }
        let twice = with_header("l: 0\r\nContent-Length: 00");
        assert_eq!(frames([twice.as_bytes()]).len(), 1);
    }

    #[test]
    fn a_message_has_a_largest_size() {
        for header in ["l: 65535", "l: 99999999999999999999999999"] {
            assert!(
                matches!(error(&with_header(header)), FramingError::TooLarge { .. }),
                "{header}"
            );
        }
        let limits = Limits {
            message_size: OK.len(),
            ..Limits::default()
        };
        let mut buffer = BytesMut::from(OK);
        assert!(matches!(
            Framer::new(&limits).next_frame(&mut buffer),
            Ok(Some(Frame::Message(_)))
        ));
    }

    #[test]
    fn a_head_has_a_largest_size() {
        let limits = Limits {
            message_size: 20,
            ..Limits::default()
        };
        let stream = [b'x'; 17].into_iter().chain(*b"\r\n\r\n").collect::<Vec<_>>();
        for piece in [1, 3, 20, 21] {
            let (mut framer, mut buffer) = (Framer::new(&limits), BytesMut::new());
            let mut results = stream.chunks(piece).map(|bytes| {
                buffer.extend_from_slice(bytes);
                framer.next_frame(&mut buffer)
            });
            let error = results.find_map(Result::err).unwrap();
            assert!(
                matches!(&error, FramingError::HeadTooLong { head } if head == &stream[..20]),
                "{error:?}"
            );
        }
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut framer = framer();
        let mut buffer = BytesMut::from(with_header("X: 1").as_str());
        assert!(framer.next_frame(&mut buffer).is_err());
        buffer.extend_from_slice(OPTIONS.as_bytes());
        assert_eq!(framer.next_frame(&mut buffer), Ok(None));
    }
}
