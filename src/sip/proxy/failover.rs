//! What becomes of a branch whose flow has failed (RFC 3261 §16.9, §18.1.1; RFC 5626 §5.3, §7): it goes over the next flow
//! of its phone, or to where the phone can be reached otherwise, or waits for it to come back; or it fails, alone.

use std::time::{Duration, Instant};

use super::branches::{advance, ask, attempt, complete, finish_watch, go, has_more_hops, send, try_next_hop};
use super::contexts::ContextId;
use super::engine::Engine;
use super::hops;
use super::response_context::{BranchState, Cancel, Outcome, Phase, ResponseContext};
use super::targets::{self, Way};
use crate::sip::hop::{ConnectionId, Flow, Hop, Target, Transport};
use crate::sip::location::{Cause, Which, is_source};
use crate::sip::message::Message;
use crate::sip::transaction::TimerHandle;

/// Lets the branch go on over the next flow of the same instance (RFC 5626 §7), which is not rung twice. Returns whether
/// there is one.
pub fn try_next_flow(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    now: Instant,
) -> bool {
    if !context.may_start() {
        return false;
    }
    let Some(search) = context.search.as_deref_mut() else {
        return false;
    };
    if !search.candidates.take_next_flow(index) {
        return false;
    }
    if let Some(attempt) = attempt(context, index) {
        attempt.hops.clear();
        attempt.has_fallen_back = false;
    }
    finish_watch(engine, id, context, index);
    go(engine, id, context, index, now);
    true
}

/// Whether the branch goes to a binding with a stored Path.
pub fn is_of_path(context: &ResponseContext, index: usize) -> bool {
    let search = context.search.as_deref();
    search.is_some_and(|search| {
        let candidate = search.candidates.list().get(index);
        candidate.is_some_and(|candidate| !search.candidates.path(candidate).is_empty())
    })
}

/// An edge proxy says that the flow to the phone is gone (RFC 5626 §5.3).
pub fn flow_refused(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize, now: Instant) {
    if let Some(search) = context.search.as_deref()
        && let (Some((request, _)), Some(candidate)) = (&search.request, search.candidates.list().get(index))
    {
        let which = Which::Contact {
            uri: search.candidates.uri(candidate),
            path: search.candidates.path(candidate),
        };
        let change = targets::suspend(&engine.shared, request, which, Cause::FlowRefused, now);
        engine.changes.extend(change);
    }
    if !try_next_flow(engine, id, context, index, now) {
        complete(engine, id, context, index, Outcome::Unreachable);
    }
}

/// The request of a branch could not be sent (§16.9).
pub fn unreachable(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize, now: Instant) {
    let Some(branch) = context.branches.get_mut(index) else {
        return;
    };
    if branch.state == BranchState::Completed {
        return;
    }
    hops::note_failure(engine, context, index, now);
    let may_go_on = context.phase == Phase::Collecting;
    let has_more_hops = has_more_hops(context, index);
    let Some(search) = context.search.as_deref_mut() else {
        return;
    };
    let (Some((request, _)), Some(candidate), Some(attempt)) = (
        &search.request,
        search.candidates.list().get(index),
        search.attempts.get_mut(index),
    ) else {
        return;
    };
    if let Way::Flow(flow) = &candidate.way {
        let change = targets::suspend(&engine.shared, request, Which::Flow(flow), Cause::SendFailed, now);
        engine.changes.extend(change);
    }
    let is_by_token = is_by_token(&candidate.way);
    let fallback = if may_go_on && !has_more_hops && !attempt.has_fallen_back {
        fallback(engine, request, &candidate.way, search.candidates.uri(candidate), now)
    } else {
        None
    };
    attempt.has_fallen_back |= fallback.is_some();
    match fallback {
        _ if may_go_on && has_more_hops => try_next_hop(engine, id, context, index, now),
        Some(Fallback::Hop(hop)) => {
            finish_watch(engine, id, context, index);
            send(engine, id, context, index, Target::Hop(hop), now);
        }
        Some(Fallback::Flow(flow)) => {
            finish_watch(engine, id, context, index);
            send(engine, id, context, index, Target::Flow(flow), now);
        }
        Some(Fallback::Resolve) => {
            finish_watch(engine, id, context, index);
            ask(engine, id, context, index);
        }
        None if try_next_flow(engine, id, context, index, now) => {}
        None if is_by_token => complete(engine, id, context, index, Outcome::FlowFailed),
        None => complete(engine, id, context, index, Outcome::Unreachable),
    }
    advance(engine, id, context, now);
}

/// The connection on which a branch waited has ended.
pub fn connection_lost(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    connection: ConnectionId,
    now: Instant,
) {
    let Some(branch) = context.branches.get(index) else {
        return;
    };
    let (state, client) = (branch.state, branch.client);
    let Some(attempt) = attempt(context, index) else { return };
    let Some(Target::Flow(Flow {
        connection: Some(used), ..
    })) = attempt.target.as_ref()
    else {
        return;
    };
    if *used != connection {
        return;
    }
    match (state, client) {
        // One that has not answered at all is tried elsewhere.
        (BranchState::Trying, Some(client)) => engine.transactions.connection_lost(client, now),
        // A phone that is ringing may come back on another connection and answer there.
        (BranchState::Proceeding, Some(_)) => {
            let timer = engine.transactions.arm_user(now + RETURN_MAX, id.branch_user(index));
            attempt.waits_for_flow = Some(timer);
        }
        (BranchState::Resolving | BranchState::Trying | BranchState::Proceeding | BranchState::Completed, _) => {}
    }
}

/// A timer has fired that may be the wait for a ringing phone to come back: then the branch is given up.
pub fn waited(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    timer: TimerHandle,
    now: Instant,
) {
    let Some(attempt) = attempt(context, index) else { return };
    if attempt.waits_for_flow != Some(timer) {
        return;
    }
    attempt.waits_for_flow = None;
    let reason = context.phase.cancel_reason();
    let branch = &mut context.branches[index];
    if branch.state != BranchState::Proceeding {
        return;
    }
    if let Some(client) = branch.client.filter(|_| branch.cancel != Cancel::Sent) {
        // It cannot be sent either, and ends the transaction.
        branch.cancel = Cancel::Sent;
        engine.transactions.cancel(client, reason, now);
    }
    complete(engine, id, context, index, Outcome::Unreachable);
    advance(engine, id, context, now);
}

/// The branch has heard of its phone, or is over.
pub fn stop_waiting(engine: &mut Engine, context: &mut ResponseContext, index: usize) {
    if let Some(timer) = attempt(context, index).and_then(|attempt| attempt.waits_for_flow.take()) {
        engine.transactions.disarm_user(timer);
    }
}

enum Fallback {
    Hop(Hop),
    Flow(Flow),
    Resolve,
}

/// Where a branch may still be tried when its flow is dead: a token's side over the flow that its phone has now, at the
/// address it had, or at what its name leads to (RFC 3263 §4.3); a TCP binding at its Contact when that is the address it
/// came from (RFC 3261 §18.1.1).
fn fallback(engine: &Engine, request: &Message, way: &Way, uri: &[u8], now: Instant) -> Option<Fallback> {
    match way {
        Way::Flow(flow) if flow.transport == Transport::Tcp => is_source(uri, flow).then_some(Fallback::Resolve),
        Way::Token {
            target: Target::Flow(flow),
            owner,
        } => {
            let present = owner.and_then(|owner| engine.present_flow(request, uri, owner, flow, now));
            match present {
                Some(present) => Some(Fallback::Flow(present)),
                None if flow.transport == Transport::Tcp => Some(Fallback::Hop(Hop {
                    transport: flow.transport,
                    remote: flow.remote,
                    local: flow.local,
                    server_name: None,
                })),
                None => None,
            }
        }
        // RFC 3263 §4.3: another place of the name that led there.
        Way::Token {
            target: Target::Hop(hop),
            ..
        } if hop.server_name.is_some() => Some(Fallback::Resolve),
        Way::Flow(_)
        | Way::Only(_)
        | Way::Token {
            target: Target::Hop(_), ..
        }
        | Way::Resolve => None,
    }
}

/// Whether a token led over a flow: its sender hears 430 when that is gone (RFC 5626 §5.3).
fn is_by_token(way: &Way) -> bool {
    match way {
        Way::Token {
            target: Target::Flow(flow),
            ..
        } => flow.connection.is_some(),
        Way::Only(_) => true,
        Way::Flow(_)
        | Way::Token {
            target: Target::Hop(_), ..
        }
        | Way::Resolve => false,
    }
}

/// How long a ringing phone has to come back after its connection has ended: as long as a silent one is waited for.
const RETURN_MAX: Duration = Duration::from_secs(32);
