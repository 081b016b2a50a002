//! What the entries about names say, compiled: found by a name, asked by number.
#![forbid(unsafe_code)]

use super::super::entry::{Entry, Way};
use super::super::names::{Pattern, Reach};
use super::ports::PortRules;
use super::{Carried, PolicyEntries, Ruling, Target};

/// The most patterns that match one name: its own, and one below each of the names above it, of which 127 labels have 126.
pub(in super::super) const MATCHES: usize = 127;

/// The number of a pattern in [`NameRules`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct NameIndex(u16);

impl NameIndex {
    #[inline]
    pub(in super::super) fn get(self) -> usize {
        usize::from(self.0)
    }

    #[cfg(test)]
    pub(in super::super) const fn of_test(number: usize) -> Self {
        NameIndex(number as u16)
    }
}

/// What the entries of one or more names say of a datagram: as rules of the very address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Pinned {
    /// Those with ports, of the datagram's port.
    pub(super) ported: Ruling,
    /// Those without.
    pub(super) plain: Ruling,
    /// Whether one with ports blocks any.
    pub(super) blocks_a_port: bool,
}

impl Pinned {
    /// No name.
    pub(in super::super) const NOTHING: Pinned =
        Pinned { ported: Ruling::Unmentioned, plain: Ruling::Unmentioned, blocks_a_port: false };

    /// Both together: block wins, and what is mentioned goes before what is not.
    #[inline]
    pub(in super::super) fn and(self, other: Pinned) -> Pinned {
        Pinned {
            ported: self.ported.min(other.ported),
            plain: self.plain.min(other.plain),
            blocks_a_port: self.blocks_a_port || other.blocks_a_port,
        }
    }
}

/// The entries about names, by pattern.
#[derive(Debug, Default)]
pub(in super::super) struct NameRules {
    /// Sorted by [`key`], each pattern once.
    named: Box<[Named]>,
    rule_count: usize,
}

#[derive(Debug)]
struct Named {
    pattern: Pattern,
    /// Whether an entry of it allows anything.
    is_allowed: bool,
    outward: Said,
    /// Nothing while no state is kept.
    inward: Said,
}

/// What is said of one pattern in one direction.
#[derive(Debug)]
struct Said {
    plain: Ruling,
    ports: PortRules,
    blocks_a_port: bool,
}

impl NameRules {
    pub(super) fn compile(entries: &PolicyEntries) -> Self {
        let mut named = named(entries);
        named.sort_by(|a, b| key_of(a.0).cmp(&key_of(b.0)).then_with(|| ports_of(a.1).cmp(&ports_of(b.1))));
        let is_stateful = entries.is_stateful();
        let mut rule_count = 0;
        let by_pattern = named.chunk_by(|a, b| a.0 == b.0).filter_map(|same| {
            let mut said = |way| {
                let is_kept = way == Way::Out || is_stateful;
                let of_way = same.iter().filter(move |(_, entry, _)| is_kept && [Way::Bare, way].contains(&entry.way));
                let of_way = of_way.map(|&(_, entry, ruling)| (entry, ruling));
                rule_count += distinct_ports(of_way.clone());
                Said::compile(of_way)
            };
            let (outward, inward) = (said(Way::Out), said(Way::In));
            let is_allowed = same.iter().any(|&(.., ruling)| ruling == Ruling::Allowed);
            same.first().map(|&(pattern, ..)| Named { pattern: pattern.clone(), is_allowed, outward, inward })
        });
        NameRules { named: by_pattern.collect(), rule_count }
    }

    /// How many rules there are: for each direction, the distinct names, ports included, one in both lists once.
    pub(super) fn rule_count(&self) -> usize {
        self.rule_count
    }

    /// Whether no entry is about a name.
    #[inline]
    pub(in super::super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The patterns that match a name, which is in lower case: at most [`MATCHES`].
    pub(in super::super) fn matching<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = NameIndex> + 'a {
        let dots = name.iter().enumerate().filter(|&(_, &byte)| byte == b'.');
        let above = dots.filter_map(|(at, _)| self.find(Reach::Below, name.get(at + 1..)?));
        self.find(Reach::Itself, name).into_iter().chain(above)
    }

    /// Whether an entry that allows anything is about a name, which is in lower case.
    pub(in super::super) fn allow_some_of(&self, name: &[u8]) -> bool {
        self.matching(name).any(|index| self.named.get(index.get()).is_some_and(|named| named.is_allowed))
    }

    /// What the entries of a pattern say of a datagram.
    #[inline]
    pub(in super::super) fn said(&self, name: NameIndex, way: Way, carried: Carried) -> Pinned {
        let Some(named) = self.named.get(name.get()) else { return Pinned::NOTHING };
        let said = if way == Way::In { &named.inward } else { &named.outward };
        let ported = match carried {
            Carried::Ports { far, .. } => said.ports.ruling(far),
            Carried::Fragment | Carried::NoPorts => Ruling::Unmentioned,
        };
        Pinned { ported, plain: said.plain, blocks_a_port: said.blocks_a_port }
    }

    /// Where each pattern is in other rules, if it is there.
    pub(in super::super) fn places_in(&self, other: &NameRules) -> Vec<Option<NameIndex>> {
        self.named.iter().map(|named| other.number_of(&named.pattern)).collect()
    }

    /// The number of a pattern, if an entry is about it.
    pub(in super::super) fn number_of(&self, pattern: &Pattern) -> Option<NameIndex> {
        self.find(pattern.reach(), pattern.name().as_bytes())
    }

    fn find(&self, reach: Reach, name: &[u8]) -> Option<NameIndex> {
        let index = self.named.binary_search_by(|named| key_of(&named.pattern).cmp(&key(reach, name))).ok()?;
        u16::try_from(index).ok().map(NameIndex)
    }
}

impl Said {
    fn compile<'a>(entries: impl Iterator<Item = (&'a Entry, Ruling)> + Clone) -> Self {
        let plain = entries.clone().filter(|(entry, _)| entry.ports.is_none()).map(|(_, ruling)| ruling);
        let ports = PortRules::compile(entries.clone().filter_map(|(entry, ruling)| Some((entry.ports?, ruling))));
        Said { plain: plain.min().unwrap_or(Ruling::Unmentioned), blocks_a_port: ports.has(Ruling::Blocked), ports }
    }
}

/// How many rules the entries of one pattern and direction come to, which are sorted by their ports.
fn distinct_ports<'a>(entries: impl Iterator<Item = (&'a Entry, Ruling)>) -> usize {
    let mut last = None;
    entries.filter(|(entry, _)| last.replace(ports_of(entry)) != Some(ports_of(entry))).count()
}

fn ports_of(entry: &Entry) -> Option<(u16, u16)> {
    entry.ports.map(|ports| (ports.first(), ports.last()))
}

/// The entries about names, with what they rule.
fn named(entries: &PolicyEntries) -> Vec<(&Pattern, &Entry, Ruling)> {
    let of = |list, ruling| {
        <[Entry]>::iter(list).filter_map(move |entry| match &entry.target {
            Target::Name(pattern) => Some((pattern, entry, ruling)),
            Target::Prefix(_) | Target::Host => None,
        })
    };
    of(&entries.allow, Ruling::Allowed).chain(of(&entries.block, Ruling::Blocked)).collect()
}

/// What patterns are sorted by. Lengths differ oftener than first letters do.
fn key(reach: Reach, name: &[u8]) -> (Reach, usize, &[u8]) {
    (reach, name.len(), name)
}

fn key_of(pattern: &Pattern) -> (Reach, usize, &[u8]) {
    key(pattern.reach(), pattern.name().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &str, block: &str) -> NameRules {
        let list = |text| Entry::parse_list(text).unwrap();
        NameRules::compile(&PolicyEntries { allow: list(allow), block: list(block) })
    }

    #[test]
    fn a_name_matches_itself_and_what_is_below_it_matches_the_star() {
        let rules = rules("example.org,*.example.org,*.org", "*.a.example.org,b.a.example.org");
        let matching = |name: &str| {
            let patterns = rules.matching(name.as_bytes()).map(|index| rules.named[index.get()].pattern.to_string());
            patterns.collect::<Vec<_>>()
        };
        assert_eq!(matching("example.org"), ["example.org", "*.org"]);
        assert_eq!(matching("a.example.org"), ["*.example.org", "*.org"]);
        assert_eq!(matching("b.a.example.org"), ["b.a.example.org", "*.a.example.org", "*.example.org", "*.org"]);
        for other in ["org", "anexample.com", "example.org.com", "", "org.", ".com"] {
            assert_eq!(matching(other), [""; 0], "{other}");
        }
        assert_eq!(matching("anexample.org"), ["*.org"]);
    }

    #[test]
    fn the_deepest_name_has_room_for_its_patterns() {
        let name = vec!["a"; 127].join(".");
        let mut list = vec![name.clone()];
        list.extend((1..127).map(|from| format!("*.{}", &name[2 * from..])));
        // A pattern has two labels at the least, or a star.
        let rules = rules(&list.join(","), "");
        assert_eq!(rules.matching(name.as_bytes()).count(), MATCHES);
    }

    #[test]
    fn what_is_said_is_of_the_direction_and_block_wins() {
        let carried = |far| Carried::Ports { far, guest: 1 };
        let rules = rules("a.org,out b.org:1-9,b.org:443,c.org", "b.org:5,c.org");
        let said = |name: &str, way, carried| rules.said(rules.matching(name.as_bytes()).next().unwrap(), way, carried);
        assert_eq!(said("a.org", Way::Out, carried(1)).plain, Ruling::Allowed);
        assert_eq!(said("a.org", Way::In, carried(1)).plain, Ruling::Allowed);
        assert_eq!(said("c.org", Way::Out, Carried::NoPorts).plain, Ruling::Blocked);
        for (way, far, expected) in [
            (Way::Out, 4, Ruling::Allowed),
            (Way::Out, 5, Ruling::Blocked),
            (Way::In, 4, Ruling::Unmentioned),
            (Way::In, 443, Ruling::Allowed),
            (Way::In, 5, Ruling::Blocked),
        ] {
            assert_eq!(said("b.org", way, carried(far)).ported, expected, "{way:?} {far}");
        }
        assert!(said("b.org", Way::Out, Carried::Fragment).blocks_a_port);
        assert_eq!(said("b.org", Way::Out, Carried::Fragment).ported, Ruling::Unmentioned);
    }

    #[test]
    fn while_no_state_is_kept_nothing_is_said_of_what_others_begin() {
        let rules = rules("a.org", "");
        let index = rules.matching(b"a.org").next().unwrap();
        assert_eq!(rules.said(index, Way::In, Carried::NoPorts), Pinned::NOTHING);
    }

    #[test]
    fn patterns_are_found_again_in_other_rules() {
        let (old, new) = (rules("a.org,*.a.org", "b.org:1"), rules("0.org,*.a.org:5", "b.org"));
        let places = old.places_in(&new);
        let found: Vec<_> = old.named.iter().zip(&places).filter(|(_, place)| place.is_some()).collect();
        assert_eq!(found.len(), 2);
        for (named, place) in found {
            assert_eq!(new.named[place.unwrap().get()].pattern, named.pattern);
        }
    }
}
