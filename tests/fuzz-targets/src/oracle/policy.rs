//! The operator's entries as a list, and which addresses are of the world.

use std::net::Ipv4Addr;

use softnet::engine::Direction;

use crate::frames::GATEWAY;

/// An entry: whether it allows, for what begins where, its prefix and its length.
type Entry = (bool, Option<Direction>, Ipv4Addr, u32);

/// Entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Entry>);

impl Rules {
    /// Reads lists of entries without ports and names, which are known to be sound.
    #[must_use]
    pub fn read(allow: &str, block: &str) -> Self {
        let entries = |allows: bool, list: &str| -> Vec<Entry> {
            let entry = |text: &str| {
                let (way, target) = match text.split_once(' ') {
                    Some(("in", target)) => (Some(Direction::FromHost), target),
                    Some((_, target)) => (Some(Direction::FromGuest), target),
                    None => (None, text),
                };
                (allows, way, prefix(target).0, prefix(target).1)
            };
            list.split(',').filter(|text| !text.is_empty()).map(entry).collect()
        };
        Rules([entries(true, allow), entries(false, block)].concat())
    }

    /// Whether one of them has a direction.
    #[must_use]
    pub fn has_direction(&self) -> bool {
        self.0.iter().any(|(_, way, ..)| way.is_some())
    }

    /// What the longest entry that covers an address says of what begins on this side: allowed, blocked, nothing. Block
    /// wins a tie.
    #[must_use]
    pub fn ruling(&self, address: Ipv4Addr, side: Direction) -> Option<bool> {
        let covering = |allows| {
            let of_list =
                self.0.iter().filter(move |(each, way, ..)| *each == allows && way.is_none_or(|way| way == side));
            of_list.filter(|(_, _, net, length)| same_bits(*net, address, *length)).map(|(.., length)| *length).max()
        };
        match (covering(true), covering(false)) {
            (None, None) => None,
            (allow, block) => Some(allow > block),
        }
    }
}

fn prefix(text: &str) -> (Ipv4Addr, u32) {
    match text.split_once('/') {
        Some((address, length)) => (address.parse().expect("an address"), length.parse().expect("a length")),
        None if text == "@host" => (GATEWAY, 32),
        None => (text.parse().expect("an address"), 32),
    }
}

/// Whether two addresses have their first bits in common.
pub(super) fn same_bits(a: Ipv4Addr, b: Ipv4Addr, length: u32) -> bool {
    (u32::from(a) ^ u32::from(b)).checked_shr(32 - length).unwrap_or(0) == 0
}

/// The standard library's own classes, and the ones that it lacks by number.
#[must_use]
pub fn is_of_the_world(address: Ipv4Addr) -> bool {
    let within = |net: [u8; 4], length| same_bits(net.into(), address, length);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || within([0, 0, 0, 0], 8)
        || within([100, 64, 0, 0], 10)
        || within([192, 0, 0, 0], 24)
        || within([192, 88, 99, 0], 24)
        || within([198, 18, 0, 0], 15)
        || within([240, 0, 0, 0], 4))
}
