//! Transactions (RFC 3261 §17, RFC 6026, RFC 4320): the four machines, one file per figure, and the table that owns
//! them, runs their timers and matches messages to them.
//!
//! One [`Transactions`] belongs to one shard and knows no lock, clock or socket: messages come in by
//! [`Transactions::receive_request`] and [`Transactions::receive_response`], time by [`Transactions::handle_timeout`];
//! what is to be sent and told comes out of [`Transactions::poll_transmit`] and [`Transactions::poll_event`].

mod action;
mod chunks;
mod client;
mod completed;
mod fifo;
mod follow_up;
mod id;
mod index;
mod invite_client;
mod invite_server;
mod key;
mod non_invite_client;
mod non_invite_server;
mod segments;
mod server;
mod slots;
mod timer;
mod wheel;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sip::hop::{Target, Transport};
use crate::sip::message::method::Method;
use bytes::Bytes;

pub use client::Matched;
pub use id::{BranchId, ClientId, ServerId};
pub use key::{KeyHasher, ServerKey};
pub use server::{Cancelled, Received};
pub use timer::{TIMER_C, Timer};
pub use wheel::{TICK, TimerHandle, Wheel};

use client::Client;
use completed::Completed;
use id::{Generator, Origin};
use index::Index;
use server::Server;
use slots::Slots;
use timer::Timing;

/// The base values of the timers, and the bound on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Estimate of the round-trip time.
    pub t1: Duration,
    /// The longest interval between retransmissions of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// How long a message may stay in the network.
    pub t4: Duration,
    /// How long a hop may be silent when there is another one to try.
    pub hop_timeout: Duration,
    /// Server transactions at a time, those included that only wait for copies; sixteen times as many client
    /// transactions, for their forks.
    pub max: usize,
}

/// Which of the machines a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For INVITE.
    Invite,
    /// For every other method. ACK has no transaction.
    NonInvite,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Its bytes.
    pub payload: Bytes,
    /// Where it goes.
    pub target: Target,
    /// What to give to [`Transactions::fail`] when it cannot be sent; `None`: nobody wants to know.
    pub origin: Option<u64>,
}

/// What happened to a transaction, or a timer of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// No response came to a request (timer B), or no final one (timer F).
    TimedOut {
        /// The transaction.
        client: ClientId,
        /// Its user.
        user: u64,
    },
    /// A request could not be sent.
    Unreachable {
        /// The transaction.
        client: ClientId,
        /// Its user.
        user: u64,
    },
    /// No final response came within 64*T1 after the CANCEL, or the CANCEL could not be sent: the INVITE counts as
    /// answered by 487 (RFC 3261 §9.1).
    CancelTimedOut {
        /// The transaction.
        client: ClientId,
        /// Its user.
        user: u64,
    },
    /// A client transaction is over for its user: at most copies of the final response are waited for. The last event
    /// of each whose request was sent.
    ClientTerminated {
        /// The transaction.
        client: ClientId,
        /// Its user.
        user: u64,
    },
    /// A response could not be sent. [`Transactions::redirect`] may lead it elsewhere.
    ReplyUnreachable {
        /// The transaction.
        server: ServerId,
    },
    /// A server transaction is over for its user: at most copies of the request are waited for. The last event of each.
    ServerTerminated {
        /// The transaction.
        server: ServerId,
    },
    /// A timer armed by [`Transactions::arm_user`] fired.
    UserTimer {
        /// As given when it was armed.
        user: u64,
        /// Its handle.
        timer: TimerHandle,
    },
}

/// All transactions of one shard.
pub struct Transactions {
    settings: Settings,
    generator: Generator,
    wheel: Wheel<Due>,
    servers: Slots<Server>,
    /// Slots of `servers` by the hash of their key.
    by_key: Index,
    /// Non-INVITE server transactions in Completed: timer J.
    completed_servers: Completed,
    /// INVITE server transactions in Confirmed: timer I.
    confirmed_servers: Completed,
    clients: Slots<Client>,
    /// INVITE client transactions in Completed: timer D.
    completed_invites: Completed,
    /// Non-INVITE client transactions in Completed: timer K.
    completed_clients: Completed,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// What a timer on the wheel is for.
#[derive(Clone, Copy, Debug)]
enum Due {
    Server(u32),
    Client(u32),
    User(u64),
}

/// How many timers one [`Transactions::handle_timeout`] lets fire, and how many transactions of each kind that have
/// waited long enough it lets go, so that other work gets its turn.
const EXPIRIES_PER_TURN: usize = 256;

/// Client transactions that there may be for each server transaction.
const CLIENTS_PER_SERVER: usize = 16;

/// The shortest T1: retransmissions must not come at one instant.
const SHORTEST_T1: Duration = TICK;

impl Default for Settings {
    /// The defaults of RFC 3261 Table 4.
    fn default() -> Settings {
        Settings {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            // As long as an INVITE or another request needs to be sent four times over UDP.
            hop_timeout: Duration::from_secs(4),
            max: 100_000,
        }
    }
}

impl Settings {
    fn timing(&self, transport: Transport) -> Timing {
        Timing {
            t1: self.t1.max(SHORTEST_T1),
            t2: self.t2.max(SHORTEST_T1),
            t4: self.t4,
            transport,
        }
    }
}

impl Kind {
    /// The kind of transaction for a request of this method.
    pub fn of(method: Method) -> Kind {
        if method == Method::Invite {
            Kind::Invite
        } else {
            Kind::NonInvite
        }
    }
}

impl Transactions {
    /// An empty table, whose time begins at `now`. From `seed` come the unguessable parts of ids and branches; each
    /// shard and each start needs its own.
    pub fn new(settings: Settings, seed: [u8; 32], now: Instant) -> Transactions {
        Transactions {
            settings,
            generator: Generator::new(&seed),
            wheel: Wheel::new(now),
            servers: Slots::new(),
            by_key: Index::new(),
            completed_servers: Completed::new(),
            confirmed_servers: Completed::new(),
            clients: Slots::new(),
            completed_invites: Completed::new(),
            completed_clients: Completed::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// An unguessable number.
    pub fn draw(&mut self) -> u64 {
        self.generator.next()
    }

    /// Takes over other settings: the bound at once, the timers as they are next started.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The message with this [`Transmit::origin`] could not be sent.
    pub fn fail(&mut self, origin: u64, now: Instant) {
        match Origin::from_bits(origin) {
            Some(Origin::Server(server)) => self.fail_server(server, now),
            Some(Origin::Client(client)) => self.fail_client(client, now),
            Some(Origin::Cancel(client)) => self.fail_cancel(client, now),
            None => {}
        }
    }

    /// Sends a message that belongs to no transaction, in its order among the others.
    pub fn send(&mut self, transmit: Transmit) {
        self.transmits.push_back(transmit);
    }

    /// Arms a timer of the user's own, timer C for instance.
    pub fn arm_user(&mut self, deadline: Instant, user: u64) -> TimerHandle {
        self.wheel.arm(deadline, Due::User(user))
    }

    /// Moves a timer of the user's. False: it has fired.
    pub fn rearm_user(&mut self, timer: TimerHandle, deadline: Instant) -> bool {
        self.wheel.rearm(timer, deadline)
    }

    /// Disarms a timer of the user's. False: it has fired; its event may still be in the queue.
    pub fn disarm_user(&mut self, timer: TimerHandle) -> bool {
        self.wheel.disarm(timer)
    }

    /// Lets timers fire that are due. At most `EXPIRIES_PER_TURN` at once: [`Transactions::poll_timeout`] says whether
    /// more are.
    pub fn handle_timeout(&mut self, now: Instant) {
        for completed in [
            &mut self.completed_servers,
            &mut self.confirmed_servers,
            &mut self.completed_invites,
            &mut self.completed_clients,
        ] {
            completed.expire(now, EXPIRIES_PER_TURN);
        }
        for _ in 0..EXPIRIES_PER_TURN {
            let Some((timer, due)) = self.wheel.pop(now) else {
                return;
            };
            match due {
                Due::Server(slot) => self.server_due(slot, now),
                Due::Client(slot) => self.client_due(slot, now),
                Due::User(user) => self.events.push_back(Event::UserTimer { user, timer }),
            }
        }
    }

    /// When [`Transactions::handle_timeout`] should next be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let completed = [
            self.completed_servers.poll_timeout(),
            self.confirmed_servers.poll_timeout(),
            self.completed_invites.poll_timeout(),
            self.completed_clients.poll_timeout(),
        ];
        completed.into_iter().chain([self.wheel.poll_timeout()]).flatten().min()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.servers() + self.clients()
    }

    /// How many server transactions there are.
    pub fn servers(&self) -> usize {
        self.servers.len() + self.completed_servers.len() + self.confirmed_servers.len()
    }

    /// How many client transactions there are, those included whose request is not sent yet.
    pub fn clients(&self) -> usize {
        self.clients.len() + self.completed_invites.len() + self.completed_clients.len()
    }

    /// Whether there are no transactions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there are no transactions, timers, messages or events.
    pub fn is_idle(&self) -> bool {
        self.is_empty() && self.wheel.is_empty() && self.transmits.is_empty() && self.events.is_empty()
    }
}

#[cfg(test)]
mod tests;
