//! The order of what is to be tried: SRV records by priority and weight (RFC 2782), addresses as RFC 6724 prefers them,
//! the families by turns (RFC 7984 §4.1), so that a family which leads nowhere costs one attempt and not all.

use std::net::{IpAddr, Ipv6Addr};

use super::records::Srv;

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Draws {
        Draws(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `most`.
    fn up_to(&mut self, most: u32) -> u32 {
        ((u128::from(self.next()) * (u128::from(most) + 1)) >> 64) as u32
    }
}

/// `records` in the order to be tried: by priority, and among those of one priority drawn by weight.
pub(super) fn by_priority_and_weight(records: &mut [Srv], draws: &mut Draws) {
    // RFC 2782: "all of the SRV RRs with weight 0 are placed at the beginning of the list".
    records.sort_by_key(|record| (record.priority, record.weight != 0));
    for group in records.chunk_by_mut(|one, other| one.priority == other.priority) {
        let mut rest = group;
        while rest.len() > 1 {
            let total = rest.iter().map(|record| u32::from(record.weight)).sum();
            let drawn = draws.up_to(total);
            let mut running = 0;
            let first = rest.iter().position(|record| {
                running += u32::from(record.weight);
                running >= drawn
            });
            // The others keep their order, those of weight 0 first.
            rest[..=first.unwrap_or(0)].rotate_right(1);
            rest = &mut rest[1..];
        }
    }
}

/// Puts `places`, of which each has its address and the one of ours on the way there, in the order to be tried.
pub(super) fn by_preference<T>(places: &mut Vec<T>, addresses: impl Fn(&T) -> (IpAddr, IpAddr)) {
    places.sort_by_key(|place| {
        let (to, from) = addresses(place);
        let (policy, source) = (policy(to), self::policy(from));
        // RFC 6724 §6: rule 2 (scope), rule 5 (label), rule 6 (precedence).
        (
            scope(to) != scope(from),
            policy.label != source.label,
            std::cmp::Reverse(policy.precedence),
        )
    });
    let Some(first) = places.first().map(|place| addresses(place).0.is_ipv4()) else {
        return;
    };
    let (one, other): (Vec<T>, Vec<T>) = places
        .drain(..)
        .partition(|place| addresses(place).0.is_ipv4() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let before = places.len();
        places.extend(one.next());
        places.extend(other.next());
        if places.len() == before {
            return;
        }
    }
}

struct Policy {
    precedence: u8,
    label: u8,
}

/// The default policy table of RFC 6724 §2.1.
fn policy(address: IpAddr) -> Policy {
    let IpAddr::V6(address) = address else {
        return Policy {
            precedence: 35,
            label: 4,
        };
    };
    let segments = address.segments();
    let (precedence, label) = match segments {
        _ if address == Ipv6Addr::LOCALHOST => (50, 0),
        [0x2002, ..] => (30, 2),
        [0x2001, 0, ..] => (5, 5),
        [first, ..] if first & 0xfe00 == 0xfc00 => (3, 13),
        [first, ..] if first & 0xffc0 == 0xfec0 => (1, 11),
        [0x3ffe, ..] => (1, 12),
        [0, 0, 0, 0, 0, 0, ..] => (1, 3),
        _ => (40, 1),
    };
    Policy { precedence, label }
}

/// RFC 6724 §3.1, §3.2: 2 for this link, 14 for everywhere.
fn scope(address: IpAddr) -> u8 {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_loopback(),
    };
    if is_link_local { 2 } else { 14 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, port: u16) -> Srv {
        Srv {
            priority,
            weight,
            port,
            target: "a.example.com".into(),
        }
    }

    fn ports(records: &[Srv], seed: u64) -> Vec<u16> {
        let mut records = records.to_vec();
        by_priority_and_weight(&mut records, &mut Draws::new(seed));
        records.iter().map(|record| record.port).collect()
    }

    #[test]
    fn the_lowest_priority_comes_first() {
        for seed in 0..100 {
            let records = [srv(20, 1000, 3), srv(10, 0, 1), srv(15, 5, 2)];
            assert_eq!(ports(&records, seed), [1, 2, 3]);
        }
    }

    #[test]
    fn the_weight_is_the_share() {
        let records = [srv(1, 60, 1), srv(1, 30, 2), srv(1, 10, 3)];
        let mut first = [0; 4];
        for seed in 0..10_000 {
            first[usize::from(ports(&records, seed)[0])] += 1;
        }
        // Six deviations of a binomial distribution are below 300.
        for (port, share) in [(1, 6000), (2, 3000), (3, 1000)] {
            let count: i32 = first[port];
            assert!((count - share).abs() < 300, "{port}: {first:?}");
        }
    }

    #[test]
    fn a_weight_of_zero_has_a_small_share_and_all_zeros_have_some_order() {
        let records = [srv(1, 0, 1), srv(1, 99, 2)];
        let first = (0..10_000).filter(|seed| ports(&records, *seed)[0] == 1).count();
        assert!((20..300).contains(&first), "{first}");
        let zeros = [srv(1, 0, 1), srv(1, 0, 2)];
        assert_eq!(ports(&zeros, 7).len(), 2);
        assert_eq!(ports(&[], 7), [0; 0]);
        let heavy = [srv(1, u16::MAX, 1), srv(1, u16::MAX, 2)];
        let first = (0..1000).filter(|seed| ports(&heavy, *seed)[0] == 1).count();
        assert!((400..600).contains(&first), "{first}");
    }

    #[test]
    fn addresses_are_ordered_by_preference_and_families_take_turns() {
        let text = |to_and_from: &[(&str, &str)]| {
            let mut places: Vec<(IpAddr, IpAddr)> = to_and_from
                .iter()
                .map(|(to, from)| (to.parse().unwrap(), from.parse().unwrap()))
                .collect();
            by_preference(&mut places, |place| *place);
            places.iter().map(|(to, _)| to.to_string()).collect::<Vec<_>>()
        };
        let global = "2001:db8::1";
        assert_eq!(
            text(&[
                ("192.0.2.1", "192.0.2.9"),
                ("192.0.2.2", "192.0.2.9"),
                ("2001:db8::5", global),
                ("2001:db8::6", global),
                ("2001:db8::7", global),
            ]),
            ["2001:db8::5", "192.0.2.1", "2001:db8::6", "192.0.2.2", "2001:db8::7"]
        );
        // a unique local address that is not reached from one of its kind comes last
        assert_eq!(
            text(&[("fd00::1", global), ("192.0.2.1", "192.0.2.9")]),
            ["192.0.2.1", "fd00::1"]
        );
        assert_eq!(
            text(&[("127.0.0.1", "127.0.0.1"), ("::1", "::1")]),
            ["::1", "127.0.0.1"]
        );
    }
}
