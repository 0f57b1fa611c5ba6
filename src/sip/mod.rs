//! The whole SIP server as values: no socket, no clock, no task, no file and no randomness of its own.
//!
//! What may not be used below here is listed in `clippy.toml` (`disallowed-methods`, `disallowed-types`): reading a
//! clock, opening sockets or files, spawning tasks or threads, drawing random numbers. Time is the argument `now`;
//! randomness is the seed given to [`server::Server::new`].

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)
)]

pub mod counts;
pub mod digest;
pub mod domain;
pub mod edge;
pub mod failures;
pub mod gruu;
pub mod health;
pub mod hop;
pub mod keep_alive;
pub mod location;
pub mod message;
pub mod proxy;
pub mod reason;
pub mod registrar;
pub mod resolution;
pub mod server;
pub mod shared;
pub mod transaction;
