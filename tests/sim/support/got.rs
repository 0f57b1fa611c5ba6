//! A message that the server sent, and questions a test asks about it.

use std::time::Instant;

use ringbinder::sip::hop::Flow;
use ringbinder::sip::message::Message;
use ringbinder::sip::message::address::split_values;

/// A message that arrived somewhere.
#[derive(Clone, Debug)]
pub struct Got {
    /// The message.
    pub message: Message,
    /// The way back, as the receiver sees it: an answer goes into the server by this flow.
    pub flow: Flow,
    /// When it arrived.
    pub at: Instant,
}

impl Got {
    /// The method of a request or the status of a response, as text.
    pub fn kind(&self) -> String {
        match self.message.status() {
            Some(status) => status.to_string(),
            None => self.method().to_owned(),
        }
    }

    /// The status of a response; 0 of a request.
    pub fn status(&self) -> u16 {
        self.message.status().unwrap_or(0)
    }

    /// The method; of a response that of its CSeq.
    pub fn method(&self) -> &str {
        text(self.message.method_bytes())
    }

    /// The Request-URI.
    pub fn uri(&self) -> &str {
        text(self.message.request_uri())
    }

    /// The first line.
    pub fn start_line(&self) -> String {
        self.text().lines().next().unwrap_or_default().to_owned()
    }

    /// The value of the first line of a header that must be there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.message.lines_named(name).next();
        text(value.unwrap_or_else(|| panic!("no {name} in\n{}", self.text())))
    }

    /// Whether there is such a header.
    pub fn has(&self, name: &str) -> bool {
        self.message.lines_named(name).next().is_some()
    }

    /// The comma-separated values of all lines of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.message
            .lines_named(name)
            .flat_map(split_values)
            .map(text)
            .collect()
    }

    /// The values of all lines of a header, each as it stands.
    pub fn lines(&self, name: &str) -> Vec<&str> {
        self.message.lines_named(name).map(text).collect()
    }

    /// The branch of the top Via.
    pub fn branch(&self) -> &str {
        text(self.message.top_via().unwrap().branch().unwrap())
    }

    /// The tag of To.
    pub fn to_tag(&self) -> Option<&str> {
        self.message.to().unwrap().tag().map(text)
    }

    /// The code in the Warning header: `too-many-contacts` of `399 example.com "too-many-contacts: ..."`.
    pub fn reason(&self) -> Option<String> {
        let value = self.message.lines_named("Warning").next()?;
        let (_, quoted) = text(value).split_once('"')?;
        Some(quoted.split(':').next()?.to_owned())
    }

    /// The whole message, for people.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.message.bytes()).into_owned()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the tests write UTF-8 into headers")
}
