//! Every row of the registrar's behaviour, named after the rule.

mod access;
mod contact;
mod expiry;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use crate::sip::digest::{self, Authenticator, Challenge, Challenged, Keys, UsersBuilder};
use crate::sip::domain::{Domain, Domains, ForkOrder, UriCalling};
use crate::sip::gruu::token::Tokens;
use crate::sip::hop::{Flow, Transport};
use crate::sip::location::{AddressOfRecord, Change, Location};
use crate::sip::message::Message;
use crate::sip::message::credentials::Credentials;
use crate::sip::message::header::HeaderName;
use crate::sip::message::limits::Limits;
use crate::sip::message::uri::Uri;
use crate::sip::reason::{Extra, Reason, Refusal};
use crate::sip::registrar::{Address, Overflow, Presented, Registrar, Settings};

/// What a request says.
#[derive(Clone, Copy)]
struct Register<'a> {
    uri: &'a str,
    to: &'a str,
    user: &'a str,
    password: &'a str,
    call_id: &'a str,
    cseq: u32,
    contacts: &'a str,
    lines: &'a str,
}

const REGISTER: Register<'static> = Register {
    uri: "sip:example.com",
    to: "<sip:alice@example.com>",
    user: "alice",
    password: "secret",
    call_id: "c1",
    cseq: 1,
    contacts: "Contact: <sip:alice@192.0.2.9>\r\n",
    lines: "",
};

struct Bench {
    domains: Arc<Domains>,
    location: Arc<Location>,
    authenticator: Arc<Authenticator>,
    gruus: Arc<Tokens>,
    start: Instant,
    elapsed: Duration,
}

impl Bench {
    fn new() -> Bench {
        let start = Instant::now();
        let keys = Keys {
            current: [7; 16],
            previous: None,
        };
        Bench {
            domains: Arc::new(domains(Settings::default())),
            location: Arc::new(Location::new([1; 16], start)),
            authenticator: Arc::new(Authenticator::new(keys, 1, 64)),
            gruus: Arc::new(Tokens::new(&[7; 16], None)),
            start,
            elapsed: Duration::ZERO,
        }
    }

    fn set(&mut self, settings: Settings) {
        self.domains = Arc::new(domains(settings));
    }

    /// The header lines of the 200.
    fn ok(&self, register: Register<'_>) -> String {
        let answer = self.answer(&register, 1);
        let request = self.request(&register, Some(&answer));
        self.verify_and_handle(&request).expect("accepted").1
    }

    fn refusal(&self, register: Register<'_>) -> Refusal {
        let answer = self.answer(&register, 1);
        let request = self.request(&register, Some(&answer));
        self.verify_and_handle(&request).expect_err("refused")
    }

    fn verify_and_handle(&self, request: &Message) -> Result<(Option<Change>, String), Refusal> {
        let verification = self.verify(request);
        self.handle(
            request,
            Presented::Checked {
                verification: &verification,
                uri_matches: true,
            },
        )
    }

    fn handle(&self, request: &Message, presented: Presented<'_>) -> Result<(Option<Change>, String), Refusal> {
        let registrar = Registrar {
            domains: &self.domains,
            location: &self.location,
            authenticator: &self.authenticator,
            gruus: &self.gruus,
            unix_now: UNIX_START + self.elapsed,
            now: self.start + self.elapsed,
        };
        let mut out = BytesMut::new();
        let address = Address::read(request, registrar.domains, registrar.location);
        let registrant = registrar.authenticate(request, &address, presented)?;
        let change = registrar.register(&registrant, request, &flow(), &mut out)?;
        Ok((change, String::from_utf8(out.to_vec()).unwrap()))
    }

    fn verify(&self, request: &Message) -> digest::Verification {
        let credentials = Credentials::parse(request.header(HeaderName::Authorization).unwrap()).unwrap();
        let domain = self.domains.find(b"example.com").unwrap();
        let unix_now = UNIX_START + self.elapsed;
        self.authenticator.verify(domain, b"REGISTER", &credentials, unix_now)
    }

    /// Credentials for a fresh nonce.
    fn answer(&self, register: &Register<'_>, nonce_count: u32) -> String {
        let mut challenge = BytesMut::new();
        let domain = self.domains.find(b"example.com").unwrap();
        let unix_now = UNIX_START + self.elapsed;
        self.authenticator
            .challenge(domain, Challenge::Www, false, unix_now, &mut challenge);
        let challenge = String::from_utf8(challenge.to_vec()).unwrap();
        let value = challenge.trim_end().strip_prefix("WWW-Authenticate: ").unwrap();
        let challenged = Challenged {
            method: b"REGISTER",
            uri: register.uri.as_bytes(),
            user: register.user.as_bytes(),
            password: register.password.as_bytes(),
            cnonce: "0a4f113b",
            nonce_count,
        };
        String::from_utf8(digest::response(value.as_bytes(), &challenged).unwrap()).unwrap()
    }

    fn request(&self, register: &Register<'_>, authorization: Option<&str>) -> Message {
        let Register {
            uri,
            to,
            call_id,
            cseq,
            contacts,
            lines,
            ..
        } = register;
        let authorization = authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
        let call_id = call_id.replace(' ', "-");
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: {to};tag=f\r\nTo: {to}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{contacts}{lines}{authorization}Content-Length: 0\r\n\r\n"
        );
        Message::parse(
            Bytes::from(text.replacen(";tag=1;tag=f", ";tag=f", 1)),
            &Limits::default(),
        )
        .unwrap()
    }

    fn aor(&self) -> AddressOfRecord {
        let uri = Uri::parse(b"sip:alice@example.com").unwrap();
        AddressOfRecord::new(&uri, &self.domains).unwrap().0
    }
}

fn domains(settings: Settings) -> Domains {
    let mut builder = UsersBuilder::new();
    for user in ["alice", "bob"] {
        let password = Zeroizing::new("secret".to_owned());
        builder.add_password(user.as_bytes(), "example.com", password).unwrap();
    }
    builder.set_identities(
        b"bob",
        vec!["sip:sales@sip.example.com".into(), "support@example.com".into()],
    );
    let users = Arc::new(builder.build([5; 16]));
    let domain = |name: &str, registration| Domain {
        name: name.into(),
        aliases: vec![format!("sip.{name}").into()],
        realm: name.into(),
        registration,
        uri_calling: UriCalling::Internal,
        fork: ForkOrder::Parallel,
        ring_timeout: None,
        registrar: settings.clone(),
        auth: digest::Settings::default(),
        users: users.clone(),
    };
    Domains::new(vec![
        domain("example.com", true),
        domain("other.org", true),
        domain("closed.org", false),
    ])
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.9:5062".parse().unwrap(),
        connection: None,
    }
}

/// The values of the Contact lines.
fn contacts(lines: &str) -> Vec<String> {
    let values = lines.lines().filter_map(|line| line.strip_prefix("Contact: "));
    values.map(str::to_owned).collect()
}

fn challenged(reason: Reason, stale: bool) -> Refusal {
    assert_eq!(reason.status(), 401);
    Refusal {
        reason,
        extra: Extra::Challenge { stale },
    }
}

const UNIX_START: Duration = Duration::from_secs(1_800_000_000);
