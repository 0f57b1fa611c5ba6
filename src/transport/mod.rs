//! Sockets: datagrams in batches, stream connections, names. Carries messages and decides nothing about them.
//!
//! What comes in is handed up to a [`Handler`], of which each worker thread has one.

pub mod counters;
pub mod dns;
pub mod interfaces;
pub mod mmsg;
pub mod open;
pub mod outbox;
pub mod rlimit;
pub mod routes;
pub mod settings;
pub mod stream;
mod stun;
pub mod table;
pub mod tcp;
pub mod tls;
pub mod udp;

use std::time::Instant;

use crate::sip::hop::{ConnectionId, Flow};
use crate::sip::message::{Malformed, Message};

/// What the sockets of one worker hand up to; it runs to completion and never waits.
pub trait Handler: 'static {
    /// What names the sender of an outgoing message, to be told when it cannot be sent.
    type Origin: Copy + Send + 'static;

    /// Takes what came, in this order, and leaves `arrivals` empty.
    fn handle_arrivals(&self, arrivals: &mut Vec<Arrival>, now: Instant);

    /// Takes the senders of messages that could not be sent, and leaves `origins` empty.
    fn handle_unreachable(&self, origins: &mut Vec<Self::Origin>, now: Instant);

    /// A connection has ended.
    fn handle_closed(&self, connection: ConnectionId, now: Instant);
}

/// A message, or what is left of bytes that are none, with the way it came by.
#[derive(Debug)]
pub struct Arrival {
    /// What came.
    pub content: Result<Message, Malformed>,
    /// The way it came by.
    pub flow: Flow,
}
