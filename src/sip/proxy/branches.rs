//! The life of branches (RFC 3261 §16.6-§16.10): started, moved to the next hop, cancelled, completed.

use std::time::Instant;

use super::contexts::ContextId;
use super::engine::{Engine, question};
use super::forwarding::{Draft, first_route};
use super::response_context::{Best, Branch, BranchState, Cancel, Outcome, Phase, ResponseContext};
use super::targets::{self, Candidate, Way};
use crate::sip::hop::{ConnectionId, Flow, Hop, Target, Transport};
use crate::sip::location::AddressOfRecord;
use crate::sip::message::Message;
use crate::sip::message::address::NameAddr;
use crate::sip::message::header::HeaderName;
use crate::sip::message::uri::{Host, Scheme, Uri};
use crate::sip::reason::Reason;
use crate::sip::transaction::TIMER_C;

/// Goes on with whatever is next: more branches, or the final response.
pub fn advance(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, now: Instant) {
    // Each round starts at least one branch or ends; a branch can fail at once, so the rounds are as many as candidates.
    while context.may_start() && start_next(engine, id, context, now) {}
    if context.phase != Phase::Answered && context.is_complete() {
        conclude(engine, context, now);
    }
}

/// Starts what of the waiting candidates may go now: those of the present group, as far as Max-Breadth lasts
/// (RFC 5393 §5.3.3). Returns whether any was started.
fn start_next(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, now: Instant) -> bool {
    let active = context
        .branches
        .iter()
        .filter(|branch| branch.state != BranchState::Completed);
    let (mut used, mut group) = (0, None);
    for branch in active {
        used += branch.breadth;
        group = Some(branch.candidate.group);
    }
    let Some(first) = context.waiting.front() else {
        return false;
    };
    let group = group.unwrap_or(first.group);
    let available = context.template.reach.max_breadth.saturating_sub(used);
    let ready = context
        .waiting
        .iter()
        .take_while(|candidate| candidate.group == group)
        .count();
    let count = ready.min(available as usize);
    if count == 0 {
        return false;
    }
    let share = available / count as u32;
    let mut remainder = available % count as u32;
    for _ in 0..count {
        let Some(candidate) = context.waiting.pop_front() else {
            break;
        };
        let extra = u32::from(remainder > 0);
        remainder -= extra;
        start(engine, id, context, candidate, share + extra, now);
    }
    if context.is_invite {
        // §16.6 step 11: each branch has its timer C; those started together share one.
        arm_timer_c(engine, id, context, now);
    }
    true
}

fn start(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    candidate: Candidate,
    breadth: u32,
    now: Instant,
) {
    let index = context.branches.len();
    let way = candidate.way.clone();
    context.branches.push(Branch {
        candidate,
        client: None,
        state: BranchState::Resolving,
        target: None,
        hops: Default::default(),
        breadth,
        cancel: Cancel::No,
        has_fallen_back: false,
        to_tag: None,
        is_live: false,
    });
    match way {
        Way::Flow(flow) => send(engine, id, context, index, Target::Flow(flow), now),
        Way::Token(target) => send(engine, id, context, index, target, now),
        Way::Resolve => ask(engine, id, context, index),
    }
}

/// Asks for the hops of a branch: of its first Route, else of its Request-URI.
fn ask(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize) {
    let candidate = &context.branches[index].candidate;
    let route =
        first_route(&context.request, &context.template, &candidate.path).and_then(|value| NameAddr::parse(value).ok());
    let uri = route.map_or(&candidate.uri[..], |route| route.uri);
    let is_large = context.request.bytes().len() + FORWARDING_GROWTH > MAX_UDP_REQUEST;
    match question(uri, is_large) {
        Some(question) => {
            context.branches[index].state = BranchState::Resolving;
            engine.ask(id.branch_user(index), question);
        }
        None => complete(engine, id, context, index, Outcome::Unreachable),
    }
}

/// The hops of a branch have been found.
pub fn resolved(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    hops: Vec<Hop>,
    now: Instant,
) {
    let Some(branch) = context.branches.get_mut(index) else {
        return;
    };
    if branch.state != BranchState::Resolving {
        return;
    }
    branch.hops = hops.into_iter().take(MAX_HOPS).collect();
    match branch.hops.pop_front() {
        Some(hop) => send(engine, id, context, index, Target::Hop(hop), now),
        None => complete(engine, id, context, index, Outcome::Unreachable),
    }
    advance(engine, id, context, now);
}

fn send(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize, target: Target, now: Instant) {
    let user = id.branch_user(index);
    let Some((client, branch_id)) = engine.transactions.create_client(context.kind(), user) else {
        engine.counts.transactions_refused += 1;
        return complete(engine, id, context, index, Outcome::Unreachable);
    };
    let branch = &context.branches[index];
    let payload = engine.copy(&Draft {
        request: &context.request,
        number: Some(id.user()),
        flow: &context.flow,
        template: &context.template,
        uri: &branch.candidate.uri,
        path: &branch.candidate.path,
        target: &target,
        branch: branch_id.as_bytes(),
        breadth: branch.breadth,
    });
    if context.is_invite {
        engine.watch_connection(&target, user);
    }
    let branch = &mut context.branches[index];
    branch.client = Some(client);
    branch.state = BranchState::Trying;
    branch.is_live = true;
    branch.target = Some(target.clone());
    engine.transactions.send_request(client, payload, target, now);
}

/// A response has come on a branch (§16.7).
pub fn receive_response(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    response: &Message,
    now: Instant,
) {
    let Some(branch) = context.branches.get_mut(index) else {
        return;
    };
    let status = response.status().unwrap_or(500);
    let is_completed = branch.state == BranchState::Completed;
    let has_more_hops = !branch.hops.is_empty();
    match status {
        100..=199 => receive_provisional(engine, id, context, index, response, status, now),
        200..=299 => {
            branch.to_tag = response.to().and_then(|to| to.tag()).map(Into::into);
            finish_branch(engine, id, context, index);
            receive_success(engine, id, context, response, now);
        }
        _ if is_completed => {}
        300..=399
            if engine.shared.settings.recurse && context.may_start() && recurse(engine, context, response, now) =>
        {
            finish_branch(engine, id, context, index);
            advance(engine, id, context, now);
        }
        503 if has_more_hops && context.may_start() => try_next_hop(engine, id, context, index, now),
        _ => {
            complete(
                engine,
                id,
                context,
                index,
                Outcome::Response(Box::new(response.detached())),
            );
            if status >= 600 && context.phase == Phase::Collecting {
                // §16.7 step 5: a 6xx ends the search, everywhere; of other requests than INVITE too no branch is started.
                context.phase = Phase::Declined;
                cancel_all(engine, context, now);
            }
            advance(engine, id, context, now);
        }
    }
}

/// Adds the contacts of a redirection to the candidates (§16.7 step 4): bindings where a contact is one of our AORs, else
/// what it resolves to. Returns whether there was one that had not been tried.
fn recurse(engine: &Engine, context: &mut ResponseContext, response: &Message, now: Instant) -> bool {
    let mut is_any = false;
    for value in response.values(HeaderName::Contact).take(MAX_REDIRECTIONS) {
        let Some(uri) = NameAddr::parse(value)
            .ok()
            .and_then(|address| Uri::parse(address.uri).ok())
        else {
            continue;
        };
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips)
            || context.waiting.len() + context.branches.len() > MAX_BRANCHES
        {
            continue;
        }
        let found = match AddressOfRecord::new(&uri, &engine.shared.settings.domains) {
            Some((aor, domain)) => targets::bindings(&engine.shared.location, &aor, domain, None, now),
            None if engine.shared.settings.names_us(&uri) => continue,
            None => targets::elsewhere(uri.bytes),
        };
        let group = context
            .branches
            .iter()
            .map(|branch| branch.candidate.group)
            .min()
            .unwrap_or_default();
        for mut candidate in found {
            let is_known = |other: &Candidate| {
                Uri::parse(&other.uri)
                    .is_ok_and(|other| Uri::parse(&candidate.uri).is_ok_and(|uri| uri.equivalent(&other)))
            };
            if context.branches.iter().any(|branch| is_known(&branch.candidate)) || context.waiting.iter().any(is_known)
            {
                continue;
            }
            candidate.group = group;
            context.waiting.push_back(candidate);
            is_any = true;
        }
    }
    is_any
}

fn receive_provisional(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    response: &Message,
    status: u16,
    now: Instant,
) {
    let branch = &mut context.branches[index];
    if branch.state == BranchState::Trying {
        branch.state = BranchState::Proceeding;
    }
    if branch.cancel == Cancel::Wanted
        && let Some(client) = branch.client
    {
        branch.cancel = Cancel::Sent;
        engine.transactions.cancel(client, context.phase.cancel_reason(), now);
    }
    // RFC 4320 §4.1: no provisional response but 100 is sent to anything but an INVITE.
    if status == 100 || !context.is_invite || context.phase == Phase::Answered || !context.has_server {
        return;
    }
    if context.phase == Phase::Collecting {
        // §16.7 step 2: timer C starts anew.
        arm_timer_c(engine, id, context, now);
    }
    engine.forward_response(context, response, None, now);
}

fn receive_success(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    response: &Message,
    now: Instant,
) {
    let is_first = context.phase != Phase::Answered;
    if context.has_server && (is_first || context.is_invite) {
        engine.forward_response(context, response, None, now);
    }
    if is_first {
        context.phase = Phase::Answered;
        disarm(engine, context);
        cancel_all(engine, context, now);
    }
    advance(engine, id, context, now);
}

/// The client transaction of a branch heard nothing in time (timers B and F).
pub fn timed_out(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize, now: Instant) {
    let Some(branch) = context.branches.get_mut(index) else {
        return;
    };
    if branch.state == BranchState::Completed {
        return;
    }
    if !branch.hops.is_empty() && context.may_start() {
        try_next_hop(engine, id, context, index, now);
    } else {
        complete(engine, id, context, index, Outcome::TimedOut);
    }
    advance(engine, id, context, now);
}

/// The request of a branch could not be sent (§16.9).
pub fn unreachable(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize, now: Instant) {
    let Some(branch) = context.branches.get_mut(index) else {
        return;
    };
    if branch.state == BranchState::Completed {
        return;
    }
    if let Way::Flow(flow) = &branch.candidate.way {
        targets::mark_unreachable(&engine.shared, &context.request, flow);
    }
    let may_go_on = context.phase == Phase::Collecting;
    let fallback = if may_go_on && branch.hops.is_empty() && !branch.has_fallen_back {
        fallback(branch)
    } else {
        None
    };
    branch.has_fallen_back |= fallback.is_some();
    match fallback {
        _ if may_go_on && !branch.hops.is_empty() => try_next_hop(engine, id, context, index, now),
        Some(Fallback::Hop(hop)) => {
            finish_watch(engine, id, context, index);
            send(engine, id, context, index, Target::Hop(hop), now);
        }
        Some(Fallback::Contact) => {
            finish_watch(engine, id, context, index);
            ask(engine, id, context, index);
        }
        None => complete(engine, id, context, index, Outcome::Unreachable),
    }
    advance(engine, id, context, now);
}

/// The connection on which a branch waited has ended.
pub fn connection_lost(
    engine: &mut Engine,
    context: &mut ResponseContext,
    index: usize,
    connection: ConnectionId,
    now: Instant,
) {
    let Some(branch) = context.branches.get(index) else {
        return;
    };
    let Some(Target::Flow(Flow {
        connection: Some(used), ..
    })) = &branch.target
    else {
        return;
    };
    // A phone that is ringing may come back on another connection; one that has not answered at all is tried elsewhere.
    if *used == connection
        && branch.state == BranchState::Trying
        && let Some(client) = branch.client
    {
        engine.transactions.connection_lost(client, now);
    }
}

enum Fallback {
    Hop(Hop),
    Contact,
}

/// Where a branch may still be tried when its flow is dead: a token's side at the address it had, a TCP binding at its
/// Contact when that is the address it came from (RFC 3261 §18.1.1).
fn fallback(branch: &Branch) -> Option<Fallback> {
    match &branch.candidate.way {
        Way::Flow(flow) if flow.transport == Transport::Tcp => {
            let uri = Uri::parse(&branch.candidate.uri).ok()?;
            let is_source = match uri.host? {
                Host::V4(address) => flow.remote.ip() == std::net::IpAddr::V4(address),
                Host::V6(address) => flow.remote.ip() == std::net::IpAddr::V6(address),
                Host::Name(_) => false,
            };
            is_source.then_some(Fallback::Contact)
        }
        Way::Token(Target::Flow(flow)) if flow.transport == Transport::Tcp => Some(Fallback::Hop(Hop {
            transport: flow.transport,
            remote: flow.remote,
            local: flow.local,
            server_name: None,
        })),
        Way::Flow(_) | Way::Token(_) | Way::Resolve => None,
    }
}

/// A branch was cancelled and stays silent (§9.1).
pub fn silent_after_cancel(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    now: Instant,
) {
    let Some(branch) = context.branches.get_mut(index) else {
        return;
    };
    if branch.state == BranchState::Completed {
        return;
    }
    complete(engine, id, context, index, Outcome::SilentAfterCancel);
    advance(engine, id, context, now);
}

/// Timer C, or the domain's ring timeout (§16.8).
pub fn rung_out(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, now: Instant) {
    context.timer = None;
    if context.phase != Phase::Collecting {
        return;
    }
    context.phase = Phase::RungOut;
    cancel_all(engine, context, now);
    for index in 0..context.branches.len() {
        if context.branches[index].state == BranchState::Trying {
            complete(engine, id, context, index, Outcome::TimedOut);
        }
    }
    advance(engine, id, context, now);
}

/// Cancels every branch that is still open: at once where a provisional response has come, else when one comes.
pub fn cancel_all(engine: &mut Engine, context: &mut ResponseContext, now: Instant) {
    context.waiting.clear();
    let reason = context.phase.cancel_reason();
    let mut given_up = 0;
    for branch in &mut context.branches {
        match branch.state {
            BranchState::Completed => {}
            BranchState::Resolving => {
                branch.state = BranchState::Completed;
                given_up += 1;
            }
            BranchState::Trying => branch.cancel = Cancel::Wanted,
            BranchState::Proceeding if branch.cancel != Cancel::Sent => {
                branch.cancel = Cancel::Sent;
                if let Some(client) = branch.client.filter(|_| context.is_invite) {
                    engine.transactions.cancel(client, reason, now);
                }
            }
            BranchState::Proceeding => {}
        }
    }
    for _ in 0..given_up {
        context.consider(Outcome::SilentAfterCancel);
    }
}

/// Arms timer C anew, or for the end of ringing if that comes first.
fn arm_timer_c(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, now: Instant) {
    disarm(engine, context);
    let deadline = context
        .ring_deadline
        .map_or(now + TIMER_C, |end| end.min(now + TIMER_C));
    context.timer = Some(engine.transactions.arm_user(deadline, id.user()));
}

fn disarm(engine: &mut Engine, context: &mut ResponseContext) {
    if let Some(timer) = context.timer.take() {
        engine.transactions.disarm_user(timer);
    }
}

fn try_next_hop(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize, now: Instant) {
    finish_watch(engine, id, context, index);
    match context.branches[index].hops.pop_front() {
        Some(hop) => send(engine, id, context, index, Target::Hop(hop), now),
        None => complete(engine, id, context, index, Outcome::Unreachable),
    }
}

fn complete(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize, outcome: Outcome) {
    finish_branch(engine, id, context, index);
    context.consider(outcome);
}

fn finish_branch(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize) {
    finish_watch(engine, id, context, index);
    context.branches[index].state = BranchState::Completed;
}

fn finish_watch(engine: &mut Engine, id: ContextId, context: &ResponseContext, index: usize) {
    if let Some(target) = context.branches[index].target.as_ref().filter(|_| context.is_invite) {
        engine.unwatch_connection(target, id.branch_user(index));
    }
}

/// Sends the best response (§16.7 steps 6-9).
fn conclude(engine: &mut Engine, context: &mut ResponseContext, now: Instant) {
    context.phase = Phase::Answered;
    disarm(engine, context);
    if !context.has_server {
        return;
    }
    match context.best.take() {
        Some(Best::Real(response)) => {
            let status = response.status().unwrap_or(500);
            match status {
                // §16.7 step 6: a 503 of a branch is not passed up.
                503 => engine.respond_to(context, 500, Reason::ServerError.phrase(), now),
                401 | 407 => {
                    let challenges = std::mem::take(&mut context.challenges);
                    engine.forward_response(context, &response, Some(&challenges), now);
                }
                _ => engine.forward_response(context, &response, None, now),
            }
        }
        Some(Best::Terminated) => engine.respond_to(context, 487, "Request Terminated", now),
        // RFC 4320 §4.1: no 408 to anything but an INVITE; its sender has given up by now.
        Some(Best::Synthesized(Reason::Timeout)) if !context.is_invite => {
            engine.transactions.respond_never(context.server, now);
        }
        Some(Best::Synthesized(reason)) => engine.refuse(context, reason, now),
        None => engine.refuse(context, Reason::NoBinding, now),
    }
}

/// The most places tried for one branch.
const MAX_HOPS: usize = 8;
/// A request larger than this is not sent over UDP where there is a choice (RFC 3261 §18.1.1).
const MAX_UDP_REQUEST: usize = 1300;
/// The most contacts of one redirection that are followed, and the most branches that redirections may lead to.
const MAX_REDIRECTIONS: usize = 10;
const MAX_BRANCHES: usize = 60;
/// What our Via and Record-Route add.
const FORWARDING_GROWTH: usize = 300;
