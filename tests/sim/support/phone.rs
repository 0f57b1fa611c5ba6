//! Phones: where they are, who they are, and what they usually say.

use ringbinder::sip::digest::{Challenged, response};
use ringbinder::sip::hop::{ConnectionId, Flow, Transport};

use super::{Draft, Got, Sim};

/// A phone: an account and the way from it to the server.
#[derive(Clone, Debug)]
pub struct Phone {
    /// The user part of its address, and its name in credentials.
    pub user: String,
    /// The domain of its address.
    pub domain: String,
    /// The way its messages come by.
    pub flow: Flow,
    /// The URI in its Contact.
    pub contact: String,
    /// Its tag.
    pub tag: String,
}

impl Phone {
    /// Its address-of-record as a URI.
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}

/// The password of every account.
pub const PASSWORD: &str = "correct horse";

impl Sim {
    /// A phone on UDP that knows its own address.
    pub fn phone(&mut self, user: &str) -> Phone {
        self.phone_over(user, Transport::Udp)
    }

    /// A phone over `transport`. On a stream it comes by a port of its own, and its Contact names a private address.
    pub fn phone_over(&mut self, user: &str, transport: Transport) -> Phone {
        let number = self.unique();
        let local = self.local(transport, false);
        let address = format!("198.51.{}.{}", 100 + number / 250, number % 250 + 1);
        let (remote, connection, contact) = match transport {
            Transport::Udp => (format!("{address}:5060"), None, format!("sip:{user}@{address}:5060")),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => (
                format!("{address}:{}", 40_000 + number),
                Some(ConnectionId(number)),
                format!("sip:{user}@192.168.0.{};transport={transport}", number % 250 + 1),
            ),
        };
        let flow = Flow {
            transport,
            local,
            remote: remote.parse().unwrap(),
            connection,
        };
        Phone {
            user: user.to_owned(),
            domain: "example.com".to_owned(),
            flow,
            contact,
            tag: format!("tag-{user}-{number}"),
        }
    }

    /// A request of `phone` outside any dialog.
    pub fn draft(&mut self, phone: &Phone, method: &str, uri: &str) -> Draft {
        let number = self.unique();
        let via = self.via(phone);
        let to = if method == "REGISTER" {
            phone.aor()
        } else {
            uri.to_owned()
        };
        let draft = Draft::request(method, uri)
            .add("Via", &via)
            .add("Max-Forwards", "70")
            .add("From", &format!("<{}>;tag={}-{number}", phone.aor(), phone.tag))
            .add("To", &format!("<{to}>"))
            .add("Call-ID", &format!("call-{number}"))
            .add("CSeq", &format!("1 {method}"));
        match method {
            "INVITE" | "REGISTER" | "SUBSCRIBE" => draft.add("Contact", &format!("<{}>", phone.contact)),
            _ => draft,
        }
    }

    /// A Via of `phone` with a branch of its own.
    pub fn via(&mut self, phone: &Phone) -> String {
        let branch = self.branch();
        let sent_by = phone.contact.rsplit('@').next().unwrap().split(';').next().unwrap();
        format!(
            "SIP/2.0/{} {sent_by};branch={branch};rport",
            phone.flow.transport.via_name()
        )
    }

    /// A branch that was not used before.
    pub fn branch(&mut self) -> String {
        format!("z9hG4bK-phone-{}", self.unique())
    }

    /// Sends `draft` from `phone`.
    pub fn send(&mut self, phone: &Phone, draft: &Draft) {
        self.deliver(&phone.flow, draft.bytes());
    }

    /// `draft` again, with credentials that answer `challenge`.
    pub fn authorized(&mut self, phone: &Phone, draft: &Draft, challenge: &Got) -> Draft {
        self.authorized_as(&phone.user, PASSWORD, draft, challenge, 1)
    }

    /// `draft` again, with credentials of `user` that use the nonce of `challenge` for the `nonce_count`th time.
    pub fn authorized_as(
        &mut self,
        user: &str,
        password: &str,
        draft: &Draft,
        challenge: &Got,
        nonce_count: u32,
    ) -> Draft {
        let branch = self.branch();
        let (asks, answers) = match challenge.status() {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => panic!("not a challenge:\n{}", challenge.text()),
        };
        let challenged = Challenged {
            method: draft.method().as_bytes(),
            uri: draft.uri().as_bytes(),
            user: user.as_bytes(),
            password: password.as_bytes(),
            cnonce: "0a4f113b",
            nonce_count,
        };
        let value = response(challenge.header(asks).as_bytes(), &challenged).unwrap();
        draft
            .clone()
            .again(&branch)
            .set(answers, &String::from_utf8(value).unwrap())
    }

    /// Sends `draft`, and sends it again with credentials when it is challenged. Returns what was sent last; its answer
    /// is still to be received.
    pub fn send_authorized(&mut self, phone: &Phone, draft: &Draft) -> Draft {
        self.send(phone, draft);
        let challenge = self.receive(phone).expect("a challenge");
        assert!(matches!(challenge.status(), 401 | 407), "{}", challenge.text());
        if draft.method() == "INVITE" {
            self.send(phone, &draft.ack(&challenge));
        }
        let draft = self.authorized(phone, draft, &challenge);
        self.send(phone, &draft);
        draft
    }

    /// Registers `phone` for an hour. Returns the 200.
    pub fn register(&mut self, phone: &Phone) -> Got {
        let draft = self.draft(phone, "REGISTER", &format!("sip:{}", phone.domain));
        self.send_authorized(phone, &draft);
        self.expect(phone, "200")
    }

    /// A registered phone on UDP.
    pub fn registered(&mut self, user: &str) -> Phone {
        self.registered_over(user, Transport::Udp)
    }

    /// A registered phone over `transport`.
    pub fn registered_over(&mut self, user: &str, transport: Transport) -> Phone {
        let phone = self.phone_over(user, transport);
        self.register(&phone);
        phone
    }

    /// Calls `uri` with credentials. Returns the INVITE that goes on; the 100 has been received.
    pub fn invite(&mut self, phone: &Phone, uri: &str) -> Draft {
        let draft = self.draft(phone, "INVITE", uri).body("application/sdp", b"v=0\r\n");
        self.invite_with(phone, &draft)
    }

    /// Sends the INVITE `draft` with credentials.
    pub fn invite_with(&mut self, phone: &Phone, draft: &Draft) -> Draft {
        let draft = self.send_authorized(phone, draft);
        self.expect(phone, "100");
        draft
    }

    /// Answers `request` by the way it came: `status` is code and phrase. Returns what was sent.
    pub fn respond(&mut self, phone: &Phone, request: &Got, status: &str) -> Draft {
        let draft = self.answer(phone, request, status);
        self.deliver(&request.flow, draft.bytes());
        draft
    }

    /// The answer of `phone` to `request`, not sent yet.
    pub fn answer(&mut self, phone: &Phone, request: &Got, status: &str) -> Draft {
        let tag = (!status.starts_with("100")).then_some(&*phone.tag);
        let draft = Draft::response(request, status, tag);
        match (request.method(), status.as_bytes()[0]) {
            ("INVITE" | "SUBSCRIBE", b'1' | b'2') => draft.add("Contact", &format!("<{}>", phone.contact)),
            _ => draft,
        }
    }

    /// Lets the phone that got `request` ring, and the caller hear it.
    pub fn ring(&mut self, caller: &Phone, callee: &Phone, request: &Got) {
        self.respond(callee, request, "180 Ringing");
        self.expect(caller, "180");
    }
}
