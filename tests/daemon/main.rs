//! The real process on loopback, with SIPp, baresip, and phones of our own.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod addresses;
mod baresip;
mod calls;
mod certificates;
mod flows;
mod fork;
mod gruu;
mod in_dialog;
mod interfaces;
mod keep_alive;
mod metrics;
mod names;
mod nat;
mod plain_sipp;
mod quickstart;
mod register;
mod resumption;
mod slow;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with the load tests")]
mod support;
mod two_nats;
mod websocket;
