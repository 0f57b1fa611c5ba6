//! One shard with all it shares, and what the transport does around it, without sockets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ringbinder::sip::digest::{self, Algorithm, Authenticator, UsersBuilder};
use ringbinder::sip::domain::{Domain, Domains, ForkOrder, UriCalling};
use ringbinder::sip::failures::Failures;
use ringbinder::sip::health::Health;
use ringbinder::sip::hop::{Flow, Target, Transport};
use ringbinder::sip::location::Location;
use ringbinder::sip::message::Message;
use ringbinder::sip::registrar;
use ringbinder::sip::server::{Input, Output, Server, prepare};
use ringbinder::sip::shared::{Epoch, Keys, Listener, Settings, Shared};
use ringbinder::sip::transaction::{self, KeyHasher};

use super::messages::{PASSWORD, user};

/// How many users `example.com` has.
pub const USERS: usize = 300;

/// How long until no transaction of what was done before is left: no more than timer C and what comes after it.
const ALL_OVER: Duration = Duration::from_secs(250);

/// A shard and the time.
pub struct World {
    /// What shards share.
    pub shared: Arc<Shared>,
    /// What time it is.
    pub now: Instant,
    server: Server,
}

/// A message that the server sent.
pub struct Sent {
    /// The message.
    pub message: Message,
    /// The way on which an answer to it comes.
    pub flow: Flow,
}

/// Messages that wait to be delivered, in one arena as the transport has it: none of them has a buffer of its own.
pub struct Inbox(std::vec::IntoIter<(Bytes, Flow)>);

impl World {
    /// A server of `example.com` with MD5 on UDP.
    pub fn new() -> World {
        World::with(Vec::from([Algorithm::Md5]))
    }

    /// The same with these digest algorithms.
    pub fn with(algorithms: Vec<Algorithm>) -> World {
        let now = Instant::now();
        let nonce_keys = digest::Keys {
            current: [1; 16],
            previous: None,
        };
        let shared = Arc::new(Shared {
            is_stopping: Default::default(),
            failures: Failures::new([2; 16]),
            health: Health::new([2; 16], now),
            settings: settings(algorithms),
            location: Arc::new(Location::new([3; 16], now)),
            authenticator: Authenticator::new(nonce_keys, 1, 1 << 12),
            server_keys: KeyHasher::new(&[4; 16]),
            epoch: Epoch {
                instant: now,
                unix: Duration::from_secs(1_800_000_000),
            },
            keys: Keys {
                token: [5; 16],
                hash: [6; 16],
            },
            gruus: ringbinder::sip::gruu::token::Tokens::new(&[8; 16], None),
        });
        World {
            server: Server::new(shared.clone(), 0, [7; 32], now),
            shared,
            now,
        }
    }

    /// What the daemon does with a datagram and what comes of it. What would be sent is dropped.
    pub fn deliver(&mut self, bytes: Bytes, flow: Flow) {
        self.receive(bytes, flow);
        while let Some(output) = self.server.poll_output() {
            drop(std::hint::black_box(output));
        }
    }

    /// Delivers a message and returns what the server sends.
    pub fn exchange(&mut self, bytes: impl Into<Bytes>, flow: Flow) -> Vec<Sent> {
        self.receive(bytes.into(), flow);
        let mut sent = Vec::new();
        while let Some(output) = self.server.poll_output() {
            if let Output::Send { payload, target, .. } = output {
                sent.push(Sent::new(payload, &target, &self.shared));
            }
        }
        sent
    }

    /// Lets so much time pass that all transactions are over, with each timer at its time. Their memory can then be used
    /// again, as in a server that has run for a while.
    pub fn settle(&mut self) {
        let end = self.now + ALL_OVER;
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.server.handle_timeout(self.now);
            while let Some(output) = self.server.poll_output() {
                drop(std::hint::black_box(output));
            }
        }
        self.now = end;
        assert!(self.server.is_idle(), "transactions are left");
    }

    fn receive(&mut self, bytes: Bytes, flow: Flow) {
        let message = Message::parse(bytes, &self.shared.settings.message).expect("the benches send sound messages");
        let prepared = prepare(&self.shared, message, flow, self.now);
        self.server.handle_input(Input::Received(prepared), self.now);
    }
}

impl Sent {
    fn new(payload: Bytes, target: &Target, shared: &Shared) -> Sent {
        Sent {
            message: Message::parse(payload, &shared.settings.message).expect("the server sends sound messages"),
            flow: Flow {
                transport: target.transport(),
                local: target.local(),
                remote: target.remote(),
                connection: None,
            },
        }
    }

    /// The value of the first line of header `name`.
    pub fn header(&self, name: &str) -> String {
        let value = self.message.lines_named(name).next();
        text(value.unwrap_or_else(|| panic!("no {name} in\n{}", self.message.bytes().escape_ascii())))
    }

    /// The lines of header `name`, each with its name and CRLF.
    pub fn lines(&self, name: &str) -> String {
        let lines = self
            .message
            .lines_named(name)
            .map(|value| format!("{name}: {}\r\n", text(value)));
        lines.collect()
    }
}

/// The message with this status, or of this method.
pub fn find<'a>(sent: &'a [Sent], kind: &str) -> &'a Sent {
    let is_it = |sent: &&Sent| match sent.message.status() {
        Some(status) => status.to_string() == kind,
        None => sent.message.method_bytes() == kind.as_bytes(),
    };
    sent.iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("the server sent no {kind}"))
}

impl Inbox {
    /// Puts `messages` into one arena.
    pub fn new(messages: Vec<(Vec<u8>, Flow)>) -> Inbox {
        let mut arena = BytesMut::with_capacity(messages.iter().map(|(bytes, _)| bytes.len()).sum());
        let mut inbox = Vec::with_capacity(messages.len());
        for (bytes, flow) in messages {
            arena.extend_from_slice(&bytes);
            inbox.push((arena.split().freeze(), flow));
        }
        Inbox(inbox.into_iter())
    }

    /// The next message.
    pub fn next(&mut self) -> (Bytes, Flow) {
        super::next(&mut self.0)
    }
}

/// The way by which phone `number` reaches the server.
pub fn flow(number: usize) -> Flow {
    let remote = [198, 51, 100 + (number / 250) as u8, 1 + (number % 250) as u8];
    Flow {
        transport: Transport::Udp,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: (remote, 5062).into(),
        connection: None,
    }
}

fn settings(algorithms: Vec<Algorithm>) -> Settings {
    Settings {
        domains: Domains::new(vec![domain(algorithms)]),
        listeners: vec![Listener {
            transport: Transport::Udp,
            bind: ([192, 0, 2, 1], 5060).into(),
            advertise: None,
        }],
        local_addresses: Vec::new(),
        message: Default::default(),
        transaction: transaction::Settings::default(),
        keep_alive: Default::default(),
        recurse: false,
    }
}

/// `example.com` and its users.
fn domain(algorithms: Vec<Algorithm>) -> Domain {
    let mut users = UsersBuilder::new();
    for number in 0..USERS {
        let added = users.add_password(user(number).as_bytes(), "example.com", PASSWORD.to_owned().into());
        added.expect("each name is another");
    }
    Domain {
        name: "example.com".into(),
        aliases: Vec::new(),
        realm: "example.com".into(),
        registration: true,
        uri_calling: UriCalling::default(),
        fork: ForkOrder::default(),
        ring_timeout: None,
        registrar: registrar::Settings::default(),
        auth: digest::Settings {
            algorithms,
            ..Default::default()
        },
        users: users.build([8; 16]).into(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
