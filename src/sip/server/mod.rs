//! The SIP server as a value: inputs go in, outputs come out, time is an argument.
//!
//! One [`Server`] is one shard. It matches transactions, then decides what a request is: for the registrar, for this
//! server itself, or to be forwarded.

mod answers;
mod dispatch;
mod edge;

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use siphasher::sip::SipHasher13;

use crate::sip::counts::Counts;
use crate::sip::hop::{ConnectionId, Flow, Hop, Target};
use crate::sip::keep_alive;
use crate::sip::location::Change;
use crate::sip::message::header::HeaderName;
use crate::sip::message::method::Method;
use crate::sip::message::{Malformed, Message, ParseError};
use crate::sip::proxy::Proxy;
use crate::sip::proxy::authorization::{self, Presented};
use crate::sip::proxy::engine::acknowledges_refusal;
use crate::sip::proxy::routing;
use crate::sip::proxy::validation::validate;
use crate::sip::reason::{Reason, Refusal};
use crate::sip::registrar::Address;
use crate::sip::resolution::{QueryId, Question};
use crate::sip::shared::Shared;
use crate::sip::transaction::{Cancelled, Received, ServerKey};
use dispatch::{add_in_dialog, template};

/// What a shard is told.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all inputs are messages, and a box each would be an allocation"
)]
pub enum Input {
    /// A message came, and was prepared outside the lock.
    Received(Prepared),
    /// Bytes came that are no message.
    Malformed {
        /// What is wrong with them, and what is left to answer.
        malformed: Malformed,
        /// Where they came from.
        flow: Flow,
    },
    /// A question is answered; without hops the name has none.
    Resolved {
        /// The question's id.
        query: QueryId,
        /// The hops, in the order to be tried.
        hops: Vec<Hop>,
    },
    /// A [`Output::Send`] could not be done.
    Unreachable {
        /// The origin given with it.
        origin: Origin,
    },
    /// A connection has ended. Every shard is told; the bindings made over it are another matter, once for all shards:
    /// see [`Location::close_connection`](crate::sip::location::Location::close_connection).
    FlowClosed {
        /// Which one.
        connection: ConnectionId,
    },
}

/// What a shard wants done.
#[derive(Debug)]
pub enum Output {
    /// A message is to be sent.
    Send {
        /// Its bytes.
        payload: Bytes,
        /// Where to.
        target: Target,
        /// To be given back in [`Input::Unreachable`] when it cannot be sent; without it nobody wants to know.
        origin: Option<Origin>,
    },
    /// A name is to be resolved; the answer comes as [`Input::Resolved`].
    Resolve {
        /// The question's id, to be given back.
        query: QueryId,
        /// The question.
        question: Question,
    },
    /// The bindings of an AOR have changed.
    Changed(Change),
    /// A request over this connection was not answered in time.
    Silent(ConnectionId),
}

/// Who sent a message; opaque to the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The shard to be told.
    pub shard: u16,
    /// The transaction within it.
    pub id: u64,
}

/// A message with all that could be found out about it outside the shard's lock.
#[derive(Debug)]
pub struct Prepared {
    /// The message.
    pub message: Message,
    /// The way it came by.
    pub flow: Flow,
    /// The keyed hash of its Call-ID, which decides the shard.
    pub call_id_hash: u64,
    /// The key of a request's server transaction.
    key: Option<ServerKey>,
    /// Its credentials, checked.
    presented: Presented,
    /// Of a REGISTER, for whom it is.
    address: Option<Result<Address, Reason>>,
}

impl Prepared {
    /// Nothing is found out yet; [`Prepared::identify`] and [`Prepared::authenticate`] do that where the message lies,
    /// because moving it is dear.
    #[inline]
    pub fn new(message: Message, flow: Flow) -> Prepared {
        Prepared {
            message,
            flow,
            call_id_hash: 0,
            key: None,
            presented: Presented::Nothing,
            address: None,
        }
    }

    /// Finds out which shard and which transaction the message belongs to, and for whom a REGISTER is.
    pub fn identify(&mut self, shared: &Shared) {
        let message = &self.message;
        self.call_id_hash = hash_call_id(shared, message.call_id());
        if !message.is_request() {
            return;
        }
        self.key = Some(shared.server_keys.server_key(message));
        let domains = &shared.settings.domains;
        self.address =
            (message.method() == Method::Register).then(|| Address::read(message, domains, &shared.location));
    }

    /// Touches what an identified REGISTER with credentials will read and change, so that it lies in the cache then:
    /// the user that the AOR is named after, nearly always the one that registers it, and the bindings. Worth the while
    /// for a batch of messages before the first of them goes on.
    pub fn warm(&self, shared: &Shared) {
        let Some(Ok(address)) = &self.address else { return };
        if !self.message.has(HeaderName::Authorization) {
            return;
        }
        if let Some(domain) = shared.settings.domains.get(address.domain) {
            domain.users.warm(address.aor.user());
        }
        shared.location.warm(address.place);
    }

    /// Checks the credentials of an identified request; consumes nothing.
    pub fn authenticate(&mut self, shared: &Shared, now: Instant) {
        let message = &self.message;
        if self.key.is_none() {
            return;
        }
        self.presented = match (&self.address, message.method()) {
            (Some(Ok(address)), _) => {
                let domain = shared.settings.domains.get(address.domain);
                authorization::present(shared, message, HeaderName::Authorization, domain, now)
            }
            // It is refused whatever its credentials are.
            (Some(Err(_)), _) | (None, Method::Ack | Method::Cancel) => Presented::Nothing,
            (None, _) => authorization::present(shared, message, HeaderName::ProxyAuthorization, None, now),
        };
    }

    /// The shard of `shards` that the message belongs to.
    pub fn shard(&self, shards: usize) -> usize {
        (self.call_id_hash % shards.max(1) as u64) as usize
    }
}

/// The shard that the remains of a malformed message belong to.
pub fn malformed_shard(shared: &Shared, malformed: &Malformed, shards: usize) -> usize {
    let hash = malformed
        .request
        .as_ref()
        .map_or(0, |request| hash_call_id(shared, request.call_id()));
    (hash % shards.max(1) as u64) as usize
}

/// Finds out about `message` what needs no state: pure, and run outside the shard's lock.
pub fn prepare(shared: &Shared, message: Message, flow: Flow, now: Instant) -> Prepared {
    let mut prepared = Prepared::new(message, flow);
    prepared.identify(shared);
    prepared.authenticate(shared, now);
    prepared
}

fn hash_call_id(shared: &Shared, call_id: &[u8]) -> u64 {
    SipHasher13::new_with_key(&shared.keys.hash).hash(call_id)
}

/// One shard.
pub struct Server {
    shared: Arc<Shared>,
    shard: u16,
    proxy: Proxy,
    /// The header lines of a 200 to REGISTER, while it is made.
    lines: BytesMut,
}

/// A refusal, and whether its receiver has proved who they are: then it is sent on a transaction and says why.
struct Refused {
    refusal: Refusal,
    is_authenticated: bool,
}

impl Server {
    /// An empty shard with number `shard`; `seed` is all the randomness it gets.
    pub fn new(shared: Arc<Shared>, shard: u16, seed: [u8; 32], now: Instant) -> Server {
        let proxy = Proxy::new(shared.clone(), shard, seed, now);
        Server {
            shared,
            shard,
            proxy,
            lines: BytesMut::new(),
        }
    }

    /// Takes one input in; what is to be done about it comes from [`Server::poll_output`].
    pub fn handle_input(&mut self, mut input: Input, now: Instant) {
        self.handle_input_in_place(&mut input, now);
    }

    /// The same for an input that is not moved for it; hops of an answer are taken out.
    pub fn handle_input_in_place(&mut self, input: &mut Input, now: Instant) {
        match input {
            Input::Received(prepared) if prepared.key.is_some() => self.receive_request(prepared, now),
            Input::Received(prepared) => {
                let (response, flow) = (&prepared.message, &prepared.flow);
                match keep_alive::receive_answer(&self.shared, response, flow, now) {
                    Some(change) => {
                        self.proxy.engine.counts.keep_alives_answered += 1;
                        self.proxy.engine.changes.extend(change);
                    }
                    None => self.proxy.receive_response(response, now),
                }
            }
            Input::Malformed { malformed, flow } => self.receive_malformed(malformed, flow, now),
            Input::Resolved { query, hops } => self.proxy.resolved(query.id, mem::take(hops), now),
            Input::Unreachable { origin } => self.proxy.unreachable(origin.id, now),
            Input::FlowClosed { connection } => self.proxy.flow_closed(*connection, now),
        }
    }

    /// Does what has become due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.proxy.handle_timeout(now);
    }

    /// When [`Server::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.proxy.engine.transactions.poll_timeout()
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(transmit) = self.proxy.engine.transactions.poll_transmit() {
            let origin = transmit.origin.map(|id| Origin { shard: self.shard, id });
            return Some(Output::Send {
                payload: transmit.payload,
                target: transmit.target,
                origin,
            });
        }
        if let Some((query, question)) = self.proxy.engine.poll_question() {
            return Some(Output::Resolve { query, question });
        }
        if let Some(change) = self.proxy.engine.changes.pop_front() {
            return Some(Output::Changed(change));
        }
        self.proxy.engine.silent.pop().map(Output::Silent)
    }

    /// Whether nothing is kept: no transaction, no timer.
    pub fn is_idle(&self) -> bool {
        self.proxy.is_idle()
    }

    /// Whether every request has had its final answer.
    pub fn is_settled(&self) -> bool {
        self.proxy.is_settled()
    }

    /// What has been counted since the start.
    pub fn counts(&self) -> &Counts {
        &self.proxy.engine.counts
    }

    /// How many server and client transactions there are.
    pub fn transactions(&self) -> (usize, usize) {
        let transactions = &self.proxy.engine.transactions;
        (transactions.servers(), transactions.clients())
    }

    fn receive_request(&mut self, prepared: &Prepared, now: Instant) {
        let (request, flow) = (&prepared.message, &prepared.flow);
        let Some(key) = prepared.key.as_ref() else { return };
        self.proxy.engine.counts.receive_request(request.method());
        match self.proxy.engine.transactions.receive_request(request, key, now) {
            Received::Absorbed => {
                self.proxy.engine.counts.retransmissions += 1;
                return self.proxy.drain_events(now);
            }
            // Over a stream the ACK ends its transaction at once.
            Received::Ack => return self.proxy.drain_events(now),
            Received::New | Received::AckFor2xx(_) => {}
        }
        match request.method() {
            Method::Ack => return self.receive_ack(request, flow, key, now),
            Method::Cancel => return self.receive_cancel(request, flow, key, now),
            _ => {}
        }
        if let Err(refused) = self.act(prepared, key, now) {
            self.refuse(prepared, key, refused, now);
        }
        self.proxy.drain_events(now);
    }

    /// An ACK that belongs to no server transaction here: of a 2xx, which has none (RFC 3261 §17.1.1.3), or of a
    /// refusal that was kept nowhere (§8.2.7). An ACK is never answered.
    fn receive_ack(&mut self, request: &Message, flow: &Flow, key: &ServerKey, now: Instant) {
        if acknowledges_refusal(&self.shared, request, key) {
            return;
        }
        let Ok(reach) = validate(&self.shared, request) else {
            return;
        };
        let routing = routing::preprocess(&self.shared, request, flow);
        self.proxy.candidates.clear();
        match &routing.token {
            Some((sides, sender)) => {
                let side = sides.other(*sender);
                add_in_dialog(&mut self.proxy.candidates, &self.shared, request, &routing, side, now);
            }
            None if routing.own_routes > 0 || routing.has_further_route => return,
            None => {
                if !self.proxy.add_answerer(request) {
                    return;
                }
            }
        }
        let template = template(reach, &routing, &Presented::Nothing, None);
        self.proxy.forward_ack(request, flow, &template, now);
    }

    /// RFC 3261 §9.2, §16.10: the CANCEL is answered at once, whatever becomes of its INVITE.
    fn receive_cancel(&mut self, request: &Message, flow: &Flow, key: &ServerKey, now: Instant) {
        let cancelled = self.proxy.engine.transactions.find_cancelled(key, now);
        if cancelled == Cancelled::Nothing {
            return self.refuse_stateless(request, flow, key, &Reason::NoTransaction.into(), now);
        }
        self.proxy.engine.answer(request, flow, key, 200, "OK", |_| {}, now);
        if let Cancelled::Invite(server) = cancelled {
            self.proxy.cancel(server, now);
        }
        self.proxy.drain_events(now);
    }

    /// RFC 3261 §16.3, §18.3: a 400, 505 or 513 when one can be built.
    fn receive_malformed(&mut self, malformed: &Malformed, flow: &Flow, now: Instant) {
        self.proxy.engine.counts.malformed += 1;
        let Some(request) = &malformed.request else { return };
        let reason = match malformed.error {
            ParseError::TooLarge => Reason::TooLarge,
            ParseError::Version => Reason::BadVersion,
            ParseError::TooManyHeaders
            | ParseError::TooManyVias
            | ParseError::LineTooLong
            | ParseError::StartLine
            | ParseError::HeaderLine
            | ParseError::Truncated
            | ParseError::Missing(_)
            | ParseError::Repeated(_)
            | ParseError::Value(_)
            | ParseError::ContentLength => Reason::Malformed,
        };
        tracing::debug!(error = %malformed.error, remote = %flow.remote, "malformed request");
        let key = self.shared.server_keys.server_key(request);
        self.refuse_stateless(request, flow, &key, &reason.into(), now);
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused {
            refusal,
            is_authenticated: false,
        }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Refused {
        Refusal::from(reason).into()
    }
}
