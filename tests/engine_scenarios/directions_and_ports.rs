//! Entries with ports and with a direction: which datagram they are about, and what is left to the defaults.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, DropReason, Isolation, NetType};

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const OTHER: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

fn out_tcp(world: &mut World, to: Ipv4Addr, port: u16) -> Judgement {
    world.guest_ip(&Ip::tcp(LEASED, to, (5000, port)))
}

fn out_udp(world: &mut World, to: Ipv4Addr, port: u16) -> Judgement {
    world.guest_ip(&Ip::udp(LEASED, to, (5000, port), &[]))
}

fn in_tcp(world: &mut World, from: Ipv4Addr, port: u16) -> Judgement {
    world.host_ip(&Ip::tcp(from, LEASED, (5000, port)))
}

#[test]
fn a_bare_entry_with_ports_is_about_the_far_sides_port_of_tcp_and_udp() {
    let mut world = World::leased("10.0.0.0/8:443", "93.184.215.14:80-90");
    let private = Ipv4Addr::new(10, 1, 1, 1);
    assert_eq!(out_tcp(&mut world, private, 443), Ok(()));
    assert_eq!(out_udp(&mut world, private, 443), Ok(()));
    assert_eq!(out_tcp(&mut world, private, 442), Err(DropReason::NotReachable));
    assert_eq!(
        world.guest_ip(&Ip::tcp(LEASED, private, (443, 22))),
        Err(DropReason::NotReachable),
        "not the guest's port"
    );
    assert_eq!(world.guest_ip(&Ip::ping(LEASED, private)), Err(DropReason::NotReachable));
    assert_eq!(out_tcp(&mut world, WORLD, 79), Ok(()));
    for port in [80, 85, 90] {
        assert_eq!(out_tcp(&mut world, WORLD, port), Err(DropReason::Blocked));
        assert_eq!(out_udp(&mut world, WORLD, port), Err(DropReason::Blocked));
    }
    assert_eq!(world.guest_ip(&Ip::ping(LEASED, WORLD)), Ok(()), "ICMP has no ports, and the default holds");
    let sctp = Ip::new(LEASED, WORLD, 132, vec![0, 80, 0, 80, 0, 0, 0, 0]);
    assert_eq!(world.guest_ip(&sctp), Ok(()));
}

#[test]
fn an_entry_with_ports_outranks_any_without_and_so_reaches_what_a_longer_one_closes() {
    let mut world = World::leased("0.0.0.0/0:443", "169.254.169.254");
    assert_eq!(out_tcp(&mut world, METADATA, 443), Ok(()), "documented, and warned of at the start");
    assert_eq!(out_tcp(&mut world, METADATA, 80), Err(DropReason::Blocked));
    let mut world = World::leased("0.0.0.0/0:443", "169.254.169.254,169.254.169.254:1-65535");
    assert_eq!(out_tcp(&mut world, METADATA, 443), Err(DropReason::Blocked), "closed by ports as well");
    let mut world = World::leased("0.0.0.0/0:443", "0.0.0.0/0");
    assert_eq!(out_tcp(&mut world, WORLD, 443), Ok(()));
    assert_eq!(out_tcp(&mut world, WORLD, 80), Err(DropReason::Blocked));
}

#[test]
fn a_fragment_is_held_by_every_block_with_ports_and_opened_by_no_allow_with_ports() {
    let pieces = |protocol: u8, payload: &[u8], to| {
        [(0, true), (4, false), (4, true)].map(|(fragment_offset, more_fragments)| Ip {
            fragment_offset,
            more_fragments,
            ..Ip::new(LEASED, to, protocol, payload.to_vec())
        })
    };
    let private = Ipv4Addr::new(10, 1, 1, 1);
    for entries in [("10.0.0.0/8:443", "93.184.0.0/16:80"), ("out 10.0.0.0/8:443", "out 93.184.0.0/16:80")] {
        let mut world = World::leased(entries.0, entries.1);
        for (protocol, payload) in
            [(UDP, udp(443, 443, &[0; 32])), (TCP, [tcp(443, 443), vec![0; 4]].concat()), (ICMP, vec![8; 24])]
        {
            for piece in pieces(protocol, &payload, private) {
                assert_eq!(world.guest_ip(&piece), Err(DropReason::NotReachable), "{piece:?}");
            }
            for piece in pieces(protocol, &payload, WORLD) {
                assert_eq!(world.guest_ip(&piece), Err(DropReason::Blocked), "{piece:?}");
            }
            for piece in pieces(protocol, &payload, OTHER) {
                assert_eq!(world.guest_ip(&piece), Ok(()), "{piece:?}");
            }
        }
    }
    let mut world = World::leased("in 10.0.0.0/8:22", "in 93.184.0.0/16:22");
    for (from, expected) in [(WORLD, Err(DropReason::Blocked)), (private, Ok(()))] {
        for piece in pieces(UDP, &udp(1, 9, &[0; 32]), LEASED) {
            assert_eq!(world.host_ip(&Ip { source: from, ..piece }), expected);
        }
    }
}

#[test]
fn an_entry_for_in_is_about_the_guests_port_and_closes_nothing_that_the_guest_begins() {
    let mut world = World::leased("in 10.0.0.0/8:22", "in 0.0.0.0/0");
    let private = Ipv4Addr::new(10, 1, 1, 1);
    assert_eq!(in_tcp(&mut world, private, 22), Ok(()));
    assert_eq!(in_tcp(&mut world, private, 23), Err(DropReason::Blocked));
    assert_eq!(world.host_ip(&Ip::tcp(private, LEASED, (22, 23))), Err(DropReason::Blocked), "not the far side's port");
    assert_eq!(world.host_ip(&Ip::ping(private, LEASED)), Err(DropReason::Blocked));
    assert_eq!(in_tcp(&mut world, WORLD, 22), Err(DropReason::Blocked));
    assert_eq!(in_tcp(&mut world, GATEWAY, 22), Err(DropReason::Blocked));
    assert_eq!(out_tcp(&mut world, WORLD, 443), Ok(()), "the default of what the guest begins");
    assert_eq!(out_tcp(&mut world, GATEWAY, 53), Ok(()));
    assert_eq!(out_tcp(&mut world, METADATA, 80), Err(DropReason::NotReachable));
}

#[test]
fn where_no_entry_for_in_covers_it_everybody_may_begin() {
    for (allow, block) in [("out 10.0.0.0/8", ""), ("", "out 0.0.0.0/0"), ("in @host", "in 10.0.0.0/8")] {
        let mut world = World::leased(allow, block);
        assert_eq!(in_tcp(&mut world, WORLD, 22), Ok(()));
        assert_eq!(world.host_ip(&Ip::ping(METADATA, LEASED)), Ok(()));
        assert_eq!(world.host_ip(&Ip::new(WORLD, LEASED, 47, vec![0; 8])), Ok(()));
    }
}

#[test]
fn in_host_mode_too_in_is_open_and_out_is_the_gateway() {
    let policy = entries("in 93.184.0.0/16", "");
    let mut world = World::leased_with(Config { net_type: NetType::Host, policy, ..config() });
    assert_eq!(out_tcp(&mut world, GATEWAY, 80), Ok(()));
    assert_eq!(out_tcp(&mut world, WORLD, 80), Err(DropReason::NotReachable));
    assert_eq!(in_tcp(&mut world, WORLD, 80), Ok(()));
    assert_eq!(in_tcp(&mut world, OTHER, 80), Ok(()));
}

#[test]
fn once_any_entry_has_a_direction_a_bare_one_is_about_both() {
    let mut world = World::leased("in @host:22", "93.184.0.0/16,1.1.1.1:53");
    assert_eq!(out_tcp(&mut world, WORLD, 443), Err(DropReason::Blocked));
    assert_eq!(in_tcp(&mut world, WORLD, 22), Err(DropReason::Blocked));
    assert_eq!(out_udp(&mut world, OTHER, 53), Err(DropReason::Blocked));
    assert_eq!(world.host_ip(&Ip::udp(OTHER, LEASED, (53, 9), &[])), Err(DropReason::Blocked), "from its port 53");
    assert_eq!(world.host_ip(&Ip::udp(OTHER, LEASED, (9, 53), &[])), Ok(()));
    let mut world = World::leased("", "93.184.0.0/16");
    assert_eq!(in_tcp(&mut world, WORLD, 22), Ok(()), "bare only: inbound is open");
}

#[test]
fn the_dns_servers_of_the_lease_stay_open_at_their_port_where_nothing_is_said() {
    let mut world = World::new(Config { policy: entries("in @host", "out 10.0.0.54"), ..config() });
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, LEASED)), Ok(()));
    let servers = [10, 0, 0, 53, 10, 0, 0, 54];
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600).option(6, &servers)), Ok(()));
    let named = Ipv4Addr::new(10, 0, 0, 53);
    assert_eq!(out_udp(&mut world, named, 53), Ok(()));
    assert_eq!(out_tcp(&mut world, named, 53), Ok(()));
    assert_eq!(out_udp(&mut world, named, 54), Err(DropReason::NotReachable));
    assert_eq!(out_udp(&mut world, Ipv4Addr::new(10, 0, 0, 54), 53), Err(DropReason::Blocked));
}

#[test]
fn dhcp_and_arp_are_no_matter_of_the_policy() {
    let mut world = World::leased("", "in 0.0.0.0/0,out 0.0.0.0/0,0.0.0.0/0:1-65535");
    world.lease(LEASED, 600, 7);
    assert_eq!(world.guest_ip(&Dhcp::renewal(8, LEASED).to_gateway(LEASED)), Ok(()));
    assert_eq!(world.host_dhcp(&Dhcp::ack(8, LEASED, 600)), Ok(()));
    assert_eq!(world.guest(&Arp::request(GUEST_MAC, LEASED, GATEWAY).frame(BROADCAST, GUEST_MAC)), Ok(()));
    let reply = Arp::reply(GATEWAY_MAC, GATEWAY, GUEST_MAC, LEASED).frame(GUEST_MAC, GATEWAY_MAC);
    assert_eq!(world.host(&reply), Ok(()));
    assert_eq!(out_tcp(&mut world, GATEWAY, 80), Err(DropReason::Blocked));
    assert_eq!(in_tcp(&mut world, GATEWAY, 80), Err(DropReason::Blocked));
}

#[test]
fn while_isolated_a_neighbour_is_heard_where_an_entry_lets_it_begin_or_answer() {
    let from_neighbour = |datagram: Ip| datagram.frame(GUEST_MAC, NEIGHBOUR_MAC);
    let arp = Arp::reply(NEIGHBOUR_MAC, NEIGHBOUR, GUEST_MAC, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC);
    let mut world = World::leased("192.168.64.8:22", "");
    assert_eq!(world.host(&arp), Ok(()), "there is a port to speak with");
    assert_eq!(world.host(&from_neighbour(Ip::tcp(NEIGHBOUR, LEASED, (22, 9)))), Ok(()));
    assert_eq!(world.host(&from_neighbour(Ip::tcp(NEIGHBOUR, LEASED, (9, 22)))), Err(DropReason::Neighbour));
    assert_eq!(world.host(&from_neighbour(Ip::ping(NEIGHBOUR, LEASED))), Err(DropReason::Neighbour));
    let cut = Ip::new(NEIGHBOUR, LEASED, TCP, tcp(22, 9)[..19].to_vec());
    assert_eq!(world.host(&from_neighbour(cut)), Err(DropReason::TcpMalformed));

    let mut world = World::leased("in 192.168.64.8:22", "");
    assert_eq!(world.host(&arp), Ok(()));
    assert_eq!(world.host(&from_neighbour(Ip::tcp(NEIGHBOUR, LEASED, (9, 22)))), Ok(()));
    assert_eq!(world.host(&from_neighbour(Ip::tcp(NEIGHBOUR, LEASED, (22, 9)))), Err(DropReason::Neighbour));

    let mut world = World::leased("out 192.168.64.8:22", "");
    assert_eq!(world.host(&arp), Ok(()));
    assert_eq!(world.host(&from_neighbour(Ip::tcp(NEIGHBOUR, LEASED, (22, 9)))), Err(DropReason::Neighbour));
    assert_eq!(world.guest_ip(&Ip::tcp(LEASED, NEIGHBOUR, (9, 22))), Ok(()));
    assert_eq!(world.host(&from_neighbour(Ip::segment(NEIGHBOUR, LEASED, (22, 9), "SA"))), Ok(()), "it answers");

    let mut world = World::leased("in 10.0.0.0/8", "in 192.168.64.8");
    assert_eq!(world.host(&arp), Err(DropReason::Neighbour));
    assert_eq!(world.host(&from_neighbour(Ip::ping(NEIGHBOUR, LEASED))), Err(DropReason::Neighbour));
    let mut world = World::leased("in 10.0.0.0/8", "");
    assert_eq!(world.host(&from_neighbour(Ip::ping(NEIGHBOUR, LEASED))), Err(DropReason::Neighbour), "no default");
}

#[test]
fn while_isolated_a_neighbours_error_is_heard_about_its_own_flow_alone() {
    let unreachable = |about: &Ip| Ip::error(NEIGHBOUR, LEASED, 3, about).frame(GUEST_MAC, NEIGHBOUR_MAC);
    let (to_world, to_neighbour) = (Ip::udp(LEASED, WORLD, (9, 53), &[]), Ip::udp(LEASED, NEIGHBOUR, (9, 53), &[]));
    let mut world = World::leased("out 192.168.64.8:53", "");
    for datagram in [&to_world, &to_neighbour] {
        assert_eq!(world.guest_ip(datagram), Ok(()));
    }
    assert_eq!(world.host(&unreachable(&to_world)), Err(DropReason::Neighbour));
    assert_eq!(world.host(&unreachable(&to_neighbour)), Ok(()));
    assert_eq!(world.host_ip(&Ip::error(GATEWAY, LEASED, 3, &to_world)), Ok(()), "a router's");
}

#[test]
fn on_an_open_link_a_neighbour_is_judged_as_everybody_is() {
    let policy = entries("in 10.0.0.0/8", "in 192.168.64.8:22");
    let mut world = World::leased_with(Config { isolation: Isolation::Open, policy, ..config() });
    let from_neighbour = |datagram: Ip| datagram.frame(GUEST_MAC, NEIGHBOUR_MAC);
    assert_eq!(world.host(&from_neighbour(Ip::tcp(NEIGHBOUR, LEASED, (9, 22)))), Err(DropReason::Blocked));
    assert_eq!(world.host(&from_neighbour(Ip::tcp(NEIGHBOUR, LEASED, (9, 23)))), Ok(()));
}

#[test]
fn while_isolated_nobody_speaks_with_the_gateways_address_but_the_gateway_even_if_an_entry_allows_it() {
    for allow in ["@host", "192.168.64.0/24", "in @host", "out @host"] {
        let mut world = World::leased(allow, "");
        assert_eq!(world.guest_ip(&Ip::udp(LEASED, GATEWAY, (9, 53), &[])), Ok(()));
        let answer = Ip::udp(GATEWAY, LEASED, (53, 9), &[]);
        assert_eq!(world.host(&answer.frame(GUEST_MAC, NEIGHBOUR_MAC)), Err(DropReason::Neighbour), "{allow}");
        let arp = Arp::reply(NEIGHBOUR_MAC, GATEWAY, GUEST_MAC, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC);
        assert_eq!(world.host(&arp), Err(DropReason::Neighbour), "{allow}");
        assert_eq!(world.host_ip(&answer), Ok(()), "{allow}");
    }
}

#[test]
fn a_tcp_header_towards_the_guest_is_sound_where_its_ports_are_judged() {
    let cut = Ip::new(WORLD, LEASED, TCP, tcp(22, 9)[..19].to_vec());
    let mut lying = Ip::tcp(WORLD, LEASED, (22, 9));
    lying.payload[12] = 0xf0;
    let mut world = World::leased("in 1.1.1.1", "");
    assert_eq!(world.host_ip(&cut), Err(DropReason::TcpMalformed));
    assert_eq!(world.host_ip(&lying), Err(DropReason::TcpMalformed));
    let mut world = World::leased("1.1.1.1", "");
    assert_eq!(world.host_ip(&cut), Ok(()), "without state, the guest's own stack is to judge it");
}
