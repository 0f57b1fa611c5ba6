//! Messages (RFC 3261 §7, §19, §20, §25): an index over one buffer; a header is parsed when it is asked for.

pub mod address;
pub mod credentials;
pub mod framing;
pub mod grammar;
pub mod limits;
pub mod uri;
pub mod via;
