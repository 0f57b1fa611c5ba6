//! Why bytes are no message, and what is left of them.

use thiserror::Error;

use super::Message;
use super::header::HeaderName;

/// Why bytes are no message this server can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Longer than the limit.
    #[error("message too large")]
    TooLarge,
    /// More header lines than the limit.
    #[error("too many header lines")]
    TooManyHeaders,
    /// More Via values than the limit.
    #[error("too many Via values")]
    TooManyVias,
    /// A header longer than the limit.
    #[error("header line too long")]
    LineTooLong,
    /// No start line of the form of RFC 3261 §7.1 or §7.2.
    #[error("malformed start line")]
    StartLine,
    /// A SIP version other than 2.0.
    #[error("SIP version not supported")]
    Version,
    /// A line that is no header field, or a CR or LF that ends no line.
    #[error("malformed header line")]
    HeaderLine,
    /// The empty line after the headers is missing.
    #[error("no end of the headers")]
    Truncated,
    /// Via, From, To, Call-ID or CSeq is missing.
    #[error("missing {}", .0.as_str())]
    Missing(HeaderName),
    /// A header that may stand only once stands twice.
    #[error("more than one {}", .0.as_str())]
    Repeated(HeaderName),
    /// The value of a header that every message needs cannot be read.
    #[error("malformed {}", .0.as_str())]
    Value(HeaderName),
    /// Content-Length is no number, or says more than there is.
    #[error("wrong Content-Length")]
    ContentLength,
}

/// What is left of bytes that are no message: the error and, when its lines could be indexed, a message good enough
/// to build a 400 from.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct Malformed {
    /// What is wrong.
    pub error: ParseError,
    /// The request, when a reply can be built from its Via, Call-ID, CSeq, From and To.
    pub request: Option<Box<Message>>,
}

impl Malformed {
    pub(super) fn new(error: ParseError, message: Message) -> Malformed {
        Malformed {
            error,
            request: message.is_answerable().then(|| Box::new(message)),
        }
    }
}
