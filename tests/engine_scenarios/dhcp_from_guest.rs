//! DHCP that the guest sends: who may say what to whom, and how often.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::DropReason;

#[test]
fn a_client_without_an_address_may_discover_and_request() {
    let mut world = World::new(config());
    assert_eq!(world.guest_dhcp(&Dhcp::discover(1)), Ok(()));
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, LEASED)), Ok(()));
    let mut padded = Dhcp::discover(2).to_all();
    padded.padding = 20;
    assert_eq!(world.guest(&padded.frame(BROADCAST, GUEST_MAC)), Ok(()));
}

#[test]
fn a_client_with_a_lease_may_speak_to_its_gateway_or_to_all() {
    let mut world = World::leased("", "");
    assert_eq!(world.guest_ip(&Dhcp::renewal(2, LEASED).to_gateway(LEASED)), Ok(()));
    let rebinding = Ip { source: LEASED, ..Dhcp::renewal(3, LEASED).to_all() };
    assert_eq!(world.guest(&rebinding.frame(BROADCAST, GUEST_MAC)), Ok(()));
    let inform = Dhcp { ciaddr: LEASED, ..Dhcp::from_guest(INFORM, 4) };
    assert_eq!(world.guest_ip(&inform.to_gateway(LEASED)), Ok(()));
    assert_eq!(world.guest_dhcp(&Dhcp::decline(5, LEASED)), Ok(()));
}

#[test]
fn the_exemption_is_for_68_to_67_alone() {
    let mut world = World::leased("0.0.0.0/0", "");
    let message = Dhcp::discover(2).bytes();
    for source in [0, 1, 53, 66, 69, 546, 6800] {
        let datagram = Ip::udp(ANY, ALL, (source, 67), &message);
        assert_eq!(world.guest(&datagram.frame(BROADCAST, GUEST_MAC)), Err(DropReason::DhcpForbidden), "{source}");
    }
    for destination in [53, 66, 68, 69, 547] {
        let datagram = Ip::udp(ANY, ALL, (68, destination), &message);
        assert_eq!(world.guest(&datagram.frame(BROADCAST, GUEST_MAC)), Err(DropReason::SourceAddress), "{destination}");
    }
}

#[test]
fn a_guest_is_no_dhcp_server() {
    let mut world = World::leased("0.0.0.0/0", "");
    for destination in [67, 68, 5000] {
        for to in [ALL, NEIGHBOUR, GATEWAY, WORLD] {
            let datagram = Ip::udp(LEASED, to, (67, destination), &Dhcp::ack(7, NEIGHBOUR, 600).bytes());
            let mac = if to == ALL { BROADCAST } else { GATEWAY_MAC };
            assert_eq!(world.guest(&datagram.frame(mac, GUEST_MAC)), Err(DropReason::DhcpServerPort));
        }
    }
}

#[test]
fn dhcp_goes_to_all_or_to_the_gateway_alone_whatever_is_allowed() {
    let mut world = World::leased("0.0.0.0/0", "");
    for to in [NEIGHBOUR, WORLD, SUBNET_BROADCAST, Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 1)] {
        let datagram = Ip::udp(LEASED, to, (68, 67), &Dhcp::discover(2).bytes());
        assert_eq!(world.guest_ip(&datagram), Err(DropReason::DhcpForbidden), "{to}");
    }
    let all = Dhcp::discover(2).to_all();
    assert_eq!(world.guest(&all.frame(GATEWAY_MAC, GUEST_MAC)), Err(DropReason::EthernetDestination));
    let gateway = Dhcp::discover(2).to_gateway(LEASED);
    for mac in [BROADCAST, NEIGHBOUR_MAC] {
        assert_eq!(world.guest(&gateway.frame(mac, GUEST_MAC)), Err(DropReason::EthernetDestination));
    }
}

#[test]
fn dhcp_comes_from_nowhere_or_from_the_lease() {
    let mut world = World::leased("", "");
    for source in [NEIGHBOUR, GATEWAY, WORLD, ALL] {
        let datagram = Ip { source, ..Dhcp::discover(2).to_all() };
        assert_eq!(world.guest(&datagram.frame(BROADCAST, GUEST_MAC)), Err(DropReason::DhcpForbidden), "{source}");
    }
    let mut world = World::new(config());
    let datagram = Ip { source: LEASED, ..Dhcp::renewal(2, LEASED).to_all() };
    assert_eq!(world.guest(&datagram.frame(BROADCAST, GUEST_MAC)), Err(DropReason::DhcpForbidden), "no lease yet");
}

#[test]
fn a_message_speaks_for_this_client_on_this_link_alone() {
    let mut world = World::leased("", "");
    let good = Dhcp::discover(2);
    for bad in [
        Dhcp { op: 2, ..good.clone() },
        Dhcp { op: 0, ..good.clone() },
        Dhcp { hardware_type: 6, ..good.clone() },
        Dhcp { hardware_length: 16, ..good.clone() },
        Dhcp { hardware_length: 0, ..good.clone() },
        Dhcp { chaddr: NEIGHBOUR_MAC, ..good.clone() },
        Dhcp { chaddr: [0; 6], ..good.clone() },
        Dhcp { ciaddr: NEIGHBOUR, ..good.clone() },
        Dhcp { yiaddr: LEASED, ..good.clone() },
        Dhcp { siaddr: GATEWAY, ..good.clone() },
        Dhcp { giaddr: GATEWAY, ..good.clone() },
        Dhcp { giaddr: LEASED, ..good.clone() },
        good.clone().option(82, &[1, 1, 9]),
        good.clone().option(118, &[10, 0, 0, 0]),
    ] {
        assert_eq!(world.guest_dhcp(&bad), Err(DropReason::DhcpForbidden), "{bad:?}");
    }
    for kind in [0, OFFER, ACK, NAK, 9, 10, 13, 255] {
        assert_eq!(world.guest_dhcp(&Dhcp::from_guest(kind, 2)), Err(DropReason::DhcpForbidden), "type {kind}");
    }
}

#[test]
fn a_malformed_message_is_dropped_and_changes_nothing() {
    let mut world = World::leased("", "");
    let release = [53, 1, RELEASE];
    let good = Dhcp::release(2, LEASED);
    for raw in [
        &release[..],                           // no END
        &[53, 1],                               // cut short
        &[53, 1, RELEASE, 53, 1, RELEASE, 255], // doubled
        &[53, 1, RELEASE, 12, 200, 1, 255],     // overrunning
        &[255],                                 // no type
        &[0; 300],                              // endless
        &[53, 1, RELEASE, 52, 1, 1, 255],       // overloaded
        &[53, 2, RELEASE, RELEASE, 255],
    ] {
        let message = Dhcp { file: [255; 128], ..good.clone() }.raw_options(raw);
        assert_eq!(world.guest_ip(&message.to_gateway(LEASED)), Err(DropReason::DhcpMalformed), "{raw:?}");
    }
    let bytes = good.bytes();
    for length in [0, 1, 100, 239, 240, 243] {
        let datagram = Ip::udp(LEASED, GATEWAY, (68, 67), &bytes[..length]);
        assert_eq!(world.guest_ip(&datagram), Err(DropReason::DhcpMalformed), "cut to {length}");
    }
    let no_cookie = Dhcp { cookie: [99, 130, 83, 98], ..good.clone() };
    assert_eq!(world.guest_ip(&no_cookie.to_gateway(LEASED)), Err(DropReason::DhcpMalformed));
    assert_eq!(world.speaks_from(LEASED), Ok(()));
    assert!(world.events().is_empty());
}

#[test]
fn the_datagram_holds_the_udp_and_nothing_else() {
    let mut world = World::leased("", "");
    let mut datagram = Dhcp::discover(2).to_all();
    datagram.payload.push(0);
    assert_eq!(world.guest(&datagram.frame(BROADCAST, GUEST_MAC)), Err(DropReason::DhcpMalformed));
}

#[test]
fn a_guest_asks_sixteen_times_at_once_and_then_once_a_second() {
    let mut world = World::new(config());
    for xid in 0..16 {
        assert_eq!(world.guest_dhcp(&Dhcp::discover(xid)), Ok(()));
    }
    assert_eq!(world.guest_dhcp(&Dhcp::discover(16)), Err(DropReason::DhcpRate));
    world.wait(999);
    assert_eq!(world.guest_dhcp(&Dhcp::discover(16)), Err(DropReason::DhcpRate));
    world.wait(1);
    assert_eq!(world.guest_dhcp(&Dhcp::discover(16)), Ok(()));
    assert_eq!(world.guest_dhcp(&Dhcp::discover(17)), Err(DropReason::DhcpRate));
}

#[test]
fn every_kind_of_message_counts_on_the_budget() {
    for kind in [DISCOVER, REQUEST, DECLINE, RELEASE, INFORM] {
        let mut world = World::new(config());
        for xid in 0..16 {
            assert_eq!(world.guest_dhcp(&Dhcp::from_guest(kind, xid)), Ok(()));
        }
        assert_eq!(world.guest_dhcp(&Dhcp::from_guest(kind, 99)), Err(DropReason::DhcpRate), "type {kind}");
    }
}

#[test]
fn a_dropped_release_changes_nothing() {
    let mut world = World::leased("", "");
    for xid in 0..15 {
        assert_eq!(world.guest_dhcp(&Dhcp::from_guest(INFORM, xid)), Ok(()));
    }
    let release = Dhcp::release(99, LEASED).to_gateway(LEASED);
    assert_eq!(world.guest_ip(&release), Err(DropReason::DhcpRate));
    assert_eq!(world.speaks_from(LEASED), Ok(()));
}

#[test]
fn a_guest_has_three_identifiers_in_ten_minutes() {
    let mut world = World::new(config());
    let with = |xid, identifier: &[u8]| Dhcp::discover(xid).option(61, identifier);
    assert_eq!(world.guest_dhcp(&Dhcp::discover(1)), Ok(()));
    assert_eq!(world.guest_dhcp(&with(2, &[1, 2, 0, 0, 0, 0, 7])), Ok(()));
    assert_eq!(world.guest_dhcp(&with(3, &[255; 255])), Ok(()));
    assert_eq!(world.guest_dhcp(&with(4, &[255; 254])), Err(DropReason::DhcpIdentifiers));
    assert_eq!(world.guest_dhcp(&with(5, &[1, 2, 0, 0, 0, 0, 8])), Err(DropReason::DhcpIdentifiers));
    assert_eq!(world.guest_dhcp(&with(6, &[255; 255])), Ok(()));
    world.wait(600_000);
    assert_eq!(world.guest_dhcp(&with(7, &[9, 9])), Err(DropReason::DhcpIdentifiers));
    world.wait(1);
    assert_eq!(world.guest_dhcp(&with(8, &[9, 9])), Ok(()));
}
