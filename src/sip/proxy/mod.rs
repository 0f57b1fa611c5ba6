//! The proxy (RFC 3261 §16): requests go out on branches, the best response comes back.
//!
//! [`Proxy`] owns the transactions and the response contexts of one shard. [`validation`] (§16.3), [`routing`] (§16.4),
//! [`authorization`] and [`targets`] (§16.5) are questions asked before; [`forwarding`] (§16.6) writes the copies;
//! [`response_context`] (§16.7-§16.9) chooses the answer; [`branches`] starts, cancels and ends the branches, [`failover`]
//! says how they go on when a flow fails.

pub mod authorization;
pub mod branches;
pub mod contexts;
pub mod engine;
pub mod failover;
pub mod forwarding;
mod hops;
pub mod own_address;
pub mod response_context;
pub mod routing;
pub mod targets;
pub mod token;
pub mod validation;

use std::hash::Hasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::sip::hop::{ConnectionId, Flow, Hop, Transport};
use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::message::method::Method;
use crate::sip::message::uri::Host;
use crate::sip::reason::Reason;
use crate::sip::resolution;
use crate::sip::shared::Shared;
use crate::sip::transaction::{ClientId, Event, Matched, ServerId, ServerKey};

use contexts::{ContextId, Contexts};
use engine::Engine;
use forwarding::Template;
use response_context::{Phase, Replies, ResponseContext, Search};
use targets::{Candidates, Way};

/// A request that goes on, with all that has been decided about it.
#[derive(Debug)]
pub struct Forwarding<'a> {
    /// The request.
    pub request: &'a Message,
    /// The way it came by.
    pub flow: Flow,
    /// The key of its server transaction.
    pub key: &'a ServerKey,
    /// What is the same in all copies.
    pub template: Template,
    /// Whether its sender is authenticated.
    pub is_authenticated: bool,
    /// How long an INVITE may ring, when the domain says less than timer C.
    pub ring_timeout: Option<Duration>,
}

/// The proxy of one shard.
pub struct Proxy {
    /// The transactions, and what is needed to send.
    pub engine: Engine,
    contexts: Contexts,
    /// The contexts by their server transactions.
    by_server: HashMap<ServerId, ContextId>,
    /// INVITEs answered with a 2xx, by Call-ID and caller's tag, for requests that come without a Route.
    answered: HashMap<u64, ContextId>,
    /// Whom the next request goes to; empty in between.
    pub candidates: Candidates,
    /// Room for searches to come.
    #[expect(clippy::vec_box, reason = "it is the boxes that are used again")]
    idle_searches: Vec<Box<Search>>,
}

/// The most searches that are kept without a request: as many as commonly are under way in one shard at a time.
const IDLE_SEARCHES: usize = 64;

impl Proxy {
    /// A proxy without transactions. `seed` is all its randomness.
    pub fn new(shared: Arc<Shared>, shard: u16, seed: [u8; 32], now: Instant) -> Proxy {
        Proxy {
            engine: Engine::new(shared, shard, seed, now),
            contexts: Contexts::default(),
            by_server: HashMap::new(),
            answered: HashMap::new(),
            candidates: Candidates::default(),
            idle_searches: Vec::new(),
        }
    }

    /// Forwards a request to [`Proxy::candidates`] on a server transaction of its own. The error is for a reply outside a
    /// transaction.
    pub fn forward(&mut self, forwarding: Forwarding<'_>, now: Instant) -> Result<(), Reason> {
        let Forwarding {
            request,
            flow,
            key,
            template,
            is_authenticated,
            ring_timeout,
        } = forwarding;
        let is_invite = request.method() == Method::Invite;
        let server = self
            .engine
            .create_server(request, &flow, key, now)
            .ok_or(Reason::Overloaded)?;
        if is_invite {
            self.engine.respond_trying(server, request, flow.remote, now);
        }
        let mut search = self.idle_searches.pop().unwrap_or_default();
        search.candidates.take(&mut self.candidates);
        search.request = Some((request.detached(), template));
        search.is_authenticated = is_authenticated;
        search.ring_deadline = ring_timeout.map(|timeout| now + timeout);
        let id = self.contexts.reserve();
        self.by_server.insert(server, id);
        let context = ResponseContext {
            server,
            flow,
            via_port: request.top_via().and_then(|via| via.port),
            via_name: via_name(request, &flow),
            replies: Replies::OverFlow,
            is_invite,
            dialog: is_invite.then(|| dialog_hash(&self.engine, request)).flatten(),
            phase: Phase::Collecting,
            has_server: true,
            timer: None,
            branches: SmallVec::with_capacity(search.candidates.list().len()),
            answers: Vec::new(),
            search: Some(search),
        };
        self.contexts.fill(id, context);
        self.with(id, |engine, context| branches::advance(engine, id, context, now));
        Ok(())
    }

    /// Forwards an ACK for a 2xx, which has no transaction (§16.11), to the first of [`Proxy::candidates`].
    pub fn forward_ack(&mut self, request: &Message, flow: &Flow, template: &Template, now: Instant) {
        self.engine.renew_flow(request, &mut self.candidates, now);
        self.engine.forward_stateless(request, flow, &self.candidates, template);
        self.candidates.clear();
    }

    /// Cancels the branches of the INVITE on `server` (§16.10), unless it has its answer.
    pub fn cancel(&mut self, server: ServerId, now: Instant) {
        let Some(id) = self.by_server.get(&server).copied() else {
            return;
        };
        self.with(id, |engine, context| {
            if context.phase == Phase::Collecting {
                context.phase = Phase::Cancelled;
                branches::cancel_all(engine, context, now);
                branches::advance(engine, id, context, now);
            }
        });
    }

    /// Adds to the candidates who answered the INVITE of this dialog, while its response context lives. Returns whether
    /// there is one.
    pub fn add_answerer(&mut self, request: &Message) -> bool {
        let found = || {
            let id = *self.answered.get(&dialog_hash(&self.engine, request)?)?;
            let to_tag = request.to_tag()?;
            let answers = &self.contexts.get(id)?.answers;
            answers.iter().find(|answer| answer.to_tag() == to_tag)
        };
        let Some(answer) = found() else { return false };
        let way = Way::Token {
            target: answer.target.clone(),
            owner: None,
        };
        self.candidates.add(answer.uri(), answer.path(), way, 0);
        true
    }

    /// A response (§16.7).
    pub fn receive_response(&mut self, message: &Message, now: Instant) {
        self.engine
            .counts
            .receive_response(message.status().unwrap_or_default());
        // §16.7 step 3: without a second Via it was meant for us, and only the response to our CANCEL is. It must not end
        // a branch either, for then nothing could be passed on and the caller would never be answered.
        let next_via = message.values(HeaderName::Via).nth(1);
        if message.method() != Method::Cancel && next_via.is_none_or(<[u8]>::is_empty) {
            return;
        }
        match self.engine.transactions.receive_response(message, now) {
            Matched::Deliver { client, user } => {
                let (id, branch) = ContextId::from_user(user);
                let answered = self.with(id, |engine, context| {
                    if context
                        .branches
                        .get(branch)
                        .is_none_or(|branch| branch.client != Some(client))
                    {
                        return None;
                    }
                    branches::receive_response(engine, id, context, branch, message, now);
                    let is_answer = context.is_invite
                        && context.phase == Phase::Answered
                        && message.status().is_some_and(|status| status / 100 == 2);
                    context.dialog.filter(|_| is_answer)
                });
                if let Some(Some(hash)) = answered
                    && self.contexts.get(id).is_some()
                {
                    self.answered.insert(hash, id);
                }
            }
            // RFC 6026 §8.9: a response that belongs to no transaction is not forwarded.
            Matched::Absorbed | Matched::Unmatched => {}
        }
        self.drain_events(now);
    }

    /// The answer to a question.
    pub fn resolved(&mut self, query: u64, hops: Vec<Hop>, now: Instant) {
        let (id, branch) = ContextId::from_user(query);
        self.with(id, |engine, context| match query == id.user() {
            true => engine.redirect_replies_to_name(context, hops, now),
            false => branches::resolved(engine, id, context, branch, hops, now),
        });
        self.drain_events(now);
    }

    /// A message could not be sent.
    pub fn unreachable(&mut self, origin: u64, now: Instant) {
        self.engine.transactions.fail(origin, now);
        self.drain_events(now);
    }

    /// A connection has ended: the INVITEs that wait for an answer on it fail.
    pub fn flow_closed(&mut self, connection: ConnectionId, now: Instant) {
        for user in self.engine.connection_users(connection) {
            let (id, branch) = ContextId::from_user(user);
            self.with(id, |engine, context| {
                failover::connection_lost(engine, id, context, branch, connection, now)
            });
        }
        self.drain_events(now);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.engine.transactions.handle_timeout(now);
        self.drain_events(now);
    }

    /// Whether nothing is kept: no request is under way, and nothing is left of earlier ones.
    pub fn is_idle(&self) -> bool {
        self.contexts.is_empty() && self.by_server.is_empty() && self.answered.is_empty() && self.engine.is_idle()
    }

    /// Whether every request has had its final answer.
    pub fn is_settled(&self) -> bool {
        self.contexts.iter().all(|context| context.phase == Phase::Answered)
    }

    /// Takes in what the transactions have to tell.
    pub fn drain_events(&mut self, now: Instant) {
        while let Some(event) = self.engine.transactions.poll_event() {
            self.handle_event(event, now);
        }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::TimedOut { client, user } => self.with_branch(client, user, |engine, id, context, branch| {
                branches::timed_out(engine, id, context, branch, now);
            }),
            Event::Unreachable { client, user } => self.with_branch(client, user, |engine, id, context, branch| {
                failover::unreachable(engine, id, context, branch, now);
            }),
            Event::CancelTimedOut { client, user } => {
                self.with_branch(client, user, |engine, id, context, branch| {
                    branches::silent_after_cancel(engine, id, context, branch, now);
                });
            }
            Event::ClientTerminated { client, user } => self.with_branch(client, user, |_, _, context, branch| {
                context.branches[branch].is_live = false;
            }),
            Event::ServerTerminated { server } => {
                if let Some(id) = self.by_server.remove(&server) {
                    self.with(id, |_, context| context.has_server = false);
                }
            }
            Event::ReplyUnreachable { server } => {
                if let Some(id) = self.by_server.get(&server).copied() {
                    self.with(id, |engine, context| engine.redirect_replies(id.user(), context));
                }
            }
            Event::UserTimer { user, timer } => {
                let (id, branch) = ContextId::from_user(user);
                self.with(id, |engine, context| match context.timer == Some(timer) {
                    true => branches::rung_out(engine, id, context, now),
                    false => failover::waited(engine, id, context, branch, timer, now),
                });
            }
        }
    }

    /// Lets `act` work on the branch whose present client transaction is `client`; an earlier one of the same branch
    /// has nothing to say any more.
    fn with_branch(
        &mut self,
        client: ClientId,
        user: u64,
        act: impl FnOnce(&mut Engine, ContextId, &mut ResponseContext, usize),
    ) {
        let (id, index) = ContextId::from_user(user);
        self.with(id, |engine, context| {
            if context
                .branches
                .get(index)
                .is_some_and(|branch| branch.client == Some(client))
            {
                act(engine, id, context, index);
            }
        });
    }

    /// Lets `act` work on a context, then gives up what it does not need any more: its search, or all of it.
    fn with<T>(&mut self, id: ContextId, act: impl FnOnce(&mut Engine, &mut ResponseContext) -> T) -> Option<T> {
        let context = self.contexts.get_mut(id)?;
        let result = act(&mut self.engine, context);
        let is_over = context.is_over();
        let search = match is_over {
            true => context.search.take(),
            false => context.take_ended_search(),
        };
        if let Some(search) = search {
            self.put_away(id, search);
        }
        if is_over {
            self.forget(id);
        }
        Some(result)
    }

    fn put_away(&mut self, id: ContextId, mut search: Box<Search>) {
        self.engine.copier.forget(id.user());
        if self.idle_searches.len() < IDLE_SEARCHES {
            search.clear();
            self.idle_searches.push(search);
        }
    }

    fn forget(&mut self, id: ContextId) {
        let Some(context) = self.contexts.remove(id) else {
            return;
        };
        self.engine.copier.forget(id.user());
        if let Some(timer) = context.timer {
            self.engine.transactions.disarm_user(timer);
        }
        if let Some(hash) = context.dialog
            && self.answered.get(&hash) == Some(&id)
        {
            self.answered.remove(&hash);
        }
    }
}

/// The host name in the Via of a request that came over TCP or TLS. Whoever uses WebSocket cannot be connected to.
fn via_name(request: &Message, flow: &Flow) -> Option<Box<str>> {
    match flow.transport {
        Transport::Tcp | Transport::Tls => match request.top_via()?.host {
            Host::Name(name) => resolution::checked_name(name),
            Host::V4(_) | Host::V6(_) => None,
        },
        Transport::Udp | Transport::Ws | Transport::Wss => None,
    }
}

/// The hash of a request's Call-ID and From tag. What a response says of them is not asked: it may be anything.
fn dialog_hash(engine: &Engine, request: &Message) -> Option<u64> {
    let tag = request.from_tag()?;
    let mut hasher = SipHasher13::new_with_key(&engine.shared.keys.hash);
    hasher.write(&(request.call_id().len() as u64).to_be_bytes());
    hasher.write(request.call_id());
    hasher.write(tag);
    Some(hasher.finish())
}
