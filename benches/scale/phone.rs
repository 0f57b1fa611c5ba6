//! One phone: a contact of an address-of-record, and the REGISTER requests that it sends.

use std::io::Write;
use std::net::SocketAddr;

use ringbinder::sip::digest::{Challenged, response};

/// The domain that the server serves, and the realm.
const DOMAIN: &str = "example.com";

/// The password of every user.
const PASSWORD: &str = "correct horse";

/// A contact of an address-of-record.
pub struct Phone {
    aor: u32,
    contact: u16,
    cseq: u32,
    nonce_count: u32,
    /// The challenge that is answered.
    challenge: Box<[u8]>,
}

impl Phone {
    /// Contact number `contact` of address-of-record number `aor`.
    pub fn new(aor: usize, contact: usize) -> Phone {
        Phone {
            aor: aor as u32,
            contact: contact as u16,
            cseq: 0,
            nonce_count: 0,
            challenge: Box::default(),
        }
    }

    /// Answers `challenge` from now on.
    pub fn take_challenge(&mut self, challenge: &[u8]) {
        self.challenge = challenge.into();
        self.nonce_count = 0;
    }

    /// Writes the next REGISTER, with credentials where there is a challenge. `tag` makes its branch.
    pub fn register(&mut self, local: SocketAddr, tag: &str, out: &mut Vec<u8>) {
        out.clear();
        self.cseq += 1;
        let (aor, contact, cseq) = (self.aor, self.contact, self.cseq);
        let user = format!("user{aor:07}");
        // The contact stays the same wherever it is sent from, so that each refresh is one.
        // Writing to memory cannot fail.
        let _ = write!(
            out,
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK{tag}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{DOMAIN}>;tag={contact}a\r\nTo: <sip:{user}@{DOMAIN}>\r\n\
             Call-ID: {contact}-{aor:07}-scale\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{user}@10.0.0.1:5060;line={contact}>;expires=3600\r\n\
             Allow: INVITE, ACK, CANCEL, OPTIONS, BYE\r\nUser-Agent: Telephone 4.2 (scale)\r\n"
        );
        if !self.challenge.is_empty() {
            self.nonce_count += 1;
            let challenged = Challenged {
                method: b"REGISTER",
                uri: b"sip:example.com",
                user: user.as_bytes(),
                password: PASSWORD.as_bytes(),
                cnonce: "0a4f113b",
                nonce_count: self.nonce_count,
            };
            let credentials = response(&self.challenge, &challenged).unwrap();
            out.extend_from_slice(b"Authorization: ");
            out.extend_from_slice(&credentials);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }
}

/// The tag of the request that a response answers.
pub fn tag_of(response: &[u8]) -> Option<&str> {
    let rest = after(response, b"branch=z9hG4bK")?;
    let end = rest.iter().position(|byte| b";\r,".contains(byte))?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// The status code of a response.
pub fn status_of(response: &[u8]) -> Option<u16> {
    let code = response.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

/// The challenge of a 401.
pub fn challenge_of(response: &[u8]) -> Option<&[u8]> {
    let rest = after(response, b"\r\nWWW-Authenticate: ")?;
    rest.split(|byte| *byte == b'\r').next()
}

fn after<'a>(text: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(start.len()).position(|part| part == start)?;
    Some(&text[at + start.len()..])
}
