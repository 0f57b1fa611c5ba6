//! The response context (RFC 3261 §16.7–§16.9): the branches of one request, and which response its caller gets.

use std::time::Instant;

use smallvec::SmallVec;

use super::forwarding::Template;
use super::targets::Candidates;
use crate::sip::hop::{Flow, Hop, Target};
use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::reason::Reason;
use crate::sip::transaction::{ClientId, Kind, ServerId, TimerHandle};

/// One request and the branches it was forwarded on: what has to be known until nothing can come any more.
#[derive(Debug)]
pub struct ResponseContext {
    /// The server transaction that the responses go to.
    pub server: ServerId,
    /// The way the request came by.
    pub flow: Flow,
    /// The port of its top Via, where replies go when the connection is gone.
    pub via_port: Option<u16>,
    /// The host name of its top Via, where they go when that cannot be reached either; kept for streams only.
    pub via_name: Option<Box<str>>,
    /// Where replies go now.
    pub replies: Replies,
    /// Whether it is an INVITE.
    pub is_invite: bool,
    /// Of an INVITE, the hash of its Call-ID and From tag.
    pub dialog: Option<u64>,
    /// How far the caller's answer has come.
    pub phase: Phase,
    /// Whether the server transaction still exists.
    pub has_server: bool,
    /// Timer C, or the domain's ring timeout.
    pub timer: Option<TimerHandle>,
    /// The branches started so far.
    pub branches: SmallVec<[Branch; 2]>,
    /// Who has accepted an INVITE.
    pub answers: Vec<Answer>,
    /// What the branches are started and compared with; none when all have ended.
    pub search: Option<Box<Search>>,
}

/// What has to be known of a request as long as a branch is open or may be started. It is most of what there is, and is
/// used again for the next request.
#[derive(Debug, Default)]
pub struct Search {
    /// The request as it came, on bytes of its own, and what is the same in all forwarded copies.
    pub request: Option<(Message, Template)>,
    /// Whether its sender is authenticated, and may be told reasons.
    pub is_authenticated: bool,
    /// Who is tried: first those whose branches have been started, in the same order; then those whose turn has not come:
    /// later groups of q, or beyond Max-Breadth.
    pub candidates: Candidates,
    /// How the branches are getting on, in the same order.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// The best final response so far (§16.7 step 6).
    pub best: Option<Best>,
    /// Challenges of the branches that answered 401 or 407, as whole header lines (§16.7 step 7).
    pub challenges: Vec<u8>,
    /// When ringing ends whatever the branches say.
    pub ring_deadline: Option<Instant>,
}

/// Where the replies to a request go (§18.2.2): each place when the one before cannot be reached any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// Over the way that it came by.
    OverFlow,
    /// On another connection to the address that it came from.
    ToSource,
    /// To what the name in its Via leads to (RFC 3263 §5).
    ToName,
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

/// One branch: what has to be known of it to the end.
#[derive(Debug)]
pub struct Branch {
    /// The client transaction, once there is one.
    pub client: Option<ClientId>,
    /// How far it has come.
    pub state: BranchState,
    /// Whether it is to be cancelled, and how far that has come.
    pub cancel: Cancel,
    /// Whether its client transaction still exists.
    pub is_live: bool,
}

/// What has to be known of a branch while it is open.
#[derive(Debug)]
pub struct Attempt {
    /// Where the request went last.
    pub target: Option<Target>,
    /// Places to try when the present one fails (RFC 3263 §4.3), the next one last.
    pub hops: Vec<Hop>,
    /// Its share of Max-Breadth.
    pub breadth: u32,
    /// Whether the Contact has been resolved after its flow had failed.
    pub has_fallen_back: bool,
    /// While the connection to a ringing phone is gone: when the wait for it ends.
    pub waits_for_flow: Option<TimerHandle>,
}

/// Who has accepted an INVITE: where requests within the dialog go that come without a Route.
#[derive(Debug)]
pub struct Answer {
    /// The branch.
    pub branch: usize,
    /// Where it is.
    pub target: Target,
    /// The Request-URI that it was reached with, the Route values, and the To tag of its last 2xx.
    text: Box<[u8]>,
    uri_end: u32,
    path_end: u32,
}

impl Answer {
    /// The Request-URI that it was reached with.
    pub fn uri(&self) -> &[u8] {
        &self.text[..self.uri_end as usize]
    }

    /// The Route values that it was reached with.
    pub fn path(&self) -> &[u8] {
        &self.text[self.uri_end as usize..self.path_end as usize]
    }

    /// The To tag of its last 2xx.
    pub fn to_tag(&self) -> &[u8] {
        &self.text[self.path_end as usize..]
    }
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
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// A response of the branch.
    Response(&'a Message),
    /// Nothing came in time: as good as 408.
    TimedOut,
    /// The next hop cannot be reached: as good as 503 (§16.9), or 430 for a dead flow.
    Unreachable,
    /// The flow that a token names is gone (RFC 5626 §5.3).
    FlowFailed,
    /// The next hop's name leads nowhere, or nobody could say where: as good as 503 (§16.9).
    Unresolvable,
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

/// The place of a response in §16.7 step 6; the least is the best. Any real response beats a synthesized one.
type Rank = (u8, u8);

fn rank_of_status(status: u16, is_cancelled: bool) -> Rank {
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
    (class, preference)
}

impl Best {
    fn rank(&self, is_cancelled: bool) -> Rank {
        match self {
            Best::Real(message) => rank_of_status(message.status().unwrap_or(500), is_cancelled),
            Best::Terminated => (7, 0),
            Best::Synthesized(Reason::Timeout) => (7, 1),
            Best::Synthesized(_) => (7, 2),
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
    pub fn consider(&mut self, outcome: Outcome<'_>) {
        let Some(search) = &mut self.search else { return };
        let is_cancelled = self.phase == Phase::Cancelled;
        let worst = (u8::MAX, u8::MAX);
        let best = search.best.as_ref().map_or(worst, |best| best.rank(is_cancelled));
        let candidate = match outcome {
            Outcome::Response(message) => {
                let status = message.status().unwrap_or(500);
                if self.phase == Phase::RungOut && status == 487 {
                    Best::Synthesized(Reason::Timeout)
                } else {
                    if matches!(status, 401 | 407) {
                        search.keep_challenges(message);
                    }
                    if rank_of_status(status, is_cancelled) >= best {
                        return;
                    }
                    Best::Real(Box::new(message.detached()))
                }
            }
            Outcome::TimedOut if is_cancelled => Best::Terminated,
            Outcome::TimedOut => Best::Synthesized(Reason::Timeout),
            Outcome::Unreachable => {
                let request = search.request.as_ref();
                Best::Synthesized(request.map_or(Reason::NoBinding, |(_, template)| template.unreachable))
            }
            Outcome::FlowFailed => Best::Synthesized(Reason::FlowFailed),
            Outcome::Unresolvable => Best::Synthesized(Reason::Unresolvable),
            Outcome::SilentAfterCancel if self.phase == Phase::RungOut => Best::Synthesized(Reason::Timeout),
            Outcome::SilentAfterCancel => Best::Terminated,
        };
        if candidate.rank(is_cancelled) < best {
            search.best = Some(candidate);
        }
    }

    /// Whether every branch has brought what it will bring, and none is waiting.
    pub fn is_complete(&self) -> bool {
        let is_waiting = self.search.as_ref().is_some_and(|search| search.is_waiting());
        !is_waiting && self.has_ended()
    }

    /// Whether branches may still be started.
    pub fn may_start(&self) -> bool {
        self.phase == Phase::Collecting
    }

    /// Whether nothing can come any more, neither from the caller nor from a branch.
    pub fn is_over(&self) -> bool {
        !self.has_server && self.has_ended() && self.branches.iter().all(|branch| !branch.is_live)
    }

    /// The search, when it is over: the answer has been sent, and every branch has brought what it will bring.
    pub fn take_ended_search(&mut self) -> Option<Box<Search>> {
        let is_over = self.phase == Phase::Answered && self.search.is_some() && self.has_ended();
        is_over.then(|| self.search.take()).flatten()
    }

    /// Notes that branch `index` has accepted with `to_tag`.
    pub fn note_answer(&mut self, index: usize, to_tag: &[u8]) {
        if let Some(answer) = self.answers.iter_mut().find(|answer| answer.branch == index) {
            if answer.to_tag() != to_tag {
                answer.text = [answer.uri(), answer.path(), to_tag].concat().into();
            }
            return;
        }
        let Some(search) = &self.search else { return };
        let (Some(candidate), Some(attempt)) = (search.candidates.list().get(index), search.attempts.get(index)) else {
            return;
        };
        let Some(target) = attempt.target.clone() else { return };
        let (uri, path) = (search.candidates.uri(candidate), search.candidates.path(candidate));
        // There is rarely a second one.
        self.answers.reserve_exact(1);
        self.answers.push(Answer {
            branch: index,
            target,
            text: [uri, path, to_tag].concat().into(),
            uri_end: uri.len() as u32,
            path_end: (uri.len() + path.len()) as u32,
        });
    }

    fn has_ended(&self) -> bool {
        self.branches
            .iter()
            .all(|branch| branch.state == BranchState::Completed)
    }
}

impl Search {
    /// Whether there are candidates whose turn has not come.
    pub fn is_waiting(&self) -> bool {
        self.attempts.len() < self.candidates.list().len()
    }

    /// Forgets all, so that another request can have it.
    pub fn clear(&mut self) {
        self.request = None;
        self.candidates.clear();
        self.attempts.clear();
        self.best = None;
        self.challenges = Vec::new();
        self.ring_deadline = None;
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
