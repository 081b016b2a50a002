//! The administrator's entries: a ceiling over whatever the operator allows.
//!
//! They are rules like the operator's: those with ports outrank those without, then the longest prefix decides, and block wins a
//! tie. But they are rules of their own, asked first, and only what they *block* counts. So no entry of the operator's, be it
//! longer or with ports, opens what is blocked here, nor does a client of the control channel; and an entry that allows here
//! opens nothing by itself: it is a hole in a wider one that blocks, through which the operator's entries are asked as usual.
//!
//! An entry with a direction needs state to be kept, as an operator's does, so that what answers passes.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::rules::Rules;
use super::{Carried, PolicyEntries, Ruling, State, Terms, Way};

/// The compiled entries of the administrator's.
#[derive(Debug)]
pub(in super::super) struct Ceiling {
    outward: Rules,
    inward: Rules,
    state: State,
}

impl Ceiling {
    /// Compiles `entries`, if they block anything; `@host` is the /32 of `gateway`. Names are not known here.
    pub(in super::super) fn compile(entries: &PolicyEntries, gateway: Ipv4Addr) -> Option<Box<Self>> {
        let rules = |way| Rules::compile(&entries.rules(way, gateway));
        let state = if entries.is_stateful() { State::Kept } else { State::AsEntriesAsk };
        (!entries.block.is_empty())
            .then(|| Box::new(Ceiling { outward: rules(Way::Out), inward: rules(Way::In), state }))
    }

    /// What the operator's policy is to be compiled for under this ceiling, or under none.
    pub(in super::super) fn terms(ceiling: Option<&Self>, gateway: Ipv4Addr) -> Terms {
        Terms { gateway, state: ceiling.map_or(State::AsEntriesAsk, |ceiling| ceiling.state) }
    }

    /// Whether what the guest sends to `address` is blocked.
    #[inline(never)] // Out of the way of frames without.
    pub(in super::super) fn blocks_outward(&self, address: Ipv4Addr, carried: Carried) -> bool {
        self.outward.ruling(address, carried, None) == Ruling::Blocked
    }

    /// Whether what `address` begins with the guest is blocked.
    #[inline(never)]
    pub(in super::super) fn blocks_inward(&self, address: Ipv4Addr, carried: Carried) -> bool {
        self.inward.ruling(address, carried, None) == Ruling::Blocked
    }

    /// Whether the guest may have to do with `address` at all, in either direction.
    pub(in super::super) fn leaves_some_of(&self, address: Ipv4Addr) -> bool {
        self.outward.leave_some_of(address) || self.inward.leave_some_of(address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Entry;
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);

    fn ceiling(allow: &str, block: &str) -> Option<Box<Ceiling>> {
        let list = |text| Entry::parse_list(text).unwrap();
        Ceiling::compile(&PolicyEntries { allow: list(allow), block: list(block) }, GATEWAY)
    }

    #[test]
    fn entries_that_block_nothing_are_no_ceiling() {
        assert!(ceiling("", "").is_none());
        assert!(ceiling("10.0.0.0/8,in 0.0.0.0/0", "").is_none());
    }

    #[test]
    fn what_is_allowed_is_a_hole_in_what_is_blocked() {
        let ceiling = ceiling("10.0.0.0/8,0.0.0.0/0:443", "0.0.0.0/0,10.1.0.0/16").unwrap();
        let blocks =
            |address: &str, far| ceiling.blocks_outward(address.parse().unwrap(), Carried::Ports { far, guest: 9 });
        assert!(!blocks("10.9.9.9", 22) && blocks("10.1.9.9", 22) && blocks("1.1.1.1", 22));
        assert!(!blocks("10.1.9.9", 443), "entries with ports outrank those without");
    }

    #[test]
    fn a_direction_keeps_state_and_an_entry_without_is_one_of_each() {
        let terms = |ceiling: Option<&Ceiling>| Ceiling::terms(ceiling, GATEWAY).state;
        assert_eq!(terms(None), State::AsEntriesAsk);
        assert_eq!(terms(ceiling("", "1.1.1.1").as_deref()), State::AsEntriesAsk);
        let ceiling = ceiling("", "in 1.1.1.1,2.2.2.2").unwrap();
        assert_eq!(terms(Some(&ceiling)), State::Kept);
        let [one, two] = [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(2, 2, 2, 2)];
        assert!(ceiling.blocks_inward(one, Carried::NoPorts) && !ceiling.blocks_outward(one, Carried::NoPorts));
        assert!(ceiling.blocks_inward(two, Carried::NoPorts) && ceiling.blocks_outward(two, Carried::NoPorts));
        assert!(ceiling.leaves_some_of(one) && !ceiling.leaves_some_of(two));
    }
}
