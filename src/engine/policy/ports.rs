//! Ranges of ports that are allowed or blocked, cut into pieces that do not overlap; block wins where both lists have a port.
#![forbid(unsafe_code)]

use super::super::entry::PortRange;
use super::Ruling;

/// What is ruled of each port. A lookup is a binary search.
#[derive(Debug, Default)]
pub(super) struct PortRules {
    /// Sorted by their first ports. Each ends where the next begins; in front of the first one, nothing is ruled.
    pieces: Box<[Piece]>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    first: u16,
    ruling: Ruling,
}

impl PortRules {
    /// Rules from ranges in any order.
    pub(super) fn compile(ranges: impl Iterator<Item = (PortRange, Ruling)>) -> Self {
        // Where a range begins, and behind where it ends: 65536 is behind all ports.
        let mut edges: Vec<(u32, Ruling, Edge)> = ranges
            .flat_map(|(range, ruling)| {
                let behind = u32::from(range.last()) + 1;
                [(u32::from(range.first()), ruling, Edge::Begin), (behind, ruling, Edge::End)]
            })
            .collect();
        edges.sort_unstable_by_key(|&(at, ..)| at);
        let (mut allowed, mut blocked) = (0u32, 0u32);
        let mut pieces: Vec<Piece> = Vec::new();
        for same_place in edges.chunk_by(|a, b| a.0 == b.0) {
            for (_, ruling, edge) in same_place {
                let depth = if *ruling == Ruling::Blocked { &mut blocked } else { &mut allowed };
                *depth = match edge {
                    Edge::Begin => depth.saturating_add(1),
                    Edge::End => depth.saturating_sub(1),
                };
            }
            let ruling = match (allowed, blocked) {
                (0, 0) => Ruling::Unmentioned,
                (_, 0) => Ruling::Allowed,
                _ => Ruling::Blocked,
            };
            if let Some(Ok(first)) = same_place.first().map(|&(at, ..)| u16::try_from(at)) {
                pieces.push(Piece { first, ruling });
            }
        }
        PortRules { pieces: pieces.into() }
    }

    /// What is ruled of `port`.
    pub(super) fn ruling(&self, port: u16) -> Ruling {
        let behind = self.pieces.partition_point(|piece| piece.first <= port);
        behind.checked_sub(1).and_then(|index| self.pieces.get(index)).map_or(Ruling::Unmentioned, |piece| piece.ruling)
    }

    /// Whether any port is ruled so.
    pub(super) fn has(&self, ruling: Ruling) -> bool {
        self.pieces.iter().any(|piece| piece.ruling == ruling)
    }
}

/// One end of a range. Where one range ends and another begins, the order of the two does not matter: the depths are read
/// after both.
#[derive(Clone, Copy, Debug)]
enum Edge {
    Begin,
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(allow: &[&str], block: &[&str]) -> PortRules {
        let range = |text: &&str| format!("@host:{text}").parse::<super::super::Entry>().unwrap().ports.unwrap();
        let allowed = allow.iter().map(range).map(|range| (range, Ruling::Allowed));
        let blocked = block.iter().map(range).map(|range| (range, Ruling::Blocked));
        PortRules::compile(allowed.chain(blocked))
    }

    #[test]
    fn every_port_is_ruled_as_its_ranges_say_and_block_wins() {
        let lists: [(&[&str], &[&str]); 6] = [
            (&[], &[]),
            (&["1-65535"], &[]),
            (&["22", "22-23", "80-90", "85-100"], &["23", "88-89"]),
            (&["1-10", "11-20", "65535"], &["10-11", "65535"]),
            (&["5-7"], &["1-65535"]),
            (&["10-20", "12-18", "14-16"], &["13", "15-17", "16"]),
        ];
        for (allow, block) in lists {
            let rules = compile(allow, block);
            let covers = |list: &[&str], port: u16| {
                list.iter().any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    (first.parse::<u16>().unwrap()..=last.parse().unwrap()).contains(&port)
                })
            };
            let mut seen = [false; 3];
            for port in 0..=u16::MAX {
                let expected = match (covers(allow, port), covers(block, port)) {
                    (_, true) => Ruling::Blocked,
                    (true, false) => Ruling::Allowed,
                    (false, false) => Ruling::Unmentioned,
                };
                assert_eq!(rules.ruling(port), expected, "{allow:?} {block:?} {port}");
                seen[expected as usize] = true;
            }
            assert_eq!(rules.has(Ruling::Allowed), seen[Ruling::Allowed as usize]);
            assert_eq!(rules.has(Ruling::Blocked), seen[Ruling::Blocked as usize]);
        }
    }
}
