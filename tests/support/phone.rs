//! A phone on a UDP socket that says exactly what a test wants said, right or wrong.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};

use super::{DOMAIN, password};

const LIMIT: Duration = Duration::from_secs(10);

/// One UDP socket, and a user's name.
pub struct Phone {
    socket: UdpSocket,
    server: SocketAddr,
    user: String,
    contact: Option<String>,
    counter: Cell<u32>,
}

impl Phone {
    /// A phone of `user` on a free port of `ip` that talks to `server`.
    pub fn new(user: &str, ip: IpAddr, server: SocketAddr) -> Phone {
        Phone {
            socket: UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap(),
            server,
            user: user.to_owned(),
            contact: None,
            counter: Cell::new(0),
        }
    }

    /// The same phone, talking to another address of the server.
    pub fn towards(mut self, server: SocketAddr) -> Phone {
        self.server = server;
        self
    }

    /// The same phone, with a Contact that is not where it is.
    pub fn with_contact(mut self, contact: &str) -> Phone {
        self.contact = Some(contact.to_owned());
        self
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Its address-of-record as a URI.
    pub fn aor(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    /// Its Contact.
    pub fn contact(&self) -> String {
        let own = || format!("<sip:{}@{}>", self.user, self.address());
        self.contact.clone().unwrap_or_else(own)
    }

    /// A number that this phone has not used before.
    pub fn fresh(&self) -> u32 {
        self.counter.set(self.counter.get() + 1);
        self.counter.get()
    }

    /// Sends a request with these header lines and returns its branch; Via, Max-Forwards and Content-Length are added.
    pub fn request(&self, method: &str, uri: &str, headers: &str) -> String {
        let branch = format!("z9hG4bK-{}-{}", self.address().port(), self.fresh());
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};rport;branch={branch}\r\nMax-Forwards: 70\r\n\
             {headers}Content-Length: 0\r\n\r\n",
            self.address()
        );
        self.send(&text);
        branch
    }

    /// Sends these bytes to the server.
    pub fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.server).unwrap();
    }

    /// Answers `request`; `headers` are whole lines.
    pub fn reply(&self, request: &Received, status: &str, headers: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            for value in request.headers(name) {
                write!(text, "{name}: {value}\r\n").unwrap();
            }
        }
        let to = request.header("To");
        let tag = match to.contains(";tag=") {
            true => String::new(),
            false => format!(";tag=phone{}", self.address().port()),
        };
        write!(text, "To: {to}{tag}\r\n{headers}Content-Length: 0\r\n\r\n").unwrap();
        self.send(&text);
    }

    /// The next message, within the limit.
    pub fn receive(&self) -> Received {
        self.poll(LIMIT)
            .unwrap_or_else(|| panic!("{} heard nothing", self.user))
    }

    /// The next message that is an answer to this method other than 100.
    pub fn answer(&self, method: &str) -> Received {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let received = self.receive();
            let is_answer = received.status().is_some_and(|status| status > 100);
            if is_answer && received.header("CSeq").ends_with(method) {
                return received;
            }
        }
        panic!("no answer to {method}");
    }

    /// The next request with this method, which is not a retransmission of an earlier one that is skipped.
    pub fn await_request(&self, method: &str) -> Received {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let received = self.receive();
            if received.method() == Some(method) {
                return received;
            }
        }
        panic!("no {method}");
    }

    /// Expects that nothing comes for a while.
    pub fn hears_nothing(&self, time: Duration) {
        if let Some(received) = self.poll(time) {
            panic!("{} heard {}", self.user, received.text);
        }
    }

    /// The next message, if one comes in time.
    pub fn poll(&self, time: Duration) -> Option<Received> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 65536];
        let (length, source) = self.socket.recv_from(&mut buffer).ok()?;
        Some(Received {
            text: String::from_utf8_lossy(&buffer[..length]).into_owned(),
            source,
        })
    }

    /// Calls `uri` with credentials and returns the status of the final answer, or `None` when it is a 2xx.
    pub fn try_call(&self, uri: &str) -> Option<u16> {
        let (answer, _) = self.invite(uri);
        let status = answer.status().filter(|status| *status >= 300)?;
        self.acknowledge(&answer, uri);
        Some(status)
    }

    /// Calls `uri` with credentials; returns the final answer, and the dialog that it makes if it is a 2xx. The ACK is still
    /// to be sent.
    pub fn invite(&self, uri: &str) -> (Received, Dialog) {
        let mut dialog = self.start_call(uri);
        let answer = loop {
            let answer = self.answer("INVITE");
            if answer.status() >= Some(200) {
                break answer;
            }
        };
        dialog.callee = answer.header("To").to_owned();
        dialog.routes = answer.headers("Record-Route").map(str::to_owned).collect();
        (answer, dialog)
    }

    /// Calls `uri` with credentials, and waits for nothing after the challenge. What is returned is no dialog yet.
    pub fn start_call(&self, uri: &str) -> Dialog {
        let call_id = format!("try-{}-{}", self.address(), self.fresh());
        let from = format!("<{}>;tag=caller{}", self.aor(), self.address().port());
        let headers = |cseq: u32, further: &str| {
            let contact = self.contact();
            format!(
                "From: {from}\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} INVITE\r\nContact: {contact}\r\n{further}"
            )
        };
        self.request("INVITE", uri, &headers(self.fresh(), ""));
        let challenge = self.answer("INVITE");
        self.acknowledge(&challenge, uri);
        let credentials = self.credentials(&challenge, "INVITE", uri);
        self.request("INVITE", uri, &headers(self.fresh(), &credentials));
        Dialog {
            call_id,
            caller: from,
            callee: String::new(),
            routes: Vec::new(),
            invite: challenge,
        }
    }

    /// The ACK to an answer that is no 2xx.
    fn acknowledge(&self, answer: &Received, uri: &str) {
        let number = answer.header("CSeq").split(' ').next().unwrap();
        let line = |name: &str| format!("{name}: {}\r\n", answer.header(name));
        self.send(&format!(
            "ACK {uri} SIP/2.0\r\n{}Max-Forwards: 70\r\n{}{}{}CSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
            line("Via"),
            line("From"),
            line("To"),
            line("Call-ID")
        ));
    }

    /// Registers its address with digest and returns the 200.
    pub fn register(&self) -> Received {
        let id = format!("register-{}", self.address());
        let uri = format!("sip:{DOMAIN}");
        let headers = |cseq: u32, credentials: &str| {
            let (aor, contact) = (self.aor(), self.contact());
            format!(
                "From: <{aor}>;tag=r\r\nTo: <{aor}>\r\nCall-ID: {id}\r\nCSeq: {cseq} REGISTER\r\n\
                 Contact: {contact};expires=3600\r\n{credentials}"
            )
        };
        self.request("REGISTER", &uri, &headers(self.fresh(), ""));
        let challenge = self.answer("REGISTER");
        assert_eq!(challenge.status(), Some(401), "{}", challenge.text);
        let credentials = self.credentials(&challenge, "REGISTER", &uri);
        self.request("REGISTER", &uri, &headers(self.fresh(), &credentials));
        let answer = self.answer("REGISTER");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        answer
    }

    /// Calls `peer`, who answers; ends when the ACK has arrived there.
    pub fn call(&self, peer: &Phone) -> Dialog {
        let call_id = format!("call-{}-{}", self.address(), self.fresh());
        let from = format!("<{}>;tag=caller{}", self.aor(), self.address().port());
        let uri = peer.aor();
        let headers = |cseq: u32, further: &str| {
            let contact = self.contact();
            format!(
                "From: {from}\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} INVITE\r\nContact: {contact}\r\n{further}"
            )
        };
        self.request("INVITE", &uri, &headers(self.fresh(), ""));
        let challenge = self.answer("INVITE");
        assert_eq!(challenge.status(), Some(407), "{}", challenge.text);
        let via = challenge.header("Via").to_owned();
        let number = challenge.header("CSeq").split(' ').next().unwrap().to_owned();
        self.send(&format!(
            "ACK {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: {from}\r\nTo: {}\r\nCall-ID: {call_id}\r\n\
             CSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
            challenge.header("To")
        ));
        let credentials = self.credentials(&challenge, "INVITE", &uri);
        let cseq = self.fresh();
        self.request("INVITE", &uri, &headers(cseq, &credentials));
        let invite = peer.await_request("INVITE");
        peer.reply(&invite, "180 Ringing", &format!("Contact: {}\r\n", peer.contact()));
        assert_eq!(self.answer("INVITE").status(), Some(180));
        peer.reply(&invite, "200 OK", &format!("Contact: {}\r\n", peer.contact()));
        let answer = self.answer("INVITE");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        let dialog = Dialog {
            call_id,
            caller: from,
            callee: answer.header("To").to_owned(),
            routes: answer.headers("Record-Route").map(str::to_owned).collect(),
            invite,
        };
        self.request("ACK", uri_of(&peer.contact()), &dialog.headers(cseq, "ACK"));
        peer.await_request("ACK");
        dialog
    }

    /// The header line that answers `challenge`.
    pub fn credentials(&self, challenge: &Received, method: &str, uri: &str) -> String {
        credentials(&self.user, challenge, method, uri)
    }
}

/// The header line by which `user` answers `challenge`.
pub fn credentials(user: &str, challenge: &Received, method: &str, uri: &str) -> String {
    let (name, value) = match challenge.find("WWW-Authenticate") {
        Some(value) => ("Authorization", value),
        None => ("Proxy-Authorization", challenge.header("Proxy-Authenticate")),
    };
    let field = |name: &str| {
        let (_, rest) = value.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap()
    };
    let (realm, nonce) = (field("realm"), field("nonce"));
    let secret = md5(&format!("{user}:{realm}:{}", password(user)));
    let request = md5(&format!("{method}:{uri}"));
    let response = md5(&format!("{secret}:{nonce}:00000001:client:auth:{request}"));
    format!(
        "{name}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"client\"\r\n"
    )
}

/// An established call, as its caller sees it.
pub struct Dialog {
    pub call_id: String,
    /// The caller's From value.
    pub caller: String,
    /// The callee's To value, with its tag.
    pub callee: String,
    /// The Record-Route values, in the order of the 200.
    pub routes: Vec<String>,
    /// The INVITE as the callee got it.
    pub invite: Received,
}

impl Dialog {
    /// The header lines of a request by the caller.
    pub fn headers(&self, cseq: u32, method: &str) -> String {
        let routes = self.routes.iter().rev();
        self.lines(routes, &self.caller, &self.callee, cseq, method)
    }

    /// The header lines of a request by the callee.
    pub fn callee_headers(&self, cseq: u32, method: &str) -> String {
        self.lines(self.routes.iter(), &self.callee, &self.caller, cseq, method)
    }

    fn lines<'a>(
        &self,
        routes: impl Iterator<Item = &'a String>,
        from: &str,
        to: &str,
        cseq: u32,
        method: &str,
    ) -> String {
        let mut lines = String::new();
        for route in routes {
            write!(lines, "Route: {route}\r\n").unwrap();
        }
        let id = &self.call_id;
        write!(
            lines,
            "From: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n"
        )
        .unwrap();
        lines
    }
}

/// A message as it came.
#[derive(Debug)]
pub struct Received {
    pub text: String,
    pub source: SocketAddr,
}

impl Received {
    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.text.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        self.text.split(' ').next().filter(|word| *word != "SIP/2.0")
    }

    /// The Request-URI.
    pub fn uri(&self) -> &str {
        self.text.split(' ').nth(1).unwrap()
    }

    /// The first line of this header, which must be there.
    pub fn header(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    /// The first line of this header.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Every line of this header.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.text.split("\r\n").skip(1).filter_map(move |line| {
            let (candidate, value) = line.split_once(':')?;
            candidate.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// The URI between angle brackets.
pub fn uri_of(value: &str) -> &str {
    let (_, rest) = value.split_once('<').unwrap();
    rest.split('>').next().unwrap()
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
}
