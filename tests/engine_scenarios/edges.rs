//! Edges that no other scenario stands on: each was a mutant of the engine that lived (docs/contributing.md, "Mutants").

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, Direction, DropReason, EthernetAddress, LeaseEnd, Network, colons};

#[test]
fn the_first_fragment_of_a_long_ping_passes_and_that_of_an_error_does_not() {
    let mut world = World::leased("", "");
    let first =
        |kind: u8| Ip { more_fragments: true, ..Ip::new(LEASED, WORLD, ICMP, [vec![kind], vec![0; 39]].concat()) };
    assert_eq!(world.guest_ip(&first(8)), Ok(()));
    assert_eq!(world.guest_ip(&first(3)), Err(DropReason::IcmpQuote));
}

#[test]
fn a_link_of_two_addresses_has_no_broadcast_address() {
    let gateway = Ipv4Addr::new(192, 168, 64, 1);
    let network = Network { gateway, subnet: "192.168.64.0/31".parse().unwrap(), ..config().network };
    let mut world = World::new(Config { network, ..config() });
    let guest = Ipv4Addr::new(192, 168, 64, 0);
    world.lease(guest, 600, 1);
    let ping = Ip::ping(guest, gateway);
    assert_eq!(world.guest(&ping.frame(GATEWAY_MAC, GUEST_MAC)), Ok(()));
    assert_eq!(world.guest(&ping.frame(BROADCAST, GUEST_MAC)), Err(DropReason::EthernetDestination));
}

#[test]
fn a_lease_time_in_an_overloaded_sname_alone_is_read() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    let mut ack = Dhcp { yiaddr: LEASED, ..Dhcp::from_server(ACK, 1) }.option(52, &[2]);
    ack.sname[..7].copy_from_slice(&[51, 4, 0, 0, 0, 60, 255]);
    assert_eq!(world.host_dhcp(&ack), Ok(()));
    world.wait(59_999);
    assert_eq!(world.speaks_from(LEASED), Ok(()));
    world.wait(1);
    assert_eq!(world.speaks_from(LEASED), Err(DropReason::NoLease));
}

#[test]
fn people_read_why_a_lease_ended_and_a_mac_with_colons() {
    let ends = [LeaseEnd::Lapsed, LeaseEnd::Refused, LeaseEnd::Released, LeaseEnd::Replaced].map(|end| end.to_string());
    assert!(ends.iter().all(|end| end.len() > 10), "{ends:?}");
    assert_eq!(ends.iter().collect::<std::collections::HashSet<_>>().len(), 4, "{ends:?}");
    assert_eq!(colons(EthernetAddress([2, 0, 0, 0xab, 0, 7])), "02:00:00:ab:00:07");
}

#[test]
fn a_ping_with_another_code_makes_no_flow() {
    let mut world = World::leased("", "in 0.0.0.0/0");
    assert_eq!(world.guest_ip(&Ip::new(LEASED, WORLD, ICMP, icmp(8, 1, 7, &[]))), Ok(()));
    assert_eq!(world.host_ip(&Ip::echo(WORLD, LEASED, 0, 7)), Err(DropReason::Blocked));
}

#[test]
fn a_reason_is_told_in_words() {
    assert!(
        DropReason::ALL.iter().all(|reason| reason.to_string() == reason.description() && reason.to_string().len() > 5)
    );
}

#[test]
fn an_error_about_the_guests_answer_to_a_ping_comes_to_the_guest() {
    let mut world = World::leased("", "in 10.0.0.0/8");
    let router = Ipv4Addr::new(10, 0, 0, 9);
    let answer = Ip::echo(LEASED, WORLD, 0, 7);
    let error = Ip::error(router, LEASED, 3, &answer);
    assert_eq!(world.host_ip(&error), Err(DropReason::Blocked));
    assert_eq!(world.host_ip(&Ip::echo(WORLD, LEASED, 8, 7)), Ok(()));
    assert_eq!(world.guest_ip(&answer), Ok(()));
    assert_eq!(world.host_ip(&error), Ok(()));
}

#[test]
fn nothing_but_the_echo_rides_on_a_ping_whose_identifier_is_its_ports() {
    let mut world = World::leased("", "in 0.0.0.0/0");
    assert_eq!(world.guest_ip(&Ip::echo(LEASED, WORLD, 8, 7)), Ok(()));
    for flags in ["A", "SA", "R"] {
        assert_eq!(world.host_ip(&Ip::segment(WORLD, LEASED, (7, 7), flags)), Err(DropReason::Blocked), "{flags}");
    }
    assert_eq!(world.host_ip(&Ip::udp(WORLD, LEASED, (7, 7), &[])), Err(DropReason::Blocked));
    assert_eq!(world.host_ip(&Ip::echo(WORLD, LEASED, 0, 7)), Ok(()));
}

#[test]
fn all_drops_of_a_direction_are_counted_together() {
    let mut world = World::leased("", "");
    let (short, redirect) = ([0; 13], Ip::error(LEASED, WORLD, 5, &Ip::ping(WORLD, LEASED)));
    assert!(world.guest(&short).is_err() && world.guest_ip(&redirect).is_err() && world.host(&short).is_err());
    let total = |direction| world.engine.counters().dropped_total(direction);
    assert_eq!((total(Direction::FromGuest), total(Direction::FromHost)), (2, 1));
}
