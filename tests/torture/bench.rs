//! One shard of a server in virtual time, with a few phones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use ringbinder::sip::digest::{self, Authenticator, Challenged, UsersBuilder};
use ringbinder::sip::domain::{Domain, Domains, ForkOrder, UriCalling};
use ringbinder::sip::hop::{Flow, Transport};
use ringbinder::sip::location::{AddressOfRecord, ContactUpdate, Contacts, Location, Overflow, Update};
use ringbinder::sip::message::Message;
use ringbinder::sip::message::address::Parameters;
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::message::splice::Splice;
use ringbinder::sip::message::uri::Uri;
use ringbinder::sip::registrar;
use ringbinder::sip::server::{Input, Output, Server, prepare};
use ringbinder::sip::shared::{Epoch, Keys, Listener, Settings, Shared};
use ringbinder::sip::transaction::{self, KeyHasher};
use zeroize::Zeroizing;

pub struct Bench {
    shared: Arc<Shared>,
    server: Server,
    now: Instant,
}

/// Who has a phone.
const CALLED: [&str; 4] = [
    "sip:user@example.com",
    "sip:UserB@example.com",
    "sip:sips%3Auser%40example.com@example.com",
    "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com",
];
/// Who may register, and for whom.
const USER: &str = "user";
const PASSWORD: &str = "secret";
const IDENTITIES: [&str; 3] = [
    "sip:j.user@example.com",
    "sip:watson@example.com",
    "sip:null-%00-null@example.com",
];

impl Bench {
    /// With the phones of [`CALLED`].
    pub fn new() -> Bench {
        let bench = Bench::without_phones();
        let phone = flow([192, 0, 2, 7]);
        for uri in CALLED {
            let uri = Uri::parse(uri.as_bytes()).unwrap();
            let (aor, _) = AddressOfRecord::new(&uri, &bench.shared.settings.domains).unwrap();
            let contact = ContactUpdate {
                uri: Uri::parse(b"sip:phone@192.0.2.7").unwrap(),
                parameters: Parameters::default(),
                q: 1000,
                is_outbound: false,
                expires: Duration::from_secs(3600),
            };
            let update = Update {
                contacts: Contacts::Each(&[contact]),
                call_id: b"phone",
                cseq: 1,
                nonce_count: 0,
                flow: &phone,
                path: b"",
                max_contacts: 10,
                overflow: Overflow::Reject,
            };
            bench
                .shared
                .location
                .apply(&aor, &update, bench.now, &mut |_| {})
                .unwrap();
        }
        bench
    }

    pub fn without_phones() -> Bench {
        let now = Instant::now();
        let shared = Arc::new(Shared {
            is_stopping: Default::default(),
            failures: ringbinder::sip::failures::Failures::new([9; 16]),
            health: ringbinder::sip::health::Health::new([9; 16], now),
            settings: settings(),
            location: Arc::new(Location::new([1; 16], now)),
            authenticator: Authenticator::new(
                digest::Keys {
                    current: [2; 16],
                    previous: None,
                },
                0,
                16,
            ),
            server_keys: KeyHasher::new(&[3; 16]),
            epoch: Epoch {
                instant: now,
                unix: Duration::from_secs(1_800_000_000),
            },
            keys: Keys {
                token: [4; 16],
                hash: [5; 16],
            },
            gruus: ringbinder::sip::gruu::token::Tokens::new(&[8; 16], None),
        });
        let server = Server::new(shared.clone(), 0, [6; 32], now);
        Bench { shared, server, now }
    }

    /// What is sent because of this datagram.
    pub fn receive(&mut self, datagram: &Bytes) -> Vec<Bytes> {
        let flow = flow([192, 0, 2, 99]);
        let input = match Message::parse(datagram.clone(), &Limits::default()) {
            Ok(message) => Input::Received(prepare(&self.shared, message, flow, self.now)),
            Err(malformed) => Input::Malformed { malformed, flow },
        };
        self.server.handle_input(input, self.now);
        let mut sent = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { payload, .. } => sent.push(payload),
                Output::Resolve { .. } => panic!("every phone is reached over its flow"),
                Output::Changed(_) | Output::Silent(_) => {}
            }
        }
        sent
    }

    /// The reply to this REGISTER when it is repeated with credentials.
    pub fn register(&mut self, datagram: &Bytes) -> Message {
        let request = Message::parse(datagram.clone(), &Limits::default()).unwrap();
        let challenge = message(&self.receive(datagram)[0]);
        let challenged = Challenged {
            method: request.method_bytes(),
            uri: request.request_uri(),
            user: USER.as_bytes(),
            password: PASSWORD.as_bytes(),
            cnonce: "cnonce",
            nonce_count: 1,
        };
        let challenge = challenge.header(HeaderName::WwwAuthenticate).unwrap();
        let credentials = digest::response(challenge, &challenged).unwrap();
        let (mut text, mut repeated) = (BytesMut::new(), BytesMut::new());
        let mut splice = Splice::new(&request, &mut text);
        splice.append(|out| {
            out.put_slice(b"Authorization: ");
            out.put_slice(&credentials);
            out.put_slice(b"\r\n");
        });
        splice.write(&mut repeated);
        message(&self.receive(&repeated.freeze())[0])
    }
}

pub fn message(bytes: &Bytes) -> Message {
    Message::parse(bytes.clone(), &Limits::default()).unwrap()
}

/// The status of a response, which may copy a Via that is none.
pub fn status(bytes: &Bytes) -> Option<u16> {
    let digits = bytes.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    std::str::from_utf8(digits).unwrap().parse().ok()
}

fn settings() -> Settings {
    let realm = "example.com";
    let mut users = UsersBuilder::new();
    let password = Zeroizing::new(PASSWORD.to_owned());
    users.add_password(USER.as_bytes(), realm, password).unwrap();
    assert!(users.set_identities(USER.as_bytes(), IDENTITIES.map(Box::from).to_vec()));
    let domain = Domain {
        name: realm.into(),
        aliases: vec!["example.net".into(), "[2001:db8::10]".into()],
        realm: realm.into(),
        registration: true,
        uri_calling: UriCalling::Unrestricted,
        fork: ForkOrder::Parallel,
        ring_timeout: None,
        registrar: registrar::Settings::default(),
        auth: digest::Settings::default(),
        users: Arc::new(users.build([7; 16])),
    };
    Settings {
        domains: Domains::new(vec![domain]),
        listeners: vec![Listener {
            transport: Transport::Udp,
            bind: local(),
            advertise: None,
        }],
        local_addresses: Vec::new(),
        message: Limits::default(),
        recurse: false,
        transaction: transaction::Settings::default(),
        keep_alive: Default::default(),
    }
}

fn flow(remote: [u8; 4]) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: local(),
        remote: SocketAddr::from((remote, 5060)),
        connection: None,
    }
}

fn local() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 100], 5060))
}
