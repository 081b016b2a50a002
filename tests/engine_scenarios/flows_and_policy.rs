//! What a new policy does to flows: each is judged anew, in its initiator's direction, when its next frame comes.

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::DropReason;

const CLOSED: Judgement = Err(DropReason::Blocked);
const SECOND: u64 = 1000;

fn out(world: &mut World, flags: &str) -> Judgement {
    world.guest_ip(&Ip::segment(LEASED, WORLD, (5000, 443), flags))
}

fn back(world: &mut World, flags: &str) -> Judgement {
    world.host_ip(&Ip::segment(WORLD, LEASED, (443, 5000), flags))
}

fn connected(allow: &str, block: &str) -> World {
    let mut world = World::leased(allow, block);
    assert_eq!(out(&mut world, "S"), Ok(()));
    assert_eq!(back(&mut world, "SA"), Ok(()));
    assert_eq!(out(&mut world, "A"), Ok(()));
    world
}

#[test]
fn a_flow_that_the_new_policy_allows_lives_on_as_it_was() {
    let mut world = connected("", "in 0.0.0.0/0");
    world.wait(200 * SECOND);
    world.engine.set_policy(entries("out 93.184.215.14:443", "in 0.0.0.0/0,out 0.0.0.0/0"));
    assert_eq!(back(&mut world, "PA"), Ok(()), "whichever side sends first");
    world.wait(100 * SECOND - 1);
    assert_eq!(back(&mut world, "PA"), Ok(()));
    world.wait(1);
    assert_eq!(back(&mut world, "PA"), CLOSED, "its time was not renewed");
}

#[test]
fn a_flow_that_the_new_policy_does_not_allow_ends_for_both_sides() {
    for first in ["guest", "host"] {
        let mut world = connected("", "in 0.0.0.0/0");
        world.engine.set_policy(entries("", "in 0.0.0.0/0,out 93.184.0.0/16"));
        let judgement = if first == "guest" { out(&mut world, "PA") } else { back(&mut world, "PA") };
        assert_eq!(judgement, CLOSED);
        world.engine.set_policy(entries("", "in 0.0.0.0/0"));
        assert_eq!(back(&mut world, "PA"), CLOSED, "what has ended does not come back: {first}");
        assert_eq!(out(&mut world, "PA"), Ok(()));
        assert_eq!(back(&mut world, "PA"), CLOSED, "not even by the guest's going on");
    }
}

#[test]
fn a_flow_is_judged_in_its_initiators_direction() {
    let mut world = World::leased("in 93.184.0.0/16:22", "in 0.0.0.0/0");
    let inward = |flags: &str| Ip::segment(WORLD, LEASED, (5000, 22), flags);
    let outward = |flags: &str| Ip::segment(LEASED, WORLD, (22, 5000), flags);
    assert_eq!(world.host_ip(&inward("S")), Ok(()));
    assert_eq!(world.guest_ip(&outward("SA")), Ok(()));
    assert_eq!(world.host_ip(&inward("A")), Ok(()));
    world.engine.set_policy(entries("in 93.184.0.0/16:22", "in 0.0.0.0/0,out 0.0.0.0/0"));
    assert_eq!(world.guest_ip(&outward("PA")), Ok(()), "out is closed, and this is an answer");
    world.engine.set_policy(entries("out 93.184.0.0/16", "in 0.0.0.0/0"));
    assert_eq!(world.guest_ip(&outward("PA")), Ok(()), "by the rules for out");
    assert_eq!(world.host_ip(&inward("PA")), CLOSED, "but not as a flow: the far side may not begin any more");
}

#[test]
fn the_same_policy_in_another_order_is_no_change() {
    let mut world = connected("", "in 0.0.0.0/0,out 10.0.0.0/8");
    world.engine.set_policy(entries("", "out  10.9.9.9/8,in 0.0.0.0/0,in 0.0.0.0/0"));
    assert_eq!(world.engine.policy(), &entries("", "in 0.0.0.0/0,out 10.0.0.0/8"));
    assert_eq!(back(&mut world, "PA"), Ok(()));
}

#[test]
fn a_policy_without_state_ends_all_flows_and_needs_none() {
    let mut world = connected("", "in 0.0.0.0/0");
    world.engine.set_policy(entries("", ""));
    assert_eq!(back(&mut world, "PA"), Ok(()), "inbound is open");
    world.engine.set_policy(entries("", "in 0.0.0.0/0"));
    assert_eq!(back(&mut world, "PA"), CLOSED, "nobody has kept it");
}

#[test]
fn a_connection_from_before_there_was_state_goes_on_when_a_side_that_may_begin_it_sends() {
    let mut world = World::leased("", "");
    assert_eq!(out(&mut world, "PA"), Ok(()));
    world.engine.set_policy(entries("", "in 0.0.0.0/0"));
    assert_eq!(back(&mut world, "PA"), CLOSED, "not by the side that may not");
    for flags in ["R", "RA", "SA", "F", ""] {
        assert_eq!(out(&mut world, flags), Ok(()));
        assert_eq!(back(&mut world, "PA"), CLOSED, "not by {flags}");
    }
    assert_eq!(out(&mut world, "PA"), Ok(()));
    assert_eq!(back(&mut world, "PA"), Ok(()));
    assert_eq!(out(&mut world, "A"), Ok(()));
    world.wait(299 * SECOND);
    assert_eq!(back(&mut world, "PA"), Ok(()), "it is established, since the far side has answered");
}

#[test]
fn what_is_picked_up_and_not_answered_has_the_time_of_a_handshake() {
    let mut world = World::leased("", "");
    world.engine.set_policy(entries("", "in 0.0.0.0/0"));
    assert_eq!(out(&mut world, "A"), Ok(()));
    world.wait(30 * SECOND);
    assert_eq!(out(&mut world, "A"), Ok(()));
    world.wait(30 * SECOND);
    assert_eq!(back(&mut world, "A"), CLOSED);
}

#[test]
fn connections_are_picked_up_for_three_hundred_seconds_and_until_the_next_policy() {
    let pick_up = |world: &mut World| {
        assert_eq!(out(world, "A"), Ok(()));
        back(world, "A")
    };
    let mut world = World::leased("", "");
    world.wait(1000 * SECOND);
    world.engine.set_policy(entries("", "in 0.0.0.0/0"));
    world.lease(LEASED, 600, 5);
    assert_eq!(world.guest_ip(&Ip::new(LEASED, WORLD, 47, vec![0; 8])), Ok(()), "the first frame");
    world.wait(300 * SECOND - 1);
    assert_eq!(pick_up(&mut world), Ok(()));
    world.wait(61 * SECOND);
    assert_eq!(pick_up(&mut world), CLOSED);

    let mut world = World::leased("", "");
    world.engine.set_policy(entries("", "in 0.0.0.0/0"));
    world.engine.set_policy(entries("", "in 0.0.0.0/0,out 10.0.0.0/8"));
    assert_eq!(pick_up(&mut world), CLOSED);

    let mut world = World::leased("", "in 0.0.0.0/0");
    assert_eq!(pick_up(&mut world), CLOSED, "from the start, there was nothing before");
}

#[test]
fn the_lease_and_dhcp_stay_as_they_are() {
    let mut world = World::leased("", "");
    assert_eq!(world.guest_dhcp(&Dhcp::request(9, LEASED)), Ok(()));
    let lease = world.engine.lease().copied();
    world.engine.set_policy(entries("", "in 0.0.0.0/0,out 0.0.0.0/0"));
    assert_eq!(world.engine.lease().copied(), lease);
    assert_eq!(world.host_dhcp(&Dhcp::ack(9, LEASED, 600)), Ok(()), "what was asked is still open");
}
