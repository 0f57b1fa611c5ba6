//! The response context (RFC 3261 §16.7–§16.9): the branches of one request, and which response its caller gets.

use std::collections::VecDeque;

use crate::sip::hop::{Flow, Hop, Target};
use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::reason::Reason;
use crate::sip::transaction::{ClientId, Kind, ServerId, TimerHandle};

use super::forwarding::Template;
use super::targets::Candidate;

/// One request and the branches it was forwarded on.
#[derive(Debug)]
pub struct ResponseContext {
    /// The server transaction that the responses go to.
    pub server: ServerId,
    /// The request as it came, on bytes of its own.
    pub request: Message,
    /// The way it came by.
    pub flow: Flow,
    /// Whether it is an INVITE.
    pub is_invite: bool,
    /// Whether its sender is authenticated, and may be told reasons.
    pub is_authenticated: bool,
    /// What is the same in all forwarded copies.
    pub template: Template,
    /// The branches started so far.
    pub branches: Vec<Branch>,
    /// Targets whose turn has not come: later groups of q, or beyond Max-Breadth.
    pub waiting: VecDeque<Candidate>,
    /// How far the caller's answer has come.
    pub phase: Phase,
    /// The best final response so far (§16.7 step 6).
    pub best: Option<Best>,
    /// Challenges of the branches that answered 401 or 407, as whole header lines (§16.7 step 7).
    pub challenges: Vec<u8>,
    /// Timer C, or the domain's ring timeout.
    pub timer: Option<TimerHandle>,
    /// When ringing ends whatever the branches say.
    pub ring_deadline: Option<std::time::Instant>,
    /// Whether the server transaction still exists.
    pub has_server: bool,
}

/// How far the caller's answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Responses are collected.
    Collecting,
    /// The caller sent CANCEL: no new branch is started (§16.10).
    Cancelled,
    /// Timer C or the ring timeout ran out: what comes of our CANCEL counts as 408 (§16.8).
    RungOut,
    /// A branch answered 6xx: the others are cancelled, and it wins (§16.7 step 5).
    Declined,
    /// A final response has been sent; of an INVITE further 2xx still pass.
    Answered,
}

/// One branch.
#[derive(Debug)]
pub struct Branch {
    /// Who is tried.
    pub candidate: Candidate,
    /// The client transaction, once there is one.
    pub client: Option<ClientId>,
    /// How far it has come.
    pub state: BranchState,
    /// Where the request went last.
    pub target: Option<Target>,
    /// Places to try when the present one fails (RFC 3263 §4.3).
    pub hops: VecDeque<Hop>,
    /// Its share of Max-Breadth.
    pub breadth: u32,
    /// Whether it is to be cancelled, and how far that has come.
    pub cancel: Cancel,
    /// Whether the Contact has been resolved after its flow had failed.
    pub has_fallen_back: bool,
    /// The To tag of its 2xx.
    pub to_tag: Option<Box<[u8]>>,
    /// Whether its client transaction still exists.
    pub is_live: bool,
}

/// How far a branch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchState {
    /// Its next hop is being looked up.
    Resolving,
    /// Sent; nothing has come back.
    Trying,
    /// A provisional response has come.
    Proceeding,
    /// It has brought what it will bring.
    Completed,
}

/// Whether a branch is to be cancelled (§9.1: only after a provisional response).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// No.
    No,
    /// Yes, as soon as a provisional response comes.
    Wanted,
    /// CANCEL has been sent.
    Sent,
}

/// What a branch has brought in the end.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A response of the branch.
    Response(Box<Message>),
    /// Nothing came in time: as good as 408.
    TimedOut,
    /// The next hop cannot be reached: as good as 503 (§16.9), or 430 for a dead flow.
    Unreachable,
    /// It was cancelled and stayed silent: as good as 487.
    SilentAfterCancel,
}

/// The best final response so far.
#[derive(Clone, Debug)]
pub enum Best {
    /// A branch's own.
    Real(Box<Message>),
    /// One of ours, when no branch has brought better.
    Synthesized(Reason),
    /// 487, for a branch that was cancelled and stayed silent.
    Terminated,
}

impl Best {
    /// Its place in §16.7 step 6; the least is the best. Any real response beats a synthesized one.
    fn rank(&self, is_cancelled: bool) -> (u8, u8, u16) {
        match self {
            Best::Real(message) => {
                let status = message.status().unwrap_or(500);
                let class = match status / 100 {
                    6 => 0,
                    class => class as u8,
                };
                let preference = match status {
                    487 if is_cancelled => 0,
                    401 | 407 => 1,
                    415 | 420 | 484 => 2,
                    // 16.7 step 6: a 503 means trouble of that hop, not of the call.
                    503 => 9,
                    // A branch that we cancelled says nothing of its own.
                    487 => 6,
                    408 => 5,
                    _ => 4,
                };
                (class, preference, 0)
            }
            Best::Terminated => (7, 0, 0),
            Best::Synthesized(Reason::Timeout) => (7, 1, 0),
            Best::Synthesized(_) => (7, 2, 0),
        }
    }
}

impl Phase {
    /// The Reason (RFC 3326) that a CANCEL sent in this phase names.
    pub fn cancel_reason(self) -> Option<&'static [u8]> {
        match self {
            Phase::Answered => Some(b"SIP;cause=200;text=\"Call completed elsewhere\""),
            Phase::Declined => Some(b"SIP;cause=603;text=\"Declined elsewhere\""),
            Phase::RungOut => Some(b"SIP;cause=408;text=\"Nobody answered\""),
            Phase::Collecting | Phase::Cancelled => None,
        }
    }
}

impl ResponseContext {
    /// The kind of its transactions.
    pub fn kind(&self) -> Kind {
        if self.is_invite { Kind::Invite } else { Kind::NonInvite }
    }

    /// Takes in what a branch has brought; the better of it and what there was stays.
    pub fn consider(&mut self, outcome: Outcome) {
        let candidate = match outcome {
            Outcome::Response(message) => {
                let status = message.status().unwrap_or(500);
                if self.phase == Phase::RungOut && status == 487 {
                    Best::Synthesized(Reason::Timeout)
                } else {
                    if matches!(status, 401 | 407) {
                        self.keep_challenges(&message);
                    }
                    Best::Real(message)
                }
            }
            Outcome::TimedOut if self.phase == Phase::Cancelled => Best::Terminated,
            Outcome::TimedOut => Best::Synthesized(Reason::Timeout),
            Outcome::Unreachable => Best::Synthesized(Reason::NoBinding),
            Outcome::SilentAfterCancel if self.phase == Phase::RungOut => Best::Synthesized(Reason::Timeout),
            Outcome::SilentAfterCancel => Best::Terminated,
        };
        let is_cancelled = self.phase == Phase::Cancelled;
        let is_better = self
            .best
            .as_ref()
            .is_none_or(|best| candidate.rank(is_cancelled) < best.rank(is_cancelled));
        if is_better {
            self.best = Some(candidate);
        }
    }

    /// Whether every branch has brought what it will bring, and none is waiting.
    pub fn is_complete(&self) -> bool {
        self.waiting.is_empty()
            && self
                .branches
                .iter()
                .all(|branch| branch.state == BranchState::Completed)
    }

    /// Whether branches may still be started.
    pub fn may_start(&self) -> bool {
        self.phase == Phase::Collecting
    }

    /// Whether nothing can come any more, neither from the caller nor from a branch.
    pub fn is_over(&self) -> bool {
        !self.has_server
            && self
                .branches
                .iter()
                .all(|branch| !branch.is_live && branch.state == BranchState::Completed)
    }

    fn keep_challenges(&mut self, message: &Message) {
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for (range, _) in message.line_ranges(name) {
                if self.challenges.len() + range.len() <= MAX_CHALLENGES {
                    self.challenges.extend_from_slice(&message.bytes()[range]);
                }
            }
        }
    }
}

/// The most bytes of challenges merged into one response.
const MAX_CHALLENGES: usize = 8192;
