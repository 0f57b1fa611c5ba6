//! One worker's dispatch: inputs grouped by shard and run under its lock, then outputs sent, with no lock held.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use tracing::{debug, trace};

use super::node::{Job, Node};
use crate::sip::hop::{ConnectionId, Flow, Hop, Target, Transport};
use crate::sip::keep_alive::{Asked, Asker};
use crate::sip::message::Message;
use crate::sip::server::{self, Input, Origin, Output, Prepared};
use crate::transport::table::{ToHop, Unwritable};
use crate::transport::udp::{Datagram, UdpListener};
use crate::transport::{Arrival, Handler};

/// How often outputs may lead to further inputs before other tasks have their turn.
const ROUNDS_MAX: usize = 8;

/// The most AORs looked at before other tasks have their turn when a connection ends that many registered over.
const CLOSED_PER_TURN: usize = 256;

/// From so many messages on it is worth the while to touch what they need before the first of them is handled.
const WARMED_FROM: usize = 4;

/// The dispatch of one worker, used by all tasks of its thread.
pub struct Dispatch {
    node: Arc<Node>,
    index: usize,
    udp: Box<[UdpListener]>,
    scratch: RefCell<Scratch>,
}

/// Buffers that are empty between two calls.
#[derive(Default)]
struct Scratch {
    inputs: Vec<Input>,
    /// The shard and the place in `inputs` of each.
    order: Vec<(u16, u32)>,
    outputs: Vec<Output>,
    /// What is to be sent from one listener.
    datagrams: Vec<Datagram<Origin>>,
    /// That listener.
    listener: usize,
    /// The tasks of connections that have something to write.
    wakers: Vec<Waker>,
    unreachable: Vec<Origin>,
}

impl Dispatch {
    /// The dispatch of worker `index`, which has these sockets.
    pub fn new(node: Arc<Node>, index: usize, udp: Box<[UdpListener]>) -> Dispatch {
        Dispatch {
            node,
            index,
            udp,
            scratch: RefCell::default(),
        }
    }

    /// The UDP sockets.
    pub fn udp(&self) -> &[UdpListener] {
        &self.udp
    }

    /// Gives `shard` one input.
    pub fn handle_input(&self, shard: usize, input: Input, now: Instant) {
        let mut scratch = self.scratch.borrow_mut();
        scratch.add(shard, input);
        self.run(&mut scratch, now);
    }

    /// Runs the timers that are due at `now`.
    pub fn handle_timeout(&self, now: Instant) {
        let mut scratch = self.scratch.borrow_mut();
        for shard in self.node.shards.deadlines.due(self.index, now) {
            self.node.shards.run(shard, |server| {
                server.handle_timeout(now);
                while let Some(output) = server.poll_output() {
                    scratch.outputs.push(output);
                }
            });
            self.carry_out(&mut scratch, now);
        }
        self.run(&mut scratch, now);
    }

    /// Does a turn of what the end of `connection` means for bindings made over it. Returns whether there is more to do.
    pub fn close_bindings(&self, connection: ConnectionId, now: Instant) -> bool {
        // Nobody keeps or publishes bindings yet.
        let mut changes = Vec::new();
        let location = &self.node.shared.location;
        let is_more = location.close_connection(connection, now, CLOSED_PER_TURN, &mut changes);
        if !changes.is_empty() {
            debug!(
                connection = connection.0,
                addresses = changes.len(),
                "suspended what was bound over it"
            );
        }
        is_more
    }

    /// Sends the questions of `asker` that are due, those of `limit` AORs at most.
    pub fn ask(&self, asker: &mut Asker, part: (usize, usize), limit: usize, now: Instant) -> Asked {
        let mut scratch = self.scratch.borrow_mut();
        let asked = asker.ask(now, part, limit, |payload, target| {
            self.queue(&mut scratch, payload, target, None);
        });
        self.send(&mut scratch);
        asked
    }

    /// Runs shards and sends what they say until nothing is left to do.
    fn run(&self, scratch: &mut Scratch, now: Instant) {
        for _ in 0..ROUNDS_MAX {
            self.run_inputs(scratch, now);
            self.send(scratch);
            if scratch.inputs.is_empty() {
                return;
            }
        }
        // The order is still that in which the inputs were added.
        for ((shard, _), input) in scratch.order.drain(..).zip(scratch.inputs.drain(..)) {
            self.node.submit(usize::from(shard), input);
        }
    }

    /// Locks each shard that has inputs once.
    fn run_inputs(&self, scratch: &mut Scratch, now: Instant) {
        // Within a shard the order of arrival is kept, because it is the second part of the key.
        scratch.order.sort_unstable();
        let Scratch {
            inputs, order, outputs, ..
        } = scratch;
        for group in order.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((shard, _)) = group.first() else { continue };
            self.node.shards.run(usize::from(*shard), |server| {
                for (_, place) in group {
                    server.handle_input_in_place(&mut inputs[*place as usize], now);
                }
                while let Some(output) = server.poll_output() {
                    outputs.push(output);
                }
            });
        }
        order.clear();
        inputs.clear();
        self.carry_out(scratch, now);
    }

    fn carry_out(&self, scratch: &mut Scratch, _now: Instant) {
        let mut outputs = std::mem::take(&mut scratch.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send {
                    payload,
                    target,
                    origin,
                } => self.queue(scratch, payload, target, origin),
                Output::Resolve { query, question } => match self.node.names.answer(&question) {
                    Some(hops) => scratch.add(usize::from(query.shard), Input::Resolved { query, hops }),
                    None => self.node.resolve(query, question),
                },
                // Nobody keeps or publishes bindings yet.
                Output::Changed(_) => {}
                Output::Silent(connection) => scratch.wakers.extend(self.node.connections.note_silence(connection)),
            }
        }
        scratch.outputs = outputs;
    }

    fn queue(&self, scratch: &mut Scratch, payload: Bytes, target: Target, origin: Option<Origin>) {
        trace!(transport = %target.transport(), remote = %target.remote(), bytes = payload.len(), "sending");
        match target.transport() {
            Transport::Udp => self.queue_datagram(scratch, payload, &target, origin),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                self.queue_on_stream(scratch, payload, target, origin);
            }
        }
    }

    fn queue_datagram(&self, scratch: &mut Scratch, payload: Bytes, target: &Target, origin: Option<Origin>) {
        let local = target.local();
        let Some(listener) = self.listener_at(local) else {
            scratch.unreachable.extend(origin);
            return;
        };
        if listener != scratch.listener {
            self.send_datagrams(scratch);
            scratch.listener = listener;
        }
        scratch.datagrams.push(Datagram {
            payload,
            local,
            remote: target.remote(),
            origin,
        });
    }

    /// The UDP listener that owns `local`: the one bound to it, else the wildcard one with its port.
    fn listener_at(&self, local: SocketAddr) -> Option<usize> {
        let is_wildcard = |listener: &UdpListener| {
            let bound = listener.local();
            bound.ip().is_unspecified() && bound.is_ipv4() == local.is_ipv4() && bound.port() == local.port()
        };
        let own = self.udp.iter().position(|listener| listener.local() == local);
        own.or_else(|| self.udp.iter().position(is_wildcard))
    }

    fn queue_on_stream(&self, scratch: &mut Scratch, payload: Bytes, target: Target, origin: Option<Origin>) {
        self.send_datagrams(scratch);
        let pushed = match target {
            Target::Flow(Flow { connection: None, .. }) => Err(Unwritable),
            Target::Flow(Flow {
                connection: Some(connection),
                ..
            }) => self.node.connections.push(connection, payload, origin),
            // RFC 7118 §6: browsers connect to us; nobody can connect to them.
            Target::Hop(hop) if matches!(hop.transport, Transport::Ws | Transport::Wss) => Err(Unwritable),
            Target::Hop(hop) => self.queue_to_hop(hop, payload, origin),
        };
        match pushed {
            Ok(waker) => scratch.wakers.extend(waker),
            Err(Unwritable) => scratch.unreachable.extend(origin),
        }
    }

    fn queue_to_hop(&self, hop: Hop, payload: Bytes, origin: Option<Origin>) -> Result<Option<Waker>, Unwritable> {
        match self.node.connections.to_hop(&hop) {
            Ok(ToHop::Existing(connection)) => connection.push(payload, origin),
            // What is queued before the connection is there is sent when it is.
            Ok(ToHop::New(connection)) => {
                let pushed = connection.push(payload, origin);
                self.node.deal(Job::Connect(connection, hop));
                pushed
            }
            Err(refused) => {
                debug!(transport = %hop.transport, remote = %hop.remote, %refused, "cannot connect");
                Err(Unwritable)
            }
        }
    }

    /// Sends the datagrams that wait. They must not wait for what a shard said after them and what leaves otherwise:
    /// a fast callee's 200 would overtake the caller's 100.
    fn send_datagrams(&self, scratch: &mut Scratch) {
        if !scratch.datagrams.is_empty() {
            self.udp[scratch.listener].send(&mut scratch.datagrams, &mut scratch.unreachable);
        }
    }

    /// Sends what is queued; what could not be sent becomes inputs.
    fn send(&self, scratch: &mut Scratch) {
        self.send_datagrams(scratch);
        for waker in scratch.wakers.drain(..) {
            waker.wake();
        }
        while let Some(origin) = scratch.unreachable.pop() {
            scratch.add(usize::from(origin.shard), Input::Unreachable { origin });
        }
    }
}

impl Scratch {
    /// Adds a message, identified where it lies by what says its shard.
    #[inline]
    fn receive(&mut self, message: Message, flow: Flow, identify: impl FnOnce(&mut Prepared) -> usize) {
        self.inputs.push(Input::Received(Prepared::new(message, flow)));
        if let Some(Input::Received(prepared)) = self.inputs.last_mut() {
            let shard = identify(prepared);
            self.order.push((shard as u16, self.inputs.len() as u32 - 1));
        }
    }

    fn add(&mut self, shard: usize, input: Input) {
        self.order.push((shard as u16, self.inputs.len() as u32));
        self.inputs.push(input);
    }
}

impl Handler for Dispatch {
    type Origin = Origin;

    fn handle_arrivals(&self, arrivals: &mut Vec<Arrival>, now: Instant) {
        let mut scratch = self.scratch.borrow_mut();
        let (shared, shards) = (&*self.node.shared, self.node.shards.count());
        for Arrival { content, flow } in arrivals.drain(..) {
            trace!(transport = %flow.transport, remote = %flow.remote, is_message = content.is_ok(), "received");
            match content {
                Ok(message) => scratch.receive(message, flow, |prepared| {
                    prepared.identify(shared);
                    prepared.shard(shards)
                }),
                Err(malformed) => {
                    let shard = server::malformed_shard(shared, &malformed, shards);
                    scratch.add(shard, Input::Malformed { malformed, flow });
                }
            }
        }
        if scratch.inputs.len() >= WARMED_FROM {
            for input in &scratch.inputs {
                if let Input::Received(prepared) = input {
                    prepared.warm(shared);
                }
            }
        }
        for input in &mut scratch.inputs {
            if let Input::Received(prepared) = input {
                prepared.authenticate(shared, now);
            }
        }
        self.run(&mut scratch, now);
    }

    fn handle_unreachable(&self, origins: &mut Vec<Origin>, now: Instant) {
        let mut scratch = self.scratch.borrow_mut();
        scratch.unreachable.append(origins);
        self.send(&mut scratch);
        self.run(&mut scratch, now);
    }

    fn handle_closed(&self, connection: ConnectionId, now: Instant) {
        if self.close_bindings(connection, now) {
            // The rest is done in turns, between which others have theirs.
            let _ = self.node.workers[self.index].jobs.send(Job::Closed(connection));
        }
        let mut scratch = self.scratch.borrow_mut();
        for shard in 0..self.node.shards.count() {
            scratch.add(shard, Input::FlowClosed { connection });
            self.run(&mut scratch, now);
        }
    }
}
