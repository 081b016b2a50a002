//! What belongs to a flow passes, and for how long. In each of these worlds nobody may begin anything with the guest, and the
//! guest reaches the world by default.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::flows::MAX_FLOWS;
use softnet::engine::{Config, DropReason};

const OTHER: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
const CLOSED: Judgement = Err(DropReason::Blocked);
const SECOND: u64 = 1000;

fn closed() -> World {
    World::leased("", "in 0.0.0.0/0")
}

/// The guest's segment from port 5000 to the world's 443, and the world's back.
fn out(world: &mut World, flags: &str) -> Judgement {
    world.guest_ip(&Ip::segment(LEASED, WORLD, (5000, 443), flags))
}

fn back(world: &mut World, flags: &str) -> Judgement {
    world.host_ip(&Ip::segment(WORLD, LEASED, (443, 5000), flags))
}

fn connect(world: &mut World) {
    assert_eq!(out(world, "S"), Ok(()));
    assert_eq!(back(world, "SA"), Ok(()));
    assert_eq!(out(world, "A"), Ok(()));
}

#[test]
fn what_answers_a_connection_passes_and_what_differs_in_any_end_does_not() {
    let mut world = closed();
    assert_eq!(back(&mut world, "SA"), CLOSED);
    connect(&mut world);
    assert_eq!(back(&mut world, "PA"), Ok(()));
    for (from, ports) in [(OTHER, (443, 5000)), (WORLD, (444, 5000)), (WORLD, (443, 5001)), (WORLD, (5000, 443))] {
        assert_eq!(world.host_ip(&Ip::segment(from, LEASED, ports, "PA")), CLOSED, "{from} {ports:?}");
    }
    assert_eq!(world.host_ip(&Ip::udp(WORLD, LEASED, (443, 5000), &[])), CLOSED, "another protocol");
    assert_eq!(world.host_ip(&Ip::segment(WORLD, NEIGHBOUR, (443, 5000), "PA")), CLOSED, "to another address");
}

#[test]
fn a_connection_that_nobody_answers_has_sixty_seconds_and_its_own_syns_give_it_no_more() {
    let mut world = closed();
    assert_eq!(out(&mut world, "S"), Ok(()));
    world.wait(30 * SECOND);
    for flags in ["S", "A", "PA"] {
        assert_eq!(out(&mut world, flags), Ok(()), "{flags}");
    }
    world.wait(30 * SECOND - 1);
    assert_eq!(back(&mut world, "SA"), Ok(()));
    world.wait(1);
    assert_eq!(back(&mut world, "SA"), CLOSED);
    assert_eq!(out(&mut world, "S"), Ok(()));
    assert_eq!(back(&mut world, "SA"), Ok(()), "and may begin anew");
}

#[test]
fn a_connection_lives_three_hundred_seconds_from_what_the_initiator_sent_last() {
    let mut world = closed();
    connect(&mut world);
    world.wait(299 * SECOND);
    assert_eq!(back(&mut world, "PA"), Ok(()));
    assert_eq!(out(&mut world, "A"), Ok(()));
    world.wait(300 * SECOND - 1);
    assert_eq!(back(&mut world, "PA"), Ok(()), "that the far side sends renews nothing");
    world.wait(1);
    assert_eq!(back(&mut world, "PA"), CLOSED);
    assert_eq!(out(&mut world, "A"), Ok(()), "by the rules of what the guest sends");
    assert_eq!(back(&mut world, "PA"), CLOSED, "but a segment from the middle makes no flow");
}

#[test]
fn what_would_keep_a_connection_without_having_made_one_does_not() {
    for flags in ["A", "PA", "SA", "F", "FA", "R", "RA", "SF", "SR", "SFA", "SRA", ""] {
        let mut world = closed();
        assert_eq!(out(&mut world, flags), Ok(()), "{flags}");
        for answer in ["SA", "A", "R", "RA"] {
            assert_eq!(back(&mut world, answer), CLOSED, "{flags} {answer}");
        }
    }
}

#[test]
fn a_syn_never_comes_back_as_an_answer() {
    let mut world = closed();
    assert_eq!(out(&mut world, "S"), Ok(()));
    for flags in ["S", "SF", "SR", "SFA", "SRA"] {
        assert_eq!(back(&mut world, flags), CLOSED, "{flags}");
    }
    assert_eq!(back(&mut world, "SA"), Ok(()));
    assert_eq!(out(&mut world, "A"), Ok(()));
    assert_eq!(back(&mut world, "S"), CLOSED);
}

#[test]
fn a_connection_that_both_sides_have_ended_has_ten_seconds() {
    let mut world = closed();
    connect(&mut world);
    assert_eq!(back(&mut world, "FA"), Ok(()));
    world.wait(200 * SECOND);
    assert_eq!(out(&mut world, "PA"), Ok(()), "half closed, it lives as before");
    world.wait(200 * SECOND);
    assert_eq!(out(&mut world, "FA"), Ok(()));
    world.wait(10 * SECOND - 1);
    assert_eq!(out(&mut world, "A"), Ok(()));
    assert_eq!(back(&mut world, "FA"), Ok(()));
    world.wait(1);
    assert_eq!(back(&mut world, "FA"), CLOSED);
}

#[test]
fn a_reset_leaves_ten_seconds_and_a_made_up_one_does_no_harm() {
    let mut world = closed();
    connect(&mut world);
    assert_eq!(back(&mut world, "R"), Ok(()));
    world.wait(10 * SECOND - 1);
    assert_eq!(back(&mut world, "PA"), Ok(()));
    world.wait(1);
    assert_eq!(back(&mut world, "PA"), CLOSED);

    connect(&mut world);
    assert_eq!(back(&mut world, "R"), Ok(()));
    world.wait(9 * SECOND);
    assert_eq!(out(&mut world, "A"), Ok(()), "the guest has not seen a reset that its stack believes");
    world.wait(299 * SECOND);
    assert_eq!(back(&mut world, "PA"), Ok(()));
}

#[test]
fn the_far_side_can_shorten_and_not_lengthen() {
    let mut world = closed();
    connect(&mut world);
    world.wait(295 * SECOND);
    assert_eq!(back(&mut world, "R"), Ok(()));
    world.wait(5 * SECOND - 1);
    assert_eq!(back(&mut world, "A"), Ok(()));
    world.wait(1);
    assert_eq!(back(&mut world, "A"), CLOSED, "its ten seconds are not above what was left");
}

#[test]
fn a_connection_begins_anew_on_the_same_ports_once_the_old_one_is_ending() {
    let mut world = World::leased("in 93.184.0.0/16:22", "in 0.0.0.0/0");
    connect(&mut world);
    assert_eq!(out(&mut world, "FA"), Ok(()));
    assert_eq!(back(&mut world, "FA"), Ok(()));
    world.wait(9 * SECOND);
    connect(&mut world);
    world.wait(299 * SECOND);
    assert_eq!(back(&mut world, "PA"), Ok(()));
}

#[test]
fn a_datagram_opens_the_way_back_for_thirty_seconds_and_only_the_initiator_renews_it() {
    let mut world = closed();
    let query = Ip::udp(LEASED, WORLD, (5000, 53), &[1]);
    let answer = Ip::udp(WORLD, LEASED, (53, 5000), &[2]);
    assert_eq!(world.host_ip(&answer), CLOSED);
    assert_eq!(world.guest_ip(&query), Ok(()));
    world.wait(29 * SECOND);
    assert_eq!(world.host_ip(&answer), Ok(()));
    assert_eq!(world.guest_ip(&query), Ok(()));
    world.wait(30 * SECOND - 1);
    assert_eq!(world.host_ip(&answer), Ok(()));
    world.wait(1);
    assert_eq!(world.host_ip(&answer), CLOSED);
}

#[test]
fn an_echo_comes_back_to_the_side_that_asked_with_its_identifier() {
    let mut world = closed();
    assert_eq!(world.guest_ip(&Ip::echo(LEASED, WORLD, 8, 7)), Ok(()));
    assert_eq!(world.host_ip(&Ip::echo(WORLD, LEASED, 0, 7)), Ok(()));
    assert_eq!(world.host_ip(&Ip::echo(WORLD, LEASED, 0, 8)), CLOSED);
    assert_eq!(world.host_ip(&Ip::echo(OTHER, LEASED, 0, 7)), CLOSED);
    assert_eq!(world.host_ip(&Ip::echo(WORLD, LEASED, 8, 7)), CLOSED, "a request is no echo");
    let other_code = Ip::new(WORLD, LEASED, ICMP, icmp(0, 1, 7, &[]));
    assert_eq!(world.host_ip(&other_code), CLOSED);
    let timestamp = Ip::new(WORLD, LEASED, ICMP, icmp(14, 0, 7, &[0; 12]));
    assert_eq!(world.host_ip(&timestamp), CLOSED, "other messages are the rules'");
    world.wait(30 * SECOND);
    assert_eq!(world.host_ip(&Ip::echo(WORLD, LEASED, 0, 7)), CLOSED);

    let mut world = World::leased("in 93.184.0.0/16", "out 0.0.0.0/0");
    assert_eq!(world.guest_ip(&Ip::echo(LEASED, WORLD, 0, 7)), CLOSED);
    assert_eq!(world.host_ip(&Ip::echo(WORLD, LEASED, 8, 7)), Ok(()));
    assert_eq!(world.guest_ip(&Ip::echo(LEASED, WORLD, 0, 7)), Ok(()));
    assert_eq!(world.guest_ip(&Ip::echo(LEASED, WORLD, 8, 7)), CLOSED, "the same identifier, the other way");
}

#[test]
fn an_error_about_a_datagram_of_a_flow_passes_from_wherever() {
    let sent = [
        Ip::segment(LEASED, WORLD, (5000, 443), "S"),
        Ip::udp(LEASED, WORLD, (5000, 53), &[]),
        Ip::echo(LEASED, WORLD, 8, 7),
    ];
    for datagram in &sent {
        for kind in [3, 11, 12] {
            let mut world = closed();
            let error = |quoted: &Ip| Ip::error(OTHER, LEASED, kind, quoted);
            assert_eq!(world.host_ip(&error(datagram)), CLOSED);
            assert_eq!(world.guest_ip(datagram), Ok(()));
            assert_eq!(world.host_ip(&error(datagram)), Ok(()), "{kind} {datagram:?}");
            for other in [
                Ip { destination: OTHER, ..datagram.clone() },
                Ip { source: NEIGHBOUR, ..datagram.clone() },
                Ip { source: WORLD, destination: LEASED, ..datagram.clone() },
                Ip { more_fragments: true, ..datagram.clone() },
                Ip { fragment_offset: 1, ..datagram.clone() },
                Ip { version: 6, ..datagram.clone() },
                Ip { header_words: Some(6), ..datagram.clone() },
                Ip { protocol: 47, ..datagram.clone() },
            ] {
                assert_eq!(world.host_ip(&error(&other)), CLOSED, "{kind} {other:?}");
            }
            let mut other_port = datagram.clone();
            other_port.payload[if datagram.protocol == ICMP { 5 } else { 1 }] ^= 1;
            assert_eq!(world.host_ip(&error(&other_port)), CLOSED);
            let whole = error(datagram);
            for length in 0..36 {
                let cut = Ip { payload: whole.payload[..length].to_vec(), ..whole.clone() };
                assert_eq!(world.host_ip(&cut), CLOSED, "cut to {length}");
            }
            let piece = Ip { more_fragments: true, payload: [&whole.payload[..], &[0; 4]].concat(), ..whole };
            assert_eq!(world.host_ip(&piece), CLOSED);
        }
        let mut world = closed();
        assert_eq!(world.guest_ip(datagram), Ok(()));
        for kind in [4, 5] {
            assert_eq!(
                world.host_ip(&Ip::error(OTHER, LEASED, kind, datagram)),
                CLOSED,
                "{kind}: no word of what became of it"
            );
        }
    }
}

#[test]
fn an_error_keeps_nothing_alive() {
    let mut world = closed();
    let query = Ip::udp(LEASED, WORLD, (5000, 53), &[1]);
    assert_eq!(world.guest_ip(&query), Ok(()));
    world.wait(29 * SECOND);
    assert_eq!(world.host_ip(&Ip::error(OTHER, LEASED, 3, &query)), Ok(()));
    world.wait(SECOND);
    assert_eq!(world.host_ip(&Ip::error(OTHER, LEASED, 3, &query)), CLOSED);
}

#[test]
fn the_guests_own_error_about_what_was_admitted_goes_back() {
    let mut world = World::leased("in 93.184.0.0/16:53", "out 0.0.0.0/0");
    let query = Ip::udp(WORLD, LEASED, (5000, 53), &[1]);
    let error = Ip::error(LEASED, WORLD, 3, &query);
    assert_eq!(world.guest_ip(&error), CLOSED);
    assert_eq!(world.host_ip(&query), Ok(()));
    assert_eq!(world.guest_ip(&error), Ok(()));
    let other = Ip::udp(WORLD, LEASED, (5001, 53), &[1]);
    assert_eq!(world.guest_ip(&Ip::error(LEASED, WORLD, 3, &other)), CLOSED);
    let foreign = Ip::error(LEASED, WORLD, 3, &Ip::udp(OTHER, LEASED, (5000, 53), &[1]));
    assert_eq!(world.guest_ip(&foreign), Err(DropReason::IcmpQuote));
}

#[test]
fn a_fragment_makes_no_flow_and_rides_on_none() {
    let mut world = closed();
    let piece = |source, destination, ports: (u16, u16)| Ip {
        more_fragments: true,
        ..Ip::udp(source, destination, ports, &[0; 16])
    };
    assert_eq!(world.guest_ip(&piece(LEASED, WORLD, (5000, 53))), Ok(()));
    assert_eq!(world.host_ip(&Ip::udp(WORLD, LEASED, (53, 5000), &[])), CLOSED);
    assert_eq!(world.guest_ip(&Ip::udp(LEASED, WORLD, (5000, 53), &[])), Ok(()));
    assert_eq!(world.host_ip(&piece(WORLD, LEASED, (53, 5000))), CLOSED);
    let last = Ip { fragment_offset: 2, more_fragments: false, ..piece(WORLD, LEASED, (53, 5000)) };
    assert_eq!(world.host_ip(&last), CLOSED);
}

#[test]
fn other_protocols_make_no_flow() {
    let mut world = closed();
    assert_eq!(world.guest_ip(&Ip::new(LEASED, WORLD, 47, vec![0; 16])), Ok(()));
    assert_eq!(world.host_ip(&Ip::new(WORLD, LEASED, 47, vec![0; 16])), CLOSED);
}

#[test]
fn what_goes_to_a_group_makes_no_flow() {
    let mut world = World::leased("out 224.0.0.0/4,out 192.168.64.255", "in 0.0.0.0/0");
    let mdns = Ipv4Addr::new(224, 0, 0, 251);
    for (group, mac) in [(mdns, [1, 0, 0x5e, 0, 0, 251]), (SUBNET_BROADCAST, BROADCAST)] {
        let query = Ip::udp(LEASED, group, (5353, 5353), &[]);
        assert_eq!(world.guest(&query.frame(mac, GUEST_MAC)), Ok(()));
        let spoofed = Ip::udp(group, LEASED, (5353, 5353), &[]);
        assert_ne!(world.host_ip(&spoofed), Ok(()), "nobody answers from {group}");
    }
}

#[test]
fn a_flow_is_of_the_address_that_the_guest_had() {
    let mut world = closed();
    connect(&mut world);
    let other_lease = Ipv4Addr::new(192, 168, 64, 9);
    world.lease(other_lease, 600, 9);
    assert_eq!(back(&mut world, "PA"), CLOSED);
    let moved = Ip::segment(WORLD, other_lease, (443, 5000), "PA");
    assert_eq!(world.host_ip(&moved), CLOSED);
    let of_the_old = Ip::segment(LEASED, WORLD, (5000, 443), "A");
    assert_eq!(world.host_ip(&Ip::error(OTHER, other_lease, 3, &of_the_old)), CLOSED, "not sent by who gets the error");
}

#[test]
fn the_table_has_an_end_and_what_does_not_fit_is_dropped_until_there_is_room() {
    let mut world = closed();
    let query = |index: usize| {
        let port = 1024 + (index % 32_768) as u16;
        Ip::udp(LEASED, Ipv4Addr::from_bits(WORLD.to_bits() + (index / 32_768) as u32), (port, 99), &[])
    };
    for index in 0..MAX_FLOWS {
        let frame = query(index).frame(GATEWAY_MAC, GUEST_MAC);
        assert_eq!(world.engine.on_guest_frame(&frame, world.now), softnet::engine::Verdict::Forward, "{index}");
        if index == 0 {
            world.wait(SECOND);
        }
    }
    let one_more = query(MAX_FLOWS);
    assert_eq!(world.guest_ip(&one_more), Err(DropReason::FlowTableFull));
    assert_eq!(world.guest_ip(&Ip::tcp(LEASED, WORLD, (1, 2))), Err(DropReason::FlowTableFull));
    assert_eq!(world.guest_ip(&Ip::echo(LEASED, WORLD, 8, 1)), Err(DropReason::FlowTableFull));
    assert_eq!(world.guest_ip(&query(1)), Ok(()), "what is there goes on");
    let answer = |index| {
        let query: Ip = query(index);
        Ip { source: query.destination, destination: LEASED, payload: udp(99, 1024 + index as u16, &[]), ..query }
    };
    assert_eq!(world.host_ip(&answer(2)), Ok(()));
    world.wait(29 * SECOND);
    assert_eq!(world.guest_ip(&one_more), Ok(()), "the first one's time is over");
    assert_eq!(world.host_ip(&answer(0)), CLOSED);
    assert_eq!(world.guest_ip(&query(0)), Err(DropReason::FlowTableFull));
    world.wait(SECOND);
    for index in 2..500 {
        assert_eq!(world.host_ip(&answer(index)), CLOSED);
        assert_eq!(world.guest_ip(&query(index)), Ok(()), "{index}");
    }
}

#[test]
fn an_initiator_from_outside_is_answered_where_the_guest_may_begin_nothing() {
    let policy = entries("in 93.184.0.0/16:22", "out 0.0.0.0/0");
    let mut world = World::leased_with(Config { policy, ..config() });
    let inward = |flags: &str| Ip::segment(WORLD, LEASED, (5000, 22), flags);
    let outward = |flags: &str| Ip::segment(LEASED, WORLD, (22, 5000), flags);
    assert_eq!(world.guest_ip(&outward("SA")), CLOSED);
    assert_eq!(world.host_ip(&inward("S")), Ok(()));
    assert_eq!(world.guest_ip(&outward("S")), CLOSED);
    assert_eq!(world.guest_ip(&outward("SA")), Ok(()));
    assert_eq!(world.host_ip(&inward("A")), Ok(()));
    world.wait(299 * SECOND);
    assert_eq!(world.guest_ip(&outward("PA")), Ok(()), "which keeps nothing alive");
    world.wait(SECOND);
    assert_eq!(world.guest_ip(&outward("PA")), CLOSED);
}
