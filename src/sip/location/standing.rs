//! Whether a binding can be reached (RFC 5626 §4.2.1, §5.3): what is known of its flow since its last REGISTER.

use crate::sip::hop::Flow;
use crate::sip::location::record::Binding;
use crate::sip::message::uri::{Host, Uri};

/// What is known of a binding's flow. A REGISTER for the binding makes it reachable again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing speaks against it.
    Reachable,
    /// Its flow has failed, but it may be reached at its Contact all the same (RFC 3261 §18.1.1): it is still rung.
    Doubtful(Cause),
    /// It is kept and listed, but not rung: only over its flow could it be reached.
    Suspended(Cause),
}

/// Why a binding is thought not to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its connection has ended.
    FlowClosed,
    /// A request could not be sent over its flow.
    SendFailed,
    /// The edge proxy that holds its flow answered 430 (RFC 5626 §5.3).
    FlowRefused,
    /// It did not answer when it was asked whether it is still there.
    Silent,
}

/// Some of the bindings of an AOR.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// Those made over this flow.
    Flow(&'a Flow),
    /// The one with this Contact URI and Path, byte for byte.
    Contact {
        /// The URI.
        uri: &'a [u8],
        /// The Path values, joined as they are kept.
        path: &'a [u8],
    },
}

impl Which<'_> {
    pub(super) fn applies(&self, binding: &Binding<'_>) -> bool {
        match self {
            Which::Flow(flow) => binding.flow() == **flow,
            Which::Contact { uri, path } => binding.contact_uri() == *uri && binding.path() == *path,
        }
    }
}

impl Standing {
    /// What becomes of `binding` by `cause`.
    pub(super) fn after(binding: &Binding<'_>, cause: Cause) -> Standing {
        match cause {
            Cause::FlowRefused | Cause::Silent => Standing::Suspended(cause),
            Cause::FlowClosed | Cause::SendFailed if is_held_by_flow(binding) => Standing::Suspended(cause),
            Cause::FlowClosed | Cause::SendFailed => Standing::Doubtful(cause),
        }
    }

    pub(super) fn to_byte(self) -> u8 {
        match self {
            Standing::Reachable => 0,
            Standing::Doubtful(cause) => cause.to_bits(),
            Standing::Suspended(cause) => SUSPENDED | cause.to_bits(),
        }
    }

    pub(super) fn from_byte(byte: u8) -> Standing {
        match (byte & SUSPENDED != 0, Cause::from_bits(byte & !SUSPENDED)) {
            (_, None) => Standing::Reachable,
            (false, Some(cause)) => Standing::Doubtful(cause),
            (true, Some(cause)) => Standing::Suspended(cause),
        }
    }
}

impl Cause {
    fn to_bits(self) -> u8 {
        match self {
            Cause::FlowClosed => 1,
            Cause::SendFailed => 2,
            Cause::FlowRefused => 3,
            Cause::Silent => 4,
        }
    }

    fn from_bits(bits: u8) -> Option<Cause> {
        [Cause::FlowClosed, Cause::SendFailed, Cause::FlowRefused, Cause::Silent]
            .into_iter()
            .find(|cause| cause.to_bits() == bits)
    }
}

/// Whether the binding's connection is the only way to it: its instance keeps several of them (RFC 5626), or it is
/// behind TLS or WebSocket, where nobody can connect to it, or its Contact is not where it came from.
fn is_held_by_flow(binding: &Binding<'_>) -> bool {
    let flow = binding.flow();
    if flow.connection.is_none() {
        return false;
    }
    flow.transport != crate::sip::hop::Transport::Tcp
        || binding.is_outbound()
        || !is_source(binding.contact_uri(), &flow)
}

/// Whether the host of `contact` is the address that `flow` comes from.
pub fn is_source(contact: &[u8], flow: &Flow) -> bool {
    match Uri::parse(contact).ok().and_then(|uri| uri.host) {
        Some(Host::V4(address)) => flow.remote.ip() == std::net::IpAddr::V4(address),
        Some(Host::V6(address)) => flow.remote.ip() == std::net::IpAddr::V6(address),
        Some(Host::Name(_)) | None => false,
    }
}

const SUSPENDED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let causes = [Cause::FlowClosed, Cause::SendFailed, Cause::FlowRefused, Cause::Silent];
        let all = causes
            .into_iter()
            .flat_map(|cause| [Standing::Doubtful(cause), Standing::Suspended(cause)]);
        for standing in all.chain([Standing::Reachable]) {
            assert_eq!(Standing::from_byte(standing.to_byte()), standing);
        }
    }
}
