//! The usual REGISTER: one contact, written as it was the last time. Its binding gets new times and numbers where it
//! lies; no plan is made of what becomes of the others, because nothing does.

use std::time::Instant;

use crate::sip::hop::ConnectionId;
use crate::sip::location::plan::{Request, granted_secs};
use crate::sip::location::record::Record;
use crate::sip::location::{Counts, Refused};

/// What became of a request that was a usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refreshed {
    /// The sums.
    pub(super) counts: Counts,
    /// When the binding expires, if it was refreshed.
    pub(super) due: Option<u32>,
    /// The connection that it depended on before, when it depends on another or on none now, or did on none.
    pub(super) moved_from: Option<Option<ConnectionId>>,
}

/// Does `request` when it is such a one, with the outcome that a [`Plan`](super::plan::Plan) has. `None`: it is not, and
/// nothing has changed.
pub(super) fn refresh(
    record: &mut Record,
    epoch: Instant,
    request: &Request<'_>,
) -> Option<Result<Refreshed, Refused>> {
    let [contact] = request.contacts() else { return None };
    if granted_secs(contact) == 0 {
        return None;
    }
    // Instance and reg-id name one binding, whatever its URI; otherwise it is the first with the same URI.
    let is_keyed = contact.is_outbound;
    let mut start = 0;
    let mut bindings = record.bindings(epoch);
    let binding = loop {
        let binding = bindings.next()?;
        let (uri, parameters) = (binding.contact_uri(), binding.parameters());
        if uri == contact.uri.bytes
            && (!is_keyed || parameters == contact.parameters.bytes())
            && binding.is_live(request.now)
        {
            break binding;
        }
        start += binding.packed().len();
    };
    let is_alike = binding.parameters() == contact.parameters.bytes() && binding.path() == request.update.path;
    if !is_alike {
        return None;
    }
    if request.has_made(contact, &binding) {
        return Some(Ok(Refreshed {
            counts: Counts::default(),
            due: None,
            moved_from: None,
        }));
    }
    if !request.is_in_order(&binding) {
        return Some(Err(Refused::OutOfOrder));
    }
    let fields = request.fields(contact, request.registered_second(&binding));
    if fields.encoded_length() != Some(binding.packed().len()) {
        return None;
    }
    let held = binding.held_connection();
    let resumed = u16::from(binding.is_suspended());
    let holds = fields.flow.connection.filter(|_| fields.path.is_empty());
    drop(bindings);
    record.refresh(start, &fields);
    Some(Ok(Refreshed {
        counts: Counts {
            refreshed: 1,
            resumed,
            ..Counts::default()
        },
        due: Some(fields.expiry_moment().second_after()),
        moved_from: (held != holds).then_some(held),
    }))
}
