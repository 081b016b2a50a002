//! Which entry decides over a datagram, read off the entries themselves, one by one.
//!
//! The rules that frames are judged by ([`super::rules`]) have forgotten which entries they come from. This is for people
//! who want to know, a few times a second at the most; it comes to the same ruling (a test compares the two), and costs one
//! look at each entry.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::net::Ipv4Addr;

use super::super::entry::{Entry, Target, Way};
use super::super::names::Pattern;
use super::{Carried, List, PolicyEntries};

/// The length of the prefix that is one address, as which a name's entry counts.
const ADDRESS: u8 = 32;

impl PolicyEntries {
    /// The entry that decides over what is begun this way, with `far` on the other side; none if no entry covers it. Of
    /// entries that say the same, it is the first.
    ///
    /// `@host` is the /32 of `gateway`; `has_name` says whether a name of `far`'s is known that an entry is about.
    pub(in super::super) fn deciding(
        &self,
        gateway: Ipv4Addr,
        way: Way,
        far: Ipv4Addr,
        carried: Carried,
        has_name: impl Fn(&Pattern) -> bool,
    ) -> Option<(List, &Entry)> {
        // While no state is kept, what others begin is judged by what the guest may begin, and names say nothing of it.
        let (way, names_count) = match way {
            Way::In if !self.is_stateful() => (Way::Out, false),
            way => (way, true),
        };
        let length = |entry: &Entry| match &entry.target {
            Target::Name(pattern) => (names_count && has_name(pattern)).then_some(ADDRESS),
            target => target.prefix(gateway).filter(|prefix| prefix.contains(&far)).map(|prefix| prefix.prefix_len()),
        };
        let lists = [(List::Block, &self.block), (List::Allow, &self.allow)];
        let covering = lists
            .into_iter()
            .flat_map(|(list, entries)| entries.iter().map(move |entry| (list, entry)))
            .filter(|(_, entry)| entry.way == Way::Bare || entry.way == way)
            .filter_map(|(list, entry)| Some((list, entry, length(entry)?)))
            .filter(|&(list, entry, _)| is_about(list, entry, carried));
        // Of equals the first: those that block are in front.
        covering
            .min_by_key(|&(_, entry, length)| Reverse((entry.ports.is_some(), length)))
            .map(|(list, entry, _)| (list, entry))
    }
}

/// Whether the ports of an entry, if it has any, cover what a datagram carries.
fn is_about(list: List, entry: &Entry, carried: Carried) -> bool {
    match (entry.ports, carried) {
        (None, _) => true,
        (Some(ports), Carried::Ports { far, guest }) => {
            let port = if entry.way == Way::In { guest } else { far };
            (ports.first()..=ports.last()).contains(&port)
        }
        (Some(_), Carried::Fragment) => list == List::Block,
        (Some(_), Carried::NoPorts) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::{Pinned, Policy, Ruling};
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn entries(allow: &str, block: &str) -> PolicyEntries {
        PolicyEntries { allow: Entry::parse_list(allow).unwrap(), block: Entry::parse_list(block).unwrap() }
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let addresses =
            || select(vec!["10.0.0.0/8", "10.0.0.0/31", "10.0.0.1", "10.0.0.2/32", "0.0.0.0/0", "10.0.0.2/30"]);
        let names = select(vec!["a.org", "*.a.org", "b.org", "b.a.org"]);
        let ports = || prop::option::of(select(vec![":1", ":2", ":1-3", ":2-65535", ":7"]));
        let text = |way: &str, target: &str, ports: Option<&str>| format!("{way}{target}{}", ports.unwrap_or_default());
        prop_oneof![
            6 => (select(vec!["", "in ", "out "]), addresses(), ports()).prop_map(move |(w, t, p)| text(w, t, p)),
            2 => (select(vec!["", "in ", "out "]), Just("@host"), ports()).prop_map(move |(w, t, p)| text(w, t, p)),
            4 => (select(vec!["", "out "]), names, ports()).prop_map(move |(w, t, p)| text(w, t, p)),
        ]
        .prop_map(|text| text.parse().unwrap())
    }

    fn lists() -> impl Strategy<Value = PolicyEntries> {
        (vec(entry(), 0..6), vec(entry(), 0..6), any::<bool>()).prop_map(|(mut allow, mut block, bare)| {
            if bare {
                // One entry with a direction makes all of it stateful: without this, few policies are not.
                let all = allow.iter_mut().chain(&mut block);
                all.for_each(|entry| entry.way = Way::Bare);
            }
            PolicyEntries { allow, block }
        })
    }

    fn carried() -> impl Strategy<Value = Carried> {
        let port = || select(vec![1u16, 2, 3, 7, 9]);
        prop_oneof![
            4 => (port(), port()).prop_map(|(far, guest)| Carried::Ports { far, guest }),
            1 => Just(Carried::Fragment),
            1 => Just(Carried::NoPorts),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_entry_that_is_named_rules_as_the_compiled_rules_do(
            policy in lists(),
            address in select(vec!["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.9.9.9", "11.0.0.0"]),
            asked_for in vec(select(vec!["a.org", "b.a.org", "b.org"]), 0..3),
            carried in carried(),
        ) {
            let far: Ipv4Addr = address.parse().unwrap();
            let compiled = Policy::compile(&policy, GATEWAY);
            let rules = compiled.names();
            for way in [Way::Out, Way::In] {
                let names = || asked_for.iter().flat_map(|name| rules.matching(name.as_bytes()));
                let pinned = names().fold(Pinned::NOTHING, |all, name| all.and(rules.said(name, way, carried)));
                let expected = match way {
                    Way::In => compiled.ruling_inward(far, carried, Some(pinned)),
                    _ => compiled.ruling_outward(far, carried, Some(pinned)),
                };
                let has_name = |pattern: &Pattern| names().any(|name| rules.number_of(pattern) == Some(name));
                let named = policy.deciding(GATEWAY, way, far, carried, has_name);
                let ruling = match named {
                    None => Ruling::Unmentioned,
                    Some((List::Allow, _)) => Ruling::Allowed,
                    Some((List::Block, _)) => Ruling::Blocked,
                };
                prop_assert_eq!(ruling, expected, "{:?} {:?}", way, named);
                if let Some((list, entry)) = named {
                    let of_list = if list == List::Allow { &policy.allow } else { &policy.block };
                    prop_assert!(of_list.contains(entry));
                }
            }
        }
    }

    #[test]
    fn the_entry_that_is_named_is_the_one_that_people_mean() {
        let policy = entries("0.0.0.0/0:443,10.0.0.0/8,10.0.0.0/8:1-90,@host,a.org:443", "10.1.0.0/16,10.0.0.0/8:25");
        let name = |far: &str, carried, has: &[&str]| {
            let has_name = |pattern: &Pattern| has.contains(&pattern.to_string().as_str());
            policy
                .deciding(GATEWAY, Way::Out, far.parse().unwrap(), carried, has_name)
                .map(|(list, entry)| format!("{list:?} {entry}"))
        };
        let port = |far| Carried::Ports { far, guest: 7 };
        for (far, carried, has, expected) in [
            ("1.1.1.1", port(443), &[][..], Some("Allow 0.0.0.0/0:443")),
            ("1.1.1.1", port(443), &["a.org"], Some("Allow a.org:443")),
            ("1.1.1.1", port(80), &["a.org"], None),
            ("10.1.0.1", port(443), &[], Some("Allow 0.0.0.0/0:443")),
            ("10.1.0.1", port(444), &[], Some("Block 10.1.0.0/16")),
            ("10.0.0.9", port(444), &[], Some("Allow 10.0.0.0/8")),
            ("10.0.0.9", port(25), &[], Some("Block 10.0.0.0/8:25")),
            ("10.0.0.9", Carried::Fragment, &[], Some("Block 10.0.0.0/8:25")),
            ("10.0.0.1", Carried::NoPorts, &[], Some("Allow @host")),
        ] {
            assert_eq!(name(far, carried, has).as_deref(), expected, "{far} {carried:?}");
        }
    }
}
