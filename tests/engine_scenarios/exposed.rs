//! Exposed ports: what the gateway begins with them goes both ways whatever the policy says, and nothing else does.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::flows::MAX_FLOWS;
use softnet::engine::{
    Config, Decider, Direction, DropReason, Exposed, ExposedPort, Exposures, Isolation, Peers, Verdict,
};

const BLOCKED: Judgement = Err(DropReason::Blocked);
const SECOND: u64 = 1000;
/// Of the companion's end.
const FAR: u16 = 40_000;

/// Port 22 of TCP and port 53 of UDP are exposed.
fn exposed_to(peers: Peers, allow: &str, block: &str) -> World {
    let ports = [(22, ExposedPort::Tcp), (53, ExposedPort::Udp)];
    let ports = ports.map(|(port, protocol)| Exposed { port, protocol }).to_vec();
    World::leased_with(Config { policy: entries(allow, block), exposed: Exposures { ports, peers }, ..config() })
}

fn exposed(allow: &str, block: &str) -> World {
    exposed_to(Peers::Gateway, allow, block)
}

/// A segment from the gateway to the guest's port 22, and one back.
fn come(world: &mut World, flags: &str) -> Judgement {
    world.host_ip(&Ip::segment(GATEWAY, LEASED, (FAR, 22), flags))
}

fn answer(world: &mut World, flags: &str) -> Judgement {
    world.guest_ip(&Ip::segment(LEASED, GATEWAY, (22, FAR), flags))
}

fn ask(world: &mut World, far: u16) -> Judgement {
    world.host_ip(&Ip::udp(GATEWAY, LEASED, (far, 53), b"q"))
}

fn reply(world: &mut World, far: u16) -> Judgement {
    world.guest_ip(&Ip::udp(LEASED, GATEWAY, (53, far), b"a"))
}

#[test]
fn what_the_administrator_blocks_is_closed_to_exposed_ports_too() {
    let ports = vec![Exposed { port: 22, protocol: ExposedPort::Tcp }];
    for (block, answers) in [("@host", BLOCKED), ("in @host:22", BLOCKED), ("in @host:23", Ok(())), ("1.1.1.1", Ok(()))]
    {
        let exposed = Exposures { ports: ports.clone(), peers: Peers::Gateway };
        let administrator = entries("", block);
        let mut world =
            World::leased_with(Config { policy: entries("", "out @host"), administrator, exposed, ..config() });
        let _ = come(&mut world, "S");
        assert_eq!(answer(&mut world, "SA"), answers, "{block}");
    }
}

#[test]
fn a_connection_from_outside_goes_both_ways_whatever_the_policy_says() {
    for (allow, block) in [
        ("", ""),
        ("", "@host"),
        ("", "0.0.0.0/0,@host"),
        ("", "in @host,out @host"),
        ("", "in 0.0.0.0/0,@host:1-65535"),
    ] {
        let mut world = exposed(allow, block);
        for _ in 0..2 {
            assert_eq!(come(&mut world, "S"), Ok(()), "{block}");
            for flags in ["SA", "PA", "FA"] {
                assert_eq!(answer(&mut world, flags), Ok(()), "{block}");
                assert_eq!(come(&mut world, "A"), Ok(()), "{block}");
            }
            assert_eq!(come(&mut world, "FA"), Ok(()));
        }
        assert_eq!(ask(&mut world, FAR), Ok(()));
        assert_eq!(reply(&mut world, FAR), Ok(()));
    }
}

#[test]
fn nothing_that_the_guest_begins_passes_by_it() {
    let mut world = exposed("", "@host");
    for flags in ["S", "SA", "A", "PA", "R"] {
        assert_eq!(answer(&mut world, flags), BLOCKED, "{flags}");
    }
    assert_eq!(reply(&mut world, FAR), BLOCKED);
    assert_eq!(come(&mut world, "S"), Ok(()));
    assert_eq!(ask(&mut world, FAR), Ok(()));
    assert_eq!(answer(&mut world, "S"), BLOCKED, "a SYN is never an answer");
    let others = [
        Ip::segment(LEASED, GATEWAY, (22, FAR + 1), "SA"),
        Ip::segment(LEASED, GATEWAY, (23, FAR), "SA"),
        Ip::udp(LEASED, GATEWAY, (53, FAR + 1), b"a"),
        Ip::udp(LEASED, GATEWAY, (22, FAR), b"a"),
        Ip::segment(LEASED, GATEWAY, (53, FAR), "SA"),
        Ip::ping(LEASED, GATEWAY),
    ];
    for other in &others {
        assert_eq!(world.guest_ip(other), BLOCKED, "{other:?}");
    }
}

#[test]
fn only_a_first_segment_to_an_exposed_port_from_the_gateway_opens_it() {
    let mut world = exposed("", "in 0.0.0.0/0,in @host,@host");
    for flags in ["SA", "A", "PA", "R", "SF"] {
        assert_eq!(come(&mut world, flags), BLOCKED, "{flags}");
    }
    for (from, ports) in [(WORLD, (FAR, 22)), (GATEWAY, (FAR, 23)), (GATEWAY, (22, FAR)), (GATEWAY, (FAR, 53))] {
        assert_eq!(world.host_ip(&Ip::segment(from, LEASED, ports, "S")), BLOCKED, "{from} {ports:?}");
    }
    assert_eq!(world.host_ip(&Ip::udp(GATEWAY, LEASED, (FAR, 22), b"")), BLOCKED);
    assert_eq!(world.host_ip(&Ip::segment(GATEWAY, NEIGHBOUR, (FAR, 22), "S")), BLOCKED, "to another address");
    let from_neighbour = world.host_ip(&Ip::segment(NEIGHBOUR, LEASED, (FAR, 22), "S"));
    assert_eq!(from_neighbour, Err(DropReason::Neighbour));
}

#[test]
fn an_answer_to_what_the_guest_asked_from_an_exposed_port_opens_nothing() {
    // The guest may ask the gateway, once; its answer must not be the key to go on when it may not.
    let mut world = exposed("", "");
    assert_eq!(reply(&mut world, 53), Ok(()), "the policy allows it");
    assert_eq!(ask(&mut world, 53), Ok(()), "and the answer");
    world.engine.set_policy(entries("", "@host"));
    assert_eq!(reply(&mut world, 53), BLOCKED);
    world.engine.set_policy(entries("", "in @host,@host"));
    assert_eq!(ask(&mut world, 53), BLOCKED, "nor does the answer pass by it");
    // What it has not asked for does.
    assert_eq!(ask(&mut world, FAR), Ok(()));
    assert_eq!(reply(&mut world, FAR), Ok(()));
}

#[test]
fn a_late_answer_of_a_service_of_the_gateways_opens_nothing() {
    // Allowed is what may answer late; once the guest's own question is forgotten, its answer is no beginning of another's.
    let mut world = exposed("", "");
    assert_eq!(reply(&mut world, 53), Ok(()), "the guest's question");
    world.engine.set_policy(entries("", "@host"));
    world.wait(31 * SECOND);
    let _ = ask(&mut world, 53);
    assert_eq!(reply(&mut world, 53), BLOCKED);
    let _ = world.host_ip(&Ip::segment(GATEWAY, LEASED, (1023, 22), "S"));
    assert_eq!(world.guest_ip(&Ip::segment(LEASED, GATEWAY, (22, 1023), "SA")), BLOCKED);
    let _ = ask(&mut world, 1024);
    assert_eq!(reply(&mut world, 1024), Ok(()), "anybody's port");
}

#[test]
fn it_ends_by_time_which_the_guest_does_not_lengthen() {
    let mut world = exposed("", "@host");
    assert_eq!(ask(&mut world, FAR), Ok(()));
    for _ in 0..29 {
        world.wait(SECOND);
        assert_eq!(reply(&mut world, FAR), Ok(()));
    }
    world.wait(SECOND);
    assert_eq!(reply(&mut world, FAR), BLOCKED);

    assert_eq!(come(&mut world, "S"), Ok(()));
    assert_eq!(answer(&mut world, "SA"), Ok(()));
    assert_eq!(come(&mut world, "A"), Ok(()));
    world.wait(299 * SECOND);
    assert_eq!(answer(&mut world, "A"), Ok(()));
    world.wait(SECOND);
    assert_eq!(answer(&mut world, "A"), BLOCKED);

    assert_eq!(come(&mut world, "S"), Ok(()));
    assert_eq!(answer(&mut world, "R"), Ok(()));
    world.wait(10 * SECOND);
    assert_eq!(answer(&mut world, "A"), BLOCKED, "after a RST");
}

#[test]
fn an_error_about_a_datagram_of_it_passes_and_a_fragment_does_not() {
    let mut world = exposed("", "@host");
    let question = Ip::udp(GATEWAY, LEASED, (FAR, 53), b"question");
    assert_eq!(world.host_ip(&question), Ok(()));
    assert_eq!(world.guest_ip(&Ip::error(LEASED, GATEWAY, 3, &question)), Ok(()));
    let other = Ip::udp(GATEWAY, LEASED, (FAR + 1, 53), b"question");
    assert_eq!(world.guest_ip(&Ip::error(LEASED, GATEWAY, 3, &other)), BLOCKED);
    let fragment = Ip { more_fragments: true, ..Ip::udp(LEASED, GATEWAY, (53, FAR), &[0; 16]) };
    assert_eq!(world.guest_ip(&fragment), BLOCKED);
}

#[test]
fn there_is_an_end_to_them_and_then_none_is_begun() {
    let mut world = exposed("", "@host");
    for number in 0..MAX_FLOWS {
        let ports = (u16::try_from(number).unwrap() + 2000, 22);
        assert_eq!(world.host_ip(&Ip::segment(GATEWAY, LEASED, ports, "S")), Ok(()));
    }
    assert_eq!(ask(&mut world, FAR), Err(DropReason::FlowTableFull));
    assert_eq!(reply(&mut world, FAR), BLOCKED);
}

#[test]
fn where_the_link_hands_through_who_connects_it_is_anybody_but_a_neighbour() {
    let mut world = exposed_to(Peers::Anyone, "", "0.0.0.0/0");
    let client = Ipv4Addr::new(192, 0, 2, 9);
    assert_eq!(world.host_ip(&Ip::segment(client, LEASED, (FAR, 22), "S")), Ok(()));
    assert_eq!(world.guest_ip(&Ip::segment(LEASED, client, (22, FAR), "SA")), Ok(()));
    assert_eq!(world.guest_ip(&Ip::segment(LEASED, client, (22, FAR), "S")), BLOCKED);
    let from_neighbour = world.host_ip(&Ip::segment(NEIGHBOUR, LEASED, (FAR, 22), "S"));
    assert_eq!(from_neighbour, Err(DropReason::Neighbour));
    assert_eq!(config().isolation, Isolation::Isolated);
}

#[test]
fn what_passes_by_an_exposed_port_alone_is_said_to() {
    let mut world = exposed("", "in 0.0.0.0/0,in @host,out @host");
    let (begun, answered) =
        (Ip::segment(GATEWAY, LEASED, (FAR, 22), "S"), Ip::segment(LEASED, GATEWAY, (22, FAR), "SA"));
    assert_eq!((world.host_ip(&begun), world.guest_ip(&answered)), (Ok(()), Ok(())));
    let frames = [begun.frame(GUEST_MAC, GATEWAY_MAC), answered.frame(GATEWAY_MAC, GUEST_MAC)];
    for (direction, frame) in [Direction::FromHost, Direction::FromGuest].into_iter().zip(&frames) {
        assert_eq!(world.engine.decider(direction, frame, Verdict::Forward), Some(Decider::ExposedPort));
        // What the rules would let pass too, they do.
        let open = exposed("in @host:22,out @host", "in 0.0.0.0/0");
        let by = open.engine.decider(direction, frame, Verdict::Forward);
        assert!(matches!(by, Some(Decider::Entry(..))), "{by:?}");
        // And of a dropped one the entry is told.
        let by = world.engine.decider(direction, frame, Verdict::Drop(DropReason::Blocked));
        assert!(matches!(by, Some(Decider::Entry(..))), "{by:?}");
    }
    // Another port, a service's, and what the administrator closes, are flows, if anything.
    let other = Ip::segment(GATEWAY, LEASED, (FAR, 23), "S").frame(GUEST_MAC, GATEWAY_MAC);
    let service = Ip::segment(GATEWAY, LEASED, (53, 22), "S").frame(GUEST_MAC, GATEWAY_MAC);
    for frame in [other, service] {
        assert_eq!(world.engine.decider(Direction::FromHost, &frame, Verdict::Forward), Some(Decider::Flow));
    }
    let ports = vec![Exposed { port: 22, protocol: ExposedPort::Tcp }];
    let exposed = Exposures { ports, peers: Peers::Gateway };
    let closed = World::leased_with(Config { administrator: entries("", "in @host"), exposed, ..config() });
    let [begun, answered] = frames;
    assert_eq!(closed.engine.decider(Direction::FromHost, &begun, Verdict::Forward), Some(Decider::Flow));
    let by = closed.engine.decider(Direction::FromGuest, &answered, Verdict::Forward);
    assert_eq!(by, Some(Decider::Gateway), "what a guest sends to the gateway passes by default");
}
