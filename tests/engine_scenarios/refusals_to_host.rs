//! What the policy refuses others that begin something with the guest, where they are to be told: in the guest's name, only
//! what the guest itself might say.

use std::net::Ipv4Addr;

use super::refusals::{answer, open, prohibited, reset, told};
use crate::engine_world::frames::*;
use crate::engine_world::*;
use smoltcp::wire::EthernetAddress;
use softnet::engine::Direction::{FromGuest, FromHost};
use softnet::engine::{Config, DropReason, Isolation, Refusals};

fn from_gateway(datagram: &Ip) -> Vec<u8> {
    datagram.frame(GUEST_MAC, GATEWAY_MAC)
}

#[test]
fn who_would_begin_a_connection_is_reset_in_the_guests_name() {
    for far in [GATEWAY, WORLD] {
        let mut world = told("", "in 0.0.0.0/0");
        let (judgement, reply) = answer(&mut world, FromHost, &from_gateway(&Ip::tcp(far, LEASED, (5000, 22))));
        assert_eq!(judgement, Err(DropReason::Blocked));
        let (macs, ends, inside) = open(&reply.unwrap());
        assert_eq!(macs, [EthernetAddress(GUEST_MAC), EthernetAddress(GATEWAY_MAC)]);
        assert_eq!(ends, [LEASED, far]);
        assert_eq!(reset(&inside, ends, (22, 5000)), (0, Some(2)));
    }
}

#[test]
fn anything_else_that_would_begin_is_prohibited_in_the_guests_name() {
    let mut world = told("", "in 0.0.0.0/0");
    for datagram in [Ip::udp(WORLD, LEASED, (5000, 22), b"anybody there?"), Ip::ping(GATEWAY, LEASED)] {
        let (_, reply) = answer(&mut world, FromHost, &from_gateway(&datagram));
        let (macs, ends, inside) = open(&reply.unwrap());
        assert_eq!(macs, [EthernetAddress(GUEST_MAC), EthernetAddress(GATEWAY_MAC)]);
        assert_eq!(ends, [LEASED, datagram.source]);
        prohibited(&inside, &datagram);
    }
}

#[test]
fn nobody_is_told_what_the_guest_itself_would_not_say() {
    let mut world = told("", "in 0.0.0.0/0");
    let ping = Ip::ping(WORLD, LEASED);
    let blocked = Err(DropReason::Blocked);
    for (frame, judgement) in [
        // A late segment of a connection that may live.
        (from_gateway(&Ip::segment(WORLD, LEASED, (443, 5000), "A")), blocked),
        (from_gateway(&Ip::segment(WORLD, LEASED, (443, 5000), "SA")), blocked),
        (from_gateway(&Ip::segment(WORLD, LEASED, (443, 5000), "FA")), blocked),
        (from_gateway(&Ip::segment(WORLD, LEASED, (443, 5000), "F")), blocked),
        (from_gateway(&Ip::segment(WORLD, LEASED, (443, 5000), "R")), blocked),
        // For many, or for another.
        (ping.frame(BROADCAST, GATEWAY_MAC), blocked),
        (from_gateway(&Ip { destination: ALL, ..ping.clone() }), blocked),
        (from_gateway(&Ip { destination: SUBNET_BROADCAST, ..ping.clone() }), blocked),
        (from_gateway(&Ip { destination: NEIGHBOUR, ..ping.clone() }), blocked),
        // From nobody.
        (from_gateway(&Ip { source: ANY, ..ping.clone() }), blocked),
        (from_gateway(&Ip { source: Ipv4Addr::new(224, 0, 0, 1), ..ping.clone() }), blocked),
        (from_gateway(&Ip { source: Ipv4Addr::LOCALHOST, ..ping.clone() }), blocked),
        // By way of another MAC than the gateway's, to which the guest cannot send.
        (ping.frame(GUEST_MAC, NEIGHBOUR_MAC), blocked),
        // What the guest is left to judge.
        (from_gateway(&Ip { options: vec![1; 4], ..ping.clone() }), blocked),
        (from_gateway(&Ip { checksum: Some(1), ..ping.clone() }), blocked),
        (from_gateway(&Ip { more_fragments: true, ..ping.clone() }), blocked),
        (from_gateway(&Ip::error(WORLD, LEASED, 11, &Ip::ping(LEASED, WORLD))), blocked),
        // A neighbour is not heard, and not spoken to.
        (Ip::tcp(NEIGHBOUR, LEASED, (1, 22)).frame(GUEST_MAC, NEIGHBOUR_MAC), Err(DropReason::Neighbour)),
        (Ip::tcp(GATEWAY, LEASED, (1, 22)).frame(GUEST_MAC, NEIGHBOUR_MAC), Err(DropReason::Neighbour)),
    ] {
        assert_eq!(answer(&mut world, FromHost, &frame), (judgement, None), "{frame:02x?}");
    }
    assert!(answer(&mut world, FromHost, &from_gateway(&ping)).1.is_some(), "the bucket was not empty");
}

#[test]
fn an_answer_is_one_that_the_guest_itself_might_send() {
    // Judged as a frame of the guest's, under a policy that lets it pass, it passes.
    let mut world = told("", "in 0.0.0.0/0");
    for datagram in [Ip::tcp(WORLD, LEASED, (5000, 22)), Ip::udp(GATEWAY, LEASED, (1, 2), b""), Ip::ping(WORLD, LEASED)]
    {
        let (_, reply) = answer(&mut world, FromHost, &from_gateway(&datagram));
        assert_eq!(World::leased("", "").guest(&reply.unwrap()), Ok(()), "{datagram:?}");
    }
}

#[test]
fn on_an_open_link_a_neighbour_is_answered_where_it_is() {
    let policy = entries("0.0.0.0/0", "in 192.168.64.0/24");
    let mut world =
        World::leased_with(Config { policy, isolation: Isolation::Open, refusals: Refusals::Answered, ..config() });
    let (_, reply) = answer(&mut world, FromHost, &Ip::tcp(NEIGHBOUR, LEASED, (1, 22)).frame(GUEST_MAC, NEIGHBOUR_MAC));
    let (macs, ends, _) = open(&reply.unwrap());
    assert_eq!((macs[1], ends[1]), (EthernetAddress(NEIGHBOUR_MAC), NEIGHBOUR));
    // One that speaks as the guest would have it speak to itself.
    let frame = Ip::tcp(LEASED, LEASED, (1, 22)).frame(GUEST_MAC, NEIGHBOUR_MAC);
    assert_eq!(answer(&mut world, FromHost, &frame), (Err(DropReason::Blocked), None));
}

#[test]
fn by_default_all_is_silent() {
    let mut world = World::leased("", "in 0.0.0.0/0");
    let frame = from_gateway(&Ip::tcp(WORLD, LEASED, (5000, 22)));
    assert_eq!(answer(&mut world, FromHost, &frame), (Err(DropReason::Blocked), None));
}

#[test]
fn answers_are_bounded_and_take_nothing_from_the_guests() {
    let mut world = told("", "in 0.0.0.0/0,10.0.0.0/8");
    let frame = from_gateway(&Ip::tcp(WORLD, LEASED, (5000, 22)));
    let count = |world: &mut World| (0..999).filter(|_| answer(world, FromHost, &frame).1.is_some()).count();
    assert_eq!(count(&mut world), 64);
    let refused = Ip::ping(LEASED, Ipv4Addr::new(10, 0, 0, 9)).frame(GATEWAY_MAC, GUEST_MAC);
    assert!(answer(&mut world, FromGuest, &refused).1.is_some());
    world.wait(3);
    assert_eq!(count(&mut world), 3);
    // A reply that was made to the guest is not sent to the host.
    assert!(answer(&mut world, FromGuest, &refused).1.is_some());
    assert_eq!(answer(&mut world, FromHost, &frame), (Err(DropReason::Blocked), None));
}
