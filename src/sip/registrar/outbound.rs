//! Whether a REGISTER uses the flows of RFC 5626, and whether all on its way can (§6).

use crate::sip::hop::Flow;
use crate::sip::message::Message;
use crate::sip::message::address::NameAddr;
use crate::sip::message::header::HeaderName;
use crate::sip::message::uri::Uri;
use crate::sip::reason::{Reason, Refusal};
use crate::sip::registrar::contacts::ContactList;

/// What the 200 says of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outbound {
    /// Nothing: the phone does not ask for it, or no contact has instance and reg-id.
    Unused,
    /// They are used, and the phone's first hop is another proxy, which says how to keep the flow to it alive.
    Used,
    /// They are used, on a connection to this server: here is how often it is to be kept alive (§5.4). Over UDP nothing is
    /// said of that, for what the phone does by itself then, 24 to 29 s, is what keeps the way through a NAT open.
    UsedOnConnection,
}

/// RFC 5626 §6: only where the first hop knows flows a phone may rely on them. Whether it is another proxy the Vias say,
/// and whether it knows them the Path that it has added, which is the last one.
pub(super) fn negotiate(request: &Message, list: &ContactList<'_>, flow: &Flow) -> Result<Outbound, Refusal> {
    if !list.has_reg_id() || !supports(request, OUTBOUND) {
        return Ok(Outbound::Unused);
    }
    if request.values(HeaderName::Via).nth(1).is_none() {
        return Ok(match flow.connection {
            Some(_) => Outbound::UsedOnConnection,
            None => Outbound::Used,
        });
    }
    let first_hop = request.values(HeaderName::Path).last();
    let knows_flows = first_hop
        .and_then(|value| NameAddr::parse(value).ok())
        .and_then(|value| Uri::parse(value.uri).ok())
        .is_some_and(|uri| uri.parameter("ob").is_some());
    match knows_flows {
        true => Ok(Outbound::Used),
        false => Err(Reason::FirstHopLacksOutbound.into()),
    }
}

/// Whether the request names `option` in Supported.
pub(super) fn supports(request: &Message, option: &[u8]) -> bool {
    let mut options = request.values(HeaderName::Supported);
    options.any(|known| known.eq_ignore_ascii_case(option))
}

/// The option tags of RFC 3327 and RFC 5626.
pub(super) const PATH: &[u8] = b"path";
pub(super) const OUTBOUND: &[u8] = b"outbound";
