//! Which AORs have bindings over a connection, so that they are found when it ends. Bindings over UDP are not here, nor
//! those with a Path, which do not depend on the connection that their REGISTER came by; nor those that are known to be
//! unreachable. So there are at most as many entries as bindings, and each goes with its last binding.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::sip::hop::ConnectionId;

/// Pairs of a connection and the keyed hash of an AOR.
#[derive(Debug)]
pub(super) struct FlowIndex {
    parts: Box<[Part]>,
}

/// Each on its own cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(Mutex<BTreeSet<(ConnectionId, u64)>>);

impl Default for FlowIndex {
    fn default() -> FlowIndex {
        FlowIndex {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
        }
    }
}

impl FlowIndex {
    pub(super) fn insert(&self, connection: ConnectionId, aor: u64) {
        self.part(connection).lock().insert((connection, aor));
    }

    pub(super) fn remove(&self, connection: ConnectionId, aor: u64) {
        self.part(connection).lock().remove(&(connection, aor));
    }

    /// Takes one AOR of `connection` out.
    pub(super) fn take(&self, connection: ConnectionId) -> Option<u64> {
        let mut part = self.part(connection).lock();
        let first = *part.range((connection, 0)..=(connection, u64::MAX)).next()?;
        part.remove(&first);
        Some(first.1)
    }

    /// Whether an AOR is left of `connection`.
    pub(super) fn has(&self, connection: ConnectionId) -> bool {
        let part = self.part(connection).lock();
        part.range((connection, 0)..=(connection, u64::MAX)).next().is_some()
    }

    /// How many pairs there are.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.0.lock().len()).sum()
    }

    fn part(&self, connection: ConnectionId) -> &Mutex<BTreeSet<(ConnectionId, u64)>> {
        &self.parts[connection.0 as usize % PARTS].0
    }
}

/// Ids are given out one after another, so that neighbours fall into different parts.
const PARTS: usize = 64;
