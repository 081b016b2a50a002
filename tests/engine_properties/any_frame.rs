//! No bytes panic, and what passes is judged again here by a second reading of the frame, without the engine's parser.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use crate::without_files;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use softnet::engine::{Config, Engine, Instant, Isolation, Verdict};

/// Valid frames of every class, to start from.
fn corpus() -> Vec<Vec<u8>> {
    let fragment = |protocol, offset, more, payload| Ip {
        fragment_offset: offset,
        more_fragments: more,
        ..Ip::new(LEASED, WORLD, protocol, payload)
    };
    let guest = |datagram: Ip| datagram.frame(GATEWAY_MAC, GUEST_MAC);
    let host = |datagram: Ip| datagram.frame(GUEST_MAC, GATEWAY_MAC);
    let mut overloaded = Dhcp { yiaddr: LEASED, ..Dhcp::from_server(ACK, 2) }.option(52, &[3]);
    overloaded.file[..7].copy_from_slice(&[51, 4, 0, 0, 2, 88, 255]);
    overloaded.sname[0] = 255;
    vec![
        Arp::request(GUEST_MAC, LEASED, GATEWAY).frame(BROADCAST, GUEST_MAC),
        Arp::request(GUEST_MAC, ANY, LEASED).frame(BROADCAST, GUEST_MAC),
        Arp::reply(GUEST_MAC, LEASED, GATEWAY_MAC, GATEWAY).frame(GATEWAY_MAC, GUEST_MAC),
        guest(Ip::ping(LEASED, WORLD)),
        guest(Ip::udp(LEASED, WORLD, (5000, 53), &[0; 20])),
        guest(Ip::tcp(LEASED, WORLD, (5000, 443))),
        guest(fragment(UDP, 0, true, udp(5000, 5000, &[0; 24]))),
        guest(fragment(UDP, 4, false, vec![7; 9])),
        guest(fragment(TCP, 0, true, [tcp(1, 2), vec![0; 4]].concat())),
        guest(Dhcp::renewal(2, LEASED).to_gateway(LEASED)),
        guest(Dhcp::release(3, LEASED).to_gateway(LEASED)),
        Dhcp::discover(2).option(61, &[1, 2, 3]).to_all().frame(BROADCAST, GUEST_MAC),
        Dhcp::request(2, LEASED).to_all().frame(BROADCAST, GUEST_MAC),
        Arp::reply(GATEWAY_MAC, GATEWAY, GUEST_MAC, LEASED).frame(GUEST_MAC, GATEWAY_MAC),
        host(Ip::tcp(WORLD, LEASED, (443, 5000))),
        host(Ip { options: vec![1; 8], ..Ip::ping(WORLD, LEASED) }),
        host(Dhcp::offer(2, LEASED).by_gateway()),
        host(Dhcp::ack(2, LEASED, 600).option(6, &[10, 0, 0, 1, 10, 0, 0, 2]).by_gateway()),
        host(Dhcp::nak(2).by_gateway()),
        host(overloaded.by_gateway()),
    ]
}

#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, u8),
    Append(Vec<u8>),
    /// So that what is wrong behind the header is seen at all.
    MendChecksum,
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Mutation::Set(at, value)),
        3 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        1 => any::<Index>().prop_map(Mutation::Cut),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Mutation::Insert(at, value)),
        1 => vec(any::<u8>(), 0..40).prop_map(Mutation::Append),
        3 => Just(Mutation::MendChecksum),
    ]
}

pub(crate) fn mutate(frame: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        match mutation {
            Mutation::Append(bytes) => frame.extend_from_slice(bytes),
            _ if frame.is_empty() => {}
            Mutation::Set(at, value) => *at.get_mut(frame) = *value,
            Mutation::Flip(at, bit) => *at.get_mut(frame) ^= 1 << bit,
            Mutation::Cut(at) => frame.truncate(at.index(frame.len())),
            Mutation::Insert(at, value) => frame.insert(at.index(frame.len()), *value),
            Mutation::MendChecksum if frame.len() >= 34 => {
                frame[24..26].fill(0);
                let sum = checksum(&frame[14..34]);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            Mutation::MendChecksum => {}
        }
    }
}

/// A valid frame, with up to four things done to it.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    (select(corpus()), vec(mutation(), 0..5)).prop_map(|(mut frame, mutations)| {
        mutate(&mut frame, &mutations);
        frame
    })
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

/// Whether a frame that passed from the guest is one that may: read anew, by fixed positions.
fn may_leave(frame: &[u8], lease: Option<Ipv4Addr>) -> Result<(), &'static str> {
    let claim = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    claim(frame.len() >= 14 && frame.len() <= MAX_FRAME, "size")?;
    claim(frame[6..12] == GUEST_MAC, "Ethernet source")?;
    match (frame[12], frame[13]) {
        (8, 6) => {
            claim(frame.len() >= 42 && frame[14..20] == [0, 1, 8, 0, 6, 4], "ARP shape")?;
            claim(frame[22..28] == GUEST_MAC, "ARP sender hardware")?;
            let sender = address(&frame[28..32]);
            let is_probe = sender == ANY && frame[20..22] == [0, 1];
            claim(is_probe || Some(sender) == lease, "ARP sender")
        }
        (8, 0) => {
            claim(frame.len() >= 34 && frame[14] == 0x45, "header")?;
            let (source, destination) = (address(&frame[26..30]), address(&frame[30..34]));
            let is_fragment = frame[20] & 0x3f != 0 || frame[21] != 0;
            let has_ports = frame[23] == 17 && frame[20] & 0x1f == 0 && frame[21] == 0;
            if has_ports {
                claim(frame.len() >= 42, "UDP header")?;
                let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
                claim(port(34) != 67, "from port 67")?;
                if port(36) == 67 {
                    claim(!is_fragment && port(34) == 68, "DHCP ports")?;
                    claim(source == ANY || Some(source) == lease, "DHCP source")?;
                    claim(destination == ALL || destination == GATEWAY, "DHCP destination")?;
                    claim(frame.len() > 42 + 240 && frame[42..45] == [1, 1, 6], "BOOTREQUEST")?;
                    claim(frame[70..76] == GUEST_MAC && frame[66..70] == [0; 4], "chaddr, giaddr")?;
                    let ciaddr = address(&frame[54..58]);
                    return claim(ciaddr == ANY || Some(ciaddr) == lease, "ciaddr");
                }
            }
            claim(Some(source) == lease, "source")?;
            claim(frame[..6] == GATEWAY_MAC, "Ethernet destination: nothing but unicast is reachable here")
        }
        _ => Err("type"),
    }
}

/// Whether a frame that passed from the host is one that may, to a guest that has sent one DHCPREQUEST of this id.
fn may_arrive(frame: &[u8], xid: u32) -> Result<(), &'static str> {
    let claim = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    claim(frame.len() >= 14 && frame.len() <= MAX_FRAME, "size")?;
    claim(frame[..6] == GUEST_MAC || frame[0] & 1 == 1, "Ethernet destination")?;
    claim(frame[6..12] != GUEST_MAC && frame[6] & 1 == 0, "Ethernet source")?;
    let in_subnet = |address: &[u8]| address[..3] == [192, 168, 64];
    let from_gateway = |sender: &[u8]| address(sender) == GATEWAY && frame[6..12] == GATEWAY_MAC;
    match (frame[12], frame[13]) {
        (8, 6) => {
            claim(frame.len() >= 42 && frame[14..20] == [0, 1, 8, 0, 6, 4], "ARP shape")?;
            claim(frame[22..28] == frame[6..12], "ARP sender hardware")?;
            claim(!in_subnet(&frame[28..32]) || from_gateway(&frame[28..32]), "ARP sender")
        }
        (8, 0) => {
            let header = usize::from(frame[14] & 15) * 4;
            claim(frame[14] >> 4 == 4 && header >= 20 && frame.len() >= 14 + header, "header")?;
            let is_first = frame[20] & 0x1f == 0 && frame[21] == 0;
            if frame[23] == 17 && is_first {
                let udp = &frame[14 + header..];
                let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
                claim(port(2) != 67, "to port 67")?;
                if port(2) == 68 {
                    claim(frame[20] & 0x20 == 0 && port(0) == 67 && address(&frame[26..30]) == GATEWAY, "DHCP sender")?;
                    claim(udp[8..11] == [2, 1, 6] && udp[36..42] == GUEST_MAC, "BOOTREPLY for the guest")?;
                    return claim(udp[12..16] == xid.to_be_bytes(), "transaction");
                }
            }
            claim(!in_subnet(&frame[26..30]) || from_gateway(&frame[26..30]), "source")
        }
        _ => Err("type"),
    }
}

proptest! {
    #![proptest_config(without_files(500))]

    #[test]
    fn no_bytes_panic(
        frames in vec((any::<bool>(), vec(any::<u8>(), 0..400), any::<i64>()), 1..8),
        isolated in any::<bool>(),
    ) {
        let isolation = if isolated { Isolation::Isolated } else { Isolation::Open };
        let mut engine = Engine::new(Config { isolation, ..config() });
        for (from_guest, frame, micros) in frames {
            let now = Instant::from_micros_const(micros);
            let _ = if from_guest { engine.on_guest_frame(&frame, now) } else { engine.on_host_frame(&frame, now) };
        }
    }

    #[test]
    fn no_mutated_frame_panics_and_none_passes_that_is_not_the_guests_own(
        frames in vec((any::<bool>(), mutated(), 0..400_000u64), 1..24),
    ) {
        let mut world = World::leased("", "");
        for (from_guest, frame, millis) in frames {
            world.wait(millis);
            world.engine.advance(world.now);
            let lease = world.engine.lease().map(|lease| lease.address);
            if !from_guest {
                let _ = world.host(&frame);
            } else if world.guest(&frame).is_ok() {
                prop_assert_eq!(may_leave(&frame, lease), Ok(()), "{:02x?}", frame);
            }
        }
    }

    #[test]
    fn no_mutated_frame_reaches_the_guest_that_is_not_for_it(frames in vec(mutated(), 1..24)) {
        let mut world = World::leased("", "");
        world.guest_dhcp(&Dhcp::renewal(2, LEASED)).unwrap();
        for frame in frames {
            let is_of_the_gateways_mac_still = world.guest(&Ip::ping(LEASED, WORLD).frame(GATEWAY_MAC, GUEST_MAC)).is_ok();
            if is_of_the_gateways_mac_still && world.host(&frame).is_ok() {
                prop_assert_eq!(may_arrive(&frame, 2), Ok(()), "{:02x?}", frame);
            }
        }
    }

    #[test]
    fn without_a_lease_nothing_passes_but_probes_and_dhcp(frames in vec(mutated(), 1..24)) {
        let mut world = World::new(config());
        for frame in frames {
            if world.guest(&frame).is_ok() {
                prop_assert_eq!(may_leave(&frame, None), Ok(()), "{:02x?}", frame);
            }
        }
    }

    #[test]
    fn no_mutated_reply_teaches_an_address_outside_the_subnet(frames in vec(mutated(), 1..12)) {
        let mut world = World::new(config());
        world.guest_dhcp(&Dhcp::request(2, LEASED)).unwrap();
        for frame in frames {
            let _ = world.host(&frame);
            if let Some(lease) = world.engine.lease() {
                prop_assert!(lease.address.octets()[..3] == [192, 168, 64] && !matches!(lease.address.octets()[3], 0 | 1 | 255));
            }
        }
    }
}

#[test]
fn the_corpus_is_valid_so_that_mutations_start_from_what_passes() {
    for (index, frame) in corpus().iter().enumerate() {
        let mut world = World::leased("", "");
        world.guest_dhcp(&Dhcp::discover(2)).unwrap();
        world.guest_dhcp(&Dhcp::renewal(2, LEASED)).unwrap();
        let from_guest = frame[6..12] == GUEST_MAC;
        let verdict = if from_guest { world.guest(frame) } else { world.host(frame) };
        assert_eq!(verdict, Ok(()), "{index}");
        if from_guest {
            assert_eq!(may_leave(frame, Some(LEASED)), Ok(()), "{index}");
        } else {
            assert_eq!(may_arrive(frame, 2), Ok(()), "{index}");
        }
    }
    let mut engine = Engine::new(config());
    assert_ne!(engine.on_guest_frame(&[], Instant::from_secs(0)), Verdict::Forward);
}
