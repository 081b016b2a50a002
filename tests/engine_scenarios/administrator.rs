//! What the administrator's entries block stays blocked, whatever the operator's say.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, DropReason, Isolation};

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);

/// A guest whose operator says `(allow, block)`, under an administrator who says the other two.
fn under((admin_allow, admin_block): (&str, &str), (allow, block): (&str, &str)) -> World {
    let administrator = entries(admin_allow, admin_block);
    World::leased_with(Config { policy: entries(allow, block), administrator, ..config() })
}

fn tcp_out(world: &mut World, to: Ipv4Addr, port: u16) -> Judgement {
    world.guest_ip(&Ip::tcp(LEASED, to, (5000, port)))
}

fn udp_out(world: &mut World, to: Ipv4Addr) -> Judgement {
    world.guest_ip(&Ip::udp(LEASED, to, (5000, 80), &[]))
}

fn udp_in(world: &mut World, from: Ipv4Addr) -> Judgement {
    world.host_ip(&Ip::udp(from, LEASED, (80, 5000), &[]))
}

#[test]
fn what_the_administrator_blocks_no_entry_of_the_operators_opens() {
    for allow in
        ["169.254.169.254", "0.0.0.0/0:1-65535", "169.254.169.254:80", "out 169.254.169.254", "in 169.254.0.0/16"]
    {
        let mut world = under(("", "169.254.0.0/16"), (allow, ""));
        assert_eq!(tcp_out(&mut world, METADATA, 80), Err(DropReason::Blocked), "{allow}");
        assert_eq!(world.guest_ip(&Ip::ping(LEASED, METADATA)), Err(DropReason::Blocked), "{allow}");
        assert_eq!(tcp_out(&mut world, WORLD, 80), Ok(()), "the rest is as it was");
    }
}

#[test]
fn nor_does_a_new_policy() {
    let mut world = under(("", "10.0.0.0/8"), ("", ""));
    for allow in ["10.0.0.0/8", "10.1.1.1:80", "out 10.1.1.1", ""] {
        world.engine.set_policy(entries(allow, ""));
        assert_eq!(tcp_out(&mut world, PRIVATE, 80), Err(DropReason::Blocked), "{allow}");
    }
    let texts = world.engine.policy().texts();
    assert_eq!((texts.allow, texts.block), (vec![], vec![]), "a client sees its own entries and no others");
    assert_eq!(world.engine.rule_count(), 0);
}

#[test]
fn an_administrators_allow_is_a_hole_and_opens_nothing_by_itself() {
    let mut world = under(("10.1.0.0/16", "10.0.0.0/8"), ("", ""));
    assert_eq!(tcp_out(&mut world, PRIVATE, 80), Err(DropReason::NotReachable), "the operator has not allowed it");
    world.engine.set_policy(entries("10.0.0.0/8", ""));
    assert_eq!(tcp_out(&mut world, PRIVATE, 80), Ok(()));
    assert_eq!(tcp_out(&mut world, Ipv4Addr::new(10, 2, 0, 1), 80), Err(DropReason::Blocked));
    world.engine.set_policy(entries("", "10.1.0.0/16"));
    assert_eq!(tcp_out(&mut world, PRIVATE, 80), Err(DropReason::Blocked), "an operator may always close more");
}

#[test]
fn ports_and_fragments_are_as_in_the_operators_entries() {
    let mut world = under(("", "93.184.215.14:25"), ("0.0.0.0/0,93.184.215.14:25", ""));
    assert_eq!(tcp_out(&mut world, WORLD, 25), Err(DropReason::Blocked));
    assert_eq!(tcp_out(&mut world, WORLD, 80), Ok(()));
    let fragment = Ip { fragment_offset: 100, ..Ip::new(LEASED, WORLD, TCP, vec![0; 64]) };
    assert_eq!(world.guest_ip(&fragment), Err(DropReason::Blocked), "its ports are never read");
}

#[test]
fn an_entry_without_direction_leaves_a_stateless_policy_stateless() {
    let mut world = under(("", "10.0.0.0/8"), ("", ""));
    assert_eq!(udp_in(&mut world, PRIVATE), Ok(()), "inbound is open while no entry has a direction");
    assert_eq!(udp_out(&mut world, PRIVATE), Err(DropReason::Blocked), "and an answer is judged like anything");
    world.engine.set_policy(entries("in 10.1.1.1", ""));
    assert_eq!(udp_in(&mut world, PRIVATE), Err(DropReason::Blocked), "with one, it is about both");
}

#[test]
fn an_entry_with_a_direction_keeps_state_under_every_policy() {
    let mut world = under(("", "in 0.0.0.0/0"), ("", ""));
    for policy in [("", ""), ("0.0.0.0/0", ""), ("in 0.0.0.0/0:5000", ""), ("", "1.1.1.1")] {
        world.engine.set_policy(entries(policy.0, policy.1));
        world.wait(31_000); // past the flows of the policy before
        assert_eq!(udp_in(&mut world, WORLD), Err(DropReason::Blocked), "{policy:?}");
        assert_eq!(udp_out(&mut world, WORLD), Ok(()), "{policy:?}");
        assert_eq!(udp_in(&mut world, WORLD), Ok(()), "what answers passes: {policy:?}");
        assert_eq!(world.engine.rule_count(), entries(policy.0, policy.1).rule_count(GATEWAY), "its own rules alone");
    }
    // Compiled in steps, as the control channel does it, it is the same.
    let mut draft = softnet::engine::Draft::default();
    draft.push(softnet::engine::List::Allow, "10.0.0.0/8").unwrap();
    let mut sorted = draft.sort().0;
    let compiled = loop {
        match sorted.compile(world.engine.terms()) {
            Ok(compiled) => break compiled,
            Err(rest) => sorted = *rest,
        }
    };
    assert_eq!(compiled.rule_count(), 1);
    world.engine.set_compiled(compiled);
    world.wait(31_000);
    assert_eq!(udp_in(&mut world, WORLD), Err(DropReason::Blocked));
    assert_eq!(udp_out(&mut world, PRIVATE), Ok(()));
    assert_eq!(udp_in(&mut world, PRIVATE), Ok(()));
}

#[test]
fn a_neighbour_that_the_administrator_closes_is_not_heard() {
    let neighbour = Ipv4Addr::new(192, 168, 64, 9);
    let arp = Arp::request(NEIGHBOUR_MAC, neighbour, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC);
    for isolation in [Isolation::Isolated, Isolation::Open] {
        let (policy, administrator) = (entries("192.168.64.9", ""), entries("", "192.168.64.9"));
        let mut world = World::leased_with(Config { isolation, policy, administrator, ..config() });
        let heard = world.host(&arp);
        match isolation {
            Isolation::Isolated => assert_eq!(heard, Err(DropReason::Neighbour)),
            Isolation::Open => assert_eq!(heard, Ok(())),
        }
        assert_eq!(udp_out(&mut world, neighbour), Err(DropReason::Blocked));
    }
    let mut world = World::leased("192.168.64.9", "");
    assert_eq!(world.host(&arp), Ok(()), "the control");
}
