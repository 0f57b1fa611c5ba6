//! A message that a phone is about to send.

use bytes::Bytes;

use super::Got;

/// A start line, header lines in order, and a body.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The method and Request-URI, or the status and phrase: what the start line says beside the version.
    start: Start,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Start {
    Request { method: String, uri: String },
    Response { status: String },
}

impl Draft {
    /// A request without headers.
    pub fn request(method: &str, uri: &str) -> Draft {
        let start = Start::Request {
            method: method.to_owned(),
            uri: uri.to_owned(),
        };
        Draft {
            start,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The response to `request` with what a response copies; `to_tag` is added when To has none. `status` is code and
    /// phrase.
    pub fn response(request: &Got, status: &str, to_tag: Option<&str>) -> Draft {
        let start = Start::Response {
            status: status.to_owned(),
        };
        let mut draft = Draft {
            start,
            headers: Vec::new(),
            body: Vec::new(),
        };
        for name in ["Via", "Record-Route"] {
            for value in request.lines(name) {
                draft = draft.add(name, value);
            }
        }
        let to = match (request.to_tag(), to_tag) {
            (None, Some(tag)) => format!("{};tag={tag}", request.header("To")),
            _ => request.header("To").to_owned(),
        };
        draft
            .add("From", request.header("From"))
            .add("To", &to)
            .add("Call-ID", request.header("Call-ID"))
            .add("CSeq", request.header("CSeq"))
    }

    /// With one more header line at the end.
    pub fn add(mut self, name: &str, value: &str) -> Draft {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this value in place of the first line of that name, and without further ones; else as a new line.
    pub fn set(mut self, name: &str, value: &str) -> Draft {
        let Some(index) = self.headers.iter().position(|(other, _)| other == name) else {
            return self.add(name, value);
        };
        self.headers[index].1 = value.to_owned();
        let mut position = 0;
        self.headers.retain(|(other, _)| {
            position += 1;
            other != name || position == index + 1
        });
        self
    }

    /// Without the lines of that name.
    pub fn without(mut self, name: &str) -> Draft {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// With another Request-URI.
    pub fn with_uri(mut self, new: &str) -> Draft {
        if let Start::Request { uri, .. } = &mut self.start {
            *uri = new.to_owned();
        }
        self
    }

    /// With a body.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Draft {
        self.body = body.to_vec();
        self.set("Content-Type", content_type)
    }

    /// The value of the first line of a header that must be there.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map_or_else(|| panic!("no {name} in {self:?}"), |(_, value)| value)
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        match &self.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => "",
        }
    }

    /// The Request-URI.
    pub fn uri(&self) -> &str {
        match &self.start {
            Start::Request { uri, .. } => uri,
            Start::Response { .. } => "",
        }
    }

    /// The number of the CSeq.
    pub fn cseq(&self) -> u32 {
        self.header("CSeq").split(' ').next().unwrap().parse().unwrap()
    }

    /// The same request with the next CSeq and another branch: how a client repeats what was challenged.
    pub fn again(self, branch: &str) -> Draft {
        let cseq = format!("{} {}", self.cseq() + 1, self.method());
        self.branch(branch).set("CSeq", &cseq)
    }

    /// With another branch in the top Via.
    pub fn branch(self, branch: &str) -> Draft {
        let via = self.header("Via");
        let (before, after) = via.split_once("branch=").expect("a phone's Via has a branch");
        let rest = after.find(';').map_or("", |index| &after[index..]);
        let via = format!("{before}branch={branch}{rest}");
        let index = self.headers.iter().position(|(name, _)| name == "Via").unwrap();
        let mut draft = self;
        draft.headers[index].1 = via;
        draft
    }

    /// The ACK to a final response other than 2xx (RFC 3261 §17.1.1.3).
    pub fn ack(&self, response: &Got) -> Draft {
        self.follow_up("ACK").set("To", response.header("To"))
    }

    /// The CANCEL of this INVITE (RFC 3261 §9.1).
    pub fn cancel(&self) -> Draft {
        self.follow_up("CANCEL")
    }

    fn follow_up(&self, method: &str) -> Draft {
        let mut draft = Draft::request(method, self.uri());
        draft = draft.add("Via", self.header("Via")).add("Max-Forwards", "70");
        for (_, route) in self.headers.iter().filter(|(name, _)| name == "Route") {
            draft = draft.add("Route", route);
        }
        draft
            .add("From", self.header("From"))
            .add("To", self.header("To"))
            .add("Call-ID", self.header("Call-ID"))
            .add("CSeq", &format!("{} {method}", self.cseq()))
    }

    /// The message as it is sent. Content-Length is added unless the test wrote one.
    pub fn bytes(&self) -> Bytes {
        let mut out = match &self.start {
            Start::Request { method, uri } => format!("{method} {uri} SIP/2.0\r\n"),
            Start::Response { status } => format!("SIP/2.0 {status}\r\n"),
        };
        for (name, value) in &self.headers {
            if name == "Content-Length" && value.is_empty() {
                continue;
            }
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.headers.iter().any(|(name, _)| name == "Content-Length") {
            out.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out.into()
    }
}
