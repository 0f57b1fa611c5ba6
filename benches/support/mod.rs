//! What the benches measure, once for all of them: each [`Work`] is an operation with everything made ready for it.

// Each bench uses a part of it.
#![allow(dead_code, reason = "each bench uses a part of it")]

pub mod calls;
pub mod location;
pub mod messages;
pub mod parts;
pub mod registrations;
pub mod transactions;
pub mod world;

use calls::Stage;
use location::FEW;

/// Something to be measured: the same operation, so many times. What it needs is made before, so that only the
/// operation itself is counted.
pub struct Work {
    left: usize,
    operation: Box<dyn FnMut()>,
}

/// Operations of one [`Work`]: enough that what grows now and then is shared out over them.
pub const OPERATIONS: usize = 100;

impl Work {
    /// `operation` can be done [`OPERATIONS`] times.
    pub fn new(operation: impl FnMut() + 'static) -> Work {
        Work {
            left: OPERATIONS,
            operation: Box::new(operation),
        }
    }

    /// Does one operation. False: all are done, and nothing was.
    pub fn step(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        (self.operation)();
        true
    }

    /// Does all operations that are left.
    pub fn run(&mut self) {
        while self.step() {}
    }
}

/// What makes an operation ready.
pub type Make = fn() -> Work;

/// All operations by name.
pub const ALL: &[(&str, Make)] = &[
    ("parse_register", parts::parse_register),
    ("parse_invite", parts::parse_invite),
    ("forward_invite", parts::forward_invite),
    ("reply_100", parts::reply_100),
    ("reply_200", parts::reply_200),
    ("reply_401", parts::reply_401),
    ("challenge", parts::challenge),
    ("verify_md5", parts::verify_md5),
    ("verify_sha256", parts::verify_sha256),
    ("location_new", || location::new_binding(FEW)),
    ("location_refresh", || location::refresh(FEW)),
    ("location_lookup", || location::lookup(FEW)),
    ("location_expire", || location::expire(FEW)),
    ("server_invite", transactions::server_invite),
    ("server_non_invite", transactions::server_non_invite),
    ("server_timers", transactions::server_timers),
    ("client_invite", transactions::client_invite),
    ("client_non_invite", transactions::client_non_invite),
    ("options", registrations::options_answered),
    ("register_challenged", registrations::register_challenged),
    ("register_new", registrations::register_new),
    ("register_refresh", registrations::register_refresh),
    ("call_challenged", || calls::call(Stage::Challenged)),
    ("call_challenge_ack", || calls::call(Stage::ChallengeAck)),
    ("call_invite", || calls::call(Stage::Invite)),
    ("call_ringing", || calls::call(Stage::Ringing)),
    ("call_answer", || calls::call(Stage::Answer)),
    ("call_ack", || calls::call(Stage::Ack)),
    ("call_bye", || calls::call(Stage::Bye)),
    ("call_bye_answer", || calls::call(Stage::ByeAnswer)),
    ("call_over", calls::call_over),
    ("fork_invite", || calls::fork(Stage::Invite)),
    ("fork_ringing", || calls::fork(Stage::Ringing)),
    ("fork_answer", || calls::fork(Stage::Answer)),
];

/// Makes the operation `name` ready.
pub fn make(name: &str) -> Work {
    let found = ALL.iter().find(|(other, _)| *other == name);
    found.unwrap_or_else(|| panic!("no operation {name}")).1()
}

/// Takes the first of what was made ready; there is one for each operation.
pub fn next<T>(ready: &mut std::vec::IntoIter<T>) -> T {
    ready.next().expect("there is one for each operation")
}
