//! Tables in parts, so that threads seldom meet at a lock.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use parking_lot::Mutex;

/// Parts of the tables, each with a lock of its own.
const PARTS: usize = 64;

/// Spreads ids. They are ours and follow one another, so that nobody can choose them to collide.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // Both ends of a hash are used: the low one for the place, the high one for the tag beside it.
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A table in parts, so that threads seldom meet at a lock. Where peers choose the keys, the hash is keyed.
#[derive(Debug)]
pub struct Parts<K, V, S = RandomState> {
    /// The parts.
    pub parts: Box<[Mutex<HashMap<K, V, S>>]>,
    hasher: S,
}

impl<K: Hash + Eq, V, S: BuildHasher + Default> Parts<K, V, S> {
    /// Empty parts.
    pub fn new() -> Parts<K, V, S> {
        Parts {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            hasher: S::default(),
        }
    }

    /// Runs `run` with the part that `key` belongs to.
    pub fn with<R>(&self, key: &K, run: impl FnOnce(&mut HashMap<K, V, S>) -> R) -> R {
        // Not the bits by which the map itself finds places.
        let part = (self.hasher.hash_one(key) >> 40) as usize % PARTS;
        run(&mut self.parts[part].lock())
    }
}
