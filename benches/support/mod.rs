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

/// Takes the first of what was made ready; there is one for each operation.
pub fn next<T>(ready: &mut std::vec::IntoIter<T>) -> T {
    ready.next().expect("there is one for each operation")
}
