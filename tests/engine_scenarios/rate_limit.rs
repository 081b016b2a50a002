//! `--rate-limit`, in virtual time.

use softnet::engine::{Allowance, DropReason, RateLimit};

use crate::engine_world::frames::*;
use crate::engine_world::*;

/// 100 frames a second: 64 at once from the guest, and from the host.
const SLOW: RateLimit = RateLimit { bits: None, frames: Some(100) };

fn limited(limit: RateLimit) -> World {
    let mut world = World::new(config());
    world.engine = world.engine.with_rate_limit(limit);
    world.lease(LEASED, 600, 1);
    world.wait(10_000);
    world
}

fn from_world() -> Ip {
    Ip::tcp(WORLD, LEASED, (443, 5000))
}

#[test]
fn what_comes_too_fast_from_the_host_is_dropped_until_there_is_room() {
    let mut world = limited(SLOW);
    for _ in 0..64 {
        assert_eq!(world.host_ip(&from_world()), Ok(()));
    }
    assert_eq!(world.host_ip(&from_world()), Err(DropReason::RateLimit));
    world.wait(10);
    assert_eq!(world.host_ip(&from_world()), Ok(()));
    assert_eq!(world.host_ip(&from_world()), Err(DropReason::RateLimit));
}

#[test]
fn what_other_rules_drop_on_its_way_to_the_guest_spends_nothing() {
    let mut world = limited(SLOW);
    for _ in 0..1000 {
        assert_eq!(world.host_ip(&Ip::tcp(NEIGHBOUR, LEASED, (443, 5000))), Err(DropReason::Neighbour));
    }
    assert_eq!((0..1000).filter(|_| world.host_ip(&from_world()) == Ok(())).count(), 64);
}

#[test]
fn arp_and_dhcp_reach_a_guest_that_is_flooded() {
    let mut world = limited(SLOW);
    while world.host_ip(&from_world()) == Ok(()) {}
    let question = Arp::request(GATEWAY_MAC, GATEWAY, LEASED).frame(BROADCAST, GATEWAY_MAC);
    assert_eq!(world.host(&question), Ok(()));
    world.lease(LEASED, 600, 2);
    assert_eq!(world.host_ip(&from_world()), Err(DropReason::RateLimit));
    // They are paid for: two frames late.
    world.wait(20);
    assert_eq!(world.host_ip(&from_world()), Err(DropReason::RateLimit));
    world.wait(10);
    assert_eq!(world.host_ip(&from_world()), Ok(()));
}

#[test]
fn a_guest_is_read_no_faster_than_it_may_send_and_loses_nothing() {
    let mut world = limited(SLOW);
    assert_eq!(world.engine.guest_allowance(world.now), Allowance::Frames(64));
    for _ in 0..63 {
        assert_eq!(world.speaks_from(LEASED), Ok(()));
    }
    // What is dropped has been read, and is paid for.
    assert_eq!(world.speaks_from(NEIGHBOUR), Err(DropReason::SourceAddress));
    let Allowance::From(later) = world.engine.guest_allowance(world.now) else { panic!("it has sent 64") };
    assert_eq!((later - world.now).total_micros(), 10_000);
    world.wait(10);
    assert_eq!(world.engine.guest_allowance(world.now), Allowance::Frames(1));
}

#[test]
fn the_directions_do_not_share() {
    let mut world = limited(SLOW);
    while world.host_ip(&from_world()) == Ok(()) {}
    assert_eq!(world.engine.guest_allowance(world.now), Allowance::Frames(64));
    for _ in 0..64 {
        assert_eq!(world.speaks_from(LEASED), Ok(()));
    }
    world.wait(200);
    assert_eq!((0..100).filter(|_| world.host_ip(&from_world()) == Ok(())).count(), 20);
}

#[test]
fn without_a_limit_there_is_none() {
    let mut world = limited(RateLimit::default());
    for _ in 0..100_000 {
        assert_eq!(
            world.engine.on_host_frame(&from_world().frame(GUEST_MAC, GATEWAY_MAC), world.now),
            softnet::engine::Verdict::Forward
        );
    }
    assert_eq!(world.engine.guest_allowance(world.now), Allowance::Frames(usize::MAX));
}
