//! REGISTER and OPTIONS through `prepare` and `Server`.

use super::messages::{options, register};
use super::world::{Inbox, Sent, USERS, World, find, flow};
use super::{OPERATIONS, Work};

/// Transactions before those that are measured. Completed ones lie in some hundred tables by a hash, each of which is
/// to have met some.
const EARLIER: u32 = 2_500;

/// OPTIONS to the server, 200.
pub fn options_answered() -> Work {
    let mut world = World::new();
    for number in 0..OPERATIONS {
        world.exchange(options(OPERATIONS + number).bytes(), flow(number));
    }
    world.settle();
    let inbox = (0..OPERATIONS).map(|number| (options(number).bytes(), flow(number)));
    deliver(world, inbox.collect())
}

/// REGISTER without credentials, 401.
pub fn register_challenged() -> Work {
    let mut world = World::new();
    for number in 0..OPERATIONS {
        challenge(&mut world, number);
    }
    world.settle();
    let inbox = (0..OPERATIONS).map(|number| (register(number, 3).bytes(), flow(number)));
    deliver(world, inbox.collect())
}

/// REGISTER with credentials of a user who has no binding, 200.
pub fn register_new() -> Work {
    let mut world = warm_world();
    for number in OPERATIONS..2 * OPERATIONS {
        registered(&mut world, number);
    }
    world.settle();
    let inbox = (0..OPERATIONS).map(|number| {
        let challenge = challenge(&mut world, number);
        (register(number, 2).authorized(&challenge, 1).bytes(), flow(number))
    });
    let inbox = inbox.collect();
    deliver(world, inbox)
}

/// REGISTER with credentials of a user who has that binding, 200.
pub fn register_refresh() -> Work {
    let mut world = warm_world();
    let challenges: Vec<Sent> = (0..OPERATIONS).map(|number| registered(&mut world, number)).collect();
    let refresh = |nonce_count: u32| {
        let inbox = challenges.iter().enumerate().map(|(number, challenge)| {
            let request = register(number, nonce_count + 1).authorized(challenge, nonce_count);
            (request.bytes(), flow(number))
        });
        inbox.collect::<Vec<_>>()
    };
    for (bytes, flow) in refresh(2) {
        find(&world.exchange(bytes, flow), "200");
    }
    world.settle();
    let inbox = refresh(3);
    deliver(world, inbox)
}

/// A server that has had so many transactions that their tables need not grow for a few more.
pub fn warm_world() -> World {
    let mut world = World::new();
    let challenge = registered(&mut world, USERS - 1);
    for nonce_count in 2..2 + EARLIER {
        let request = register(USERS - 1, nonce_count + 1).authorized(&challenge, nonce_count);
        find(&world.exchange(request.bytes(), flow(USERS - 1)), "200");
    }
    world.settle();
    world
}

/// Registers user `number`. Returns the challenge, which can be answered again with a higher count.
pub fn registered(world: &mut World, number: usize) -> Sent {
    let challenge = challenge(world, number);
    let sent = world.exchange(register(number, 2).authorized(&challenge, 1).bytes(), flow(number));
    find(&sent, "200");
    challenge
}

fn challenge(world: &mut World, number: usize) -> Sent {
    let mut sent = world.exchange(register(number, 1).bytes(), flow(number));
    find(&sent, "401");
    sent.remove(0)
}

/// Delivers one message after the other.
pub fn deliver(mut world: World, messages: Vec<(Vec<u8>, ringbinder::sip::hop::Flow)>) -> Work {
    let mut inbox = Inbox::new(messages);
    Work::new(move || {
        let (bytes, flow) = inbox.next();
        world.deliver(bytes, flow);
    })
}
