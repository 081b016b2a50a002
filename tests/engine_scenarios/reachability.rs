//! What the guest reaches: defaults of both modes, entries, DNS servers.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, DropReason, NetType, Network};

const PRIVATE_DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);

fn to(world: &mut World, address: &str) -> Judgement {
    world.guest_ip(&Ip::ping(LEASED, address.parse().unwrap()))
}

/// Addresses that are neither the world nor the gateway, and not of a group.
const NOT_THE_WORLD: &[&str] = &[
    "192.168.64.8",
    "192.168.64.0",
    "192.168.1.1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "169.254.169.254",
    "169.254.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "255.255.255.254",
];

#[test]
fn in_nat_mode_the_gateway_and_the_world_pass_and_nothing_else_does() {
    let mut world = World::leased("", "");
    for address in ["192.168.64.1", "1.1.1.1", "93.184.215.14", "172.32.0.1", "100.128.0.1", "223.255.255.255"] {
        assert_eq!(to(&mut world, address), Ok(()), "{address}");
    }
    for address in NOT_THE_WORLD {
        assert_eq!(to(&mut world, address), Err(DropReason::NotReachable), "{address}");
    }
}

#[test]
fn in_host_mode_the_gateway_passes_and_nothing_else_does() {
    let mut world = World::leased_with(Config { net_type: NetType::Host, ..config() });
    assert_eq!(to(&mut world, "192.168.64.1"), Ok(()));
    for address in NOT_THE_WORLD.iter().chain(&["1.1.1.1", "93.184.215.14"]) {
        assert_eq!(to(&mut world, address), Err(DropReason::NotReachable), "{address}");
    }
    let policy = entries("93.184.215.0/24", "");
    let mut world = World::leased_with(Config { net_type: NetType::Host, policy, ..config() });
    assert_eq!(to(&mut world, "93.184.215.14"), Ok(()));
    assert_eq!(to(&mut world, "93.184.216.14"), Err(DropReason::NotReachable));
}

#[test]
fn multicast_and_broadcast_pass_only_when_allowed() {
    let groups = [
        (ALL, BROADCAST),
        (SUBNET_BROADCAST, BROADCAST),
        (Ipv4Addr::new(224, 0, 0, 251), [1, 0, 0x5e, 0, 0, 251]),
        (Ipv4Addr::new(232, 1, 1, 1), [1, 0, 0x5e, 1, 1, 1]),
    ];
    let mut world = World::leased("", "");
    for (address, mac) in groups {
        let frame = Ip::ping(LEASED, address).frame(mac, GUEST_MAC);
        assert_eq!(world.guest(&frame), Err(DropReason::NotReachable), "{address}");
    }
    let mut world = World::leased("224.0.0.0/4,192.168.64.255,255.255.255.255", "");
    for (address, mac) in groups {
        assert_eq!(world.guest(&Ip::ping(LEASED, address).frame(mac, GUEST_MAC)), Ok(()), "{address}");
    }
}

#[test]
fn neighbours_on_a_subnet_of_public_addresses_are_not_the_world() {
    let network =
        Network { gateway: Ipv4Addr::new(5, 6, 7, 1), subnet: "5.6.7.0/24".parse().unwrap(), ..config().network };
    let mut world = World::new(Config { network, ..config() });
    let lease = Ipv4Addr::new(5, 6, 7, 7);
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, lease)), Ok(()));
    let ack = Dhcp::ack(1, lease, 600).option(6, &[5, 6, 7, 9]);
    let ack = Ip { source: network.gateway, ..ack.by_gateway() };
    assert_eq!(world.host(&ack.frame(BROADCAST, GATEWAY_MAC)), Ok(()));
    assert_eq!(world.guest_ip(&Ip::ping(lease, Ipv4Addr::new(5, 6, 7, 8))), Err(DropReason::NotReachable));
    assert_eq!(world.guest_ip(&Ip::ping(lease, Ipv4Addr::new(5, 6, 8, 8))), Ok(()));
    let dns_server = Ipv4Addr::new(5, 6, 7, 9);
    assert_eq!(world.guest_ip(&Ip::ping(lease, dns_server)), Err(DropReason::NotReachable));
    assert_eq!(world.guest_ip(&Ip::udp(lease, dns_server, (5000, 53), &[])), Ok(()));
}

#[test]
fn entries_open_and_close_and_the_longest_decides() {
    let mut world = World::leased("10.0.0.0/8,10.1.2.0/24", "10.1.0.0/16,1.0.0.0/8,@host");
    assert_eq!(to(&mut world, "10.9.9.9"), Ok(()));
    assert_eq!(to(&mut world, "10.1.9.9"), Err(DropReason::Blocked));
    assert_eq!(to(&mut world, "10.1.2.9"), Ok(()));
    assert_eq!(to(&mut world, "1.1.1.1"), Err(DropReason::Blocked));
    assert_eq!(to(&mut world, "192.168.64.1"), Err(DropReason::Blocked));
    assert_eq!(to(&mut world, "8.8.8.8"), Ok(()));
    assert_eq!(to(&mut world, "192.168.1.1"), Err(DropReason::NotReachable));
}

#[test]
fn blocking_everything_leaves_dhcp_and_what_is_allowed() {
    let mut world = World::leased("1.1.1.1", "0.0.0.0/0");
    assert_eq!(to(&mut world, "1.1.1.1"), Ok(()));
    assert_eq!(to(&mut world, "8.8.8.8"), Err(DropReason::Blocked));
    assert_eq!(to(&mut world, "192.168.64.1"), Err(DropReason::Blocked));
    let renewal = Dhcp::renewal(2, LEASED).to_gateway(LEASED);
    assert_eq!(world.guest_ip(&renewal), Ok(()));
}

#[test]
fn a_new_policy_holds_from_the_next_frame_on() {
    let mut world = World::leased("", "");
    assert_eq!(to(&mut world, "1.1.1.1"), Ok(()));
    world.engine.set_policy(entries("10.0.0.0/8", "1.1.1.1"));
    assert_eq!(to(&mut world, "1.1.1.1"), Err(DropReason::Blocked));
    assert_eq!(to(&mut world, "10.0.0.1"), Ok(()));
    assert_eq!(world.engine.policy(), &entries("10.0.0.0/8", "1.1.1.1"));
    world.engine.set_policy(entries("", ""));
    assert_eq!(to(&mut world, "1.1.1.1"), Ok(()));
    assert_eq!(to(&mut world, "10.0.0.1"), Err(DropReason::NotReachable));
}

fn with_dns(net_type: NetType, servers: &[Ipv4Addr]) -> World {
    let mut world = World::new(Config { net_type, ..config() });
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, LEASED)), Ok(()));
    let servers: Vec<u8> = servers.iter().flat_map(|server| server.octets()).collect();
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 600).option(6, &servers)), Ok(()));
    world
}

#[test]
fn in_nat_mode_the_dns_servers_of_the_lease_pass_at_their_port_alone() {
    let mut world = with_dns(NetType::Nat, &[PRIVATE_DNS]);
    assert_eq!(world.guest_ip(&Ip::udp(LEASED, PRIVATE_DNS, (5000, 53), &[0; 20])), Ok(()));
    assert_eq!(world.guest_ip(&Ip::tcp(LEASED, PRIVATE_DNS, (5000, 53))), Ok(()));
    assert_eq!(world.guest_ip(&Ip::udp(LEASED, PRIVATE_DNS, (53, 54), &[])), Err(DropReason::NotReachable));
    assert_eq!(world.guest_ip(&Ip::tcp(LEASED, PRIVATE_DNS, (53, 80))), Err(DropReason::NotReachable));
    assert_eq!(world.guest_ip(&Ip::ping(LEASED, PRIVATE_DNS)), Err(DropReason::NotReachable));
    let other = Ipv4Addr::new(10, 0, 0, 54);
    assert_eq!(world.guest_ip(&Ip::udp(LEASED, other, (5000, 53), &[])), Err(DropReason::NotReachable));
    let sctp = Ip::new(LEASED, PRIVATE_DNS, 132, vec![0, 53, 0, 53, 0, 0, 0, 0]);
    assert_eq!(world.guest_ip(&sctp), Err(DropReason::NotReachable));
}

#[test]
fn a_fragment_has_no_port_that_opens_a_dns_server() {
    let mut world = with_dns(NetType::Nat, &[PRIVATE_DNS]);
    for (protocol, payload) in [(UDP, udp(5000, 53, &[0; 32])), (TCP, [tcp(5000, 53), vec![0; 4]].concat())] {
        for (fragment_offset, more_fragments) in [(0, true), (4, false), (4, true)] {
            let datagram =
                Ip { fragment_offset, more_fragments, ..Ip::new(LEASED, PRIVATE_DNS, protocol, payload.clone()) };
            assert_eq!(world.guest_ip(&datagram), Err(DropReason::NotReachable));
        }
    }
}

#[test]
fn a_block_entry_closes_a_dns_server_and_the_end_of_the_lease_forgets_it() {
    let mut world = with_dns(NetType::Nat, &[PRIVATE_DNS]);
    world.engine.set_policy(entries("", "10.0.0.0/8"));
    assert_eq!(world.guest_ip(&Ip::udp(LEASED, PRIVATE_DNS, (5000, 53), &[])), Err(DropReason::Blocked));
    world.engine.set_policy(entries("", ""));
    world.guest_ip(&Dhcp::release(2, LEASED).to_gateway(LEASED)).unwrap();
    world.lease(LEASED, 600, 3);
    assert_eq!(world.guest_ip(&Ip::udp(LEASED, PRIVATE_DNS, (5000, 53), &[])), Err(DropReason::NotReachable));
}

#[test]
fn in_host_mode_no_dns_server_passes_but_the_gateway() {
    let mut world = with_dns(NetType::Host, &[PRIVATE_DNS, GATEWAY]);
    assert_eq!(world.guest_ip(&Ip::udp(LEASED, PRIVATE_DNS, (5000, 53), &[])), Err(DropReason::NotReachable));
    assert_eq!(world.guest_ip(&Ip::udp(LEASED, GATEWAY, (5000, 53), &[])), Ok(()));
}

#[test]
fn four_dns_servers_count_and_none_that_is_no_host() {
    let server = |last| Ipv4Addr::new(10, 0, 0, last);
    let mut world =
        with_dns(NetType::Nat, &[ALL, ANY, SUBNET_BROADCAST, server(1), server(2), server(3), server(4), server(5)]);
    for last in 1..=4 {
        assert_eq!(world.guest_ip(&Ip::udp(LEASED, server(last), (5000, 53), &[])), Ok(()));
    }
    for address in [server(5), ANY] {
        assert_eq!(world.guest_ip(&Ip::udp(LEASED, address, (5000, 53), &[])), Err(DropReason::NotReachable));
    }
    for address in [ALL, SUBNET_BROADCAST] {
        let frame = Ip::udp(LEASED, address, (5000, 53), &[]).frame(BROADCAST, GUEST_MAC);
        assert_eq!(world.guest(&frame), Err(DropReason::NotReachable), "{address}");
    }
}
