//! The four transaction machines through `Transactions`, without messages being made.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringbinder::sip::hop::Target;
use ringbinder::sip::message::Message;
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::transaction::{BranchId, KeyHasher, Kind, Matched, Received, ServerKey, Settings, Transactions};

use super::messages::{invite, options};
use super::world::flow;
use super::{OPERATIONS, Work};

/// How long until all transactions are over.
const ALL_OVER: Duration = Duration::from_secs(64);

/// INVITE server transaction: request, 100, 180, 200, and the ACK that is passed on.
pub fn server_invite() -> Work {
    server(Kind::Invite, &[100, 180, 200])
}

/// Non-INVITE server transaction: request, 200, and a retransmission that is answered again.
pub fn server_non_invite() -> Work {
    server(Kind::NonInvite, &[200])
}

/// INVITE client transaction: request, 100, 180, 200.
pub fn client_invite() -> Work {
    client(Kind::Invite, &[100, 180, 200])
}

/// Non-INVITE client transaction: request, 200.
pub fn client_non_invite() -> Work {
    client(Kind::NonInvite, &[200])
}

/// What ends [`OPERATIONS`] non-INVITE server transactions whose time is over, one at a time.
pub fn server_timers() -> Work {
    let mut machines = Machines::new();
    for request in &requests(Kind::NonInvite) {
        machines.now += Duration::from_millis(20);
        machines.serve(request, &[200]);
    }
    machines.now += Duration::from_secs(30);
    Work::new(move || {
        machines.now = machines.table.poll_timeout().expect("one is left");
        machines.table.handle_timeout(machines.now);
        machines.drain();
    })
}

fn server(kind: Kind, statuses: &'static [u16]) -> Work {
    let mut machines = Machines::new();
    let requests = requests(kind);
    for request in &requests {
        machines.serve(request, statuses);
    }
    machines.settle();
    let mut requests = requests.into_iter();
    let mut done = Vec::with_capacity(OPERATIONS);
    Work::new(move || {
        let request = super::next(&mut requests);
        machines.serve(&request, statuses);
        done.push(request);
    })
}

fn client(kind: Kind, statuses: &'static [u16]) -> Work {
    let mut machines = Machines::new();
    let run = |machines: &mut Machines| (0..OPERATIONS).map(|_| machines.learn(kind, statuses)).collect();
    let first: Vec<_> = run(&mut machines);
    machines.settle();
    let second: Vec<_> = run(&mut machines);
    // The same seed and the same steps make the same branches, so that the responses can be made before.
    let mut machines = Machines::new();
    for responses in &first {
        machines.ask(kind, responses);
    }
    machines.settle();
    let mut exchanges = second.into_iter();
    let mut done = Vec::with_capacity(OPERATIONS);
    Work::new(move || {
        let responses = super::next(&mut exchanges);
        machines.ask(kind, &responses);
        done.push(responses);
    })
}

/// A request, its key, and what the ACK to it has as a key.
struct Request {
    message: Message,
    key: ServerKey,
}

struct Machines {
    table: Transactions,
    now: Instant,
    payload: Bytes,
    target: Target,
}

impl Machines {
    fn new() -> Machines {
        let now = Instant::now();
        Machines {
            table: Transactions::new(Settings::default(), [9; 32], now),
            now,
            payload: Bytes::from(invite(0, 1, 1).bytes()),
            target: Target::Flow(flow(1)),
        }
    }

    fn settle(&mut self) {
        self.now += ALL_OVER;
        while self.table.poll_timeout().is_some_and(|due| due <= self.now) {
            self.table.handle_timeout(self.now);
            self.drain();
        }
        assert!(self.table.is_idle(), "transactions are left");
    }

    fn serve(&mut self, request: &Request, statuses: &[u16]) {
        let received = self.table.receive_request(&request.message, &request.key, self.now);
        assert_eq!(received, Received::New);
        let kind = Kind::of(request.message.method());
        let target = self.target.clone();
        let server = self.table.create_server(&request.key, kind, target, self.now);
        let server = server.expect("there is room");
        for status in statuses {
            self.table.respond(server, self.payload.clone(), *status, self.now);
        }
        if kind == Kind::NonInvite {
            self.table.receive_request(&request.message, &request.key, self.now);
        }
        self.drain();
    }

    fn ask(&mut self, kind: Kind, responses: &[Message]) {
        self.start(kind);
        for response in responses {
            let matched = self.table.receive_response(response, self.now);
            assert!(matches!(black_box(matched), Matched::Deliver { .. }));
        }
        self.drain();
    }

    /// Does what [`Machines::ask`] does, and returns the responses it needs.
    fn learn(&mut self, kind: Kind, statuses: &[u16]) -> Vec<Message> {
        let branch = self.start(kind);
        let responses: Vec<_> = statuses.iter().map(|status| response(kind, *status, &branch)).collect();
        for response in &responses {
            self.table.receive_response(response, self.now);
        }
        self.drain();
        responses
    }

    fn start(&mut self, kind: Kind) -> BranchId {
        let (client, branch) = self.table.create_client(kind, 1).expect("there is room");
        self.table
            .send_request(client, self.payload.clone(), self.target.clone(), self.now);
        branch
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.table.poll_transmit() {
            drop(black_box(transmit));
        }
        while let Some(event) = self.table.poll_event() {
            black_box(event);
        }
    }
}

fn requests(kind: Kind) -> Vec<Request> {
    let hasher = KeyHasher::new(&[4; 16]);
    let requests = (0..OPERATIONS).map(|number| {
        let draft = match kind {
            Kind::Invite => invite(number, 1, 1),
            Kind::NonInvite => options(number),
        };
        let message = parse(draft.bytes());
        let key = hasher.server_key(&message);
        Request { message, key }
    });
    requests.collect()
}

fn response(kind: Kind, status: u16, branch: &BranchId) -> Message {
    let branch = String::from_utf8_lossy(branch.as_bytes()).into_owned();
    let method = match kind {
        Kind::Invite => "INVITE",
        Kind::NonInvite => "OPTIONS",
    };
    let text = format!(
        "SIP/2.0 {status} Fine\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch}-0123456789abcdef\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bK-1;rport=5062;received=198.51.100.7\r\n\
         From: <sip:user00000@example.com>;tag=1\r\nTo: <sip:user00001@example.com>;tag=2\r\n\
         Call-ID: 1j9FpLxk3uxtm8tn-1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    );
    parse(text.into_bytes())
}

fn parse(bytes: Vec<u8>) -> Message {
    Message::parse(bytes.into(), &Limits::default()).expect("the benches make sound messages")
}
