//! What a consumer of the location service (storage, events, other nodes) is told of a change.

use crate::sip::location::AddressOfRecord;

/// The bindings of one AOR have changed. It names the AOR and says what kind of change it was; who wants the bindings
/// reads them with [`Location::lookup`](super::Location::lookup), which returns the revision they are of: that of this
/// change or a later one. Making a `Change` allocates nothing for an AOR of usual length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose bindings.
    pub aor: AddressOfRecord,
    /// Rises with every change of this AOR, also when its last binding goes and a new one comes. Changes can reach a
    /// consumer in another order than they were made in: it discards one whose revision is not greater than the one it
    /// holds.
    pub revision: u64,
    /// What happened.
    pub counts: Counts,
}

/// How many bindings a change touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New bindings.
    pub added: u16,
    /// Bindings registered again.
    pub refreshed: u16,
    /// Bindings removed by their owner (expiry 0, or `Contact: *`).
    pub removed: u16,
    /// Bindings that gave way to new ones, see [`Overflow`](super::Overflow).
    pub displaced: u16,
    /// Bindings whose time was over.
    pub expired: u16,
    /// Bindings that can be reached no longer and are kept for the time when they come back.
    pub suspended: u16,
    /// Of those refreshed, the ones that were suspended before; also those that were found alive again without a REGISTER.
    pub resumed: u16,
}

impl Counts {
    /// Whether the request changed nothing. Expired bindings do not count: no request is needed for them to end.
    pub fn is_idle(&self) -> bool {
        [
            self.added,
            self.refreshed,
            self.removed,
            self.displaced,
            self.suspended,
            self.resumed,
        ] == [0; 6]
    }
}
