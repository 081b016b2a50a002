//! The policy, against a model that reads the entries one by one.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use crate::without_files;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use softnet::engine::{Config, DropReason, Entry, NetType, PolicyEntries, Target};
use softnet_fuzz_targets::oracle::is_of_the_world;

/// An address near others, so that prefixes nest and meet: few bits vary in each octet.
fn close_address() -> impl Strategy<Value = Ipv4Addr> {
    let octet = || select(vec![0u8, 1, 2, 3, 128, 255]);
    prop_oneof![
        4 => (select(vec![1u8, 10, 172, 192]), octet(), octet(), octet()).prop_map(|(a, b, c, d)| Ipv4Addr::new(a, b, c, d)),
        1 => select(vec![GATEWAY, NEIGHBOUR, WORLD, Ipv4Addr::new(169, 254, 169, 254)]),
        1 => any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        1 => Just("@host".to_owned()),
        8 => (close_address(), 0..=32u8).prop_map(|(address, length)| format!("{address}/{length}")),
    ]
    .prop_map(|text| text.parse().unwrap())
}

/// Prefix and length, with shifts instead of a network type.
fn covers(entry: &Entry, address: Ipv4Addr) -> Option<u8> {
    let (prefix, length) = match entry.target {
        Target::Host => (GATEWAY, 32),
        Target::Name(_) => panic!("no entry here is about a name"),
        Target::Prefix(net) => (net.addr(), net.prefix_len()),
    };
    let same_bits =
        |a: Ipv4Addr, b: Ipv4Addr| length == 0 || (u32::from(a) ^ u32::from(b)) >> (32 - u32::from(length)) == 0;
    same_bits(prefix, address).then_some(length)
}

fn model(policy: &PolicyEntries, net_type: NetType, address: Ipv4Addr) -> Judgement {
    let longest = |list: &[Entry]| list.iter().filter_map(|entry| covers(entry, address)).max();
    match (longest(&policy.allow), longest(&policy.block)) {
        (Some(allow), Some(block)) if allow > block => Ok(()),
        (Some(_), None) => Ok(()),
        (_, Some(_)) => Err(DropReason::Blocked),
        (None, None) if address == GATEWAY => Ok(()),
        (None, None) if net_type == NetType::Nat && is_of_the_world(address) => Ok(()),
        (None, None) => Err(DropReason::NotReachable),
    }
}

fn mac_for(address: Ipv4Addr) -> Mac {
    let [_, b, c, d] = address.octets();
    if address == ALL || address == SUBNET_BROADCAST {
        BROADCAST
    } else if address.is_multicast() {
        [1, 0, 0x5e, b & 0x7f, c, d]
    } else {
        GATEWAY_MAC
    }
}

proptest! {
    #![proptest_config(without_files(500))]

    #[test]
    fn the_policy_is_what_a_reader_of_the_entries_expects(
        allow in vec(entry(), 0..12),
        block in vec(entry(), 0..12),
        host_mode in any::<bool>(),
        replaced in any::<bool>(),
        addresses in vec(close_address(), 1..40),
    ) {
        let net_type = if host_mode { NetType::Host } else { NetType::Nat };
        let policy = PolicyEntries { allow, block };
        let at_start = if replaced { entries("1.0.0.0/8", "10.0.0.0/8") } else { policy.clone() };
        let mut world = World::leased_with(Config { net_type, policy: at_start, ..config() });
        if replaced {
            world.engine.set_policy(policy.clone());
        }
        for address in addresses {
            let frame = Ip::ping(LEASED, address).frame(mac_for(address), GUEST_MAC);
            prop_assert_eq!(world.guest(&frame), model(&policy, net_type, address), "{}", address);
        }
    }

    #[test]
    fn an_entry_reads_back_from_its_own_text(entry in entry()) {
        prop_assert_eq!(entry.to_string().parse::<Entry>().unwrap(), entry);
    }

    #[test]
    fn no_text_panics_the_grammar(text in ".{0,40}", other in "[@inouthst0-9./:, ]{0,24}") {
        for text in [text, other] {
            if let Ok(entry) = text.parse::<Entry>() {
                prop_assert_eq!(entry.to_string().parse::<Entry>().unwrap(), entry);
            }
            let _ = Entry::parse_list(&text);
        }
    }
}
