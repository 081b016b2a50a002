//! Pairs of entries of which the operator should be told: an allow entry with ports that reaches what a narrower block entry
//! without ports closes, since rules with ports outrank those without.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::super::entry::{Entry, PortRange, Way};
use super::super::names::Pattern;
use super::super::special::is_global_unicast;
use super::{Carried, Policy, PolicyEntries, Ruling, Target, Terms};

/// As many as are looked at in some 20 ms: 2048 entries in each list can be four million, and the start waits.
const MAX_PAIRS: usize = 10_000;

impl PolicyEntries {
    /// The pairs of an allow entry with ports and a block entry without whose target lies within the other's and is smaller,
    /// as in `--allow 0.0.0.0/0:443 --block 169.254.169.254`. Where a block entry with ports closes these as well, there is
    /// nothing to tell. `@host` is the /32 of `gateway`. A name is taken to lie within any prefix that has addresses of the world.
    /// Only the first 10,000 that lie so are looked at.
    pub fn loopholes(&self, gateway: Ipv4Addr) -> impl Iterator<Item = (&Entry, &Entry)> {
        let policy = Policy::compile(self, Terms::of_the_entries(gateway));
        let pairs =
            self.allow.iter().filter(|allow| allow.ports.is_some()).flat_map(|allow| {
                self.block.iter().filter(|block| block.ports.is_none()).map(move |block| (allow, block))
            });
        pairs
            .filter(move |(allow, block)| lies_within(block, allow, gateway))
            .take(MAX_PAIRS)
            .filter(move |(allow, block)| is_loophole(&policy, allow, block, gateway))
    }
}

/// Whether the target of one entry is a part of the other's, and not all of it.
fn lies_within(narrow: &Entry, wide: &Entry, gateway: Ipv4Addr) -> bool {
    let Some(prefix) = wide.target.prefix(gateway) else { return false };
    match narrow.target.prefix(gateway) {
        Some(narrow) => prefix != narrow && prefix.contains(&narrow),
        None => wide.way != Way::In && may_have_names(prefix),
    }
}

fn is_loophole(policy: &Policy, allow: &Entry, block: &Entry, gateway: Ipv4Addr) -> bool {
    let is_of_both = |way| [allow.way, block.way].iter().all(|&of| of == way || of == Way::Bare);
    let Some(ports) = allow.ports else { return false };
    if let Target::Name(pattern) = &block.target {
        return is_of_both(Way::Out) && leaves_open(policy, pattern, ports);
    }
    let Some(narrow) = block.target.prefix(gateway) else { return false };
    // Both ends of both, which is enough for what people write.
    let reaches = |address: Ipv4Addr| {
        [ports.first(), ports.last()].into_iter().any(|port| {
            let outward = || policy.ruling_outward(address, Carried::Ports { far: port, guest: 0 }, None);
            let inward = || match allow.way {
                Way::In => policy.ruling_inward(address, Carried::Ports { far: 0, guest: port }, None),
                Way::Bare | Way::Out => policy.ruling_inward(address, Carried::Ports { far: port, guest: 0 }, None),
            };
            (is_of_both(Way::Out) && outward() == Ruling::Allowed)
                || (is_of_both(Way::In) && inward() == Ruling::Allowed)
        })
    };
    reaches(narrow.network()) || reaches(narrow.broadcast())
}

/// Whether addresses that are pinned may be in a prefix.
fn may_have_names(prefix: Ipv4Net) -> bool {
    prefix.prefix_len() < 8 || [prefix.network(), prefix.broadcast()].into_iter().any(is_global_unicast)
}

/// Whether the entries of a name with ports leave an end of a range of ports to others.
fn leaves_open(policy: &Policy, pattern: &Pattern, ports: PortRange) -> bool {
    let Some(name) = policy.names().number_of(pattern) else { return false };
    [ports.first(), ports.last()].into_iter().any(|port| {
        let said = policy.names().said(name, Way::Out, Carried::Ports { far: port, guest: 0 });
        said.ported == Ruling::Unmentioned
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Entry> {
        Entry::parse_list(text).unwrap()
    }

    #[test]
    fn of_very_many_pairs_the_first_are_looked_at() {
        let allow: Vec<String> = (1..=2000).map(|port| format!("0.0.0.0/0:{port}")).collect();
        let block: Vec<String> = (0..2000).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
        let entries = PolicyEntries { allow: list(&allow.join(",")), block: list(&block.join(",")) };
        assert_eq!(entries.loopholes(Ipv4Addr::new(192, 168, 64, 1)).count(), MAX_PAIRS);
    }

    #[test]
    fn what_ports_open_inside_of_a_block_is_told() {
        let metadata = "169.254.169.254/32";
        let everything = "0.0.0.0/0:443";
        for (allow, block, expected) in [
            (everything, metadata, &[(everything, metadata)][..]),
            ("out 0.0.0.0/0:443", metadata, &[("out 0.0.0.0/0:443", metadata)]),
            ("0.0.0.0/0:443", "in 169.254.169.254", &[(everything, "in 169.254.169.254/32")]),
            ("in 0.0.0.0/0:22", "in @host", &[("in 0.0.0.0/0:22", "in @host")]),
            ("0.0.0.0/0:443", "@host", &[(everything, "@host")]),
            ("in 0.0.0.0/0:22", "out @host", &[]),
            ("0.0.0.0/0:443", "0.0.0.0/0", &[]),
            ("10.1.0.0/16:443", "10.0.0.0/8", &[]),
            ("10.1.0.0/16:443", "10.2.0.0/16", &[]),
            ("0.0.0.0/0", metadata, &[]),
            (everything, "169.254.169.254:443", &[]),
            (everything, "169.254.169.254,169.254.0.0/16:1-65535", &[]),
            (everything, "10.0.0.0/24,10.0.0.0:443", &[(everything, "10.0.0.0/24")]),
            (everything, "10.0.0.0/24,10.0.0.255:443", &[(everything, "10.0.0.0/24")]),
            (everything, "ads.example", &[(everything, "ads.example")]),
            ("in 0.0.0.0/0:443", "ads.example", &[]),
            ("out 93.184.0.0/16:443", "*.ads.example", &[("out 93.184.0.0/16:443", "*.ads.example")]),
            ("10.0.0.0/8:443", "ads.example", &[]),
            (everything, "ads.example,ads.example:1-65535", &[]),
            ("a.example:443", "*.example", &[]),
            ("0.0.0.0/0:80-443", "169.254.169.254,169.254.169.254:80", &[("0.0.0.0/0:80-443", metadata)]),
        ] {
            let entries = PolicyEntries { allow: list(allow), block: list(block) };
            let told: Vec<_> = entries
                .loopholes(Ipv4Addr::new(192, 168, 64, 1))
                .map(|(allow, block)| (allow.to_string(), block.to_string()))
                .collect();
            let expected: Vec<_> =
                expected.iter().map(|(allow, block)| ((*allow).to_string(), (*block).to_string())).collect();
            assert_eq!(told, expected, "{allow} {block}");
        }
    }
}
