//! DHCP that comes from the host's side: which replies count, and what they cannot do.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, DropReason, EthernetAddress, Isolation, Network};

/// A guest that has asked for [`LEASED`] under id 1 and waits.
fn asking() -> World {
    let mut world = World::new(config());
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, LEASED)), Ok(()));
    world
}

fn assert_untaught(mut world: World) {
    assert_eq!(world.engine.lease(), None);
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Ok(()), "the request is still open");
}

#[test]
fn a_reply_counts_unicast_or_broadcast() {
    let ack = Dhcp::ack(1, LEASED, 600);
    for (ip, mac) in [(LEASED, GUEST_MAC), (ALL, BROADCAST), (SUBNET_BROADCAST, BROADCAST)] {
        let mut world = asking();
        let datagram = Ip::udp(GATEWAY, ip, (67, 68), &ack.bytes());
        assert_eq!(world.host(&datagram.frame(mac, GATEWAY_MAC)), Ok(()));
        assert_eq!(world.speaks_from(LEASED), Ok(()));
    }
}

#[test]
fn a_reply_from_elsewhere_than_the_gateway_does_not_count() {
    let mut world = asking();
    let bytes = Dhcp::ack(1, LEASED, 600).bytes();
    for source in [NEIGHBOUR, ANY, WORLD, LEASED] {
        let datagram = Ip::udp(source, ALL, (67, 68), &bytes);
        assert_eq!(world.host(&datagram.frame(BROADCAST, GATEWAY_MAC)), Err(DropReason::DhcpNotFromGateway));
    }
    for port in [68, 53, 66, 4011] {
        let datagram = Ip::udp(GATEWAY, ALL, (port, 68), &bytes);
        assert_eq!(world.host(&datagram.frame(BROADCAST, GATEWAY_MAC)), Err(DropReason::DhcpNotFromGateway));
    }
    assert_untaught(world);
}

#[test]
fn a_datagram_to_another_port_teaches_nothing() {
    let mut world = asking();
    for port in [69, 53, 1067] {
        let datagram = Ip::udp(GATEWAY, LEASED, (67, port), &Dhcp::ack(1, LEASED, 600).bytes());
        assert_eq!(world.host_ip(&datagram), Ok(()));
    }
    assert_untaught(world);
}

#[test]
fn where_the_gateways_mac_is_pinned_no_other_may_reply() {
    let network = Network { gateway_mac: Some(EthernetAddress(GATEWAY_MAC)), ..config().network };
    let mut world = World::new(Config { network, isolation: Isolation::Open, ..config() });
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    let ack = Dhcp::ack(1, LEASED, 600).by_gateway();
    assert_eq!(world.host(&ack.frame(BROADCAST, NEIGHBOUR_MAC)), Err(DropReason::DhcpNotFromGateway));
    assert_untaught(world);
}

#[test]
fn where_it_is_not_the_last_grant_teaches_it() {
    let mut world = World::leased("", "");
    let other = [0x52, 0x54, 0, 0, 0, 2];
    let ping = |mac| Ip::ping(LEASED, WORLD).frame(mac, GUEST_MAC);
    assert_eq!(world.guest(&ping(GATEWAY_MAC)), Ok(()));
    assert_eq!(world.guest(&ping(other)), Err(DropReason::EthernetDestination));
    world.guest_dhcp(&Dhcp::renewal(2, LEASED)).unwrap();
    assert_eq!(world.host(&Dhcp::ack(2, LEASED, 600).by_gateway().frame(BROADCAST, other)), Ok(()));
    assert_eq!(world.guest(&ping(other)), Ok(()));
    assert_eq!(world.guest(&ping(GATEWAY_MAC)), Err(DropReason::EthernetDestination));
}

#[test]
fn an_offer_teaches_no_mac() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::discover(1)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::offer(1, LEASED)), Ok(()));
    let probe = Arp::request(GUEST_MAC, ANY, LEASED).frame(GATEWAY_MAC, GUEST_MAC);
    assert_eq!(world.guest(&probe), Err(DropReason::EthernetDestination));
}

#[test]
fn a_reply_for_another_client_or_transaction_is_dropped() {
    let mut world = asking();
    let other = Dhcp { chaddr: NEIGHBOUR_MAC, ..Dhcp::ack(1, LEASED, 600) };
    assert_eq!(world.host_dhcp(&other), Err(DropReason::DhcpNotForGuest));
    assert_eq!(world.host_dhcp(&Dhcp::ack(2, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.host_dhcp(&Dhcp::nak(2)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.host_dhcp(&Dhcp::offer(1, LEASED)), Err(DropReason::DhcpNoTransaction), "an offer to a request");
    assert_untaught(world);
}

#[test]
fn nobody_is_told_anything_who_has_not_asked() {
    let mut world = World::leased("", "");
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, NEIGHBOUR, 600)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.host_dhcp(&Dhcp::nak(1)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.speaks_from(LEASED), Ok(()));
}

#[test]
fn an_acknowledgement_does_not_answer_a_discover() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::discover(1)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.host_dhcp(&Dhcp::nak(1)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.host_dhcp(&Dhcp::offer(1, LEASED)), Ok(()));
    assert_eq!(world.engine.lease(), None);
}

#[test]
fn a_reply_of_another_kind_or_shape_is_dropped() {
    let mut world = asking();
    let good = Dhcp::ack(1, LEASED, 600);
    for bad in [
        Dhcp { op: 1, ..good.clone() },
        Dhcp { hardware_type: 6, ..good.clone() },
        Dhcp { hardware_length: 0, ..good.clone() },
        Dhcp::from_server(DISCOVER, 1),
        Dhcp::from_server(REQUEST, 1),
        Dhcp::from_server(RELEASE, 1),
        Dhcp::from_server(9, 1),
        Dhcp::from_server(0, 1),
    ] {
        assert_eq!(world.host_dhcp(&bad), Err(DropReason::DhcpForbidden), "{bad:?}");
    }
    for raw in [&[53, 1, ACK, 51, 4, 0, 0, 2, 88][..], &[53, 1, ACK, 51, 4, 0], &[53, 1, ACK, 53, 1, NAK, 255], &[255]]
    {
        assert_eq!(world.host_dhcp(&good.clone().raw_options(raw)), Err(DropReason::DhcpMalformed));
    }
    let mut longer = good.by_gateway();
    longer.payload.push(0);
    assert_eq!(world.host(&longer.frame(BROADCAST, GATEWAY_MAC)), Err(DropReason::DhcpMalformed));
    let dns = Ip::udp(GATEWAY, LEASED, (67, 68), b"not DHCP at all");
    assert_eq!(world.host_ip(&dns), Err(DropReason::DhcpMalformed));
    let group = good.by_gateway().frame([1, 0, 0x5e, 0, 0, 1], GATEWAY_MAC);
    assert_eq!(world.host(&group), Err(DropReason::EthernetDestination));
    assert_untaught(world);
}

#[test]
fn a_fragment_is_no_reply() {
    let mut world = asking();
    let ack = Dhcp::ack(1, LEASED, 600).option(12, b"pad").by_gateway();
    let padded = [ack.payload.clone(), vec![0; 8 - ack.payload.len() % 8]].concat();
    let first = Ip { more_fragments: true, payload: padded, ..ack.clone() };
    assert_eq!(world.host(&first.frame(BROADCAST, GATEWAY_MAC)), Err(DropReason::DhcpFragment));
    let later = Ip { fragment_offset: 1, ..ack };
    assert_eq!(
        world.host(&later.frame(BROADCAST, GATEWAY_MAC)),
        Ok(()),
        "it has no ports, and no first part that passed"
    );
    assert_untaught(world);
}

#[test]
fn a_grant_is_of_a_usable_address_of_the_subnet_for_some_time() {
    let mut world = asking();
    let network = Ipv4Addr::new(192, 168, 64, 0);
    for address in [GATEWAY, network, SUBNET_BROADCAST, WORLD, Ipv4Addr::new(192, 168, 65, 7), ANY, ALL] {
        assert_eq!(world.host_dhcp(&Dhcp::ack(1, address, 600)), Err(DropReason::DhcpGrant), "{address}");
    }
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 0)), Err(DropReason::DhcpGrant));
    let timeless = Dhcp { yiaddr: LEASED, ..Dhcp::from_server(ACK, 1) };
    assert_eq!(world.host_dhcp(&timeless), Err(DropReason::DhcpGrant));
    assert_untaught(world);
}

#[test]
fn an_overloaded_reply_is_read_whole() {
    let mut world = asking();
    let mut ack = Dhcp { yiaddr: LEASED, ..Dhcp::from_server(ACK, 1) }.option(52, &[1]);
    ack.file[..7].copy_from_slice(&[51, 4, 0, 0, 2, 88, 255]);
    assert_eq!(world.host_dhcp(&ack), Ok(()));
    assert_eq!(world.speaks_from(LEASED), Ok(()));
}

#[test]
fn the_answer_to_an_inform_passes_and_teaches_nothing() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::from_guest(INFORM, 1)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.host_dhcp(&Dhcp::from_server(ACK, 1)), Ok(()));
    assert_eq!(world.host_dhcp(&Dhcp::from_server(ACK, 1)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.engine.lease(), None);
}

#[test]
fn the_answer_to_an_inform_is_not_taken_for_that_to_a_later_request_of_the_same_id() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::from_guest(INFORM, 1)).unwrap();
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Ok(()));
    assert_eq!(world.engine.lease(), None, "it may answer the inform");
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600)), Ok(()));
    assert!(world.engine.lease().is_some());
}
