//! What phones say: messages with the headers that real ones send. A REGISTER with credentials has some 750 bytes and
//! one without 500, an INVITE with SDP 900 without credentials.

use std::fmt::Write;

use ringbinder::sip::digest::{Challenged, response};

use super::world::Sent;

/// The password of every user.
pub const PASSWORD: &str = "correct horse";

/// What a request may have beside what it must.
#[derive(Clone, Default)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The Request-URI.
    pub uri: String,
    /// The number of the phone that sends it.
    pub phone: usize,
    /// The address-of-record that To names.
    pub to: String,
    /// The number that makes the Call-ID and the tag.
    pub call: usize,
    /// The number of the CSeq.
    pub cseq: u32,
    /// Further header lines, each with its CRLF.
    pub lines: String,
    /// The session description.
    pub body: String,
}

/// The name of user `number`.
pub fn user(number: usize) -> String {
    format!("user{number:05}")
}

/// The address-of-record of user `number`.
pub fn aor(number: usize) -> String {
    format!("sip:{}@example.com", user(number))
}

/// The Contact URI of phone `number`.
pub fn contact(number: usize) -> String {
    let flow = super::world::flow(number);
    format!("sip:{}@{};transport=udp", user(number), flow.remote)
}

/// A REGISTER of user `number` from phone `number`.
pub fn register(number: usize, cseq: u32) -> Request {
    let contact = contact(number);
    Request {
        method: "REGISTER",
        uri: "sip:example.com".to_owned(),
        phone: number,
        to: format!("<{}>", aor(number)),
        call: number,
        cseq,
        lines: format!(
            "Contact: <{contact}>;expires=3600;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-{number:012x}>\"\r\n\
             Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, INFO\r\n\
             Supported: path, replaces\r\nUser-Agent: Telephone 4.2 (bench)\r\n"
        ),
        body: String::new(),
    }
}

/// An INVITE of user `number` from phone `number` to `callee`.
pub fn invite(number: usize, callee: usize, cseq: u32) -> Request {
    let contact = contact(number);
    Request {
        method: "INVITE",
        uri: aor(callee),
        phone: number,
        to: format!("<{}>", aor(callee)),
        call: 100_000 + number,
        cseq,
        lines: format!(
            "Contact: <{contact}>\r\n\
             Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, INFO\r\n\
             Supported: replaces\r\nUser-Agent: Telephone 4.2 (bench)\r\nContent-Type: application/sdp\r\n"
        ),
        body: sdp(number),
    }
}

/// An OPTIONS to the server itself.
pub fn options(number: usize) -> Request {
    Request {
        method: "OPTIONS",
        uri: "sip:example.com".to_owned(),
        phone: number,
        to: "<sip:example.com>".to_owned(),
        call: 200_000 + number,
        cseq: 1,
        lines: "Accept: application/sdp\r\nUser-Agent: Telephone 4.2 (bench)\r\n".to_owned(),
        body: String::new(),
    }
}

impl Request {
    /// The same with the credentials that answer `challenge`, a 401 or 407, for the `nonce_count`th time.
    pub fn authorized(mut self, challenge: &Sent, nonce_count: u32) -> Request {
        let (asks, answers) = match challenge.message.status() {
            Some(401) => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let user = user(self.phone);
        let challenged = Challenged {
            method: self.method.as_bytes(),
            uri: self.uri.as_bytes(),
            user: user.as_bytes(),
            password: PASSWORD.as_bytes(),
            cnonce: "0a4f113b",
            nonce_count,
        };
        let value = response(challenge.header(asks).as_bytes(), &challenged).expect("the challenge is sound");
        let value = String::from_utf8(value).expect("the server writes ASCII");
        // Writing to a String cannot fail.
        let _ = write!(self.lines, "{answers}: {value}\r\n");
        self
    }

    /// The bytes. The branch is another for each Call-ID, CSeq and method.
    pub fn bytes(&self) -> Vec<u8> {
        let Request {
            method,
            uri,
            phone,
            to,
            call,
            cseq,
            lines,
            body,
        } = self;
        let remote = super::world::flow(*phone).remote;
        // The ACK of a refusal has the branch of its INVITE (RFC 3261 §17.1.1.3); that of a 2xx another one.
        let transaction = if *method == "ACK" && uri.contains("@example.com") {
            "INVITE"
        } else {
            method
        };
        let branch = format!("z9hG4bK-{call:08}-1-{cseq:08}-{transaction}");
        let (from, length) = (aor(*phone), body.len());
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {remote};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: \"User {phone}\" <{from}>;tag=a73kszlfl{call}\r\nTo: {to}\r\n\
             Call-ID: 1j9FpLxk3uxtm8tn-{call:08}\r\nCSeq: {cseq} {method}\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// The response of the callee on phone `number` to `request`; `status` is code and phrase.
pub fn respond(request: &Sent, status: &str, number: usize) -> Vec<u8> {
    let to = request.header("To");
    let to = if to.contains(";tag=") {
        to
    } else {
        format!("{to};tag=callee{number}")
    };
    let is_invite = request.message.method_bytes() == b"INVITE";
    let body = if is_invite && status.starts_with('2') {
        sdp(number)
    } else {
        String::new()
    };
    let mut out = format!(
        "SIP/2.0 {status}\r\n{}{}",
        request.lines("Via"),
        request.lines("Record-Route")
    );
    for name in ["From", "Call-ID", "CSeq"] {
        out += &request.lines(name);
    }
    out += &format!("To: {to}\r\nUser-Agent: Telephone 4.2 (bench)\r\n");
    if is_invite {
        out += &format!("Contact: <{}>\r\n", contact(number));
    }
    if !body.is_empty() {
        out += "Content-Type: application/sdp\r\n";
    }
    (out + &format!("Content-Length: {}\r\n\r\n{body}", body.len())).into_bytes()
}

fn sdp(number: usize) -> String {
    let address = super::world::flow(number).remote.ip();
    format!(
        "v=0\r\no=- {number} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio 49170 RTP/AVP 0 8 9 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n"
    )
}
