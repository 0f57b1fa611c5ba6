//! The names of transactions: of server and client ones towards their users, of either towards the transport, and of
//! client ones in the branch parameter of Via (RFC 3261 §8.1.1.7).

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Slots are numbered below this, which leaves room for the kind in an [`Origin`].
pub(super) const SLOT_LIMIT: usize = 1 << KIND_SHIFT;

const KIND_SHIFT: u32 = 30;

/// What RFC 3261 branches begin with: "the magic cookie".
pub(super) const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// A server transaction. The generation tells it from earlier ones in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// A client transaction. The generation tells it from earlier ones in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// The transaction that a sent message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A response.
    Server(ServerId),
    /// A request, or the ACK to its response.
    Client(ClientId),
    /// The CANCEL of a request.
    Cancel(ClientId),
}

impl Origin {
    /// As the number that goes through the transport.
    pub(super) fn to_bits(self) -> u64 {
        let (kind, slot, generation) = match self {
            Origin::Server(id) => (0, id.slot, id.generation),
            Origin::Client(id) => (1, id.slot, id.generation),
            Origin::Cancel(id) => (2, id.slot, id.generation),
        };
        u64::from(generation) << 32 | u64::from(kind << KIND_SHIFT | slot)
    }

    /// Of the number that came back.
    pub(super) fn from_bits(bits: u64) -> Option<Origin> {
        let generation = (bits >> 32) as u32;
        let slot = bits as u32 & ((1 << KIND_SHIFT) - 1);
        match bits as u32 >> KIND_SHIFT {
            0 => Some(Origin::Server(ServerId { slot, generation })),
            1 => Some(Origin::Client(ClientId { slot, generation })),
            2 => Some(Origin::Cancel(ClientId { slot, generation })),
            _ => None,
        }
    }
}

const BRANCH_LENGTH: usize = 31;

/// The branch of a client transaction: the magic cookie and 24 hexadecimal digits, 16 of which nobody can guess.
/// A user may append `-` and more; matching ignores that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchId([u8; BRANCH_LENGTH]);

impl BranchId {
    pub(super) fn new(client: ClientId, salt: u32) -> BranchId {
        let mut text = [0; BRANCH_LENGTH];
        text[..7].copy_from_slice(MAGIC_COOKIE);
        put_hex(&mut text[7..15], client.slot);
        put_hex(&mut text[15..23], client.generation);
        put_hex(&mut text[23..31], salt);
        BranchId(text)
    }

    /// The client transaction and salt that the branch of a response names.
    pub(super) fn parse(branch: &[u8]) -> Option<(ClientId, u32)> {
        let digits = branch.strip_prefix(MAGIC_COOKIE)?;
        if digits.get(24).is_some_and(|byte| *byte != b'-') {
            return None;
        }
        let client = ClientId {
            slot: read_hex(digits.get(..8)?)?,
            generation: read_hex(digits.get(8..16)?)?,
        };
        Some((client, read_hex(digits.get(16..24)?)?))
    }

    /// The value of the branch parameter.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As many hexadecimal digits as `out` has places.
pub(super) fn put_hex(out: &mut [u8], number: u32) {
    for (index, digit) in out.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * index)) as usize & 0xf];
    }
}

fn read_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(number << 4 | value)
    })
}

/// Numbers that cannot be guessed without the seed: the keyed hash of a counter.
pub(super) struct Generator {
    hasher: SipHasher13,
    count: u64,
}

impl Generator {
    pub(super) fn new(seed: &[u8; 32]) -> Generator {
        let (key, start) = seed.split_at(16);
        let mut hasher = SipHasher13::new_with_key(key.try_into().unwrap_or(&[0; 16]));
        hasher.write(start);
        Generator { hasher, count: 0 }
    }

    pub(super) fn next(&mut self) -> u64 {
        let mut hasher = self.hasher;
        hasher.write_u64(self.count);
        self.count += 1;
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId {
        slot: 0x2a,
        generation: 0xdead_beef,
    };

    #[test]
    fn a_branch_names_its_client() {
        let branch = BranchId::new(CLIENT, 7);
        assert_eq!(branch.as_bytes(), b"z9hG4bK0000002adeadbeef00000007");
        assert_eq!(BranchId::parse(branch.as_bytes()), Some((CLIENT, 7)));
    }

    #[test]
    fn what_is_appended_after_a_hyphen_is_ignored() {
        let branch = b"z9hG4bK0000002adeadbeef00000007-4f2e";
        assert_eq!(BranchId::parse(branch), Some((CLIENT, 7)));
    }

    #[test]
    fn branches_of_others_name_nobody() {
        let others: [&[u8]; 6] = [
            b"",
            b"z9hG4bK",
            b"0000002adeadbeef00000007",
            b"z9hG4bK0000002adeadbeef0000000",
            b"z9hG4bK0000002adeadbeef000000071",
            b"z9hG4bK0000002adeadbeef0000000x",
        ];
        for branch in others {
            assert_eq!(BranchId::parse(branch), None, "{}", branch.escape_ascii());
        }
    }

    #[test]
    fn origins_survive_the_way_through_the_transport() {
        let server = ServerId {
            slot: SLOT_LIMIT as u32 - 1,
            generation: u32::MAX,
        };
        for origin in [Origin::Server(server), Origin::Client(CLIENT), Origin::Cancel(CLIENT)] {
            assert_eq!(Origin::from_bits(origin.to_bits()), Some(origin));
        }
        assert_eq!(Origin::from_bits(u64::MAX), None);
    }

    #[test]
    fn the_generator_repeats_with_its_seed_only() {
        let numbers = |seed| {
            let mut generator = Generator::new(&seed);
            [generator.next(), generator.next()]
        };
        let mut other = [1; 32];
        other[31] = 2;
        assert_eq!(numbers([1; 32]), numbers([1; 32]));
        assert_ne!(numbers([1; 32]), numbers(other));
        assert_ne!(numbers([1; 32])[0], numbers([1; 32])[1]);
    }
}
