//! What decided: it fits the verdict, whatever the policy, the sender, the lease and the names.

use std::net::Ipv4Addr;

use crate::engine_world::dns::Dns;
use crate::engine_world::frames::*;
use crate::engine_world::*;
use crate::without_files;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use softnet::engine::Direction::{self, FromGuest, FromHost};
use softnet::engine::{Config, Decider, DropReason, Entry, Isolation, List, NetType, PolicyEntries, Verdict};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
const OTHER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const FAR: [Ipv4Addr; 8] = [WORLD, OTHER, SERVER, GATEWAY, NEIGHBOUR, ALL, Ipv4Addr::new(10, 0, 0, 1), ANY];
const NAMES: [&str; 3] = ["www.example.org", "example.org", "other.net"];

/// What decided, which fits the judgement.
pub(crate) fn check(
    world: &World,
    direction: Direction,
    frame: &[u8],
    judgement: Judgement,
) -> Result<(), TestCaseError> {
    let engine = &world.engine;
    let verdict = judgement.map_or_else(Verdict::Drop, |()| Verdict::Forward);
    let decider = engine.decider(direction, frame, verdict);
    let is_stateful = engine.policy().is_stateful();
    let fits = match (judgement, &decider) {
        (Ok(()), Some(Decider::Entry(List::Allow, entry))) => engine.policy().allow.contains(entry),
        (Ok(()), Some(Decider::Gateway | Decider::World | Decider::DnsServer)) => direction == FromGuest,
        (Ok(()), Some(Decider::Inbound)) => direction == FromHost,
        (Ok(()), Some(Decider::Flow)) => is_stateful,
        (Ok(()), Some(Decider::Dhcp)) => frame[23] == UDP,
        (Ok(()), None) => frame[12..14] == ARP.to_be_bytes(),
        (Err(DropReason::Blocked), Some(Decider::Entry(List::Block, entry))) => engine.policy().block.contains(entry),
        (Err(DropReason::NotReachable), Some(Decider::NotReachable)) => direction == FromGuest,
        (Err(DropReason::Neighbour), Some(Decider::Isolation)) => direction == FromHost,
        (Err(DropReason::Neighbour), Some(Decider::Entry(List::Block, entry))) => {
            direction == FromHost && engine.policy().block.contains(entry)
        }
        (Err(DropReason::DhcpServerPort | DropReason::DhcpClientPort), Some(Decider::Dhcp)) => true,
        (Err(DropReason::Blocked | DropReason::NotReachable | DropReason::Neighbour), _) => false,
        (Err(_), decider) => decider.is_none(),
        (Ok(()), Some(_)) => false,
    };
    prop_assert!(fits, "{:?}, decided by {:?}, under {:?}", judgement, decider, engine.policy());
    Ok(())
}

fn entry() -> impl Strategy<Value = Entry> {
    let target = prop_oneof![
        6 => (select(FAR.to_vec()), select(vec![0u8, 8, 24, 31, 32])).prop_map(|(address, length)| format!("{address}/{length}")),
        1 => Just("@host".to_owned()),
        3 => select(vec!["example.org", "*.example.org", "www.example.org", "*.net"]).prop_map(str::to_owned),
    ];
    let ports = prop::option::of(select(vec![":53", ":22", ":1-443", ":400-500"]));
    (select(vec!["", "", "in ", "out "]), target, ports).prop_map(|(way, target, ports)| {
        let way = if target.ends_with(char::is_alphabetic) && target != "@host" {
            way.trim_start_matches("in ")
        } else {
            way
        };
        format!("{way}{target}{}", ports.unwrap_or_default()).parse().unwrap()
    })
}

fn config_of() -> impl Strategy<Value = Config> {
    let lists = (vec(entry(), 0..7), vec(entry(), 0..7));
    (lists, any::<bool>(), any::<bool>(), 0..3u8).prop_map(|((mut allow, mut block), host, open, stateful)| {
        if stateful == 0 {
            allow.iter_mut().chain(&mut block).for_each(|entry| entry.way = softnet::engine::Way::Bare);
        }
        Config {
            net_type: if host { NetType::Host } else { NetType::Nat },
            isolation: if open { Isolation::Open } else { Isolation::Isolated },
            policy: PolicyEntries { allow, block },
            ..config()
        }
    })
}

fn datagram() -> impl Strategy<Value = (Direction, Ip)> {
    let port = || select(vec![22u16, 53, 67, 68, 443, 5000]);
    let far = select(FAR.to_vec());
    (select(vec![FromGuest, FromHost]), far, 0..6u8, port(), port()).prop_map(|(direction, far, kind, from, to)| {
        let (source, destination) = if direction == FromGuest { (LEASED, far) } else { (far, LEASED) };
        let datagram = match kind {
            0 | 1 => Ip::udp(source, destination, (from, to), b"what"),
            2 | 3 => Ip::tcp(source, destination, (from, to)),
            4 => Ip::ping(source, destination),
            _ => Ip { more_fragments: true, ..Ip::tcp(source, destination, (from, to)) },
        };
        (
            direction,
            Ip {
                payload: if kind == 5 { [datagram.payload, vec![0; 4]].concat() } else { datagram.payload },
                ..datagram
            },
        )
    })
}

proptest! {
    #![proptest_config(without_files(1500))]

    #[test]
    fn what_decided_fits_the_verdict(
        config in config_of(),
        names in vec((select(NAMES.to_vec()), select(vec![WORLD, OTHER])), 0..3),
        datagrams in vec(datagram(), 1..30),
    ) {
        let mut world = World::new(config);
        let ack = Dhcp::ack(1, LEASED, 100_000).option(6, &[GATEWAY.octets(), SERVER.octets()].concat());
        world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
        world.host_dhcp(&ack).unwrap();
        for (id, (name, address)) in (1..).zip(names) {
            // As far as the policy lets them pass.
            let _ = world.guest_ip(&Ip::udp(LEASED, GATEWAY, (5000, 53), &Dns::query(id, name).bytes()));
            let answer = Dns::answer(id, name).a("@12", 600, address);
            let _ = world.host_ip(&Ip::udp(GATEWAY, LEASED, (53, 5000), &answer.bytes()));
        }
        for (direction, datagram) in datagrams {
            let (frame, judgement) = match direction {
                FromGuest => {
                    let mac = if datagram.destination == ALL { BROADCAST } else { GATEWAY_MAC };
                    let frame = datagram.frame(mac, GUEST_MAC);
                    let judgement = world.guest(&frame);
                    (frame, judgement)
                }
                FromHost => {
                    let mac = if datagram.source == NEIGHBOUR { NEIGHBOUR_MAC } else { GATEWAY_MAC };
                    let frame = datagram.frame(GUEST_MAC, mac);
                    let judgement = world.host(&frame);
                    (frame, judgement)
                }
            };
            check(&world, direction, &frame, judgement)?;
        }
    }
}

#[test]
fn what_is_not_the_policys_has_no_decider_but_its_reason() {
    let mut world = World::leased("", "");
    let decided = |world: &World, direction, frame: &[u8], judgement: Judgement| {
        let verdict = judgement.map_or_else(Verdict::Drop, |()| Verdict::Forward);
        world.engine.decider(direction, frame, verdict).map(|decider| decider.to_string())
    };
    let spoofed = Ip::ping(NEIGHBOUR, WORLD).frame(GATEWAY_MAC, GUEST_MAC);
    let judgement = world.guest(&spoofed);
    assert_eq!((judgement, decided(&world, FromGuest, &spoofed, judgement)), (Err(DropReason::SourceAddress), None));
    let claimed = Arp::reply(NEIGHBOUR_MAC, NEIGHBOUR, GUEST_MAC, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC);
    let judgement = world.host(&claimed);
    let isolated = Some("default: isolated from neighbours".to_owned());
    assert_eq!(
        (judgement, decided(&world, FromHost, &claimed, judgement)),
        (Err(DropReason::Neighbour), isolated.clone())
    );
    // The gateway's address from another MAC.
    let claimed = Ip::ping(GATEWAY, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC);
    let judgement = world.host(&claimed);
    assert_eq!((judgement, decided(&world, FromHost, &claimed, judgement)), (Err(DropReason::Neighbour), isolated));
    for short in [&[][..], &[0; 13], &[0; 14], &spoofed[..20]] {
        assert_eq!(decided(&world, FromGuest, short, Err(DropReason::FrameTooShort)), None);
    }
}

#[test]
fn a_decider_is_named_as_it_would_be_typed() {
    let mut world = World::leased("in 0.0.0.0/0:22,1.1.1.1", "0.0.0.0/0");
    let mut decider = |direction, datagram: &Ip| {
        let (frame, judgement) = match direction {
            FromGuest => (datagram.frame(GATEWAY_MAC, GUEST_MAC), world.guest_ip(datagram)),
            FromHost => (datagram.frame(GUEST_MAC, GATEWAY_MAC), world.host_ip(datagram)),
        };
        let verdict = judgement.map_or_else(Verdict::Drop, |()| Verdict::Forward);
        world.engine.decider(direction, &frame, verdict).unwrap().to_string()
    };
    assert_eq!(decider(FromHost, &Ip::tcp(WORLD, LEASED, (5000, 22))), "--allow 'in 0.0.0.0/0:22'");
    assert_eq!(decider(FromGuest, &Ip::segment(LEASED, WORLD, (22, 5000), "SA")), "a flow that has begun");
    assert_eq!(decider(FromGuest, &Ip::ping(LEASED, Ipv4Addr::new(1, 1, 1, 1))), "--allow '1.1.1.1/32'");
    assert_eq!(decider(FromGuest, &Ip::ping(LEASED, WORLD)), "--block '0.0.0.0/0'");
}
