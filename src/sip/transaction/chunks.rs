//! Messages one behind the other in chunks of one size, freed in the order they came: no allocation for each, and what
//! a burst has taken goes back.

use std::collections::VecDeque;

/// Bytes of a chunk. A message that is larger gets a chunk of its own.
const CHUNK: usize = 64 * 1024;

/// Empty chunks kept for those to come.
const SPARE_CHUNKS: usize = 4;

/// The messages.
#[derive(Debug)]
pub(super) struct Chunks {
    chunks: VecDeque<Chunk>,
    spare: Vec<Chunk>,
    /// The number of the first chunk.
    base: u32,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// Messages in it that are not freed.
    used: u32,
}

/// Where a message lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    chunk: u32,
    start: u32,
    length: u32,
}

impl Chunks {
    pub(super) fn new() -> Chunks {
        Chunks {
            chunks: VecDeque::new(),
            spare: Vec::new(),
            base: 0,
        }
    }

    /// Appends a message, given in two parts.
    pub(super) fn append(&mut self, head: &[u8], body: &[u8]) -> Place {
        let length = head.len() + body.len();
        let fits = |chunk: &Chunk| chunk.bytes.capacity() - chunk.bytes.len() >= length;
        if !self.chunks.back().is_some_and(fits) {
            let spare = self.spare.pop().filter(fits);
            self.chunks.push_back(spare.unwrap_or_else(|| Chunk {
                bytes: Vec::with_capacity(length.max(CHUNK)),
                used: 0,
            }));
        }
        let before = self.chunks.len() - 1;
        let chunk = &mut self.chunks[before];
        let place = Place {
            chunk: self.base.wrapping_add(before as u32),
            start: chunk.bytes.len() as u32,
            length: length as u32,
        };
        chunk.bytes.extend_from_slice(head);
        chunk.bytes.extend_from_slice(body);
        chunk.used += 1;
        place
    }

    /// The message at `place`, which has not been freed.
    pub(super) fn read(&self, place: Place) -> Option<&[u8]> {
        let chunk = self.chunks.get(place.chunk.wrapping_sub(self.base) as usize)?;
        let start = place.start as usize;
        chunk.bytes.get(start..start + place.length as usize)
    }

    /// Frees the message at `place`. All that came before it have been freed.
    pub(super) fn free(&mut self, place: Place) {
        let Some(chunk) = self.chunks.get_mut(place.chunk.wrapping_sub(self.base) as usize) else {
            return;
        };
        chunk.used -= 1;
        // The last chunk is written from its start again once it is empty.
        if chunk.used == 0 && self.chunks.len() == 1 {
            self.chunks[0].bytes.clear();
        }
        while self.chunks.len() > 1 && self.chunks[0].used == 0 {
            self.base = self.base.wrapping_add(1);
            let first = self.chunks.pop_front();
            let kept = first.filter(|chunk| self.spare.len() < SPARE_CHUNKS && chunk.bytes.capacity() == CHUNK);
            self.spare.extend(kept.map(|mut chunk| {
                chunk.bytes.clear();
                chunk
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_where_they_are_until_they_are_freed() {
        let mut chunks = Chunks::new();
        let mut places = VecDeque::new();
        for number in 0..10_000_u32 {
            let body = vec![number as u8; number as usize % 700];
            places.push_back((chunks.append(&number.to_be_bytes(), &body), number));
            if number % 3 > 0 {
                let (place, number) = places.pop_front().unwrap();
                assert_eq!(chunks.read(place).unwrap()[..4], number.to_be_bytes());
                chunks.free(place);
            }
        }
        while let Some((place, number)) = places.pop_front() {
            let message = chunks.read(place).unwrap();
            assert_eq!(message.len(), 4 + number as usize % 700);
            assert!(message[4..].iter().all(|byte| *byte == number as u8));
            chunks.free(place);
        }
        assert_eq!(chunks.chunks.len(), 1);
        assert!(chunks.chunks[0].bytes.is_empty());
        assert!(chunks.spare.len() <= SPARE_CHUNKS);
    }

    #[test]
    fn a_message_larger_than_a_chunk_has_its_own_which_is_not_kept() {
        let mut chunks = Chunks::new();
        let large = vec![b'a'; CHUNK + 1];
        let (first, second) = (chunks.append(b"x", &large), chunks.append(b"y", b"z"));
        assert_eq!(chunks.read(first).unwrap().len(), CHUNK + 2);
        assert_eq!(chunks.read(second), Some(&b"yz"[..]));
        chunks.free(first);
        chunks.free(second);
        assert!(chunks.spare.is_empty());
        assert_eq!(chunks.chunks[0].bytes.capacity(), CHUNK);
    }
}
