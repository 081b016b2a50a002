//! What comes from the host's side, DHCP replies aside.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, DropReason, EthernetAddress, Isolation, Network};

#[test]
fn what_is_for_others_does_not_reach_the_guest() {
    let mut world = World::leased("0.0.0.0/0", "");
    for mac in [NEIGHBOUR_MAC, GATEWAY_MAC, [0; 6]] {
        let frame = Ip::ping(WORLD, NEIGHBOUR).frame(mac, [0x52, 0x54, 0, 0, 0, 9]);
        assert_eq!(world.host(&frame), Err(DropReason::EthernetDestination), "{mac:?}");
    }
    for mac in [GUEST_MAC, BROADCAST, [1, 0, 0x5e, 0, 0, 251]] {
        assert_eq!(world.host(&Ip::ping(WORLD, LEASED).frame(mac, GATEWAY_MAC)), Ok(()), "{mac:?}");
    }
}

#[test]
fn nobody_speaks_to_the_guest_from_its_own_mac_or_a_group() {
    let mut world = World::leased("", "");
    for mac in [GUEST_MAC, BROADCAST, [1, 0, 0x5e, 0, 0, 1]] {
        assert_eq!(world.host(&Ip::ping(WORLD, LEASED).frame(GUEST_MAC, mac)), Err(DropReason::EthernetSource));
    }
}

#[test]
fn a_header_is_sound_or_the_frame_is_dropped_and_options_pass() {
    let mut world = World::leased("", "");
    let good = Ip::ping(WORLD, LEASED);
    for bad in [
        Ip { version: 6, ..good.clone() },
        Ip { header_words: Some(4), ..good.clone() },
        Ip { header_words: Some(15), ..good.clone() },
        Ip { total_length: Some(19), ..good.clone() },
        Ip { total_length: Some(1000), ..good.clone() },
    ] {
        assert_eq!(world.host_ip(&bad), Err(DropReason::Ipv4Malformed), "{bad:?}");
    }
    assert_eq!(world.host_ip(&Ip { options: vec![148, 4, 0, 0], ..good.clone() }), Ok(()));
    assert_eq!(world.host_ip(&Ip { checksum: Some(0), ..good.clone() }), Ok(()), "the guest's own stack judges it");
    assert_eq!(
        world.host_ip(&Ip { total_length: Some(21), options: vec![0; 4], ..good.clone() }),
        Err(DropReason::Ipv4Malformed)
    );
    assert_eq!(
        world.host_ip(&Ip { more_fragments: true, ..Ip::new(WORLD, LEASED, ICMP, vec![0; 9]) }),
        Err(DropReason::FragmentMalformed)
    );
    let mut lying = udp(53, 5000, &[0; 8]);
    lying[4..6].copy_from_slice(&17u16.to_be_bytes());
    assert_eq!(world.host_ip(&Ip::new(WORLD, LEASED, UDP, lying)), Err(DropReason::UdpMalformed));
}

#[test]
fn inbound_is_open_whatever_the_entries_say() {
    let mut world = World::leased("", "0.0.0.0/0");
    for source in [WORLD, GATEWAY, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(169, 254, 169, 254)] {
        assert_eq!(world.host_ip(&Ip::ping(source, LEASED)), Ok(()), "{source}");
        assert_eq!(world.host_ip(&Ip::tcp(source, LEASED, (5000, 22))), Ok(()));
        assert_eq!(world.host_ip(&Ip::udp(source, LEASED, (53, 5000), &[])), Ok(()));
    }
}

#[test]
fn a_neighbours_dhcp_request_does_not_reach_the_guest() {
    let mut world = World::leased("", "");
    let discover = Dhcp { chaddr: NEIGHBOUR_MAC, ..Dhcp::discover(5) }.to_all();
    assert_eq!(world.host(&discover.frame(BROADCAST, NEIGHBOUR_MAC)), Err(DropReason::DhcpClientPort));
    let fragment = Ip { more_fragments: true, ..Ip::udp(NEIGHBOUR, ALL, (68, 67), &[0; 8]) };
    assert_eq!(world.host(&fragment.frame(BROADCAST, NEIGHBOUR_MAC)), Err(DropReason::DhcpFragment));
}

#[test]
fn while_isolated_neighbours_are_not_heard_unless_they_are_allowed() {
    let mut world = World::leased("", "");
    let ping = |source| Ip::ping(source, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC);
    assert_eq!(world.host(&ping(NEIGHBOUR)), Err(DropReason::Neighbour));
    assert_eq!(world.host(&ping(LEASED)), Err(DropReason::Neighbour));
    assert_eq!(world.host(&ping(SUBNET_BROADCAST)), Err(DropReason::Neighbour));
    assert_eq!(world.host(&ping(GATEWAY)), Err(DropReason::Neighbour), "the gateway's address, not its MAC");
    assert_eq!(world.host_ip(&Ip::ping(NEIGHBOUR, LEASED)), Err(DropReason::Neighbour), "whichever MAC brings it");
    assert_eq!(world.host_ip(&Ip::ping(GATEWAY, LEASED)), Ok(()));
    world.engine.set_policy(entries("192.168.64.8", ""));
    assert_eq!(world.host(&ping(NEIGHBOUR)), Ok(()));
    world.engine.set_policy(entries("192.168.64.0/24", "192.168.64.8"));
    assert_eq!(world.host(&ping(NEIGHBOUR)), Err(DropReason::Neighbour));
}

#[test]
fn a_neighbour_that_is_allowed_sends_whole_tcp_headers() {
    let mut world = World::leased(&NEIGHBOUR.to_string(), "");
    let segment = |source, length, words: u8| {
        let mut bytes = tcp(443, 5000);
        bytes.resize(length, 0);
        if let Some(offset) = bytes.get_mut(12) {
            *offset = words << 4;
        }
        let mac = if source == NEIGHBOUR { NEIGHBOUR_MAC } else { GATEWAY_MAC };
        Ip::new(source, LEASED, TCP, bytes).frame(GUEST_MAC, mac)
    };
    for (length, words) in [(0, 5), (8, 5), (19, 5), (20, 4), (20, 6), (59, 15)] {
        assert_eq!(world.host(&segment(NEIGHBOUR, length, words)), Err(DropReason::TcpMalformed), "{length}, {words}");
        assert_eq!(world.host(&segment(WORLD, length, words)), Ok(()), "nobody asks for its ports");
    }
    for (length, words) in [(20, 5), (60, 15)] {
        assert_eq!(world.host(&segment(NEIGHBOUR, length, words)), Ok(()), "{length}, {words}");
    }
}

#[test]
fn on_an_open_link_neighbours_are_heard() {
    let mut world = World::leased_with(Config { isolation: Isolation::Open, ..config() });
    assert_eq!(world.host(&Ip::ping(NEIGHBOUR, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC)), Ok(()));
    let arp = Arp::request(NEIGHBOUR_MAC, NEIGHBOUR, LEASED).frame(BROADCAST, NEIGHBOUR_MAC);
    assert_eq!(world.host(&arp), Ok(()));
}

#[test]
fn arp_comes_from_its_own_sender() {
    let mut world = World::leased("", "");
    let arp = Arp::request(GATEWAY_MAC, GATEWAY, LEASED);
    assert_eq!(world.host(&arp.frame(BROADCAST, GATEWAY_MAC)), Ok(()));
    assert_eq!(world.host(&arp.frame(GUEST_MAC, NEIGHBOUR_MAC)), Err(DropReason::ArpSenderHardware));
    let arp = Arp::reply(NEIGHBOUR_MAC, GATEWAY, GUEST_MAC, LEASED);
    assert_eq!(world.host(&arp.frame(GUEST_MAC, GATEWAY_MAC)), Err(DropReason::ArpSenderHardware));
}

#[test]
fn while_isolated_only_the_gateway_and_what_is_allowed_claims_an_address_of_the_subnet() {
    let mut world = World::leased("", "");
    for address in [GATEWAY, NEIGHBOUR, LEASED] {
        let claim = Arp::reply(NEIGHBOUR_MAC, address, GUEST_MAC, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC);
        assert_eq!(world.host(&claim), Err(DropReason::Neighbour), "{address}");
    }
    let probe = Arp::request(NEIGHBOUR_MAC, ANY, LEASED).frame(BROADCAST, NEIGHBOUR_MAC);
    assert_eq!(world.host(&probe), Ok(()), "a probe claims nothing");
    world.engine.set_policy(entries("192.168.64.8", ""));
    let claim = Arp::reply(NEIGHBOUR_MAC, NEIGHBOUR, GUEST_MAC, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC);
    assert_eq!(world.host(&claim), Ok(()));
}

#[test]
fn before_the_gateways_mac_is_known_its_address_is_enough_and_a_pinned_one_is_known_at_once() {
    let arp = |mac| Arp::request(mac, GATEWAY, LEASED).frame(BROADCAST, mac);
    let mut world = World::new(config());
    assert_eq!(world.host(&arp(NEIGHBOUR_MAC)), Ok(()));
    let network = Network { gateway_mac: Some(EthernetAddress(GATEWAY_MAC)), ..config().network };
    let mut world = World::new(Config { network, ..config() });
    assert_eq!(world.host(&arp(NEIGHBOUR_MAC)), Err(DropReason::Neighbour));
    assert_eq!(world.host(&arp(GATEWAY_MAC)), Ok(()));
}
