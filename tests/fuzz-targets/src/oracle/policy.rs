//! The operator's entries as a list, and which addresses are of the world.

use std::net::Ipv4Addr;

use crate::frames::GATEWAY;

/// Entries: whether each allows, its prefix and its length.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<(bool, Ipv4Addr, u32)>);

impl Rules {
    /// Reads lists of bare entries, which are known to be sound.
    #[must_use]
    pub fn read(allow: &str, block: &str) -> Self {
        let entries = |allows: bool, list: &str| -> Vec<(bool, Ipv4Addr, u32)> {
            list.split(',')
                .filter(|text| !text.is_empty())
                .map(|text| (allows, prefix(text).0, prefix(text).1))
                .collect()
        };
        Rules([entries(true, allow), entries(false, block)].concat())
    }

    /// What the longest entry that covers an address says: allowed, blocked, nothing. Block wins a tie.
    #[must_use]
    pub fn ruling(&self, address: Ipv4Addr) -> Option<bool> {
        let covering = |allows| {
            let of_list = self.0.iter().filter(move |(each, ..)| *each == allows);
            of_list.filter(|(_, net, length)| same_bits(*net, address, *length)).map(|(.., length)| *length).max()
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
