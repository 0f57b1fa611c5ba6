//! The SIP server as a value: inputs go in, outputs come out, time is an argument.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use siphasher::sip::SipHasher13;

use crate::sip::hop::{ConnectionId, Flow, Hop, Target};
use crate::sip::message::method::Method;
use crate::sip::message::{Malformed, Message, reply};
use crate::sip::resolution::{QueryId, Question};
use crate::sip::shared::Shared;

/// What a shard is told.
#[derive(Debug)]
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
    /// A connection has ended. Every shard is told.
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
}

impl Prepared {
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
pub fn prepare(shared: &Shared, message: Message, flow: Flow, _now: Instant) -> Prepared {
    let call_id_hash = hash_call_id(shared, message.call_id());
    Prepared {
        message,
        flow,
        call_id_hash,
    }
}

fn hash_call_id(shared: &Shared, call_id: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&shared.keys.hash);
    hasher.write(call_id);
    hasher.finish()
}

/// One shard.
pub struct Server {
    shared: Arc<Shared>,
    outputs: VecDeque<Output>,
    arena: BytesMut,
}

impl Server {
    /// An empty shard with number `shard`; `seed` is all the randomness it gets.
    pub fn new(shared: Arc<Shared>, _shard: u16, _seed: [u8; 32], _now: Instant) -> Server {
        Server {
            shared,
            outputs: VecDeque::new(),
            arena: BytesMut::new(),
        }
    }

    /// Takes one input in; what is to be done about it comes from [`Server::poll_output`].
    pub fn handle_input(&mut self, input: Input, _now: Instant) {
        match input {
            Input::Received(prepared) => self.receive(&prepared),
            Input::Malformed { .. } | Input::Resolved { .. } | Input::Unreachable { .. } | Input::FlowClosed { .. } => {
            }
        }
    }

    /// Does what has become due at `now`.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When [`Server::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether no transaction is under way.
    pub fn is_idle(&self) -> bool {
        self.outputs.is_empty()
    }

    fn receive(&mut self, prepared: &Prepared) {
        let (message, flow) = (&prepared.message, &prepared.flow);
        if message.is_request() && message.method() == Method::Options && !self.shared.settings.listeners.is_empty() {
            reply::begin(&mut self.arena, message, flow.remote, 200, "OK", Some(b"options"));
            reply::finish(&mut self.arena);
            let payload = self.arena.split().freeze();
            self.outputs.push_back(Output::Send {
                payload,
                target: Target::Flow(*flow),
                origin: None,
            });
        }
    }
}
