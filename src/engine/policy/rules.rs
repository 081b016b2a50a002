//! The rules of one direction, compiled.
//!
//! Every prefix that any rule names has one [`Verdict`](Node) in a prefix map, and what the prefixes around it say has been
//! worked into it: one longest match finds what is ruled of an address without ports, and where its rules with ports are.
//! Those hang in a chain from the longest prefix to the shortest, for the first one that knows the port decides: at most 33
//! binary searches.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

use super::super::entry::PortRange;
use super::ports::PortRules;
use super::{Carried, Pinned, Ruling};

/// Whose port a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// The far side's.
    Far,
    /// The guest's.
    Guest,
}

/// An entry in one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) prefix: Ipv4Net,
    pub(super) ports: Option<(Whose, PortRange)>,
    pub(super) ruling: Ruling,
}

impl Rule {
    /// What makes two rules one. Prefixes are in front, the short ones first.
    pub(super) fn key(&self) -> (u8, Ipv4Addr, Option<(Whose, u16, u16)>) {
        let ports = self.ports.map(|(whose, range)| (whose, range.first(), range.last()));
        (self.prefix.prefix_len(), self.prefix.addr(), ports)
    }
}

/// The rules of one direction.
#[derive(Debug)]
pub(super) struct Rules {
    prefixes: PrefixMap<Ipv4Net, Node>,
    ported: Vec<Ported>,
    is_empty: bool,
}

/// What is ruled within a prefix.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// By the longest rule without ports.
    ruling: Ruling,
    /// Whether that is one of the very address.
    is_of_address: bool,
    /// Where the rules with ports of the longest prefix that has any are.
    ported: Option<u32>,
}

/// The rules with ports of one prefix.
#[derive(Debug)]
struct Ported {
    /// Whether they are of the very address.
    is_of_address: bool,
    far: PortRules,
    guest: PortRules,
    /// The same of the next shorter prefix that has any.
    outer: Option<u32>,
    /// Whether it, or one further out, allows any port.
    allows: bool,
    /// Whether it, or one further out, blocks any port.
    blocks: bool,
}

const UNRULED: Node = Node { ruling: Ruling::Unmentioned, is_of_address: false, ported: None };

impl Node {
    /// With what the entries of an address' names say without ports: they are rules of the very address.
    fn with(self, pinned: Pinned) -> Self {
        let ruling = match pinned.plain {
            Ruling::Unmentioned => self.ruling,
            plain if self.is_of_address => plain.min(self.ruling),
            plain => plain,
        };
        Node { ruling, ..self }
    }
}

/// The length of the prefix that is one address.
const ADDRESS: u8 = 32;

impl Rules {
    /// Compiles rules that are sorted by [`Rule::key`], each key once.
    pub(super) fn compile(sorted: &[Rule]) -> Self {
        let mut rules = Rules { prefixes: PrefixMap::new(), ported: Vec::new(), is_empty: sorted.is_empty() };
        for same_prefix in sorted.chunk_by(|a, b| a.prefix == b.prefix) {
            let Some(first) = same_prefix.first() else { continue };
            // What is shorter is in the map already, and says what goes on to hold in here.
            let around = rules.node(&first.prefix);
            let without_ports = same_prefix.iter().find(|rule| rule.ports.is_none());
            let ruling = without_ports.map_or(around.ruling, |rule| rule.ruling);
            let ported = rules.add_ported(same_prefix, around.ported);
            let is_of_address = without_ports.is_some() && first.prefix.prefix_len() == ADDRESS;
            rules.prefixes.insert(first.prefix, Node { ruling, is_of_address, ported });
        }
        rules
    }

    /// Keeps the rules with ports of one prefix, if there are any; says where, else where those around it are.
    fn add_ported(&mut self, rules: &[Rule], outer: Option<u32>) -> Option<u32> {
        let of = |whose| {
            let ports =
                move |rule: &Rule| rule.ports.filter(|ports| ports.0 == whose).map(|ports| (ports.1, rule.ruling));
            PortRules::compile(rules.iter().filter_map(ports))
        };
        if rules.iter().all(|rule| rule.ports.is_none()) {
            return outer;
        }
        let (far, guest) = (of(Whose::Far), of(Whose::Guest));
        let around = self.ported(outer);
        let has = |ruling| far.has(ruling) || guest.has(ruling);
        let allows = has(Ruling::Allowed) || around.is_some_and(|around| around.allows);
        let blocks = has(Ruling::Blocked) || around.is_some_and(|around| around.blocks);
        let index = u32::try_from(self.ported.len()).ok();
        let is_of_address = rules.first().is_some_and(|rule| rule.prefix.prefix_len() == ADDRESS);
        self.ported.push(Ported { is_of_address, far, guest, outer, allows, blocks });
        index
    }

    /// What the rules say of a datagram to or from `address`, and the entries of its names with them, if it has any.
    #[inline]
    pub(super) fn ruling(&self, address: Ipv4Addr, carried: Carried, pinned: Option<Pinned>) -> Ruling {
        if self.is_empty && pinned.is_none() {
            return Ruling::Unmentioned;
        }
        let node = self.node(&Ipv4Net::from(address));
        match (node.ported, pinned) {
            (None, None) => node.ruling,
            (Some(_), None) => self.ruling_by_ports(node, carried, Pinned::NOTHING),
            (_, Some(pinned)) => self.ruling_by_ports(node.with(pinned), carried, pinned),
        }
    }

    /// Rules with ports outrank those without; among them the longest prefix that knows the port decides, then block.
    fn ruling_by_ports(&self, node: Node, carried: Carried, pinned: Pinned) -> Ruling {
        match carried {
            Carried::Ports { far, guest } => {
                // Of the very address, as those of the longest prefix may be, which then decide together.
                let mut ruling = pinned.ported;
                let mut next = self.ported(node.ported);
                while let Some(ported) = next {
                    if !ported.is_of_address && ruling != Ruling::Unmentioned {
                        break;
                    }
                    ruling = ruling.min(ported.far.ruling(far)).min(ported.guest.ruling(guest));
                    if ruling != Ruling::Unmentioned {
                        break;
                    }
                    next = self.ported(ported.outer);
                }
                if ruling == Ruling::Unmentioned { node.ruling } else { ruling }
            }
            Carried::Fragment
                if pinned.blocks_a_port || self.ported(node.ported).is_some_and(|ported| ported.blocks) =>
            {
                Ruling::Blocked
            }
            Carried::Fragment | Carried::NoPorts => node.ruling,
        }
    }

    /// Whether anything at all of `address` is allowed.
    pub(super) fn allow_some_of(&self, address: Ipv4Addr) -> bool {
        let node = self.node(&Ipv4Net::from(address));
        node.ruling == Ruling::Allowed || self.ported(node.ported).is_some_and(|ported| ported.allows)
    }

    #[inline]
    fn node(&self, prefix: &Ipv4Net) -> Node {
        self.prefixes.get_lpm(prefix).map_or(UNRULED, |(_, &node)| node)
    }

    fn ported(&self, index: Option<u32>) -> Option<&Ported> {
        index.and_then(|index| self.ported.get(usize::try_from(index).ok()?))
    }
}
