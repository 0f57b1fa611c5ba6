//! When the bindings of an AOR are looked at for expiry: a wheel of slots of one second. Each AOR is in exactly one
//! slot. A refresh leaves it there (lazy re-arming): when the slot comes due and the AOR has time left, it moves on.

/// The place of an AOR in the [`Wheel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeIndex(pub(super) u32);

/// An AOR whose slot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) node: NodeIndex,
    pub(super) hash: u64,
    /// The second of the slot.
    pub(super) armed: u32,
}

/// A slot wheel. Times are whole seconds since the location service began.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The first node of each slot.
    heads: Box<[u32]>,
    /// Nodes of all slots and free ones, linked by index; index 0 is never used and means none.
    nodes: Vec<Node>,
    /// The first free node.
    free: u32,
    /// The second whose slot is worked; all before it are done.
    cursor: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// The hash of the AOR, by which its record is found.
    hash: u64,
    previous: u32,
    next: u32,
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel {
            heads: vec![NONE; SLOTS as usize].into_boxed_slice(),
            nodes: Vec::new(),
            free: NONE,
            cursor: 0,
        }
    }
}

impl Wheel {
    /// Puts an AOR into the slot of `due`, or into the last one if that is nearer. Returns its place and the second of
    /// that slot.
    pub(super) fn insert(&mut self, hash: u64, due: u32) -> (NodeIndex, u32) {
        let index = self.allocate(hash);
        let armed = self.clamp(due);
        self.link(index, armed);
        (NodeIndex(index), armed)
    }

    /// Moves an AOR from the slot of `armed` to that of `due`; returns the second of its slot like
    /// [`Wheel::insert`].
    pub(super) fn rearm(&mut self, node: NodeIndex, armed: u32, due: u32) -> u32 {
        self.unlink(node.0, armed);
        let armed = self.clamp(due);
        self.link(node.0, armed);
        armed
    }

    /// Takes an AOR out.
    pub(super) fn remove(&mut self, node: NodeIndex, armed: u32) {
        self.unlink(node.0, armed);
        self.nodes[node.0 as usize].next = self.free;
        self.free = node.0;
    }

    /// The next AOR whose slot is due at `now`. It stays there until it is moved or removed.
    pub(super) fn next_due(&mut self, now: u32) -> Option<Due> {
        loop {
            let head = self.heads[slot(self.cursor)];
            if head != NONE && self.cursor <= now {
                return Some(Due {
                    node: NodeIndex(head),
                    hash: self.nodes[head as usize].hash,
                    armed: self.cursor,
                });
            }
            if self.cursor >= now {
                return None;
            }
            self.cursor += 1;
        }
    }

    fn clamp(&self, due: u32) -> u32 {
        due.clamp(self.cursor, self.cursor.saturating_add(SLOTS - 1))
    }

    fn allocate(&mut self, hash: u64) -> u32 {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let node = Node {
            hash,
            previous: NONE,
            next: NONE,
        };
        if self.free == NONE {
            self.nodes.push(node);
            return (self.nodes.len() - 1) as u32;
        }
        let index = self.free;
        self.free = self.nodes[index as usize].next;
        self.nodes[index as usize] = node;
        index
    }

    fn link(&mut self, index: u32, second: u32) {
        let head = std::mem::replace(&mut self.heads[slot(second)], index);
        self.nodes[index as usize].previous = NONE;
        self.nodes[index as usize].next = head;
        if head != NONE {
            self.nodes[head as usize].previous = index;
        }
    }

    fn unlink(&mut self, index: u32, second: u32) {
        let Node { previous, next, .. } = self.nodes[index as usize];
        match previous {
            NONE => self.heads[slot(second)] = next,
            previous => self.nodes[previous as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
    }
}

fn slot(second: u32) -> usize {
    (second % SLOTS) as usize
}

/// Enough for the usual expiry of an hour; an AOR with a longer one is looked at once in a turn of the wheel.
const SLOTS: u32 = 4096;

const NONE: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now: u32) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some(next) = wheel.next_due(now) {
            wheel.remove(next.node, next.armed);
            due.push(next.hash);
        }
        due
    }

    #[test]
    fn an_entry_comes_due_in_its_second_and_not_before() {
        let mut wheel = Wheel::default();
        assert_eq!(wheel.insert(7, 600).1, 600);
        assert!(due(&mut wheel, 599).is_empty());
        assert_eq!(due(&mut wheel, 600), [7]);
        assert!(due(&mut wheel, 601).is_empty());
    }

    #[test]
    fn a_time_beyond_the_wheel_is_looked_at_after_one_turn() {
        let mut wheel = Wheel::default();
        let (node, armed) = wheel.insert(7, 10_000);
        assert_eq!(armed, SLOTS - 1);
        assert_eq!(wheel.next_due(SLOTS - 2), None);
        assert_eq!(wheel.next_due(SLOTS - 1), Some(Due { node, hash: 7, armed }));
        assert_eq!(wheel.rearm(node, armed, 8_000), 8_000);
        assert!(due(&mut wheel, 7_999).is_empty());
        assert_eq!(due(&mut wheel, 8_000), [7]);
    }

    #[test]
    fn rearming_to_an_earlier_second_leaves_nothing_behind() {
        let mut wheel = Wheel::default();
        let (first, armed) = wheel.insert(1, 50);
        wheel.insert(2, 50);
        wheel.insert(3, 50);
        let (last, _) = wheel.insert(4, 50);
        assert_eq!(wheel.rearm(first, armed, 20), 20);
        wheel.rearm(last, 50, 30);
        assert_eq!(due(&mut wheel, 20), [1]);
        assert_eq!(due(&mut wheel, 30), [4]);
        assert_eq!(due(&mut wheel, 50), [3, 2]);
    }

    #[test]
    fn nodes_are_used_again() {
        let mut wheel = Wheel::default();
        for second in 1..1_000 {
            wheel.insert(u64::from(second), second);
            assert_eq!(due(&mut wheel, second), [u64::from(second)]);
        }
        assert_eq!(wheel.nodes.len(), 2);
    }

    #[test]
    fn what_is_late_already_is_due_at_once() {
        let mut wheel = Wheel::default();
        assert!(due(&mut wheel, 100).is_empty());
        assert_eq!(wheel.insert(9, 40).1, 100);
        assert_eq!(due(&mut wheel, 100), [9]);
    }
}
