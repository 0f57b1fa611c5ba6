//! The server in virtual time: messages go in by `Server`, what comes out is compared with what RFC 3261 and its
//! updates want. One module per section.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authorization;
mod dialogs;
mod random_walk;
mod rfc3261_10_registrar;
mod rfc3261_16_proxy;
mod rfc3261_17_transactions;
mod rfc3263_hops;
mod rfc3327_path;
mod rfc3608_service_route;
mod rfc5393_loops;
mod rfc5626_edge;
mod rfc5626_keep_alive;
mod rfc5626_outbound;
mod rfc5627_gruu;
mod rfc5630_sips;
mod support;
