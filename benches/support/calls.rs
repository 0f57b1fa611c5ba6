//! Calls through `prepare` and `Server`, each stage by itself: what comes before it was done unmeasured.

use ringbinder::sip::hop::Flow;

use super::messages::{Request, contact, invite, register, respond};
use super::registrations::{deliver, registered, warm_world};
use super::world::{Sent, USERS, World, find, flow};
use super::{OPERATIONS, Work};

/// A message that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// INVITE without credentials; 407.
    Challenged,
    /// Its ACK.
    ChallengeAck,
    /// INVITE with credentials; 100, and INVITE to the callee.
    Invite,
    /// 180 of the callee; goes back.
    Ringing,
    /// 200 of the callee; goes back, and cancels the branches that ring.
    Answer,
    /// ACK of the caller; goes on.
    Ack,
    /// BYE of the caller; goes on.
    Bye,
    /// 200 of the callee to it; goes back.
    ByeAnswer,
}

/// The contacts that ring in a forked call.
const FORK: usize = 10;

/// Who does not answer.
const UNANSWERING: usize = USERS - 2;

/// How often everybody calls there before. Transactions under way lie in some hundred tables by a hash, each of which
/// is to have met some.
const UNANSWERED: u32 = 20;

/// `stage` of calls to callees with one contact.
pub fn call(stage: Stage) -> Work {
    let mut world = warm_world();
    for number in 0..OPERATIONS {
        registered(&mut world, callee(number));
    }
    calls(world, stage, callee)
}

/// `stage` of calls to a callee with ten contacts, all of which have rung before the answer. What is measured of
/// [`Stage::Ringing`] is the first of them.
pub fn fork(stage: Stage) -> Work {
    let mut world = warm_world();
    let challenge = registered(&mut world, OPERATIONS);
    for phone in 1..FORK {
        let mut request = register(OPERATIONS, 2 + phone as u32);
        let (own, other) = (contact(OPERATIONS), contact(OPERATIONS + phone));
        request.lines = request.lines.replace(&own, &other);
        let request = request.authorized(&challenge, 1 + phone as u32);
        find(&world.exchange(request.bytes(), flow(OPERATIONS + phone)), "200");
    }
    world.settle();
    calls(world, stage, |_| OPERATIONS)
}

/// All timers of calls that were answered and ended.
pub fn call_over() -> Work {
    // Timers cannot be run one call at a time; each operation runs those of one world with one call.
    let worlds = (0..OPERATIONS).map(|number| {
        let mut world = World::new();
        registered(&mut world, callee(number));
        world.settle();
        let (bytes, flow) = Call::new(number, callee(number)).until(Stage::ByeAnswer, &mut world);
        world.exchange(bytes, flow);
        world
    });
    let mut worlds = worlds.collect::<Vec<_>>().into_iter();
    let mut done = Vec::with_capacity(OPERATIONS);
    Work::new(move || {
        let mut world = super::next(&mut worlds);
        world.settle();
        done.push(world);
    })
}

fn callee(number: usize) -> usize {
    OPERATIONS + number
}

fn calls(mut world: World, stage: Stage, callee: impl Fn(usize) -> usize) -> Work {
    // Calls before, so that the memory of transactions and contexts is there: those that nobody answers, all at the
    // same time, and whole ones.
    registered(&mut world, UNANSWERING);
    for round in 0..UNANSWERED {
        for number in 0..OPERATIONS {
            let mut call = Call::new(number, UNANSWERING);
            call.cseq += 10 * round;
            call.until(Stage::Ringing, &mut world);
        }
    }
    world.settle();
    for number in 0..OPERATIONS {
        let (bytes, flow) = Call::new(number, callee(number)).until(Stage::ByeAnswer, &mut world);
        world.exchange(bytes, flow);
    }
    world.settle();
    let inbox = (0..OPERATIONS).map(|number| {
        let mut call = Call::new(number, callee(number));
        call.cseq = 1_000;
        call.until(stage, &mut world)
    });
    let inbox = inbox.collect();
    deliver(world, inbox)
}

/// A call that is under way.
struct Call {
    caller: usize,
    callee: usize,
    cseq: u32,
}

impl Call {
    fn new(caller: usize, callee: usize) -> Call {
        Call {
            caller,
            callee,
            cseq: 1,
        }
    }

    /// Does all that comes before `stage`. Returns the message of that stage and the way it comes.
    fn until(&self, stage: Stage, world: &mut World) -> (Vec<u8>, Flow) {
        let (way, draft) = (flow(self.caller), invite(self.caller, self.callee, self.cseq));
        if stage == Stage::Challenged {
            return (draft.bytes(), way);
        }
        let sent = world.exchange(draft.bytes(), way);
        let challenge = find(&sent, "407");
        let ack = Request {
            method: "ACK",
            to: challenge.header("To"),
            lines: String::new(),
            body: String::new(),
            ..draft.clone()
        };
        if stage == Stage::ChallengeAck {
            return (ack.bytes(), way);
        }
        world.exchange(ack.bytes(), way);
        let draft = Request {
            cseq: self.cseq + 1,
            ..draft
        };
        let draft = draft.authorized(challenge, 1);
        if stage == Stage::Invite {
            return (draft.bytes(), way);
        }
        let sent = world.exchange(draft.bytes(), way);
        find(&sent, "100");
        let copies: Vec<&Sent> = sent.iter().filter(|sent| sent.message.is_request()).collect();
        let first = copies[0];
        if stage == Stage::Ringing {
            return (respond(first, "180 Ringing", self.callee), first.flow);
        }
        for copy in &copies {
            let ringing = world.exchange(respond(copy, "180 Ringing", self.callee), copy.flow);
            find(&ringing, "180");
        }
        let answer = respond(first, "200 OK", self.callee);
        if stage == Stage::Answer {
            return (answer, first.flow);
        }
        let sent = world.exchange(answer, first.flow);
        self.cancelled(world, &sent, &copies);
        self.within(stage, world, find(&sent, "200"), &draft)
    }

    /// The phones that were cancelled answer.
    fn cancelled(&self, world: &mut World, sent: &[Sent], copies: &[&Sent]) {
        for cancel in sent.iter().filter(|sent| sent.message.method_bytes() == b"CANCEL") {
            world.exchange(respond(cancel, "200 OK", self.callee), cancel.flow);
            let branch = |sent: &Sent| sent.message.top_via().and_then(|via| via.branch().map(<[u8]>::to_vec));
            let copy = copies.iter().find(|copy| branch(copy) == branch(cancel));
            let copy = copy.expect("a CANCEL has the branch of its INVITE");
            world.exchange(respond(copy, "487 Request Terminated", self.callee), copy.flow);
        }
    }

    /// What comes after the 200: the requests of the caller follow its Record-Route.
    fn within(&self, stage: Stage, world: &mut World, answer: &Sent, invite: &Request) -> (Vec<u8>, Flow) {
        let way = flow(self.caller);
        let ack = Request {
            method: "ACK",
            uri: contact(self.callee),
            to: answer.header("To"),
            lines: format!("Route: {}\r\n", answer.header("Record-Route")),
            body: String::new(),
            ..invite.clone()
        };
        if stage == Stage::Ack {
            return (ack.bytes(), way);
        }
        find(&world.exchange(ack.bytes(), way), "ACK");
        let bye = Request {
            method: "BYE",
            cseq: invite.cseq + 1,
            ..ack
        };
        if stage == Stage::Bye {
            return (bye.bytes(), way);
        }
        let sent = world.exchange(bye.bytes(), way);
        let bye = find(&sent, "BYE");
        (respond(bye, "200 OK", self.callee), bye.flow)
    }
}
