//! The storm's clock and network: what happens when, and what becomes of a message on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringbinder::sip::hop::Transport;

use super::callee::Leg;
use super::caller::Call;
use super::texter::Text;
use crate::support::{Draft, Got, Phone, Random, Sim};

/// How bad the network is.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Datagrams that are lost.
    pub loss_percent: u64,
    /// Datagrams that come twice.
    pub repeat_percent: u64,
    /// Messages that come with a byte changed as well.
    pub garbage_percent: u64,
    /// The most that a datagram is late.
    pub jitter: Duration,
    /// The most that a timer is late, as on a busy machine.
    pub lag: Duration,
    /// How many ends go away in one way or another.
    pub accidents: usize,
}

impl Faults {
    /// A network without faults.
    pub fn none(seed: u64) -> Faults {
        Faults {
            seed,
            loss_percent: 0,
            repeat_percent: 0,
            garbage_percent: 0,
            jitter: Duration::ZERO,
            lag: Duration::ZERO,
            accidents: 0,
        }
    }
}

/// A phone, as caller and as callee.
pub struct End {
    pub phone: Phone,
    /// It says and hears nothing any more.
    pub is_gone: bool,
    /// Something happened to it, so that nothing can be said of its calls.
    pub is_doubtful: bool,
    /// Its calls, by Call-ID.
    pub calls: BTreeMap<String, Call>,
    /// The INVITEs that came to it, by branch.
    pub legs: BTreeMap<String, Leg>,
    /// The MESSAGEs it sent, by Call-ID.
    pub texts: BTreeMap<String, Text>,
    /// What it said to MESSAGEs that came, by branch.
    pub replies: BTreeMap<String, Option<Draft>>,
}

impl End {
    pub fn new(phone: Phone) -> End {
        End {
            phone,
            is_gone: false,
            is_doubtful: false,
            calls: BTreeMap::new(),
            legs: BTreeMap::new(),
            texts: BTreeMap::new(),
            replies: BTreeMap::new(),
        }
    }
}

/// Something that will happen.
pub enum Event {
    ToServer { end: usize, bytes: Bytes },
    ToEnd { end: usize, got: Box<Got> },
    Call { end: usize, uri: String },
    Text { end: usize, uri: String },
    Cancel { end: usize, call_id: String },
    HangUp { end: usize, call_id: String, tag: String },
    Ring { end: usize, branch: String },
    Answer { end: usize, branch: String },
    Resend { end: usize, what: Resend, wait: Duration },
    Accident { end: usize },
    Recover { end: usize },
}

/// What an end sends again until it is answered.
#[derive(Clone)]
pub enum Resend {
    Invite { call_id: String },
    Text { call_id: String },
    Cancel { call_id: String },
    Bye { call_id: String, tag: String },
    Final { branch: String },
}

/// Everything.
pub struct Storm {
    pub sim: Sim,
    pub random: Random,
    pub ends: Vec<End>,
    /// When the first provisional response of a branch reached the server.
    pub rung: BTreeMap<String, Instant>,
    /// The calls whose callers were sent a 2xx.
    pub accepted: BTreeSet<String>,
    faults: Faults,
    agenda: BTreeMap<(Instant, u64), Event>,
    events: u64,
    /// When the last message of a stream arrives: they do not overtake each other.
    in_order: BTreeMap<(usize, bool), Instant>,
}

/// The first wait before something is sent again (T1), and the longest (T2).
pub const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// More would be a storm that does not end.
const MAX_EVENTS: u64 = 200_000;

impl Storm {
    pub fn new(sim: Sim, random: Random, faults: Faults, ends: Vec<End>) -> Storm {
        Storm {
            sim,
            random,
            ends,
            rung: BTreeMap::new(),
            accepted: BTreeSet::new(),
            faults,
            agenda: BTreeMap::new(),
            events: 0,
            in_order: BTreeMap::new(),
        }
    }

    /// Whether phones go away in it.
    pub fn has_accidents(&self) -> bool {
        self.faults.accidents > 0
    }

    /// Some time below `millis`.
    pub fn time(&mut self, millis: u64) -> Duration {
        Duration::from_millis(self.random.below(millis))
    }

    /// Lets `event` happen at `at`.
    pub fn at(&mut self, at: Instant, event: Event) {
        self.events += 1;
        assert!(self.events < MAX_EVENTS, "seed {}: it does not end", self.faults.seed);
        self.agenda.insert((at, self.events), event);
    }

    /// Lets `event` happen after `wait`.
    pub fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.sim.now + wait, event);
    }

    /// Runs until nothing is left to happen, at the ends or at the server.
    pub fn run(&mut self) {
        loop {
            let next = self.agenda.keys().next().map(|(at, _)| *at);
            let lag = self.time(1 + self.faults.lag.as_millis() as u64);
            match (next, self.sim.next_timeout().map(|due| due + lag)) {
                (None, None) => return,
                (Some(at), due) if due.is_none_or(|due| at < due) => {
                    self.sim.now = self.sim.now.max(at);
                    if let Some((_, event)) = self.agenda.pop_first() {
                        self.happen(event);
                    }
                }
                (_, Some(late)) => {
                    self.sim.now = self.sim.now.max(late);
                    self.sim.advance_to(self.sim.now);
                }
                (Some(_), None) => unreachable!("a time is less than none"),
            }
            self.collect();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToServer { end, bytes } => self.arrive(end, bytes),
            Event::ToEnd { end, .. } if self.ends[end].is_gone => {}
            Event::ToEnd { end, got } => match got.message.is_request() {
                true => self.receive_request(end, &got),
                false => self.receive_response(end, &got),
            },
            Event::Call { end, uri } => self.call(end, &uri),
            Event::Text { end, uri } => self.text(end, &uri),
            Event::Cancel { end, call_id } => self.cancel(end, &call_id),
            Event::HangUp { end, call_id, tag } => self.hang_up(end, &call_id, &tag),
            Event::Ring { end, branch } => self.ring(end, &branch),
            Event::Answer { end, branch } => self.answer(end, &branch),
            Event::Resend { end, what, wait } => self.resend(end, what, wait),
            Event::Accident { end } => self.accident(end),
            Event::Recover { end } => {
                let flow = self.ends[end].phone.flow;
                self.sim.unreachable.remove(&(flow.transport, flow.remote));
            }
        }
    }

    /// Sends `draft` from `end` into the network.
    pub fn send(&mut self, end: usize, draft: &Draft) {
        if !self.ends[end].is_gone {
            let bytes = draft.bytes();
            for at in self.arrivals(end, true) {
                let bytes = bytes.clone();
                self.at(at, Event::ToServer { end, bytes });
            }
        }
    }

    /// Sends again what has not been answered, ever more slowly, for 64*T1.
    fn resend(&mut self, end: usize, what: Resend, wait: Duration) {
        let is_over = wait > T1 * 64;
        if is_over || self.ends[end].is_gone {
            return;
        }
        let draft = match &what {
            Resend::Invite { .. } | Resend::Cancel { .. } | Resend::Bye { .. } => self.unanswered(end, &what),
            Resend::Text { call_id } => self.unanswered_text(end, call_id),
            Resend::Final { branch } => self.unacknowledged(end, branch),
        };
        let Some(draft) = draft else { return };
        self.send(end, &draft);
        let next = wait * 2;
        self.after(next.min(T2), Event::Resend { end, what, wait: next });
    }

    fn arrive(&mut self, end: usize, bytes: Bytes) {
        if self.ends[end].is_gone {
            return;
        }
        let flow = self.ends[end].phone.flow;
        if self.random.chance(self.faults.garbage_percent) {
            let mut garbage = bytes.to_vec();
            for _ in 0..1 + self.random.below(3) {
                let index = self.random.below(garbage.len() as u64) as usize;
                garbage[index] = self.random.next() as u8;
            }
            self.sim.deliver(&flow, garbage.into());
        }
        if let Some(branch) = provisional_branch(&bytes) {
            let now = self.sim.now;
            self.rung.entry(branch).or_insert(now);
        }
        self.sim.deliver(&flow, bytes);
    }

    /// Takes what the server has sent and puts it on its way.
    fn collect(&mut self) {
        while let Some(got) = self.sim.delivered.pop_front() {
            if self.faults.garbage_percent > 0 && !is_readable(&got) {
                continue;
            }
            if got.method() == "CANCEL" && got.message.is_request() && self.faults.garbage_percent == 0 {
                let seed = self.faults.seed;
                assert!(
                    self.rung.contains_key(got.branch()),
                    "seed {seed}: CANCEL before a provisional response"
                );
            }
            if got.method() == "INVITE" && got.status() / 100 == 2 {
                self.accepted.insert(got.header("Call-ID").to_owned());
            }
            let is_at = |end: &End| {
                let flow = end.phone.flow;
                (flow.remote, flow.transport) == (got.flow.remote, got.flow.transport)
            };
            let Some(end) = self.ends.iter().position(is_at) else {
                continue;
            };
            for at in self.arrivals(end, false) {
                let got = Box::new(got.clone());
                self.at(at, Event::ToEnd { end, got });
            }
        }
    }

    /// When a message arrives: not at all, once, or twice.
    fn arrivals(&mut self, end: usize, is_to_server: bool) -> Vec<Instant> {
        let now = self.sim.now;
        if self.ends[end].phone.flow.transport.is_reliable() {
            let late = now + Duration::from_millis(1) + self.time(20);
            let last = self.in_order.entry((end, is_to_server)).or_insert(late);
            *last = late.max(*last);
            return vec![*last];
        }
        let mut arrivals = Vec::new();
        if !self.random.chance(self.faults.loss_percent) {
            arrivals.push(());
        }
        if self.random.chance(self.faults.repeat_percent) {
            arrivals.push(());
        }
        let jitter = self.faults.jitter.as_millis() as u64;
        let mut late = || now + Duration::from_millis(1 + self.random.below(jitter + 1));
        arrivals.into_iter().map(|()| late()).collect()
    }

    /// Something happens to an end: it falls silent, its connection ends, or it cannot be reached for a while.
    fn accident(&mut self, end: usize) {
        let phone = self.ends[end].phone.clone();
        self.ends[end].is_doubtful = true;
        if phone.flow.connection.is_some() {
            self.ends[end].is_gone = true;
            self.sim.close(&phone);
        } else if self.random.chance(50) {
            self.ends[end].is_gone = true;
        } else {
            self.sim.unreachable.insert((phone.flow.transport, phone.flow.remote));
            let wait = self.time(20_000);
            self.after(wait, Event::Recover { end });
        }
    }
}

/// A transport: most phones use UDP.
pub fn transport(random: &mut Random) -> Transport {
    match random.below(5) {
        0 => Transport::Tcp,
        1 => Transport::Tls,
        _ => Transport::Udp,
    }
}

/// Whether a message is good enough for the ends, which are less patient than the server.
fn is_readable(got: &Got) -> bool {
    std::str::from_utf8(got.message.bytes()).is_ok()
        && (got.has("Contact") || got.method() != "INVITE" || got.status() >= 300)
}

/// The branch of an INVITE's provisional response.
fn provisional_branch(bytes: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    if !text.starts_with("SIP/2.0 1") || !text.contains(" INVITE\r\n") {
        return None;
    }
    let branch = text.split("branch=").nth(1)?;
    let end = branch.find([';', '\r', ','])?;
    Some(branch[..end].to_owned())
}
