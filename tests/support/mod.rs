//! Starts the real process and real clients on loopback; shared by the tests that need them.
//!
//! Every test has loopback addresses of its own, so that fixed ports never collide. Whatever is started has a time
//! limit and is killed, by its process id, when it goes out of scope.

pub mod baresip;
pub mod daemon;
pub mod nameserver;
pub mod namespace;
pub mod phone;
pub mod place;
pub mod program;
pub mod sipp;
pub mod stream_phone;
pub mod tunnel;

pub use daemon::{Configuration, Daemon};

/// The domain that every test serves.
pub const DOMAIN: &str = "example.test";

/// What every user's password is made of.
pub fn password(user: &str) -> String {
    format!("pw-{user}")
}
