//! The rules of one direction, compiled.
//!
//! Every prefix that any rule names has one [`Node`], and what the prefixes around it say has been worked into it: one look
//! among the [`Addresses`] finds what is ruled of an address without ports, and where its rules with ports are. Those hang in
//! a chain from the longest prefix to the shortest, for the first one that knows the port decides: at most 33 binary
//! searches.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use ipnet::Ipv4Net;

use super::super::entry::PortRange;
use super::addresses::Addresses;
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
    /// What makes two rules one. Prefixes are in front, and each is in front of those within it.
    pub(super) fn key(&self) -> (Ipv4Addr, u8, Option<(Whose, u16, u16)>) {
        let ports = self.ports.map(|(whose, range)| (whose, range.first(), range.last()));
        (self.prefix.addr(), self.prefix.prefix_len(), ports)
    }
}

/// The rules of one direction.
#[derive(Debug)]
pub(super) struct Rules {
    /// None if there is no rule at all.
    nodes: Option<Addresses<Node>>,
    ported: PortedList,
}

#[derive(Debug, Default)]
struct PortedList(Vec<Ported>);

/// Which one of the list, counted from 1.
type PortedNumber = NonZeroU16;

/// What is ruled within a prefix.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// By the longest rule without ports.
    ruling: Ruling,
    /// Whether that is one of the very address.
    is_of_address: bool,
    /// Where the rules with ports of the longest prefix that has any are.
    ported: Option<PortedNumber>,
}

/// The rules with ports of one prefix.
#[derive(Debug)]
struct Ported {
    /// Whether they are of the very address.
    is_of_address: bool,
    far: PortRules,
    guest: PortRules,
    /// The same of the next shorter prefix that has any.
    outer: Option<PortedNumber>,
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

fn is_of_address(rules: &[Rule]) -> bool {
    rules.first().is_some_and(|rule| rule.prefix.prefix_len() == ADDRESS)
}

impl Rules {
    /// Compiles rules that are sorted by [`Rule::key`], each key once.
    pub(super) fn compile(sorted: &[Rule]) -> Self {
        let mut ported = PortedList::default();
        if sorted.is_empty() {
            return Rules { nodes: None, ported };
        }
        let prefixes = sorted
            .chunk_by(|a, b| a.prefix == b.prefix)
            .filter_map(|same_prefix| Some((same_prefix.first()?.prefix, same_prefix)));
        let nodes = Addresses::flatten(UNRULED, prefixes, |same_prefix, around| {
            let without_ports = same_prefix.iter().find(|rule| rule.ports.is_none());
            Node {
                ruling: without_ports.map_or(around.ruling, |rule| rule.ruling),
                is_of_address: without_ports.is_some() && is_of_address(same_prefix),
                ported: ported.add(same_prefix, around.ported),
            }
        });
        Rules { nodes: Some(nodes), ported }
    }

    /// What the rules say of a datagram to or from `address`, and the entries of its names with them, if it has any.
    #[inline]
    pub(super) fn ruling(&self, address: Ipv4Addr, carried: Carried, pinned: Option<Pinned>) -> Ruling {
        let node = self.node(address);
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
                let mut next = self.ported.get(node.ported);
                while let Some(ported) = next {
                    if !ported.is_of_address && ruling != Ruling::Unmentioned {
                        break;
                    }
                    ruling = ruling.min(ported.far.ruling(far)).min(ported.guest.ruling(guest));
                    if ruling != Ruling::Unmentioned {
                        break;
                    }
                    next = self.ported.get(ported.outer);
                }
                if ruling == Ruling::Unmentioned { node.ruling } else { ruling }
            }
            Carried::Fragment
                if pinned.blocks_a_port || self.ported.get(node.ported).is_some_and(|ported| ported.blocks) =>
            {
                Ruling::Blocked
            }
            Carried::Fragment | Carried::NoPorts => node.ruling,
        }
    }

    /// Whether anything at all of `address` is allowed.
    pub(super) fn allow_some_of(&self, address: Ipv4Addr) -> bool {
        let node = self.node(address);
        node.ruling == Ruling::Allowed || self.ported.get(node.ported).is_some_and(|ported| ported.allows)
    }

    /// Whether anything at all of `address` is not blocked.
    pub(super) fn leave_some_of(&self, address: Ipv4Addr) -> bool {
        let node = self.node(address);
        node.ruling != Ruling::Blocked || self.ported.get(node.ported).is_some_and(|ported| ported.allows)
    }

    #[inline]
    fn node(&self, address: Ipv4Addr) -> Node {
        let Some(nodes) = &self.nodes else { return UNRULED };
        // There is one for every address. If there were not, nobody could say that it is allowed.
        nodes.get(address).unwrap_or(Node { ruling: Ruling::Blocked, ..UNRULED })
    }
}

impl PortedList {
    /// Keeps the rules with ports of one prefix, if there are any; says where, else where those around it are.
    fn add(&mut self, rules: &[Rule], outer: Option<PortedNumber>) -> Option<PortedNumber> {
        if rules.iter().all(|rule| rule.ports.is_none()) {
            return outer;
        }
        let of = |whose| {
            let ports =
                move |rule: &Rule| rule.ports.filter(|ports| ports.0 == whose).map(|ports| (ports.1, rule.ruling));
            PortRules::compile(rules.iter().filter_map(ports))
        };
        let (far, guest) = (of(Whose::Far), of(Whose::Guest));
        let around = self.get(outer);
        let has = |ruling| far.has(ruling) || guest.has(ruling);
        let allows = has(Ruling::Allowed) || around.is_some_and(|around| around.allows);
        let blocks = has(Ruling::Blocked) || around.is_some_and(|around| around.blocks);
        self.0.push(Ported { is_of_address: is_of_address(rules), far, guest, outer, allows, blocks });
        NonZeroU16::new(u16::try_from(self.0.len()).ok()?)
    }

    fn get(&self, number: Option<PortedNumber>) -> Option<&Ported> {
        self.0.get(usize::from(number?.get()) - 1)
    }
}
