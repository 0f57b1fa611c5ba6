//! Ringbinder: a SIP registrar and forking proxy.
//!
//! `sip` decides, the rest carries. The modules stand in the order of their layers, lowest first; imports only run
//! towards the top of this list (`tests/layers.rs` checks it).

// Random bytes, for keys, seeds and passwords.
pub mod random;

// The server as values: messages and time in, messages out.
pub mod sip;

// Sockets, connections, name servers.
pub mod transport;

// What is asked over HTTP: the metrics.
pub mod http;

// The configuration file, and one to begin with; where a URI leads.
pub mod config;
pub mod explain;
pub mod quickstart;

// Start, the shards, drain.
pub mod daemon;
