//! The simulation: several shards on one location service, virtual time, and a network that is a list of what has been
//! delivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringbinder::sip::digest::{self, Authenticator, UsersBuilder};
use ringbinder::sip::domain::{Domain, Domains, ForkOrder, UriCalling};
use ringbinder::sip::gruu::token::Tokens;
use ringbinder::sip::hop::{ConnectionId, Flow, Hop, Target, Transport};
use ringbinder::sip::location::{Change, Location};
use ringbinder::sip::message::Message;
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::registrar;
use ringbinder::sip::resolution::{Answer, Lookup, Means, QueryId, Question, RecordKind, Resolution, Srv};
use ringbinder::sip::server::{Input, Output, Server, malformed_shard, prepare};
use ringbinder::sip::shared::{Epoch, Keys, Listener, Settings, Shared};
use ringbinder::sip::transaction::{self, KeyHasher};

use super::phone::PASSWORD;
use super::{Got, Phone};

/// The world.
pub struct Sim {
    /// What time it is.
    pub now: Instant,
    /// What the shards share.
    pub shared: Arc<Shared>,
    /// What has arrived and was not received yet, in order.
    pub delivered: VecDeque<Got>,
    /// Where nothing can be sent to.
    pub unreachable: BTreeSet<(Transport, SocketAddr)>,
    /// Whether questions wait for [`Sim::answer_questions`].
    pub holds_questions: bool,
    /// What the server said of bindings.
    pub changes: Vec<Change>,
    /// Connections over which requests were not answered in time.
    pub silent: Vec<ConnectionId>,
    /// Whether tests send what is no message.
    pub sends_garbage: bool,
    /// Whether what passes is printed, to be seen when a test fails.
    pub is_traced: bool,
    start: Instant,
    servers: Vec<Server>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
    services: BTreeMap<String, Vec<Srv>>,
    questions: Vec<(QueryId, Question)>,
    closed: BTreeSet<ConnectionId>,
    connections: BTreeMap<(Transport, SocketAddr), ConnectionId>,
    last_number: u64,
}

/// Shards of the server. More than one, so that tests do not depend on everything being in the same.
const SHARDS: u16 = 3;
/// The key of Record-Route tokens, which all servers have unless a test says otherwise.
const TOKEN_KEY: [u8; 16] = [42; 16];
/// More timers than this at one instant mean that time stands still.
const TIMERS_AT_ONCE: usize = 100_000;

impl Sim {
    /// The server with the settings that the specification gives as defaults: `example.com`, also called
    /// `sip.example.com`, with alice, bob, carol, dave; and `example.org` with olga.
    pub fn new() -> Sim {
        Sim::with(|_| {})
    }

    /// The same, with changes to `example.com`.
    pub fn with(change: impl FnOnce(&mut Domain)) -> Sim {
        let mut domain = domain("example.com", &["alice", "bob", "carol", "dave"]);
        domain.aliases = vec!["sip.example.com".into()];
        change(&mut domain);
        Sim::serving(vec![domain, self::domain("example.org", &["olga"])], 1)
    }

    /// A server of `example.com`, with changes to what holds for all domains.
    pub fn with_settings(change: impl FnOnce(&mut Settings)) -> Sim {
        let mut settings = settings(vec![domain("example.com", &["alice", "bob", "carol", "dave"])]);
        change(&mut settings);
        Sim::of(settings, 1, TOKEN_KEY)
    }

    /// A server of `example.com` that has just started, whose Record-Route tokens are made with `key`.
    pub fn with_token_key(key: [u8; 16]) -> Sim {
        Sim::of(settings(vec![domain("example.com", &["alice", "bob"])]), 3, key)
    }

    /// A server of `domains` whose seeds and keys come from `seed`.
    pub fn serving(domains: Vec<Domain>, seed: u8) -> Sim {
        Sim::of(settings(domains), seed, TOKEN_KEY)
    }

    fn of(settings: Settings, seed: u8, token: [u8; 16]) -> Sim {
        let now = Instant::now();
        let nonce_keys = digest::Keys {
            current: [seed; 16],
            previous: None,
        };
        let shared = Arc::new(Shared {
            is_stopping: Default::default(),
            failures: ringbinder::sip::failures::Failures::new([9; 16]),
            health: ringbinder::sip::health::Health::new([9; 16], now),
            settings,
            location: Arc::new(Location::new([seed; 16], now)),
            authenticator: Authenticator::new(nonce_keys, u64::from(seed), 1 << 12),
            server_keys: KeyHasher::new(&[seed; 16]),
            epoch: Epoch {
                instant: now,
                unix: Duration::from_secs(1_800_000_000),
            },
            keys: Keys {
                token,
                hash: [seed; 16],
            },
            gruus: Tokens::new(&[seed; 16], None),
        });
        let servers = (0..SHARDS).map(|shard| {
            let mut own_seed = [seed; 32];
            own_seed[0] = shard as u8;
            Server::new(shared.clone(), shard, own_seed, now)
        });
        Sim {
            now,
            servers: servers.collect(),
            shared,
            delivered: VecDeque::new(),
            unreachable: BTreeSet::new(),
            holds_questions: false,
            changes: Vec::new(),
            silent: Vec::new(),
            sends_garbage: false,
            is_traced: true,
            start: now,
            hosts: BTreeMap::new(),
            services: BTreeMap::new(),
            questions: Vec::new(),
            closed: BTreeSet::new(),
            connections: BTreeMap::new(),
            last_number: 0,
        }
    }

    /// A number that was not given out before.
    pub fn unique(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// How long the world has existed.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Our address for `transport`.
    pub fn local(&self, transport: Transport, is_v6: bool) -> SocketAddr {
        let listeners = &self.shared.settings.listeners;
        let listener = listeners
            .iter()
            .find(|listener| listener.transport == transport && listener.bind.is_ipv6() == is_v6);
        listener.expect("there is one of each").bind
    }

    /// Lets a name have addresses.
    pub fn host(&mut self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.hosts.insert(name.to_owned(), addresses);
    }

    /// Lets a service have SRV records: priority, weight, port, target.
    pub fn service(&mut self, name: &str, records: &[(u16, u16, u16, &str)]) {
        let records = records.iter().map(|(priority, weight, port, target)| Srv {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: (*target).into(),
        });
        self.services.insert(name.to_owned(), records.collect());
    }

    /// Somebody at `address` who is no user of ours and did not come first: a peer that is found by resolution.
    pub fn peer(&mut self, transport: Transport, address: &str) -> Phone {
        let remote: SocketAddr = address.parse().unwrap();
        let number = self.unique();
        Phone {
            user: "peer".to_owned(),
            domain: "example.net".to_owned(),
            flow: Flow {
                transport,
                local: self.local(transport, remote.is_ipv6()),
                remote,
                connection: transport.is_reliable().then(|| self.connection(transport, remote)),
            },
            contact: format!("sip:peer@{address}"),
            tag: format!("tag-peer-{number}"),
        }
    }

    /// Bytes arrive at the server by `flow`.
    pub fn deliver(&mut self, flow: &Flow, bytes: Bytes) {
        self.trace("  ->", flow.remote, &bytes);
        match Message::parse(bytes, &self.shared.settings.message) {
            Ok(message) => {
                let prepared = prepare(&self.shared, message, *flow, self.now);
                let shard = prepared.shard(self.servers.len());
                self.input(shard, Input::Received(prepared));
            }
            Err(malformed) => {
                let shard = malformed_shard(&self.shared, &malformed, self.servers.len());
                self.input(shard, Input::Malformed { malformed, flow: *flow });
            }
        }
    }

    /// The connection of `phone` ends.
    pub fn close(&mut self, phone: &Phone) {
        let connection = phone.flow.connection.expect("a stream");
        self.closed.insert(connection);
        let location = Arc::clone(&self.shared.location);
        while location.close_connection(connection, self.now, 1, &mut self.changes) {}
        for shard in 0..self.servers.len() {
            self.input(shard, Input::FlowClosed { connection });
        }
    }

    /// Answers the questions that were held.
    pub fn answer_questions(&mut self) {
        for (query, question) in std::mem::take(&mut self.questions) {
            let hops = self.resolve(&question);
            self.input(usize::from(query.shard), Input::Resolved { query, hops });
        }
    }

    /// Lets `duration` pass, and every timer fire at its time.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.advance_to(end);
    }

    /// Lets time pass until `end`.
    pub fn advance_to(&mut self, end: Instant) {
        let mut fired = 0;
        while let Some(due) = self.next_timeout().filter(|due| *due <= end) {
            fired = if due > self.now { 0 } else { fired + 1 };
            assert!(fired < TIMERS_AT_ONCE, "time stands still");
            self.now = due.max(self.now);
            self.fire();
        }
        self.now = end;
    }

    /// When the next timer is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.servers.iter().filter_map(Server::poll_timeout).min()
    }

    /// The next message that arrived at `phone`.
    pub fn receive(&mut self, phone: &Phone) -> Option<Got> {
        let is_there = |got: &Got| got.flow.remote == phone.flow.remote && got.flow.transport == phone.flow.transport;
        let index = self.delivered.iter().position(is_there)?;
        self.delivered.remove(index)
    }

    /// The next message at `phone`, which must be of `kind`: a method or a status.
    pub fn expect(&mut self, phone: &Phone, kind: &str) -> Got {
        let Some(got) = self.receive(phone) else {
            panic!("{} got nothing instead of {kind}", phone.user);
        };
        assert_eq!(got.kind(), kind, "{} got\n{}", phone.user, got.text());
        got
    }

    /// The kinds of all that has arrived at `phone`.
    pub fn kinds(&mut self, phone: &Phone) -> Vec<String> {
        std::iter::from_fn(|| self.receive(phone))
            .map(|got| got.kind())
            .collect()
    }

    /// Nothing has arrived at `phone` that was not received.
    pub fn nothing_to(&mut self, phone: &Phone) {
        if let Some(got) = self.receive(phone) {
            panic!("{} also got\n{}", phone.user, got.text());
        }
    }

    /// Nothing has arrived anywhere that was not received.
    pub fn nothing_else(&self) {
        let rest: Vec<String> = self.delivered.iter().map(Got::text).collect();
        assert!(rest.is_empty(), "also arrived:\n{}", rest.join("\n"));
    }

    /// As when the process was told to end.
    pub fn stop(&mut self) {
        self.shared
            .is_stopping
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether no shard keeps anything or waits for any time.
    pub fn is_idle(&self) -> bool {
        self.servers
            .iter()
            .all(|server| server.is_idle() && server.poll_timeout().is_none())
    }

    fn fire(&mut self) {
        for shard in 0..self.servers.len() {
            if self.servers[shard].poll_timeout().is_some_and(|due| due <= self.now) {
                self.servers[shard].handle_timeout(self.now);
                self.drain(shard);
            }
        }
    }

    fn input(&mut self, shard: usize, input: Input) {
        self.servers[shard].handle_input(input, self.now);
        self.drain(shard);
    }

    /// Does what the shard wants done, and what follows from it.
    fn drain(&mut self, shard: usize) {
        while let Some(output) = self.servers[shard].poll_output() {
            let follows = match output {
                Output::Send {
                    payload,
                    target,
                    origin,
                } => match self.carry(payload, &target) {
                    true => None,
                    false => origin.map(|origin| Input::Unreachable { origin }),
                },
                Output::Resolve { query, question } if self.holds_questions => {
                    self.questions.push((query, question));
                    None
                }
                Output::Resolve { query, question } => {
                    let hops = self.resolve(&question);
                    Some(Input::Resolved { query, hops })
                }
                Output::Silent(connection) => {
                    self.silent.push(connection);
                    None
                }
                Output::Changed(change) => {
                    self.changes.push(change);
                    None
                }
            };
            if let Some(input) = follows {
                self.servers[shard].handle_input(input, self.now);
            }
        }
    }

    /// Brings a message to its target. Returns whether it could be sent.
    fn carry(&mut self, payload: Bytes, target: &Target) -> bool {
        let (transport, remote) = (target.transport(), target.remote());
        let connection = match target {
            Target::Flow(flow) => flow.connection,
            Target::Hop(_) if transport.is_reliable() => Some(self.connection(transport, remote)),
            Target::Hop(_) => None,
        };
        let is_closed = connection.is_some_and(|connection| self.closed.contains(&connection));
        if is_closed || self.unreachable.contains(&(transport, remote)) {
            self.trace("  X ", remote, &payload);
            return false;
        }
        self.trace("<-  ", remote, &payload);
        let message = match Message::parse(payload.clone(), &Limits::default()) {
            Ok(message) => message,
            // A response repeats what a request said, malformed or not.
            Err(_) if self.sends_garbage && payload.starts_with(b"SIP/2.0 ") => return true,
            Err(error) => panic!("{error}:\n{}", String::from_utf8_lossy(&payload)),
        };
        assert_eq!(message.bytes(), &payload, "bytes after the body");
        if transport.is_reliable() {
            assert!(
                message.header(HeaderName::ContentLength).is_some(),
                "a stream needs Content-Length"
            );
        }
        let flow = Flow {
            transport,
            local: target.local(),
            remote,
            connection,
        };
        let at = self.now;
        self.delivered.push_back(Got { message, flow, at });
        true
    }

    /// The connection that was opened to an address.
    fn connection(&mut self, transport: Transport, remote: SocketAddr) -> ConnectionId {
        let number = self.unique();
        *self
            .connections
            .entry((transport, remote))
            .or_insert(ConnectionId(1_000_000 + number))
    }

    fn resolve(&self, question: &Question) -> Vec<Hop> {
        let listeners = &self.shared.settings.listeners;
        let means = Means::of(listeners.iter().map(|listener| (listener.transport, listener.bind)));
        let mut resolution = Resolution::new(question.clone(), means);
        while !resolution.lookups().is_empty() {
            let answers: Vec<_> = resolution
                .lookups()
                .iter()
                .map(|lookup| Arc::new(self.look_up(lookup)))
                .collect();
            resolution.answer(&answers);
        }
        resolution.hops(|transport, remote| Some(self.local(transport, remote.is_ipv6())))
    }

    fn look_up(&self, lookup: &Lookup) -> Answer {
        let is_v4 = match lookup.kind {
            RecordKind::A => true,
            RecordKind::Aaaa => false,
            RecordKind::Srv => {
                let records = self.services.get(&*lookup.name).cloned();
                return records.map_or(Answer::Nothing, Answer::Srv);
            }
            RecordKind::Naptr => return Answer::Nothing,
        };
        let addresses = self.hosts.get(&*lookup.name).into_iter().flatten().copied();
        let addresses: Vec<_> = addresses.filter(|address| address.is_ipv4() == is_v4).collect();
        match addresses.is_empty() {
            true => Answer::Nothing,
            false => Answer::Addresses(addresses),
        }
    }

    fn trace(&self, way: &str, remote: SocketAddr, bytes: &[u8]) {
        if self.is_traced {
            let at = self.elapsed().as_secs_f64();
            println!("{at:.3} {way} {remote}\n{}", String::from_utf8_lossy(bytes));
        }
    }
}

/// A domain with all settings at their defaults.
pub fn domain(name: &str, users: &[&str]) -> Domain {
    let mut builder = UsersBuilder::new();
    for user in users {
        let added = builder.add_password(user.as_bytes(), name, PASSWORD.to_owned().into());
        added.unwrap();
    }
    builder.set_identities(b"carol", vec!["sip:reception@example.com".into()]);
    Domain {
        name: name.into(),
        aliases: Vec::new(),
        realm: name.into(),
        registration: true,
        uri_calling: UriCalling::default(),
        fork: ForkOrder::default(),
        ring_timeout: None,
        registrar: registrar::Settings::default(),
        auth: digest::Settings::default(),
        users: Arc::new(builder.build([3; 16])),
    }
}

fn settings(domains: Vec<Domain>) -> Settings {
    Settings {
        domains: Domains::new(domains),
        listeners: listeners(),
        local_addresses: Vec::new(),
        message: Limits::default(),
        transaction: transaction::Settings::default(),
        keep_alive: Default::default(),
        recurse: false,
    }
}

fn listeners() -> Vec<Listener> {
    let listener = |transport, bind: &str| Listener {
        transport,
        bind: bind.parse().unwrap(),
        advertise: None,
    };
    vec![
        listener(Transport::Udp, "192.0.2.1:5060"),
        listener(Transport::Tcp, "192.0.2.1:5060"),
        listener(Transport::Tls, "192.0.2.1:5061"),
        listener(Transport::Udp, "[2001:db8::1]:5060"),
        listener(Transport::Tcp, "[2001:db8::1]:5060"),
        listener(Transport::Tls, "[2001:db8::1]:5061"),
    ]
}
