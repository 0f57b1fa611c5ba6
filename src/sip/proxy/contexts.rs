//! The table of response contexts, and the ids by which transactions and questions name them.

use super::response_context::ResponseContext;

/// Names a response context; an id whose context is gone names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextId {
    slot: u32,
    generation: u32,
}

impl ContextId {
    /// The number that stands for the context itself.
    pub fn user(self) -> u64 {
        self.branch_user(NO_BRANCH)
    }

    /// The number that stands for branch `branch` of the context.
    pub fn branch_user(self, branch: usize) -> u64 {
        let branch = branch.min(NO_BRANCH) as u64;
        (u64::from(self.slot) << 32) | (u64::from(self.generation) << BRANCH_BITS) | branch
    }

    /// The context and the branch that a number stands for.
    pub fn from_user(user: u64) -> (ContextId, usize) {
        (
            ContextId {
                slot: (user >> 32) as u32,
                generation: (user as u32) >> BRANCH_BITS,
            },
            user as usize & NO_BRANCH,
        )
    }
}

/// Of the 32 bits beside the slot, those that number the branch. The others are the generation: enough of them that an
/// answer that comes seconds late does not meet a later context in the same place.
const BRANCH_BITS: u32 = 12;
/// More branches than a request can have: `max_contacts` is at most 1000, and redirections add few.
const NO_BRANCH: usize = (1 << BRANCH_BITS) - 1;
const GENERATION_MAX: u32 = u32::MAX >> BRANCH_BITS;

/// The response contexts of one shard. They lie in blocks that never move, so that a request needs no allocation of its
/// own for one.
#[derive(Default)]
pub struct Contexts {
    blocks: Vec<Vec<Slot>>,
    free: Vec<u32>,
    used: usize,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    context: Option<ResponseContext>,
}

/// Contexts in one block.
const BLOCK: usize = 64;

impl Contexts {
    /// An id whose context is to be given by [`Contexts::fill`].
    pub fn reserve(&mut self) -> ContextId {
        self.used += 1;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.push(),
        };
        ContextId {
            slot,
            generation: self.blocks[slot as usize / BLOCK][slot as usize % BLOCK].generation,
        }
    }

    /// Puts a context where its id was reserved.
    pub fn fill(&mut self, id: ContextId, context: ResponseContext) -> &mut ResponseContext {
        let slot = &mut self.blocks[id.slot as usize / BLOCK][id.slot as usize % BLOCK];
        slot.context.insert(context)
    }

    /// The context.
    pub fn get(&self, id: ContextId) -> Option<&ResponseContext> {
        self.blocks
            .get(id.slot as usize / BLOCK)?
            .get(id.slot as usize % BLOCK)
            .filter(|slot| slot.generation == id.generation)?
            .context
            .as_ref()
    }

    /// The context, to be changed.
    pub fn get_mut(&mut self, id: ContextId) -> Option<&mut ResponseContext> {
        self.slot_mut(id)?.context.as_mut()
    }

    /// Takes the context out; its id names nothing from now on.
    pub fn remove(&mut self, id: ContextId) -> Option<ResponseContext> {
        let slot = self.slot_mut(id)?;
        slot.generation = (slot.generation + 1) & GENERATION_MAX;
        let context = slot.context.take();
        self.free.push(id.slot);
        self.used -= 1;
        context
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ResponseContext> {
        self.blocks.iter().flatten().filter_map(|slot| slot.context.as_ref())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn slot_mut(&mut self, id: ContextId) -> Option<&mut Slot> {
        self.blocks
            .get_mut(id.slot as usize / BLOCK)?
            .get_mut(id.slot as usize % BLOCK)
            .filter(|slot| slot.generation == id.generation)
    }

    fn push(&mut self) -> u32 {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let last = self.blocks.len() - 1;
        let block = &mut self.blocks[last];
        block.push(Slot::default());
        (last * BLOCK + block.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_its_context_and_branch() {
        for slot in [0, 7, u32::MAX] {
            for generation in [0, 1, 0x1_0000, GENERATION_MAX] {
                let id = ContextId { slot, generation };
                assert_eq!(ContextId::from_user(id.user()), (id, NO_BRANCH));
                for branch in [0, 1, 1069] {
                    assert_eq!(ContextId::from_user(id.branch_user(branch)), (id, branch));
                }
            }
        }
    }
}
