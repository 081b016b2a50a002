//! Sizes, addresses and types of frames, both ways, and ARP from the guest.

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, Direction, DropReason, EthernetAddress, Isolation, Network};

#[test]
fn a_frame_shorter_than_its_header_is_dropped_and_counted_both_ways() {
    let mut world = World::leased("", "");
    let frame = Ip::ping(LEASED, WORLD).frame(GATEWAY_MAC, GUEST_MAC);
    for length in 0..14 {
        assert_eq!(world.guest(&frame[..length]), Err(DropReason::FrameTooShort));
        assert_eq!(world.host(&frame[..length]), Err(DropReason::FrameTooShort));
    }
    assert_eq!(world.guest(&frame[..14]), Err(DropReason::Ipv4Malformed));
    assert_eq!(world.engine.counters().dropped(Direction::FromGuest, DropReason::FrameTooShort), 14);
    assert_eq!(world.engine.counters().dropped(Direction::FromHost, DropReason::FrameTooShort), 14);
}

#[test]
fn a_frame_longer_than_the_link_carries_is_dropped_both_ways() {
    let mut world = World::leased("", "");
    let ping = |padding| Ip { padding, ..Ip::ping(LEASED, WORLD) }.frame(GATEWAY_MAC, GUEST_MAC);
    let full = MAX_FRAME - ping(0).len();
    assert_eq!(world.guest(&ping(full)), Ok(()));
    assert_eq!(world.guest(&ping(full + 1)), Err(DropReason::FrameTooLong));
    let pong = |padding| Ip { padding, ..Ip::ping(WORLD, LEASED) }.frame(GUEST_MAC, GATEWAY_MAC);
    assert_eq!(world.host(&pong(full)), Ok(()));
    assert_eq!(world.host(&pong(full + 1)), Err(DropReason::FrameTooLong));
}

#[test]
fn the_guest_speaks_from_its_own_mac_alone() {
    let mut world = World::leased("", "");
    for source in [GATEWAY_MAC, NEIGHBOUR_MAC, BROADCAST, [0; 6], [3, 0, 0, 0, 0, 7]] {
        assert_eq!(world.guest(&Ip::ping(LEASED, WORLD).frame(GATEWAY_MAC, source)), Err(DropReason::EthernetSource));
        let arp = Arp::request(source, LEASED, GATEWAY).frame(BROADCAST, source);
        assert_eq!(world.guest(&arp), Err(DropReason::EthernetSource));
        let dhcp = Dhcp { chaddr: source, ..Dhcp::discover(2) }.to_all().frame(BROADCAST, source);
        assert_eq!(world.guest(&dhcp), Err(DropReason::EthernetSource));
    }
}

#[test]
fn only_arp_and_ipv4_right_behind_the_macs_pass_either_way() {
    let mut world = World::leased("0.0.0.0/0", "");
    let ping = Ip::ping(LEASED, WORLD).bytes();
    let tagged = |tags: &[u8]| [tags, &[0x08, 0x00], &ping[..]].concat();
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &ping].concat();
    for (ether_type, payload) in [
        (IPV6, vec![0x60; 60]),
        (0x8100, tagged(&[0, 5])),                // a VLAN tag
        (0x8100, tagged(&[0, 0])),                // priority tag 0
        (0x8100, tagged(&[0, 0, 0x81, 0, 0, 5])), // two
        (0x88a8, tagged(&[0, 5, 0x81, 0, 0, 6])), // a stack of two kinds
        (snap.len() as u16, snap.clone()),        // LLC/SNAP with a true length
        (4, snap.clone()),                        // and with a false one
        (0, ping.clone()),
        (0x0805, ping.clone()),
        (0x8847, ping.clone()), // MPLS
        (0x8863, ping.clone()), // PPPoE
        (0x888e, ping.clone()), // EAPOL
        (0x0008, ping.clone()), // the right one, bytes swapped
    ] {
        let frame = ethernet(GATEWAY_MAC, GUEST_MAC, ether_type, &payload);
        assert_eq!(world.guest(&frame), Err(DropReason::EtherType), "{ether_type:#x}");
        let frame = ethernet(GUEST_MAC, GATEWAY_MAC, ether_type, &payload);
        assert_eq!(world.host(&frame), Err(DropReason::EtherType), "{ether_type:#x}");
    }
}

#[test]
fn the_guest_may_ask_and_answer_by_arp_for_its_lease() {
    let mut world = World::leased("", "");
    assert_eq!(world.guest(&Arp::request(GUEST_MAC, LEASED, GATEWAY).frame(BROADCAST, GUEST_MAC)), Ok(()));
    assert_eq!(world.guest(&Arp::request(GUEST_MAC, LEASED, LEASED).frame(BROADCAST, GUEST_MAC)), Ok(()));
    assert_eq!(world.guest(&Arp::reply(GUEST_MAC, LEASED, GATEWAY_MAC, GATEWAY).frame(GATEWAY_MAC, GUEST_MAC)), Ok(()));
    let mut padded = Arp::request(GUEST_MAC, LEASED, GATEWAY).frame(BROADCAST, GUEST_MAC);
    padded.resize(60, 0);
    assert_eq!(world.guest(&padded), Ok(()));
}

#[test]
fn the_guest_cannot_claim_by_arp_what_is_not_its_own() {
    let mut world = World::leased("0.0.0.0/0", "");
    for address in [GATEWAY, NEIGHBOUR, WORLD, ALL, SUBNET_BROADCAST] {
        for arp in [
            Arp::request(GUEST_MAC, address, LEASED),
            Arp::request(GUEST_MAC, address, address),
            Arp::reply(GUEST_MAC, address, BROADCAST, address),
            Arp::reply(GUEST_MAC, address, GATEWAY_MAC, GATEWAY),
        ] {
            assert_eq!(world.guest(&arp.frame(BROADCAST, GUEST_MAC)), Err(DropReason::ArpSenderProtocol));
        }
    }
    for mac in [GATEWAY_MAC, NEIGHBOUR_MAC, BROADCAST, [0; 6]] {
        for arp in [Arp::request(mac, LEASED, GATEWAY), Arp::reply(mac, LEASED, GATEWAY_MAC, GATEWAY)] {
            assert_eq!(world.guest(&arp.frame(BROADCAST, GUEST_MAC)), Err(DropReason::ArpSenderHardware));
        }
    }
}

#[test]
fn a_probe_passes_before_a_lease_and_a_reply_or_claim_does_not() {
    let mut world = World::new(config());
    assert_eq!(world.guest(&Arp::request(GUEST_MAC, ANY, LEASED).frame(BROADCAST, GUEST_MAC)), Ok(()));
    let reply = Arp::reply(GUEST_MAC, ANY, GATEWAY_MAC, GATEWAY).frame(BROADCAST, GUEST_MAC);
    assert_eq!(world.guest(&reply), Err(DropReason::ArpSenderProtocol));
    let claim = Arp::request(GUEST_MAC, LEASED, LEASED).frame(BROADCAST, GUEST_MAC);
    assert_eq!(world.guest(&claim), Err(DropReason::ArpSenderProtocol));
}

#[test]
fn arp_of_any_other_shape_is_dropped_both_ways() {
    let good = Arp::request(GUEST_MAC, LEASED, GATEWAY);
    let mut shapes = vec![
        Arp { hardware_type: 6, ..good.clone() },
        Arp { hardware_type: 0x100, ..good.clone() },
        Arp { protocol_type: IPV6, ..good.clone() },
        Arp { protocol_type: ARP, ..good.clone() },
        Arp { hardware_length: 0, ..good.clone() },
        Arp { hardware_length: 5, ..good.clone() },
        Arp { hardware_length: 255, ..good.clone() },
        Arp { protocol_length: 0, ..good.clone() },
        Arp { protocol_length: 16, ..good.clone() },
        Arp { protocol_length: 255, ..good.clone() },
    ];
    shapes.extend([0, 3, 4, 8, 9, 0x100, 0xffff].map(|operation| Arp { operation, ..good.clone() }));
    let mut world = World::leased("", "");
    for arp in shapes {
        for padding in [0, 32, 1000] {
            let mut frame = arp.frame(BROADCAST, GUEST_MAC);
            frame.resize(frame.len() + padding, 0);
            assert_eq!(world.guest(&frame), Err(DropReason::ArpMalformed), "{arp:?}");
            frame[6..12].copy_from_slice(&GATEWAY_MAC);
            assert_eq!(world.host(&frame), Err(DropReason::ArpMalformed), "{arp:?}");
        }
    }
    let frame = good.frame(BROADCAST, GUEST_MAC);
    for length in 14..42 {
        assert_eq!(world.guest(&frame[..length]), Err(DropReason::ArpMalformed), "cut to {length}");
    }
}

#[test]
fn arp_goes_to_all_or_while_isolated_to_the_gateway_alone() {
    let mut world = World::new(config());
    let probe = |to| Arp::request(GUEST_MAC, ANY, LEASED).frame(to, GUEST_MAC);
    assert_eq!(world.guest(&probe(GATEWAY_MAC)), Err(DropReason::EthernetDestination), "not known yet");
    let mut world = World::leased("", "");
    assert_eq!(world.guest(&probe(GATEWAY_MAC)), Ok(()));
    for to in [NEIGHBOUR_MAC, [0; 6], [1, 0, 0x5e, 0, 0, 1], [1, 0x80, 0xc2, 0, 0, 0], GUEST_MAC] {
        assert_eq!(world.guest(&probe(to)), Err(DropReason::EthernetDestination), "{to:?}");
    }
    let mut world = World::leased_with(Config { isolation: Isolation::Open, ..config() });
    assert_eq!(world.guest(&probe(NEIGHBOUR_MAC)), Ok(()));
    assert_eq!(world.guest(&probe([1, 0, 0x5e, 0, 0, 1])), Err(DropReason::EthernetDestination));
}

#[test]
fn a_pinned_gateway_mac_is_known_before_any_lease() {
    let network = Network { gateway_mac: Some(EthernetAddress(GATEWAY_MAC)), ..config().network };
    let mut world = World::new(Config { network, ..config() });
    assert_eq!(world.guest(&Arp::request(GUEST_MAC, ANY, LEASED).frame(GATEWAY_MAC, GUEST_MAC)), Ok(()));
}
