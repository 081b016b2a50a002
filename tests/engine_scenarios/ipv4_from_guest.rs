//! IPv4 from the guest: header, fragments, transport, source, destination of the frame.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, DropReason, Isolation};

#[test]
fn a_guest_cannot_use_an_address_before_its_lease() {
    let mut world = World::new(config());
    for source in [LEASED, GATEWAY, ANY, WORLD] {
        assert_eq!(world.speaks_from(source), Err(DropReason::NoLease));
    }
}

#[test]
fn a_guest_speaks_from_its_lease_alone() {
    let mut world = World::leased("0.0.0.0/0", "");
    assert_eq!(world.speaks_from(LEASED), Ok(()));
    let loopback = Ipv4Addr::LOCALHOST;
    for source in [GATEWAY, NEIGHBOUR, ANY, loopback, WORLD, ALL, SUBNET_BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
        assert_eq!(world.speaks_from(source), Err(DropReason::SourceAddress), "{source}");
    }
}

#[test]
fn a_header_is_sound_or_the_frame_is_dropped() {
    let mut world = World::leased("", "");
    let good = Ip::ping(LEASED, WORLD);
    for bad in [
        Ip { version: 6, ..good.clone() },
        Ip { version: 0, ..good.clone() },
        Ip { version: 5, ..good.clone() },
        Ip { header_words: Some(0), ..good.clone() },
        Ip { header_words: Some(4), ..good.clone() },
        Ip { header_words: Some(15), ..good.clone() },
        Ip { total_length: Some(0), ..good.clone() },
        Ip { total_length: Some(19), ..good.clone() },
        Ip { total_length: Some(29), ..good.clone() },
        Ip { total_length: Some(65535), ..good.clone() },
    ] {
        assert_eq!(world.guest_ip(&bad), Err(DropReason::Ipv4Malformed), "{bad:?}");
    }
    let frame = good.frame(GATEWAY_MAC, GUEST_MAC);
    for length in 14..frame.len() {
        assert_eq!(world.guest(&frame[..length]), Err(DropReason::Ipv4Malformed), "cut to {length}");
    }
    assert_eq!(world.guest_ip(&Ip { total_length: Some(20), ..good.clone() }), Ok(()));
    assert_eq!(world.guest_ip(&Ip { padding: 18, ..good }), Ok(()));
}

#[test]
fn a_header_with_options_is_dropped() {
    let mut world = World::leased("", "");
    let source_route = vec![131, 7, 4, 192, 168, 64, 8, 0];
    for options in [vec![1; 4], vec![0; 40], source_route] {
        assert_eq!(world.guest_ip(&Ip { options, ..Ip::ping(LEASED, WORLD) }), Err(DropReason::Ipv4Options));
    }
}

#[test]
fn a_wrong_header_checksum_is_dropped() {
    let mut world = World::leased("", "");
    for checksum in [0, 1, 0xffff] {
        let ping = Ip { checksum: Some(checksum), ..Ip::ping(LEASED, WORLD) };
        assert_eq!(world.guest_ip(&ping), Err(DropReason::Ipv4Checksum));
    }
    let frame = Ip::ping(LEASED, WORLD).frame(GATEWAY_MAC, GUEST_MAC);
    for byte in [15, 18, 22, 23, 26, 30, 33] {
        let mut frame = frame.clone();
        frame[byte] ^= 0x10;
        assert_eq!(world.guest(&frame), Err(DropReason::Ipv4Checksum), "byte {byte}");
    }
}

fn fragment(protocol: u8, fragment_offset: u16, more_fragments: bool, payload: Vec<u8>) -> Ip {
    Ip { fragment_offset, more_fragments, ..Ip::new(LEASED, WORLD, protocol, payload) }
}

#[test]
fn honest_fragments_pass() {
    let mut world = World::leased("", "");
    assert_eq!(world.guest_ip(&fragment(UDP, 0, true, udp(5000, 5000, &[0; 64]))), Ok(()));
    assert_eq!(world.guest_ip(&fragment(UDP, 9, false, vec![0; 5])), Ok(()));
    assert_eq!(world.guest_ip(&fragment(TCP, 0, true, [tcp(1, 2), vec![0; 4]].concat())), Ok(()));
    assert_eq!(world.guest_ip(&fragment(TCP, 3, false, vec![0; 5])), Ok(()));
    assert_eq!(world.guest_ip(&fragment(ICMP, 1, true, vec![0; 8])), Ok(()));
    // The last byte of the largest datagram there can be.
    assert_eq!(world.guest_ip(&fragment(ICMP, 8189, false, vec![0; 3])), Ok(()));
}

#[test]
fn fragments_of_impossible_size_are_dropped() {
    let mut world = World::leased("", "");
    for bad in [
        fragment(ICMP, 0, true, vec![0; 12]), // not a multiple of 8 while more follow
        fragment(ICMP, 3, true, vec![0; 7]),
        fragment(ICMP, 0, true, vec![]), // empty
        fragment(ICMP, 3, true, vec![]),
        fragment(ICMP, 3, false, vec![]),
        fragment(ICMP, 8189, false, vec![0; 4]), // past the largest datagram
        fragment(ICMP, 8191, true, vec![0; 8]),
    ] {
        assert_eq!(world.guest_ip(&bad), Err(DropReason::FragmentMalformed), "{bad:?}");
    }
}

#[test]
fn tiny_and_overwriting_tcp_fragments_are_dropped() {
    let mut world = World::leased("0.0.0.0/0", "");
    assert_eq!(world.guest_ip(&fragment(TCP, 0, true, tcp(1, 22)[..8].to_vec())), Err(DropReason::FragmentMalformed));
    assert_eq!(world.guest_ip(&fragment(TCP, 0, true, tcp(1, 22)[..16].to_vec())), Err(DropReason::FragmentMalformed));
    assert_eq!(world.guest_ip(&fragment(TCP, 1, false, vec![0; 12])), Err(DropReason::FragmentMalformed));
    assert_eq!(world.guest_ip(&fragment(TCP, 1, true, vec![0; 16])), Err(DropReason::FragmentMalformed));
}

#[test]
fn no_first_fragment_carries_a_dhcp_port_wherever_it_goes() {
    let mut world = World::leased("0.0.0.0/0", "");
    for (source, destination) in [(68, 67), (5000, 67), (67, 68), (67, 5000), (67, 67)] {
        for to in [WORLD, GATEWAY] {
            let datagram = Ip { destination: to, ..fragment(UDP, 0, true, udp(source, destination, &[0; 64])) };
            assert_eq!(world.guest_ip(&datagram), Err(DropReason::DhcpFragment));
        }
    }
    // What begins as DHCP and is told to be whole by a later fragment alone: the later one has no ports to judge.
    let later = Ip { destination: GATEWAY, ..fragment(UDP, 1, false, Dhcp::discover(9).bytes()) };
    assert_eq!(world.guest_ip(&later), Ok(()));
    assert!(world.engine.lease().is_some());
}

#[test]
fn a_udp_length_that_lies_is_dropped_before_its_ports_are_read() {
    let mut world = World::leased("", "");
    for (destination, length) in [(53, 0u16), (53, 7), (53, 17), (53, 65535), (67, 7), (67, 17)] {
        let mut payload = udp(68, destination, &[0; 8]);
        payload[4..6].copy_from_slice(&length.to_be_bytes());
        let datagram = Ip::new(LEASED, WORLD, UDP, payload);
        assert_eq!(world.guest_ip(&datagram), Err(DropReason::UdpMalformed), "{destination} {length}");
    }
    for length in 0..8 {
        let datagram = Ip::new(LEASED, WORLD, UDP, udp(1, 2, &[])[..length].to_vec());
        assert_eq!(world.guest_ip(&datagram), Err(DropReason::UdpMalformed));
    }
    let mut short = udp(1, 2, &[0; 8]);
    short[4..6].copy_from_slice(&12u16.to_be_bytes());
    assert_eq!(world.guest_ip(&Ip::new(LEASED, WORLD, UDP, short)), Ok(()), "a datagram may be longer than its UDP");
}

#[test]
fn a_tcp_data_offset_out_of_range_is_dropped() {
    let mut world = World::leased("", "");
    for words in [0, 4, 6, 15] {
        let mut segment = tcp(1, 80);
        segment[12] = words << 4;
        assert_eq!(world.guest_ip(&Ip::new(LEASED, WORLD, TCP, segment)), Err(DropReason::TcpMalformed));
    }
    for length in 0..20 {
        let segment = tcp(1, 80)[..length].to_vec();
        assert_eq!(world.guest_ip(&Ip::new(LEASED, WORLD, TCP, segment)), Err(DropReason::TcpMalformed));
    }
    let mut urgent = tcp(1, 80);
    urgent[13] |= 0x20;
    urgent[18..20].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(world.guest_ip(&Ip::new(LEASED, WORLD, TCP, urgent)), Ok(()), "nobody follows the urgent pointer");
}

#[test]
fn while_isolated_a_unicast_address_goes_to_the_gateways_mac_alone() {
    let mut world = World::leased("0.0.0.0/0", "");
    for to in [WORLD, GATEWAY, NEIGHBOUR] {
        assert_eq!(world.guest(&Ip::ping(LEASED, to).frame(GATEWAY_MAC, GUEST_MAC)), Ok(()));
        for mac in [NEIGHBOUR_MAC, BROADCAST, [1, 0, 0x5e, 0, 0, 1], [0; 6], GUEST_MAC] {
            let frame = Ip::ping(LEASED, to).frame(mac, GUEST_MAC);
            assert_eq!(world.guest(&frame), Err(DropReason::EthernetDestination), "{to} {mac:?}");
        }
    }
}

#[test]
fn on_an_open_link_a_unicast_address_goes_to_any_unicast_mac() {
    let mut world =
        World::leased_with(Config { isolation: Isolation::Open, policy: entries("0.0.0.0/0", ""), ..config() });
    assert_eq!(world.guest(&Ip::ping(LEASED, NEIGHBOUR).frame(NEIGHBOUR_MAC, GUEST_MAC)), Ok(()));
    for mac in [BROADCAST, [1, 0, 0x5e, 0, 0, 1]] {
        let frame = Ip::ping(LEASED, NEIGHBOUR).frame(mac, GUEST_MAC);
        assert_eq!(world.guest(&frame), Err(DropReason::EthernetDestination));
    }
}

#[test]
fn groups_and_broadcast_go_to_their_own_macs() {
    let mut world = World::leased("0.0.0.0/0", "");
    let mdns = Ipv4Addr::new(224, 0, 0, 251);
    let high = Ipv4Addr::new(239, 255, 128, 9);
    for (address, mac, verdict) in [
        (ALL, BROADCAST, Ok(())),
        (SUBNET_BROADCAST, BROADCAST, Ok(())),
        (mdns, [1, 0, 0x5e, 0, 0, 251], Ok(())),
        (high, [1, 0, 0x5e, 127, 128, 9], Ok(())),
        (high, [1, 0, 0x5e, 255, 128, 9], Err(DropReason::EthernetDestination)),
        (mdns, [1, 0, 0x5e, 0, 0, 250], Err(DropReason::EthernetDestination)),
        (mdns, BROADCAST, Err(DropReason::EthernetDestination)),
        (mdns, GATEWAY_MAC, Err(DropReason::EthernetDestination)),
        (ALL, GATEWAY_MAC, Err(DropReason::EthernetDestination)),
        (SUBNET_BROADCAST, GATEWAY_MAC, Err(DropReason::EthernetDestination)),
    ] {
        assert_eq!(world.guest(&Ip::ping(LEASED, address).frame(mac, GUEST_MAC)), verdict, "{address} {mac:?}");
    }
}

/// An ICMP error of this type, from the lease to the world, about a UDP datagram between these two.
fn icmp_error(kind: u8, quoted: (Ipv4Addr, Ipv4Addr)) -> Ip {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(&Ip::udp(quoted.0, quoted.1, (443, 4000), b"").bytes()[..28]);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Ip::new(LEASED, WORLD, 1, message)
}

#[test]
fn an_icmp_error_is_about_a_datagram_that_came_to_the_guest() {
    let mut world = World::leased("0.0.0.0/0", "");
    for kind in [3, 4, 11, 12] {
        assert_eq!(world.guest_ip(&icmp_error(kind, (WORLD, LEASED))), Ok(()), "type {kind}");
        for quoted in [(WORLD, NEIGHBOUR), (WORLD, GATEWAY), (LEASED, WORLD), (NEIGHBOUR, LEASED), (ANY, ANY)] {
            let error = icmp_error(kind, quoted);
            assert_eq!(world.guest_ip(&error), Err(DropReason::IcmpQuote), "type {kind} about {quoted:?}");
        }
    }
}

#[test]
fn an_icmp_error_quotes_a_whole_header_in_one_piece() {
    let mut world = World::leased("", "");
    let good = icmp_error(3, (WORLD, LEASED));
    for length in 1..28 {
        let cut = Ip { payload: good.payload[..length].to_vec(), ..good.clone() };
        assert_eq!(world.guest_ip(&cut), Err(DropReason::IcmpQuote), "cut to {length}");
    }
    let first = Ip { more_fragments: true, payload: good.payload[..32].to_vec(), ..good };
    assert_eq!(world.guest_ip(&first), Err(DropReason::IcmpQuote));
}

#[test]
fn a_guest_redirects_nobody() {
    let mut world = World::leased("0.0.0.0/0", "");
    assert_eq!(world.guest_ip(&icmp_error(5, (WORLD, LEASED))), Err(DropReason::IcmpQuote));
    assert_eq!(
        world.guest_ip(&Ip { destination: GATEWAY, ..icmp_error(5, (GATEWAY, LEASED)) }),
        Err(DropReason::IcmpQuote)
    );
}
