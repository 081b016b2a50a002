//! Allow and block entries, compiled to the rules of each direction.
//!
//! Rules with ports outrank rules without; among each kind the longest prefix decides, and block wins a tie. While every
//! entry is bare, there are rules for what the guest sends and none for what it gets, and nobody keeps state. One entry
//! with a direction makes the whole policy *stateful*: there are rules for both directions, a bare entry is one of each, and
//! [`super::flows`] lets pass what belongs to what they admitted.
//!
//! The administrator's entries are a `Ceiling` over all of that.
//!
//! Entries about names are rules of no address by themselves: [`super::names`] learns of which, and asks here with what
//! they say of it.
#![forbid(unsafe_code)]

mod addresses;
mod ceiling;
mod deciding;
mod draft;
mod entries;
mod loopholes;
mod named;
mod ports;
mod rules;

use std::net::Ipv4Addr;

pub use super::entry::{Entry, EntryError, EntryFault, MAX_ENTRIES, PortRange, Target, Way};
pub(super) use ceiling::Ceiling;
pub use draft::{Compiled, Draft, List, Sorted, Texts};
pub use entries::PolicyEntries;
pub(super) use named::{MATCHES, NameIndex, NameRules, Pinned};

use rules::Rules;

/// What the rules say of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ruling {
    /// The rule that decides blocks it.
    Blocked,
    /// The rule that decides allows it.
    Allowed,
    /// No rule covers it.
    Unmentioned,
}

/// What a rule with ports can see of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// A whole UDP or TCP datagram with these ports.
    Ports {
        /// The port of whom the guest speaks with.
        far: u16,
        /// The guest's own.
        guest: u16,
    },
    /// A fragment: no allow rule with ports covers it, and every block rule with ports that covers the address does.
    Fragment,
    /// Another protocol: no rule with ports is about it.
    NoPorts,
}

/// The compiled entries.
#[derive(Debug)]
pub(super) struct Policy {
    outward: Rules,
    /// None while every entry is bare.
    inward: Option<Rules>,
    names: NameRules,
}

/// Whether a policy keeps state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// If an entry of its own asks for it.
    AsEntriesAsk,
    /// Always: an entry of the administrator's asks for it.
    Kept,
}

/// What a policy is compiled for, which is the same for the whole life of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `@host` is its /32.
    pub(super) gateway: Ipv4Addr,
    pub(super) state: State,
}

impl Terms {
    /// Those without an administrator.
    pub(super) fn of_the_entries(gateway: Ipv4Addr) -> Self {
        Terms { gateway, state: State::AsEntriesAsk }
    }

    /// Whether a policy of these entries keeps state.
    fn keep_state_of(self, entries: &PolicyEntries) -> bool {
        self.state == State::Kept || entries.is_stateful()
    }
}

impl Policy {
    /// Compiles `entries`.
    pub(super) fn compile(entries: &PolicyEntries, terms: Terms) -> Self {
        let gateway = terms.gateway;
        Policy {
            outward: Rules::compile(&entries.rules(Way::Out, gateway)),
            inward: terms.keep_state_of(entries).then(|| Rules::compile(&entries.rules(Way::In, gateway))),
            names: NameRules::compile(entries, terms.state),
        }
    }

    /// Whether flows are to be kept.
    #[inline]
    pub(super) fn is_stateful(&self) -> bool {
        self.inward.is_some()
    }

    /// The entries about names.
    #[inline]
    pub(super) fn names(&self) -> &NameRules {
        &self.names
    }

    /// What the rules say of what the guest sends to `address`, of which names' entries say what is `pinned`.
    #[inline]
    pub(super) fn ruling_outward(&self, address: Ipv4Addr, carried: Carried, pinned: Option<Pinned>) -> Ruling {
        self.outward.ruling(address, carried, pinned)
    }

    /// What the rules say of what `address` sends to the guest. Stateless, there are none but for a neighbour, who is to be
    /// one whom the guest may reach: the answers come from the port that the guest may send to.
    #[inline]
    pub(super) fn ruling_inward(&self, address: Ipv4Addr, carried: Carried, pinned: Option<Pinned>) -> Ruling {
        self.inward.as_ref().unwrap_or(&self.outward).ruling(address, carried, pinned)
    }

    /// Whether the guest may have to do with `address` at all, in either direction.
    pub(super) fn allows_some_of(&self, address: Ipv4Addr) -> bool {
        self.outward.allow_some_of(address) || self.inward.as_ref().is_some_and(|rules| rules.allow_some_of(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);

    fn policy(allow: &str, block: &str) -> Policy {
        let list = |text| Entry::parse_list(text).unwrap();
        Policy::compile(&PolicyEntries { allow: list(allow), block: list(block) }, Terms::of_the_entries(GATEWAY))
    }

    fn outward(policy: &Policy, address: &str) -> Ruling {
        policy.ruling_outward(address.parse().unwrap(), Carried::NoPorts, None)
    }

    fn with_ports(far: u16, guest: u16) -> Carried {
        Carried::Ports { far, guest }
    }

    #[test]
    fn the_longest_prefix_decides_whichever_list_it_is_in() {
        let policy = policy("10.0.0.0/8,10.1.2.0/24", "10.1.0.0/16,10.1.2.3");
        assert_eq!(outward(&policy, "10.9.9.9"), Ruling::Allowed);
        assert_eq!(outward(&policy, "10.1.9.9"), Ruling::Blocked);
        assert_eq!(outward(&policy, "10.1.2.9"), Ruling::Allowed);
        assert_eq!(outward(&policy, "10.1.2.3"), Ruling::Blocked);
        assert_eq!(outward(&policy, "11.0.0.0"), Ruling::Unmentioned);
    }

    #[test]
    fn block_wins_a_tie() {
        let policy = policy("0.0.0.0/0,@host,1.1.1.1,2.2.2.2:1-9", "0.0.0.0/0,192.168.64.1,1.1.1.1/32,2.2.2.2:5");
        for address in ["8.8.8.8", "192.168.64.1", "1.1.1.1"] {
            assert_eq!(outward(&policy, address), Ruling::Blocked);
        }
        let server = Ipv4Addr::new(2, 2, 2, 2);
        assert_eq!(policy.ruling_outward(server, with_ports(4, 5), None), Ruling::Allowed);
        assert_eq!(policy.ruling_outward(server, with_ports(5, 4), None), Ruling::Blocked);
    }

    #[test]
    fn at_host_is_the_gateway_alone() {
        let policy = policy("@host", "");
        assert_eq!(outward(&policy, "192.168.64.1"), Ruling::Allowed);
        assert_eq!(outward(&policy, "192.168.64.2"), Ruling::Unmentioned);
    }

    #[test]
    fn an_empty_policy_mentions_nothing() {
        assert_eq!(outward(&policy("", ""), "0.0.0.0"), Ruling::Unmentioned);
    }

    #[test]
    fn rules_with_ports_outrank_those_without_and_the_longest_that_knows_the_port_decides() {
        let policy = policy("0.0.0.0/0:443,10.0.0.0/8:80,10.1.0.0/16", "169.254.169.254,10.1.1.0/24:80,10.2.0.0/16");
        let ruling = |address: &str, far| policy.ruling_outward(address.parse().unwrap(), with_ports(far, 1), None);
        assert_eq!(ruling("169.254.169.254", 443), Ruling::Allowed, "the documented trap");
        assert_eq!(ruling("169.254.169.254", 80), Ruling::Blocked);
        assert_eq!(ruling("10.1.1.1", 80), Ruling::Blocked);
        assert_eq!(ruling("10.1.1.1", 443), Ruling::Allowed, "from the outermost, which the inner ones do not mention");
        assert_eq!(ruling("10.1.1.1", 22), Ruling::Allowed, "by 10.1.0.0/16");
        assert_eq!(ruling("10.2.0.1", 80), Ruling::Allowed);
        assert_eq!(ruling("10.2.0.1", 22), Ruling::Blocked);
        assert_eq!(ruling("11.0.0.1", 22), Ruling::Unmentioned);
    }

    #[test]
    fn a_fragment_is_covered_by_every_block_with_ports_and_by_no_allow_with_ports() {
        let policy = policy("10.0.0.0/8:443,10.1.0.0/16:80,10.2.0.0/16", "10.1.1.0/24:25");
        let ruling = |address: &str| policy.ruling_outward(address.parse().unwrap(), Carried::Fragment, None);
        assert_eq!(ruling("10.0.0.1"), Ruling::Unmentioned);
        assert_eq!(ruling("10.1.1.1"), Ruling::Blocked);
        assert_eq!(ruling("10.2.0.1"), Ruling::Allowed);
        assert_eq!(outward(&policy, "10.1.1.1"), Ruling::Unmentioned, "another protocol is not about ports");
    }

    #[test]
    fn a_direction_makes_rules_of_both_and_a_bare_entry_is_one_of_each() {
        assert!(!policy("1.1.1.1:53", "2.2.2.2").is_stateful());
        let policy = policy("in 1.1.1.1:22,3.3.3.3:53", "out 2.2.2.2");
        assert!(policy.is_stateful());
        let inward =
            |address: &str, far, guest| policy.ruling_inward(address.parse().unwrap(), with_ports(far, guest), None);
        assert_eq!(inward("1.1.1.1", 9, 22), Ruling::Allowed, "the guest's port");
        assert_eq!(inward("1.1.1.1", 22, 9), Ruling::Unmentioned);
        assert_eq!(inward("3.3.3.3", 53, 9), Ruling::Allowed, "the far side's");
        assert_eq!(inward("3.3.3.3", 9, 53), Ruling::Unmentioned);
        assert_eq!(inward("2.2.2.2", 9, 9), Ruling::Unmentioned);
        assert_eq!(outward(&policy, "2.2.2.2"), Ruling::Blocked);
        let out =
            |address: &str, far, guest| policy.ruling_outward(address.parse().unwrap(), with_ports(far, guest), None);
        assert_eq!(out("3.3.3.3", 53, 9), Ruling::Allowed);
        assert_eq!(out("1.1.1.1", 22, 22), Ruling::Unmentioned);
    }

    #[test]
    fn an_address_has_to_do_with_the_guest_if_any_port_of_either_direction_is_allowed() {
        let policy = policy("in 1.0.0.0/8:22,out 2.2.2.2:53,3.3.3.3", "1.1.1.1,2.0.0.0/8");
        for (address, expected) in
            [("1.1.1.1", true), ("2.2.2.2", true), ("2.2.2.3", false), ("3.3.3.3", true), ("4.4.4.4", false)]
        {
            assert_eq!(policy.allows_some_of(address.parse().unwrap()), expected, "{address}");
        }
    }
}
