//! What a shard sends with: its transactions, its output buffer, its open questions.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use super::forwarding::{self, Copier, Draft, Template};
use super::response_context::{Replies, ResponseContext, Search};
use super::targets::{self, Candidates, Way};
use super::token;
use super::validation::{HEX_LENGTH, hex};
use crate::sip::counts::Counts;
use crate::sip::hop::{ConnectionId, Flow, Hop, Target};
use crate::sip::location::Change;
use crate::sip::message::header::HeaderName;
use crate::sip::message::splice::Splice;
use crate::sip::message::uri::Uri;
use crate::sip::message::{Message, reply};
use crate::sip::proxy::authorization::challenging_domain;
use crate::sip::reason::Reason;
use crate::sip::resolution::{QueryId, Question, QuestionHost};
use crate::sip::shared::Shared;
use crate::sip::transaction::{Kind, ServerId, ServerKey, Transactions, Transmit};

/// The means of one shard.
pub struct Engine {
    /// What all shards share.
    pub shared: Arc<Shared>,
    /// The transactions of this shard.
    pub transactions: Transactions,
    /// What this shard has counted.
    pub counts: Counts,
    shard: u16,
    questions: VecDeque<(QueryId, Question)>,
    /// INVITE branches that wait for an answer on a stream connection.
    by_connection: HashMap<ConnectionId, Vec<u64>>,
    /// Writes the forwarded requests.
    pub copier: Copier,
    /// What failed branches have changed of bindings.
    pub changes: VecDeque<Change>,
    /// Connections over which a request was not answered in time.
    pub silent: Vec<ConnectionId>,
    arena: BytesMut,
    text: BytesMut,
}

impl Engine {
    /// No transactions, nothing to send.
    pub fn new(shared: Arc<Shared>, shard: u16, seed: [u8; 32], now: Instant) -> Engine {
        let transactions = Transactions::new(shared.settings.transaction, seed, now);
        Engine {
            shared,
            transactions,
            counts: Counts::default(),
            shard,
            questions: VecDeque::new(),
            by_connection: HashMap::new(),
            copier: Copier::default(),
            changes: VecDeque::new(),
            silent: Vec::new(),
            arena: BytesMut::new(),
            text: BytesMut::new(),
        }
    }

    /// The next question to be asked.
    pub fn poll_question(&mut self) -> Option<(QueryId, Question)> {
        self.questions.pop_front()
    }

    /// Asks for the sender of a request at `source` where `question` leads; the answer names `user`.
    pub fn ask(&mut self, user: u64, source: IpAddr, mut question: Question) {
        question.source = Some(source);
        question.seed = self.transactions.draw();
        self.questions.push_back((
            QueryId {
                shard: self.shard,
                id: user,
            },
            question,
        ));
    }

    /// A server transaction for `request`; none when there are as many as there may be.
    pub fn create_server(&mut self, request: &Message, flow: &Flow, key: &ServerKey, now: Instant) -> Option<ServerId> {
        let kind = Kind::of(request.method());
        let server = self
            .transactions
            .create_server(key, kind, reply_target(request, flow), now);
        self.counts.transactions_refused += u64::from(server.is_none());
        server
    }

    /// Writes a message with `write` and returns it as it is to be sent.
    pub fn compose(&mut self, write: impl FnOnce(&Shared, &mut BytesMut, &mut BytesMut)) -> Bytes {
        if self.arena.capacity() < ARENA_LOW {
            self.arena.reserve(ARENA);
        }
        write(&self.shared, &mut self.text, &mut self.arena);
        self.arena.split().freeze()
    }

    /// Writes a copy of a request and returns it as it is to be sent.
    pub fn copy(&mut self, draft: &Draft<'_>) -> Bytes {
        if self.arena.capacity() < ARENA_LOW {
            self.arena.reserve(ARENA);
        }
        self.copier.write(&self.shared, draft, &mut self.arena);
        self.arena.split().freeze()
    }

    /// Tells the sender of an INVITE that it has come (§16.2).
    pub fn respond_trying(&mut self, server: ServerId, request: &Message, remote: SocketAddr, now: Instant) {
        let payload = self.compose(|_, _, out| {
            reply::begin(out, request, remote, 100, "Trying", None);
            reply::finish(out);
        });
        self.respond(server, payload, 100, now);
    }

    /// Answers a forwarded request with a refusal, and says why if its sender is authenticated.
    pub fn refuse(&mut self, context: &ResponseContext, search: &Search, reason: Reason, now: Instant) {
        let Some((request, _)) = &search.request else { return };
        tracing::debug!(reason = reason.name(), remote = %context.flow.remote, "refused");
        self.counts.refuse(reason);
        let shared = self.shared.clone();
        let write = |out: &mut BytesMut| {
            if search.is_authenticated {
                put_warning(&shared, request, reason, out)
            }
        };
        self.respond_with(
            context.server,
            request,
            context.flow.remote,
            reason.status(),
            reason.phrase(),
            write,
            now,
        );
    }

    /// Answers a request on the server transaction `server` with what `write` adds to the reply.
    #[expect(clippy::too_many_arguments, reason = "a status line and where it goes")]
    pub fn respond_with(
        &mut self,
        server: ServerId,
        request: &Message,
        remote: SocketAddr,
        status: u16,
        phrase: &str,
        write: impl FnOnce(&mut BytesMut),
        now: Instant,
    ) {
        let payload = self.compose(|shared, _, out| {
            reply::begin(out, request, remote, status, phrase, Some(&to_tag(shared, request)));
            write(out);
            reply::finish(out);
        });
        self.respond(server, payload, status, now);
    }

    fn respond(&mut self, server: ServerId, payload: Bytes, status: u16, now: Instant) {
        if self.transactions.respond(server, payload, status, now) {
            self.counts.answer(status);
        }
    }

    /// Answers a request other than INVITE for good: copies of it get the same again.
    #[expect(clippy::too_many_arguments, reason = "a request, a status line and what follows")]
    pub fn answer(
        &mut self,
        request: &Message,
        flow: &Flow,
        key: &ServerKey,
        status: u16,
        phrase: &str,
        write: impl FnOnce(&mut BytesMut),
        now: Instant,
    ) {
        let payload = self.compose(|shared, _, out| {
            let tag = shared.server_keys.to_tag(key);
            reply::begin(out, request, flow.remote, status, phrase, Some(&tag));
            write(out);
            reply::finish(out);
        });
        self.counts.answer(status);
        let target = reply_target(request, flow);
        let is_kept = self.transactions.answer(key, target, payload, now);
        self.counts.transactions_refused += u64::from(!is_kept);
    }

    /// Answers a request outside any transaction (RFC 3261 §8.2.7).
    pub fn respond_stateless(
        &mut self,
        request: &Message,
        flow: &Flow,
        key: &ServerKey,
        status: u16,
        phrase: &str,
        write: impl FnOnce(&Shared, &mut BytesMut),
    ) {
        let payload = self.compose(|shared, _, out| {
            let tag = shared.server_keys.to_tag(key);
            reply::begin(out, request, flow.remote, status, phrase, Some(&tag));
            write(shared, out);
            reply::finish(out);
        });
        self.counts.answer(status);
        self.transactions.send(Transmit {
            payload,
            target: reply_target(request, flow),
            origin: None,
        });
    }

    /// Passes a branch's response on to the caller (§16.7 step 9), without our Via; `challenges` take the place of its own.
    pub fn forward_response(
        &mut self,
        context: &ResponseContext,
        response: &Message,
        challenges: Option<&[u8]>,
        now: Instant,
    ) {
        let payload = self.compose(|_, text, out| {
            let mut splice = Splice::new(response, text);
            splice.remove_first_values(HeaderName::Via, 1);
            if let Some(challenges) = challenges {
                splice.remove_lines(HeaderName::WwwAuthenticate);
                splice.remove_lines(HeaderName::ProxyAuthenticate);
                splice.append(|out| out.extend_from_slice(challenges));
            }
            forwarding::add_content_length(&mut splice, context.flow.transport);
            splice.write(out);
        });
        let status = response.status().unwrap_or(500);
        if self.transactions.respond(context.server, payload, status, now) {
            self.counts.relay(status);
        }
    }

    /// The flow that leads to the other side of a dialog now, when `dead` was the one that its token names: that of the
    /// phone whose Contact is `uri`, bound to the AOR that the request names in To. The token proves by `owner` that this
    /// AOR is the other side's, so that nobody is reached by it who was not in the dialog.
    pub fn present_flow(&self, request: &Message, uri: &[u8], owner: u64, dead: &Flow, now: Instant) -> Option<Flow> {
        let to = Uri::parse(request.to()?.uri).ok()?;
        let aor = self.shared.called(&to)?.aor;
        if token::owner_hash(&self.shared.keys.token, &aor, request.call_id()) != owner {
            return None;
        }
        targets::present_flow(&self.shared.location, &aor, uri, now).filter(|flow| flow != dead)
    }

    /// Leads an ACK, of which nobody hears when it cannot be sent, over the flow that the phone has now.
    pub fn renew_flow(&self, request: &Message, candidates: &mut Candidates, now: Instant) {
        let Some(candidate) = candidates.list().first() else {
            return;
        };
        let Way::Token {
            target: Target::Flow(flow),
            owner: Some(owner),
        } = &candidate.way
        else {
            return;
        };
        let present = self.present_flow(request, candidates.uri(candidate), *owner, flow, now);
        if let (Some(present), Some(candidate)) = (present, candidates.get_mut(0)) {
            candidate.way = Way::Flow(present);
        }
    }

    /// Forwards a request without a transaction, an ACK for a 2xx (§16.11), to the first of `candidates`.
    pub fn forward_stateless(&mut self, request: &Message, flow: &Flow, candidates: &Candidates, template: &Template) {
        let Some(candidate) = candidates.list().first() else {
            return;
        };
        let target = match &candidate.way {
            Way::Flow(flow) | Way::Only(flow) => Target::Flow(*flow),
            Way::Token { target, .. } => target.clone(),
            // Nobody waits for the answer of a question about an ACK; such a candidate is never made.
            Way::Resolve => return,
        };
        let mut hasher = SipHasher13::new_with_key(&self.shared.keys.hash);
        hasher.write(request.branch().unwrap_or_default());
        hasher.write(request.call_id());
        let mut branch = [0; MAGIC_COOKIE.len() + HEX_LENGTH];
        let (cookie, digits) = branch.split_at_mut(MAGIC_COOKIE.len());
        cookie.copy_from_slice(MAGIC_COOKIE);
        digits.copy_from_slice(&hex(hasher.finish()));
        let payload = self.copy(&Draft {
            request,
            number: None,
            flow,
            template,
            uri: candidates.uri(candidate),
            path: candidates.path(candidate),
            target: &target,
            branch: &branch,
            breadth: 1,
        });
        self.transactions.send(Transmit {
            payload,
            target,
            origin: None,
        });
    }

    /// Notes that branch `user` waits for an answer on the connection of `target`.
    pub fn watch_connection(&mut self, target: &Target, user: u64) {
        if let Target::Flow(Flow {
            connection: Some(connection),
            ..
        }) = target
        {
            self.by_connection.entry(*connection).or_default().push(user);
        }
    }

    /// Branch `user` waits no longer.
    pub fn unwatch_connection(&mut self, target: &Target, user: u64) {
        if let Target::Flow(Flow {
            connection: Some(connection),
            ..
        }) = target
            && let Some(users) = self.by_connection.get_mut(connection)
        {
            users.retain(|other| *other != user);
            if users.is_empty() {
                self.by_connection.remove(connection);
            }
        }
    }

    /// Whether there is no transaction, no open output, and no branch that waits on a connection.
    pub fn is_idle(&self) -> bool {
        self.transactions.is_idle() && self.questions.is_empty() && self.by_connection.is_empty()
    }

    /// The branches that wait on a connection, which has ended.
    pub fn connection_users(&mut self, connection: ConnectionId) -> Vec<u64> {
        self.by_connection.remove(&connection).unwrap_or_default()
    }

    /// Sends the last reply again, and further ones, to where the Via says: the connection of the request is gone
    /// (RFC 3261 §18.2.2). For a datagram there is no other place. `user` is told where the name in the Via leads.
    pub fn redirect_replies(&mut self, user: u64, context: &mut ResponseContext) {
        let flow = &context.flow;
        if !flow.transport.is_reliable() {
            return;
        }
        // Who is at that address cannot be told from a certificate without a name.
        if context.replies == Replies::OverFlow && !flow.transport.is_secure() {
            context.replies = Replies::ToSource;
            let port = context.via_port.unwrap_or(flow.transport.default_port());
            let hop = Hop {
                transport: flow.transport,
                remote: SocketAddr::new(flow.remote.ip(), port),
                local: flow.local,
                server_name: None,
            };
            if self.transactions.redirect(context.server, Target::Hop(hop)) {
                return;
            }
        }
        if context.replies == Replies::ToName {
            return;
        }
        context.replies = Replies::ToName;
        if let Some(name) = context.via_name.take() {
            let question = Question {
                host: QuestionHost::Name(name),
                port: context.via_port,
                transport: Some(flow.transport),
                secure: false,
                too_large_for_udp: false,
                seed: 0,
                source: None,
            };
            self.ask(user, flow.remote.ip(), question);
        }
    }

    /// The hops that the name in the Via of a request leads to have been found.
    pub fn redirect_replies_to_name(&mut self, context: &ResponseContext, mut hops: Vec<Hop>, now: Instant) {
        self.shared.health.put_failing_last(&mut hops, now);
        if let Some(hop) = hops.into_iter().next() {
            self.transactions.redirect(context.server, Target::Hop(hop));
        }
    }
}

/// Where the replies to `request` go (RFC 3261 §18.2.2, RFC 3581 §4): over the connection it came by; on UDP to the
/// address it came from, at the port it came from if rport asks for that, else at the port of the Via.
pub fn reply_target(request: &Message, flow: &Flow) -> Target {
    let mut flow = *flow;
    if !flow.transport.is_reliable()
        && let Some(via) = request.top_via()
        && via.rport().is_none()
    {
        flow.remote.set_port(via.port.unwrap_or(flow.transport.default_port()));
    }
    Target::Flow(flow)
}

/// `Warning: 399 <host> "<reason>: <text>"` (RFC 3261 §20.43).
pub fn put_warning(shared: &Shared, request: &Message, reason: Reason, out: &mut BytesMut) {
    let host = challenging_domain(&shared.settings.domains, request).map_or("ringbinder", |domain| &domain.name);
    for part in [
        "Warning: 399 ",
        host,
        " \"",
        reason.name(),
        ": ",
        reason.text(),
        "\"\r\n",
    ] {
        out.put_slice(part.as_bytes());
    }
}

/// The To tag of our own replies to `request`.
fn to_tag(shared: &Shared, request: &Message) -> [u8; 16] {
    shared.server_keys.to_tag(&shared.server_keys.server_key(request))
}

/// Whether an ACK, whose key is `key`, is for one of our own stateless refusals.
pub fn acknowledges_refusal(shared: &Shared, ack: &Message, key: &ServerKey) -> bool {
    ack.to_tag()
        // What is of another length is not even hashed.
        .is_some_and(|tag| tag.len() == HEX_LENGTH && tag == shared.server_keys.to_tag(key))
}

/// The question that leads to `uri`, when it can be asked.
pub fn question(uri: &[u8], is_large: bool) -> Option<Question> {
    let uri = Uri::parse(uri).ok()?;
    let mut question = Question::from_uri(&uri).ok()?;
    question.too_large_for_udp = is_large;
    Some(question)
}

/// What the branches of RFC 3261 begin with (§8.1.1.7).
const MAGIC_COOKIE: &[u8] = b"z9hG4bK";
/// Messages are written one behind the other into blocks of this size.
const ARENA: usize = 64 * 1024;
const ARENA_LOW: usize = 4096;
