//! The table in virtual time: schedules, matching, absorption, CANCEL, limits.

mod cancel;
mod client;
mod server;

use super::*;

use std::net::SocketAddr;

use crate::sip::hop::{ConnectionId, Flow};
use crate::sip::message::Message;
use crate::sip::message::limits::Limits;

#[test]
fn user_timers_fire_unless_disarmed() {
    let mut bench = Bench::new(Transport::Udp);
    let first = bench.table.arm_user(bench.now + TIMER_C, 1);
    let second = bench.table.arm_user(bench.now + secs(1), 2);
    let third = bench.table.arm_user(bench.now + secs(1), 3);
    assert!(bench.table.disarm_user(second));
    assert!(bench.table.rearm_user(third, bench.now + secs(2)));

    assert_eq!(
        bench.run(secs(200)),
        [
            told(2.0, Event::UserTimer { user: 3, timer: third }),
            told(181.0, Event::UserTimer { user: 1, timer: first }),
        ]
    );
    assert!(!bench.table.disarm_user(first));
}

#[test]
fn one_turn_fires_a_bounded_number_of_timers() {
    let mut bench = Bench::new(Transport::Udp);
    for user in 0..EXPIRIES_PER_TURN as u64 + 1 {
        bench.table.arm_user(bench.now, user);
    }
    bench.table.handle_timeout(bench.now);
    let fired = std::iter::from_fn(|| bench.table.poll_event()).count();
    assert_eq!(fired, EXPIRIES_PER_TURN);
    assert!(bench.table.poll_timeout() <= Some(bench.now));
}

#[test]
fn a_transaction_stays_small() {
    assert!(size_of::<Server>() <= 208, "{}", size_of::<Server>());
    assert!(size_of::<Client>() <= 208, "{}", size_of::<Client>());
}

/// What the table did, and after how many seconds.
type Log = (f64, Did);

#[derive(Debug, PartialEq)]
enum Did {
    /// Sent a request of this method, or a response of this status.
    Sent(String),
    Told(Event),
}

fn sent(at: f64, what: &str) -> Log {
    (at, Did::Sent(what.to_owned()))
}

fn told(at: f64, event: Event) -> Log {
    (at, Did::Told(event))
}

fn delivered(client: ClientId) -> Matched {
    Matched::Deliver { client, user: 7 }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

struct Bench {
    table: Transactions,
    keys: KeyHasher,
    start: Instant,
    now: Instant,
    transport: Transport,
    branch: String,
}

impl Bench {
    fn new(transport: Transport) -> Bench {
        let now = Instant::now();
        Bench {
            table: Transactions::new(Settings::default(), [3; 32], now),
            keys: KeyHasher::new(&[5; 16]),
            start: now,
            now,
            transport,
            branch: "z9hG4bK776asdhds".to_owned(),
        }
    }

    /// Lets time pass, waking exactly when asked to, and writes down what happens.
    fn run(&mut self, duration: Duration) -> Vec<Log> {
        let (end, mut log) = (self.now + duration, Vec::new());
        self.drain(&mut log);
        while let Some(at) = self.table.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.table.handle_timeout(self.now);
            self.drain(&mut log);
        }
        self.now = end;
        log
    }

    fn drain(&mut self, log: &mut Vec<Log>) {
        let at = (self.now - self.start).as_secs_f64();
        while let Some(transmit) = self.table.poll_transmit() {
            let text = String::from_utf8(transmit.payload.to_vec()).unwrap();
            let word = text.strip_prefix("SIP/2.0 ").unwrap_or(&text);
            log.push(sent(at, word.split(' ').next().unwrap()));
        }
        while let Some(event) = self.table.poll_event() {
            log.push(told(at, event));
        }
    }

    fn start_client(&mut self, method: &str) -> ClientId {
        let kind = Kind::of(Method::from_bytes(method.as_bytes()));
        let (client, branch) = self.table.create_client(kind, 7).unwrap();
        self.branch = String::from_utf8(branch.as_bytes().to_vec()).unwrap();
        let (payload, target) = (self.request(method).bytes().clone(), self.target());
        assert!(self.table.send_request(client, payload, target, self.now));
        client
    }

    fn answer(&mut self, status: u16, method: &str) -> Matched {
        let response = self.response(status, method);
        self.table.receive_response(&response, self.now)
    }

    fn start_server(&mut self, method: &str) -> ServerId {
        assert_eq!(self.receive(method), Received::New);
        let key = self.keys.server_key(&self.request(method));
        let kind = Kind::of(Method::from_bytes(method.as_bytes()));
        let target = self.target();
        self.table.create_server(&key, kind, target, self.now).unwrap()
    }

    fn receive(&mut self, method: &str) -> Received {
        let request = self.request(method);
        let key = self.keys.server_key(&request);
        self.table.receive_request(&request, &key, self.now)
    }

    fn respond(&mut self, server: ServerId, status: u16) -> bool {
        let payload = self.response(status, "INVITE").bytes().clone();
        self.table.respond(server, payload, status, self.now)
    }

    fn request(&self, method: &str) -> Message {
        self.message(&format!("{method} sip:bob@example.com SIP/2.0"), method)
    }

    fn response(&self, status: u16, method: &str) -> Message {
        self.message(&format!("SIP/2.0 {status} Reason"), method)
    }

    fn message(&self, start_line: &str, method: &str) -> Message {
        let text = format!(
            "{start_line}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={}\r\nFrom: <sip:alice@example.com>;tag=a\r\n\
             To: <sip:bob@example.com>\r\nCall-ID: call\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n",
            self.branch
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    fn target(&self) -> Target {
        let address: SocketAddr = "192.0.2.9:5060".parse().unwrap();
        Target::Flow(Flow {
            transport: self.transport,
            local: address,
            remote: address,
            connection: self.transport.is_reliable().then_some(ConnectionId(1)),
        })
    }
}
