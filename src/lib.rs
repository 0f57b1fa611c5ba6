//! Ringbinder: a SIP registrar and forking proxy.
//!
//! `sip` decides, the rest carries. The modules stand in the order of their layers, lowest first; imports only run
//! towards the top of this list (`tests/layers.rs` checks it).

pub mod config;
pub mod control;
pub mod daemon;
pub mod quickstart;
pub mod sip;
pub mod transport;
