//! How a lease begins, goes on and ends, and what a guest cannot make of it.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Direction, DropReason, Duration, Event, Instant, LeaseEnd};

const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 9);

fn granted(address: Ipv4Addr, seconds: u32) -> Event {
    Event::LeaseGranted { address, seconds }
}

fn ended(address: Ipv4Addr, cause: LeaseEnd) -> Event {
    Event::LeaseEnded { address, cause }
}

#[test]
fn a_guest_gets_renews_and_loses_its_lease() {
    let mut world = World::new(config());
    let start = world.now;
    assert_eq!(world.engine.next_deadline(), None);
    assert_eq!(world.guest_dhcp(&Dhcp::discover(1)), Ok(()));
    assert_eq!(world.host_dhcp(&Dhcp::offer(1, LEASED)), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease), "an offer is no lease");
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, LEASED)), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Ok(()));
    assert_eq!(world.events(), [granted(LEASED, 600)]);
    assert_eq!(world.engine.next_deadline(), Some(start + Duration::from_secs(600)));

    world.wait(300_000);
    assert_eq!(world.guest_ip(&Dhcp::renewal(2, LEASED).to_gateway(LEASED)), Ok(()));
    assert_eq!(world.host_dhcp(&Dhcp::ack(2, LEASED, 600)), Ok(()));
    assert_eq!(world.events(), [], "a renewal is no news");
    assert_eq!(world.engine.next_deadline(), Some(start + Duration::from_secs(900)));

    world.wait(599_999);
    assert_eq!(world.speaks_from(LEASED), Ok(()));
    world.wait(1);
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
    assert_eq!(world.events(), [ended(LEASED, LeaseEnd::Lapsed)]);
    assert_eq!(world.engine.next_deadline(), None);
    let arp = Arp::request(GUEST_MAC, LEASED, GATEWAY).frame(BROADCAST, GUEST_MAC);
    assert_eq!(world.guest(&arp), Err(DropReason::ArpSenderProtocol));
    assert_eq!(world.engine.counters().dropped(Direction::FromGuest, DropReason::NoLease), 3);
}

#[test]
fn a_lease_lapses_without_a_frame_and_on_a_frame_of_the_hosts() {
    let mut world = World::leased("", "");
    world.engine.advance(world.now + Duration::from_secs(600));
    assert_eq!(world.engine.lease(), None);
    assert_eq!(world.events(), [ended(LEASED, LeaseEnd::Lapsed)]);
    let mut world = World::leased("", "");
    world.wait(600_000);
    assert_eq!(world.host_ip(&Ip::ping(WORLD, LEASED)), Ok(()));
    assert_eq!(world.engine.lease(), None);
}

#[test]
fn a_lease_counts_from_the_request_and_not_from_its_answer() {
    let mut world = World::new(config());
    let asked = world.now;
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    world.wait(4000);
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    world.wait(4000);
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 60)), Ok(()));
    assert_eq!(world.engine.next_deadline(), Some(asked + Duration::from_secs(60)), "from the earliest one");
}

#[test]
fn an_answer_after_a_minute_is_none() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    world.wait(60_000);
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.engine.lease(), None);
}

#[test]
fn an_answer_to_a_request_whose_time_is_over_grants_nothing() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    world.wait(30_000);
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 30)), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
}

#[test]
fn an_answer_is_used_up() {
    let mut world = World::leased("", "");
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
    world.guest_dhcp(&Dhcp::discover(2)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::offer(2, LEASED)), Ok(()));
    assert_eq!(world.host_dhcp(&Dhcp::offer(2, LEASED)), Err(DropReason::DhcpNoTransaction));
}

#[test]
fn a_refusal_ends_the_lease() {
    let mut world = World::leased("", "");
    world.guest_ip(&Dhcp::renewal(2, LEASED).to_gateway(LEASED)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::nak(2)), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
    assert_eq!(world.events(), [ended(LEASED, LeaseEnd::Refused)]);
    assert_eq!(world.host_dhcp(&Dhcp::ack(2, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
}

#[test]
fn a_release_or_decline_of_the_lease_ends_it_and_of_another_address_does_not() {
    for message in [Dhcp::release(2, LEASED), Dhcp::decline(2, LEASED)] {
        let mut world = World::leased("", "");
        assert_eq!(world.guest_dhcp(&Dhcp::release(3, ANY)), Ok(()));
        assert_eq!(world.guest_dhcp(&Dhcp::decline(4, OTHER)), Ok(()));
        assert_eq!(world.speaks_from(LEASED), Ok(()));
        assert_eq!(world.guest_dhcp(&message), Ok(()));
        assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
        assert_eq!(world.events()[..1], [ended(LEASED, LeaseEnd::Released)]);
    }
}

#[test]
fn a_grant_that_was_asked_for_before_a_release_does_not_count_after_it() {
    for give_back in [Dhcp::release(3, LEASED), Dhcp::decline(3, LEASED)] {
        let mut world = World::leased("", "");
        world.guest_dhcp(&Dhcp::renewal(2, LEASED)).unwrap();
        world.guest_dhcp(&give_back).unwrap();
        // Another of the same id, which the server ignores: the first one's answer must not be taken for its.
        world.guest_dhcp(&Dhcp::request(2, LEASED)).unwrap();
        assert_eq!(world.host_dhcp(&Dhcp::ack(2, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
        assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
        assert_eq!(world.host_dhcp(&Dhcp::ack(2, LEASED, 600)), Ok(()), "the second one's own");
        assert_eq!(world.speaks_from(LEASED), Ok(()));
    }
}

#[test]
fn whoever_asks_for_another_address_gives_up_the_one_it_has() {
    for message in [Dhcp::request(2, OTHER), Dhcp::from_guest(REQUEST, 2)] {
        let mut world = World::leased("", "");
        world.guest_dhcp(&message).unwrap();
        assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
        assert_eq!(world.host_dhcp(&Dhcp::ack(2, OTHER, 600)), Ok(()));
        assert_eq!(world.speaks_from(OTHER), Ok(()));
        assert_eq!(world.events(), [ended(LEASED, LeaseEnd::Released), granted(OTHER, 600)]);
    }
}

#[test]
fn two_requests_of_one_id_leave_the_guest_with_the_address_that_the_server_gave_last() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    world.guest_dhcp(&Dhcp::request(1, OTHER)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Err(DropReason::DhcpNoTransaction), "voided by the second");
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, OTHER, 600)), Ok(()));
    assert_eq!(world.speaks_from(OTHER), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::SourceAddress));
}

#[test]
fn an_unanswered_request_for_another_address_does_not_use_up_an_answer() {
    let mut world = World::new(config());
    for _ in 0..3 {
        world.guest_dhcp(&Dhcp::request(1, OTHER)).unwrap();
    }
    world.lease(LEASED, 600, 1);
}

#[test]
fn a_refusal_of_any_request_ends_the_lease_even_if_the_request_was_voided() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::request(1, OTHER)).unwrap();
    world.guest_dhcp(&Dhcp::request(2, LEASED)).unwrap();
    world.host_dhcp(&Dhcp::ack(2, LEASED, 600)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::nak(1)), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
}

#[test]
fn a_server_that_grants_another_address_than_the_one_asked_for_replaces_it() {
    let mut world = World::leased("", "");
    world.guest_dhcp(&Dhcp::renewal(2, LEASED)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::ack(2, OTHER, 600)), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::SourceAddress));
    assert_eq!(world.events(), [ended(LEASED, LeaseEnd::Replaced), granted(OTHER, 600)]);
}

#[test]
fn a_shorter_renewal_shortens_the_lease() {
    let mut world = World::leased("", "");
    world.guest_dhcp(&Dhcp::renewal(2, LEASED)).unwrap();
    world.host_dhcp(&Dhcp::ack(2, LEASED, 60)).unwrap();
    world.wait(60_000);
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
}

#[test]
fn a_dropped_request_opens_nothing() {
    let mut world = World::new(config());
    let forged = Dhcp { giaddr: GATEWAY, ..Dhcp::request(1, LEASED) };
    assert_eq!(world.guest_dhcp(&forged), Err(DropReason::DhcpForbidden));
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
}

#[test]
fn an_infinite_lease_and_the_end_of_time_do_not_overflow() {
    let mut world = World::new(config());
    world.lease(LEASED, u32::MAX, 1);
    world.wait(1000 * 86_400 * 365 * 100);
    assert_eq!(world.speaks_from(LEASED), Ok(()));
    let mut world = World::new(config());
    world.now = Instant::from_micros_const(i64::MAX - 1);
    world.lease(LEASED, u32::MAX, 1);
    assert_eq!(world.speaks_from(LEASED), Ok(()));
}

#[test]
fn a_clock_that_steps_back_does_not_lengthen_a_lease() {
    let mut world = World::leased("", "");
    let start = world.now;
    world.wait(599_000);
    assert_eq!(world.speaks_from(LEASED), Ok(()));
    world.now = start;
    assert_eq!(world.guest_dhcp(&Dhcp::renewal(2, LEASED)), Ok(()));
    assert_eq!(world.host_dhcp(&Dhcp::ack(2, LEASED, 600)), Ok(()));
    assert_eq!(world.engine.next_deadline(), Some(start + Duration::from_secs(599 + 600)));
}

#[test]
fn unseen_events_are_bounded_and_the_oldest_go_first() {
    let mut world = World::new(config());
    for round in 0..20 {
        world.wait(2000);
        world.lease(LEASED, 600, 2 * round);
        world.guest_dhcp(&Dhcp::release(2 * round + 1, LEASED)).unwrap();
    }
    let events = world.events();
    assert_eq!(events.len(), 16);
    assert_eq!(events[15], ended(LEASED, LeaseEnd::Released));
}
