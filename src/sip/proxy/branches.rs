//! The life of branches (RFC 3261 §16.6-§16.10): started, moved to the next hop, cancelled, completed.

use std::time::Instant;

use super::contexts::ContextId;
use super::engine::{Engine, question};
use super::failover::{self, flow_refused, is_of_path, try_next_flow};
use super::forwarding::{Draft, first_route};
use super::hops;
use super::response_context::{Attempt, Best, Branch, BranchState, Cancel, Outcome, Phase, ResponseContext, Search};
use super::targets::{self, Candidate, Candidates, Way};
use crate::sip::hop::{Hop, Target};
use crate::sip::message::Message;
use crate::sip::message::address::NameAddr;
use crate::sip::message::header::HeaderName;
use crate::sip::message::uri::{Scheme, Uri};
use crate::sip::reason::Reason;
use crate::sip::resolution::{MAX_HOPS, Question};
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
    let Some(search) = context.search.as_deref() else {
        return false;
    };
    let (started, waiting) = search.candidates.list().split_at(search.attempts.len());
    let Some(first) = waiting.first() else {
        return false;
    };
    let (mut used, mut group) = (0, first.group);
    for (branch, (attempt, candidate)) in context.branches.iter().zip(search.attempts.iter().zip(started)) {
        if branch.state != BranchState::Completed {
            used += attempt.breadth;
            group = candidate.group;
        }
    }
    let Some((_, template)) = &search.request else {
        return false;
    };
    let available = template.reach.max_breadth.saturating_sub(used);
    let ready = waiting.iter().take_while(|candidate| candidate.group == group).count();
    let count = ready.min(available as usize);
    if count == 0 {
        return false;
    }
    let share = available / count as u32;
    let mut remainder = available % count as u32;
    for _ in 0..count {
        let extra = u32::from(remainder > 0);
        remainder -= extra;
        start(engine, id, context, share + extra, now);
    }
    if context.is_invite {
        // §16.6 step 11: each branch has its timer C; those started together share one.
        arm_timer_c(engine, id, context, now);
    }
    true
}

/// Starts the branch of the candidate whose turn it is.
fn start(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, breadth: u32, now: Instant) {
    let index = context.branches.len();
    let Some(search) = context.search.as_deref_mut() else {
        return;
    };
    if search.candidates.list().len() <= index {
        return;
    }
    context.branches.push(Branch {
        client: None,
        state: BranchState::Resolving,
        cancel: Cancel::No,
        is_live: false,
    });
    search.attempts.push(Attempt {
        target: None,
        hops: Vec::new(),
        breadth,
        has_fallen_back: false,
        waits_for_flow: None,
    });
    go(engine, id, context, index, now);
}

/// Sets out on the way of the candidate at `index`.
pub(super) fn go(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize, now: Instant) {
    let search = context.search.as_deref();
    let target = match search
        .and_then(|search| search.candidates.list().get(index))
        .map(|candidate| &candidate.way)
    {
        Some(Way::Flow(flow) | Way::Only(flow)) => Target::Flow(*flow),
        // One that has failed of late is tried after the others of its name.
        Some(Way::Token {
            target: Target::Hop(hop),
            ..
        }) if engine.shared.health.is_failing(hop, now) && hop.server_name.is_some() => {
            return ask(engine, id, context, index);
        }
        Some(Way::Token { target, .. }) => target.clone(),
        Some(Way::Resolve) | None => return ask(engine, id, context, index),
    };
    send(engine, id, context, index, target, now);
}

/// Asks for the hops of a branch: of the name that a token's hop had, else of its first Route, else of its Request-URI.
pub(super) fn ask(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize) {
    match hop_question(context, index) {
        Some(question) => {
            context.branches[index].state = BranchState::Resolving;
            engine.ask(id.branch_user(index), context.flow.remote.ip(), question);
        }
        None => complete(engine, id, context, index, Outcome::Unresolvable),
    }
}

fn hop_question(context: &ResponseContext, index: usize) -> Option<Question> {
    let search = context.search.as_deref()?;
    let (request, template) = search.request.as_ref()?;
    let candidate = search.candidates.list().get(index)?;
    if let Way::Token {
        target: Target::Hop(hop),
        ..
    } = &candidate.way
    {
        return hops::question(hop);
    }
    let route =
        first_route(request, template, search.candidates.path(candidate)).and_then(|value| NameAddr::parse(value).ok());
    let uri = route.map_or(search.candidates.uri(candidate), |route| route.uri);
    let growth = match template.record {
        Some(_) => RECORDED_GROWTH,
        None => FORWARDING_GROWTH,
    };
    let is_large = request.bytes().len() + growth > MAX_UDP_REQUEST;
    question(uri, is_large)
}

/// The hops of a branch have been found.
pub fn resolved(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    mut hops: Vec<Hop>,
    now: Instant,
) {
    let Some(branch) = context.branches.get(index) else {
        return;
    };
    if branch.state != BranchState::Resolving {
        return;
    }
    let Some(search) = context.search.as_deref_mut() else {
        return;
    };
    let (Some(attempt), Some(candidate)) = (search.attempts.get_mut(index), search.candidates.list().get(index)) else {
        return;
    };
    hops.truncate(MAX_HOPS);
    // Where the name leads elsewhere by now, the hop of the dialog is one of its places still.
    if let Way::Token {
        target: Target::Hop(hop),
        ..
    } = &candidate.way
        && !attempt.has_fallen_back
        && !hops.contains(hop)
    {
        hops.push(hop.clone());
    }
    engine.shared.health.put_failing_last(&mut hops, now);
    hops.reverse();
    attempt.hops = hops;
    match attempt.hops.pop() {
        Some(hop) => send(engine, id, context, index, Target::Hop(hop), now),
        None => complete(engine, id, context, index, Outcome::Unresolvable),
    }
    advance(engine, id, context, now);
}

pub(super) fn send(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    target: Target,
    now: Instant,
) {
    let user = id.branch_user(index);
    let Some((client, branch_id)) = engine.transactions.create_client(context.kind(), user) else {
        return complete(engine, id, context, index, Outcome::Unreachable);
    };
    // A branch is open as long as there is a search.
    let Some(search) = context.search.as_deref_mut() else {
        return engine.transactions.release_client(client);
    };
    let (Some((request, template)), Some(candidate), Some(attempt)) = (
        &search.request,
        search.candidates.list().get(index),
        search.attempts.get_mut(index),
    ) else {
        return engine.transactions.release_client(client);
    };
    let payload = engine.copy(&Draft {
        request,
        number: Some(id.user()),
        flow: &context.flow,
        template,
        uri: search.candidates.uri(candidate),
        path: search.candidates.path(candidate),
        target: &target,
        branch: branch_id.as_bytes(),
        breadth: attempt.breadth,
    });
    attempt.target = Some(target.clone());
    // RFC 3263 §4.3 lets timers B and F find a dead hop out; by then most callers have given up.
    let within = (!attempt.hops.is_empty()).then_some(engine.shared.settings.transaction.hop_timeout);
    if context.is_invite {
        engine.watch_connection(&target, user);
    }
    let branch = &mut context.branches[index];
    branch.client = Some(client);
    branch.state = BranchState::Trying;
    branch.is_live = true;
    engine
        .transactions
        .send_request_within(client, payload, target, within, now);
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
    hops::note_answer(engine, context, index, response, now);
    match status {
        100..=199 => receive_provisional(engine, id, context, index, response, status, now),
        200..=299 => {
            if let Some(tag) = response.to_tag().filter(|_| context.is_invite) {
                context.note_answer(index, tag);
            }
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
        503 if context.may_start() && has_more_hops(context, index) => {
            try_next_hop(engine, id, context, index, now);
        }
        430 if context.may_start() && is_of_path(context, index) => {
            flow_refused(engine, id, context, index, now);
            advance(engine, id, context, now);
        }
        // RFC 5626 §7: the flow does not lead to the phone; of any other answer the phone is the author.
        408 if try_next_flow(engine, id, context, index, now) => {}
        // The caller has had the answer, and nothing but another 2xx is passed on.
        _ if context.phase == Phase::Answered => finish_branch(engine, id, context, index),
        _ => {
            complete(engine, id, context, index, Outcome::Response(response));
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
    let Some(search) = context.search.as_deref_mut() else {
        return false;
    };
    let shared = &engine.shared;
    let started = &search.candidates.list()[..search.attempts.len()];
    let group = started
        .iter()
        .map(|candidate| candidate.group)
        .min()
        .unwrap_or_default();
    let mut is_any = false;
    for value in response.values(HeaderName::Contact).take(MAX_REDIRECTIONS) {
        let Some(uri) = NameAddr::parse(value)
            .ok()
            .and_then(|address| Uri::parse(address.uri).ok())
        else {
            continue;
        };
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) || search.candidates.list().len() > MAX_BRANCHES {
            continue;
        }
        let mut found = Candidates::default();
        match shared.called(&uri) {
            Some(called) => _ = targets::add_called(&mut found, shared, &called, uri.scheme, None, now),
            None if shared.settings.names_us(&uri) => continue,
            None => found.add(uri.bytes, &[], Way::Resolve, 0),
        }
        for candidate in found.list() {
            let uri = found.uri(candidate);
            let is_known = |other: &Candidate| {
                Uri::parse(search.candidates.uri(other))
                    .is_ok_and(|other| Uri::parse(uri).is_ok_and(|uri| uri.equivalent(&other)))
            };
            if search.candidates.list().iter().any(is_known) {
                continue;
            }
            let (path, way) = (found.path(candidate), candidate.way.clone());
            search.candidates.add(uri, path, way, group);
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
    failover::stop_waiting(engine, context, index);
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
    // A hop that has said 100 works.
    if branch.state == BranchState::Trying {
        hops::note_failure(engine, context, index, now);
        if let Some(Target::Flow(flow)) = attempt(context, index).and_then(|attempt| attempt.target.as_ref()) {
            engine.silent.extend(flow.connection);
        }
    }
    if context.may_start() && has_more_hops(context, index) {
        try_next_hop(engine, id, context, index, now);
    } else if !try_next_flow(engine, id, context, index, now) {
        complete(engine, id, context, index, Outcome::TimedOut);
    }
    advance(engine, id, context, now);
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
    if let Some(search) = &mut context.search {
        search.candidates.truncate(search.attempts.len());
    }
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
    let ring_deadline = context.search.as_ref().and_then(|search| search.ring_deadline);
    let deadline = ring_deadline.map_or(now + TIMER_C, |end| end.min(now + TIMER_C));
    context.timer = Some(engine.transactions.arm_user(deadline, id.user()));
}

fn disarm(engine: &mut Engine, context: &mut ResponseContext) {
    if let Some(timer) = context.timer.take() {
        engine.transactions.disarm_user(timer);
    }
}

pub(super) fn try_next_hop(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    now: Instant,
) {
    finish_watch(engine, id, context, index);
    match attempt(context, index).and_then(|attempt| attempt.hops.pop()) {
        Some(hop) => send(engine, id, context, index, Target::Hop(hop), now),
        None => complete(engine, id, context, index, Outcome::Unreachable),
    }
}

pub(super) fn complete(
    engine: &mut Engine,
    id: ContextId,
    context: &mut ResponseContext,
    index: usize,
    outcome: Outcome<'_>,
) {
    finish_branch(engine, id, context, index);
    context.consider(outcome);
}

fn finish_branch(engine: &mut Engine, id: ContextId, context: &mut ResponseContext, index: usize) {
    finish_watch(engine, id, context, index);
    failover::stop_waiting(engine, context, index);
    context.branches[index].state = BranchState::Completed;
}

pub(super) fn finish_watch(engine: &mut Engine, id: ContextId, context: &ResponseContext, index: usize) {
    if context.is_invite
        && let Some(search) = &context.search
        && let Some(target) = search.attempts.get(index).and_then(|attempt| attempt.target.as_ref())
    {
        engine.unwatch_connection(target, id.branch_user(index));
    }
}

pub(super) fn attempt(context: &mut ResponseContext, index: usize) -> Option<&mut Attempt> {
    context.search.as_deref_mut()?.attempts.get_mut(index)
}

pub(super) fn has_more_hops(context: &mut ResponseContext, index: usize) -> bool {
    attempt(context, index).is_some_and(|attempt| !attempt.hops.is_empty())
}

/// Sends the best response (§16.7 steps 6-9).
fn conclude(engine: &mut Engine, context: &mut ResponseContext, now: Instant) {
    context.phase = Phase::Answered;
    disarm(engine, context);
    // All branches have ended, so that the search is over, too.
    let Some(mut search) = context.search.take() else {
        return;
    };
    if context.has_server {
        send_best(engine, context, &mut search, now);
    }
    context.search = Some(search);
}

fn send_best(engine: &mut Engine, context: &ResponseContext, search: &mut Search, now: Instant) {
    let (server, remote) = (context.server, context.flow.remote);
    match (search.best.take(), &search.request) {
        (Some(Best::Real(response)), Some((request, _))) => match response.status().unwrap_or(500) {
            // §16.7 step 6: a 503 of a branch is not passed up.
            503 => engine.respond_with(server, request, remote, 500, Reason::ServerError.phrase(), |_| {}, now),
            401 | 407 => engine.forward_response(context, &response, Some(&search.challenges), now),
            _ => engine.forward_response(context, &response, None, now),
        },
        (Some(Best::Terminated), Some((request, _))) => {
            engine.respond_with(server, request, remote, 487, "Request Terminated", |_| {}, now);
        }
        // RFC 4320 §4.1: no 408 to anything but an INVITE; its sender has given up by now.
        (Some(Best::Synthesized(Reason::Timeout)), _) if !context.is_invite => {
            engine.transactions.respond_never(server, now);
        }
        (Some(Best::Synthesized(reason)), _) => engine.refuse(context, search, reason, now),
        (_, _) => engine.refuse(context, search, Reason::NoBinding, now),
    }
}

/// A request larger than this is not sent over UDP where there is a choice (RFC 3261 §18.1.1).
const MAX_UDP_REQUEST: usize = 1300;
/// The most contacts of one redirection that are followed, and the most branches that redirections may lead to.
const MAX_REDIRECTIONS: usize = 10;
const MAX_BRANCHES: usize = 60;
/// What our Via and Max-Breadth add, and what they add together with a Record-Route.
const FORWARDING_GROWTH: usize = 110;
const RECORDED_GROWTH: usize = 300;
