//! The server half of the table: requests find their transaction, responses go out through it (RFC 3261 §17.2).

use std::time::Instant;

use bytes::Bytes;
use siphasher::sip128::Hash128;

use crate::sip::hop::Target;
use crate::sip::message::Message;
use crate::sip::message::method::Method;
use crate::sip::transaction::action::ServerAction as Action;
use crate::sip::transaction::id::{Origin, ServerId};
use crate::sip::transaction::invite_server::{self, InviteServer};
use crate::sip::transaction::key::ServerKey;
use crate::sip::transaction::non_invite_server::{self, NonInviteServer};
use crate::sip::transaction::timer::{Timer, Timing};
use crate::sip::transaction::wheel::TimerHandle;
use crate::sip::transaction::{Due, Event, Kind, Transactions, Transmit};

/// What a request is to the transactions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It belongs to none: act on it, with [`Transactions::create_server`] or without.
    New,
    /// It is a retransmission; what was sent last has been sent again.
    Absorbed,
    /// It is the ACK to a 300-699; that was all.
    Ack,
    /// It is an ACK that belongs to no transaction, as that to a 2xx has one of its own, or to an INVITE that was
    /// accepted (RFC 6026 §7.1; senders that follow RFC 2543).
    AckFor2xx(Option<ServerId>),
}

/// What a CANCEL has to do with the INVITEs there are (RFC 3261 §9.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It matches none.
    Nothing,
    /// It matches one that has been refused and acknowledged: it has no effect.
    Over,
    /// It matches this one.
    Invite(ServerId),
}

/// A server transaction that its user may still have something to do with.
#[derive(Debug)]
pub(super) struct Server {
    key: Hash128,
    reply_to: Target,
    machine: Machine,
    timer: Option<TimerHandle>,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

/// What either machine can meet.
#[derive(Debug)]
enum Input {
    Request,
    Ack,
    Reply { payload: Bytes, status: u16 },
    NoAnswer,
    Timer(Timer),
    TransportError,
}

impl Transactions {
    /// Finds the transaction of a request, and does there what it asks for.
    pub fn receive_request(&mut self, request: &Message, key: &ServerKey, now: Instant) -> Received {
        let is_ack = request.method() == Method::Ack;
        let Some(slot) = self.find_server(key.own) else {
            return self.receive_copy(request.method(), key, now);
        };
        let input = if is_ack { Input::Ack } else { Input::Request };
        match self.drive_server(slot, input, now) {
            Action::PassAck => Received::AckFor2xx(self.server_id(slot)),
            Action::Nothing | Action::Send | Action::Resend | Action::Unreachable if is_ack => Received::Ack,
            Action::Nothing | Action::Send | Action::Resend | Action::Unreachable => Received::Absorbed,
        }
    }

    /// A request that none of the live transactions has: perhaps a copy of one that was answered, or its ACK.
    fn receive_copy(&mut self, method: Method, key: &ServerKey, now: Instant) -> Received {
        match method {
            Method::Invite if self.confirmed_servers.find(key.own, now).is_some() => Received::Absorbed,
            Method::Ack if self.confirmed_servers.find(key.own, now).is_some() => Received::Ack,
            Method::Invite => Received::New,
            Method::Ack => Received::AckFor2xx(None),
            _ => match self.completed_servers.find(key.own, now) {
                Some(found) => {
                    self.transmits.extend(self.completed_servers.answer(found, None));
                    Received::Absorbed
                }
                None => Received::New,
            },
        }
    }

    /// The INVITE transaction that the CANCEL of `key` cancels (RFC 3261 §9.2).
    pub fn find_cancelled(&mut self, key: &ServerKey, now: Instant) -> Cancelled {
        let Some(cancelled) = key.cancelled else {
            return Cancelled::Nothing;
        };
        if let Some(server) = self.find_server(cancelled).and_then(|slot| self.server_id(slot)) {
            return Cancelled::Invite(server);
        }
        match self.confirmed_servers.find(cancelled, now) {
            Some(_) => Cancelled::Over,
            None => Cancelled::Nothing,
        }
    }

    /// Whether there are less server transactions than [`super::Settings::max`].
    pub fn has_room(&mut self, now: Instant) -> bool {
        if self.servers() < self.settings.max {
            return true;
        }
        self.completed_servers.expire(now, EXPIRIES_WHEN_FULL);
        self.confirmed_servers.expire(now, EXPIRIES_WHEN_FULL);
        self.servers() < self.settings.max
    }

    /// Sends the final response to a new request other than INVITE, all of whose transaction this is: copies of the
    /// request get the response again. False: there was no room for it, and it was only sent.
    pub fn answer(&mut self, key: &ServerKey, reply_to: Target, payload: Bytes, now: Instant) -> bool {
        let has_room = self.has_room(now);
        let until = now + self.settings.timing(reply_to.transport()).duration(Timer::J);
        if has_room && until > now {
            self.completed_servers
                .insert(key.own, until, Some((&reply_to, &payload)), now);
        }
        self.send(Transmit {
            payload,
            target: reply_to,
            origin: None,
        });
        has_room
    }

    /// Starts the transaction of a new request. Its responses go to `reply_to` (§18.2.2). `None`: there are as many
    /// as [`super::Settings::max`].
    pub fn create_server(&mut self, key: &ServerKey, kind: Kind, reply_to: Target, now: Instant) -> Option<ServerId> {
        if !self.has_room(now) {
            return None;
        }
        let server = Server {
            key: key.own,
            reply_to,
            machine: Machine::start(kind),
            timer: None,
        };
        let (slot, generation) = self.servers.insert(self.generator.next() as u32, server)?;
        self.by_key.insert(key.own.h1 as u32, slot);
        Some(ServerId { slot, generation })
    }

    /// Sends a response and remembers it as long as the request may come again. False: the transaction is over, or has
    /// its final response already; nothing was sent.
    ///
    /// A 2xx to INVITE is passed on whenever it comes, and sent again by who sent it first (RFC 6026). A 408 to another
    /// request is not sent: RFC 4320 §4.2 wants silence.
    pub fn respond(&mut self, server: ServerId, payload: Bytes, status: u16, now: Instant) -> bool {
        if self.servers.named(server.slot, server.generation).is_none() {
            return false;
        }
        self.drive_server(server.slot, Input::Reply { payload, status }, now) == Action::Send
    }

    /// There will be no response: retransmissions are absorbed in silence (RFC 4320 §4.2). Not for INVITE, which always
    /// gets a final response.
    pub fn respond_never(&mut self, server: ServerId, now: Instant) {
        if self.servers.named(server.slot, server.generation).is_some() {
            self.drive_server(server.slot, Input::NoAnswer, now);
        }
    }

    /// Sends the responses of a transaction elsewhere from now on, beginning with the last (§18.2.2: when the
    /// connection of the request is gone). False: the transaction is over, or they go there already, in vain.
    pub fn redirect(&mut self, server: ServerId, reply_to: Target) -> bool {
        let Some(transaction) = self.servers.named(server.slot, server.generation) else {
            return false;
        };
        if transaction.reply_to == reply_to {
            return false;
        }
        transaction.reply_to = reply_to;
        self.resend(server.slot);
        true
    }

    pub(super) fn fail_server(&mut self, server: ServerId, now: Instant) {
        if self.servers.named(server.slot, server.generation).is_some() {
            self.drive_server(server.slot, Input::TransportError, now);
        }
    }

    pub(super) fn server_due(&mut self, slot: u32, now: Instant) {
        if let Some((_, server)) = self.servers.tenant(slot) {
            server.timer = None;
            self.settle_server(slot, now);
        }
    }

    /// One step of the machine and what follows from it.
    fn drive_server(&mut self, slot: u32, input: Input, now: Instant) -> Action {
        let action = self.step_server(slot, input, now);
        self.settle_server(slot, now);
        action
    }

    fn step_server(&mut self, slot: u32, input: Input, now: Instant) -> Action {
        let Some((generation, server)) = self.servers.tenant(slot) else {
            return Action::Nothing;
        };
        let timing = self.settings.timing(server.reply_to.transport());
        let machine = std::mem::replace(&mut server.machine, Machine::STEPPING);
        let (machine, action) = machine.step(&input, &timing, now);
        server.machine = machine;
        let server_id = ServerId { slot, generation };
        match server.machine {
            Machine::NonInvite(NonInviteServer::Completed { until }) if until > now => {
                let reply = match &input {
                    Input::Reply { payload, .. } if action == Action::Send => Some((&server.reply_to, &payload[..])),
                    _ => None,
                };
                self.completed_servers.insert(server.key, until, reply, now);
            }
            Machine::Invite(InviteServer::Confirmed { until }) if until > now => {
                self.confirmed_servers.insert(server.key, until, None, now);
            }
            Machine::NonInvite(_) | Machine::Invite(_) => {}
        }
        match (action, input) {
            (Action::Send, Input::Reply { payload, .. }) => self.transmits.push_back(Transmit {
                payload,
                target: server.reply_to.clone(),
                origin: Some(Origin::Server(server_id).to_bits()),
            }),
            (Action::Resend, _) => self.resend(slot),
            (Action::Unreachable, _) => self.events.push_back(Event::ReplyUnreachable { server: server_id }),
            (Action::Nothing | Action::Send | Action::PassAck, _) => {}
        }
        action
    }

    fn resend(&mut self, slot: u32) {
        let Some((generation, server)) = self.servers.tenant(slot) else {
            return;
        };
        if let Some(reply) = server.machine.message() {
            self.transmits.push_back(Transmit {
                payload: Bytes::copy_from_slice(reply),
                target: server.reply_to.clone(),
                origin: Some(Origin::Server(ServerId { slot, generation }).to_bits()),
            });
        }
    }

    /// Fires the timers that are due, those of zero among them, then arms the next one or ends the transaction.
    fn settle_server(&mut self, slot: u32, now: Instant) {
        loop {
            let Some((generation, server)) = self.servers.tenant(slot) else {
                return;
            };
            match server.machine.timer() {
                Some((timer, at)) if at <= now => {
                    self.step_server(slot, Input::Timer(timer), now);
                }
                Some((_, at)) => return self.wheel.set(&mut server.timer, at, Due::Server(slot)),
                None if server.machine.is_over() => return self.end_server(ServerId { slot, generation }),
                None => return self.wheel.clear(&mut server.timer),
            }
        }
    }

    fn end_server(&mut self, server: ServerId) {
        let Some(mut transaction) = self.servers.remove(server.slot) else {
            return;
        };
        self.wheel.clear(&mut transaction.timer);
        self.by_key.remove(transaction.key.h1 as u32, server.slot);
        self.events.push_back(Event::ServerTerminated { server });
    }

    fn find_server(&self, key: Hash128) -> Option<u32> {
        let is_it = |slot| self.servers.peek(slot).is_some_and(|server| server.key == key);
        self.by_key.find(key.h1 as u32, is_it)
    }

    fn server_id(&mut self, slot: u32) -> Option<ServerId> {
        let (generation, _) = self.servers.tenant(slot)?;
        Some(ServerId { slot, generation })
    }
}

/// How many of those that are due go when there is no room for another.
const EXPIRIES_WHEN_FULL: usize = 16;

impl Machine {
    /// Stands for a machine while that makes a step.
    const STEPPING: Machine = Machine::NonInvite(NonInviteServer::Trying);

    fn start(kind: Kind) -> Machine {
        match kind {
            Kind::Invite => Machine::Invite(InviteServer::start()),
            Kind::NonInvite => Machine::NonInvite(NonInviteServer::start()),
        }
    }

    fn step(self, input: &Input, timing: &Timing, now: Instant) -> (Machine, Action) {
        match self {
            Machine::Invite(state) => {
                use invite_server::Event;
                let event = match input {
                    Input::Request => Event::Invite,
                    Input::Ack => Event::Ack,
                    Input::Reply { payload, status: ..200 } => Event::Provisional(payload),
                    Input::Reply { status: 200..300, .. } => Event::Success,
                    Input::Reply { payload, status: 300.. } => Event::Failure(payload),
                    Input::NoAnswer => return (Machine::Invite(state), Action::Nothing),
                    Input::Timer(timer) => Event::Timer(*timer),
                    Input::TransportError => Event::TransportError,
                };
                let (state, action) = state.step(event, timing, now);
                (Machine::Invite(state), action)
            }
            Machine::NonInvite(state) => {
                use non_invite_server::Event;
                let event = match input {
                    Input::Request => Event::Request,
                    // The key of an ACK is that of an INVITE.
                    Input::Ack => return (Machine::NonInvite(state), Action::Nothing),
                    Input::Reply { payload, status: ..200 } => Event::Provisional(payload),
                    Input::Reply { status: 408, .. } | Input::NoAnswer => Event::NoAnswer,
                    Input::Reply { status: 200.., .. } => Event::Final,
                    Input::Timer(_) => return (Machine::NonInvite(state), Action::Nothing),
                    Input::TransportError => Event::TransportError,
                };
                let (state, action) = state.step(event, timing, now);
                (Machine::NonInvite(state), action)
            }
        }
    }

    fn timer(&self) -> Option<(Timer, Instant)> {
        match self {
            Machine::Invite(state) => state.timer(),
            Machine::NonInvite(_) => None,
        }
    }

    fn message(&self) -> Option<&[u8]> {
        match self {
            Machine::Invite(state) => state.message(),
            Machine::NonInvite(state) => state.message(),
        }
    }

    /// Whether its user has nothing more to do with it: it is terminated, or only waits for copies.
    fn is_over(&self) -> bool {
        matches!(
            self,
            Machine::Invite(InviteServer::Confirmed { .. } | InviteServer::Terminated)
                | Machine::NonInvite(NonInviteServer::Completed { .. })
        )
    }
}
