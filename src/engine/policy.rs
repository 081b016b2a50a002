//! Allow and block entries, compiled: the longest matching prefix decides, and block wins a tie.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

mod draft;
mod entries;

pub use super::entry::{Entry, EntryError, EntryFault, MAX_ENTRIES, PortRange, Target, Way};
pub use draft::{Draft, List, Ordered, Texts};
pub use entries::PolicyEntries;

/// What the entries say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// The longest entry that covers it allows it.
    Allowed,
    /// The longest entry that covers it blocks it.
    Blocked,
    /// No entry covers it.
    Unmentioned,
}

/// The compiled entries. A lookup walks at most seven nodes of a trie, whatever the number of entries.
#[derive(Debug)]
pub(super) struct Policy {
    rules: PrefixMap<Ipv4Net, Ruling>,
    is_empty: bool,
}

impl Policy {
    /// Compiles `entries`; `@host` is the /32 of `gateway`.
    pub(super) fn compile(entries: &PolicyEntries, gateway: Ipv4Addr) -> Self {
        let prefix = |entry: &Entry| entry.target.prefix(gateway);
        let mut rules = PrefixMap::new();
        for entry in &entries.allow {
            rules.insert(prefix(entry), Ruling::Allowed);
        }
        // Block wins a tie: it is what is inserted last.
        for entry in &entries.block {
            rules.insert(prefix(entry), Ruling::Blocked);
        }
        let is_empty = entries.allow.is_empty() && entries.block.is_empty();
        Policy { rules, is_empty }
    }

    /// What the entries say of `address`.
    #[inline]
    pub(super) fn ruling(&self, address: Ipv4Addr) -> Ruling {
        if self.is_empty {
            return Ruling::Unmentioned;
        }
        self.rules.get_lpm(&Ipv4Net::from(address)).map_or(Ruling::Unmentioned, |(_, &ruling)| ruling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);

    fn policy(allow: &str, block: &str) -> Policy {
        let list = |text| Entry::parse_list(text).unwrap();
        Policy::compile(&PolicyEntries { allow: list(allow), block: list(block) }, GATEWAY)
    }

    fn ruling(policy: &Policy, address: &str) -> Ruling {
        policy.ruling(address.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_decides_whichever_list_it_is_in() {
        let policy = policy("10.0.0.0/8,10.1.2.0/24", "10.1.0.0/16,10.1.2.3");
        assert_eq!(ruling(&policy, "10.9.9.9"), Ruling::Allowed);
        assert_eq!(ruling(&policy, "10.1.9.9"), Ruling::Blocked);
        assert_eq!(ruling(&policy, "10.1.2.9"), Ruling::Allowed);
        assert_eq!(ruling(&policy, "10.1.2.3"), Ruling::Blocked);
        assert_eq!(ruling(&policy, "11.0.0.0"), Ruling::Unmentioned);
    }

    #[test]
    fn block_wins_a_tie() {
        let policy = policy("0.0.0.0/0,@host,1.1.1.1", "0.0.0.0/0,192.168.64.1,1.1.1.1/32");
        for address in ["8.8.8.8", "192.168.64.1", "1.1.1.1"] {
            assert_eq!(ruling(&policy, address), Ruling::Blocked);
        }
    }

    #[test]
    fn at_host_is_the_gateway_alone() {
        let policy = policy("@host", "");
        assert_eq!(ruling(&policy, "192.168.64.1"), Ruling::Allowed);
        assert_eq!(ruling(&policy, "192.168.64.2"), Ruling::Unmentioned);
    }

    #[test]
    fn an_empty_policy_mentions_nothing() {
        assert_eq!(ruling(&policy("", ""), "0.0.0.0"), Ruling::Unmentioned);
    }
}
