//! Sockets: datagrams in batches, stream connections, names. Carries messages and decides nothing about them.

pub mod mmsg;
pub mod rlimit;
