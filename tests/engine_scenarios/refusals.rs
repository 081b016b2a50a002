//! What the policy refuses a guest that is to be told so: a reset, or word of a prohibition; and who is told nothing.

use std::net::Ipv4Addr;

use crate::engine_world::dns::*;
use crate::engine_world::frames::*;
use crate::engine_world::*;
use smoltcp::wire::{EthernetAddress, EthernetFrame, Icmpv4Packet, Ipv4Packet, TcpPacket};
use softnet::engine::Direction::{self, FromGuest, FromHost};
use softnet::engine::{
    Answered, Config, Contents, Digest, DnsQuestions, DropReason, Grounds, Isolation, PolicyEntries, Refusals, Silence,
    Verdict,
};

pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// A guest that is told what its policy refuses.
pub(crate) fn told(allow: &str, block: &str) -> World {
    World::leased_with(Config { policy: entries(allow, block), refusals: Refusals::Answered, ..config() })
}

/// What a frame is answered, and why it goes no further.
pub(crate) fn answer(world: &mut World, direction: Direction, frame: &[u8]) -> (Judgement, Option<Vec<u8>>) {
    let verdict = match direction {
        FromGuest => world.engine.on_guest_frame(frame, world.now),
        FromHost => world.engine.on_host_frame(frame, world.now),
    };
    match verdict {
        Verdict::Forward => (Ok(()), None),
        Verdict::Drop(reason) => (Err(reason), None),
        Verdict::Reply(reason) => (Err(reason), Some(world.engine.reply().to_vec())),
    }
}

fn answer_to(world: &mut World, datagram: &Ip) -> Option<Vec<u8>> {
    let (judgement, reply) = answer(world, FromGuest, &datagram.frame(GATEWAY_MAC, GUEST_MAC));
    assert!(judgement.is_err(), "{datagram:?}");
    reply
}

/// The ends of a sound frame with a sound datagram, and what that carries.
pub(crate) fn open(frame: &[u8]) -> ([EthernetAddress; 2], [Ipv4Addr; 2], Vec<u8>) {
    let frame = EthernetFrame::new_checked(frame).unwrap();
    let datagram = Ipv4Packet::new_checked(frame.payload()).unwrap();
    assert!(datagram.verify_checksum() && usize::from(datagram.total_len()) == frame.payload().len());
    assert!(!datagram.more_frags() && datagram.frag_offset() == 0 && datagram.hop_limit() > 0);
    let ends = [datagram.src_addr(), datagram.dst_addr()];
    ([frame.src_addr(), frame.dst_addr()], ends, datagram.payload().to_vec())
}

/// Sequence number, and the number that is acknowledged, of a sound reset between these ends.
pub(crate) fn reset(inside: &[u8], [from, to]: [Ipv4Addr; 2], ports: (u16, u16)) -> (u32, Option<u32>) {
    let tcp = TcpPacket::new_checked(inside).unwrap();
    assert!(tcp.verify_checksum(&from.into(), &to.into()) && tcp.rst() && !tcp.syn() && !tcp.fin());
    assert_eq!((tcp.src_port(), tcp.dst_port(), tcp.payload().len()), (ports.0, ports.1, 0));
    (tcp.seq_number().0.cast_unsigned(), tcp.ack().then(|| tcp.ack_number().0.cast_unsigned()))
}

/// Checks a sound word of a prohibition that quotes this datagram.
pub(crate) fn prohibited(inside: &[u8], datagram: &Ip) {
    let icmp = Icmpv4Packet::new_checked(inside).unwrap();
    assert!(icmp.verify_checksum());
    assert_eq!((icmp.msg_type(), icmp.msg_code()), (3.into(), 13));
    let quoted = datagram.bytes();
    assert_eq!(inside[8..], quoted[..quoted.len().min(28)], "header and eight bytes");
}

fn numbered(flags: &str, sequence: u32, acknowledged: u32, data: &[u8]) -> Ip {
    let mut segment = segment(5000, 443, flags);
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    segment.extend(data);
    Ip::new(LEASED, FAR, TCP, segment)
}

#[test]
fn a_segment_is_reset_in_the_name_of_whom_it_was_for() {
    for (flags, data, expected) in [
        ("S", &b""[..], (0, Some(8))),
        ("S", b"fast", (0, Some(12))),
        ("SF", b"odd", (0, Some(12))),
        ("F", b"", (0, Some(8))),
        ("", b"12345", (0, Some(12))),
        ("A", b"", (0xffff_fff0, None)),
        ("PA", b"data", (0xffff_fff0, None)),
        ("FA", b"", (0xffff_fff0, None)),
        ("SA", b"", (0xffff_fff0, None)),
    ] {
        let mut world = told("", "");
        let reply = answer_to(&mut world, &numbered(flags, 7, 0xffff_fff0, data)).expect(flags);
        let (macs, ends, inside) = open(&reply);
        assert_eq!(macs, [EthernetAddress(GATEWAY_MAC), EthernetAddress(GUEST_MAC)]);
        assert_eq!(ends, [FAR, LEASED]);
        assert_eq!(reset(&inside, ends, (443, 5000)), expected, "{flags}");
    }
    // The number wraps.
    let reply = answer_to(&mut told("", ""), &numbered("S", u32::MAX, 0, b"")).unwrap();
    let (_, ends, inside) = open(&reply);
    assert_eq!(reset(&inside, ends, (443, 5000)), (0, Some(0)));
    // Options are a part of the header.
    let mut segment = numbered("S", 7, 0, b"\x02\x04\x05\xb4");
    segment.payload[12] = 6 << 4;
    let reply = answer_to(&mut told("", ""), &segment).unwrap();
    let (_, ends, inside) = open(&reply);
    assert_eq!(reset(&inside, ends, (443, 5000)), (0, Some(8)));
}

#[test]
fn anything_else_is_prohibited_by_the_gateway() {
    for datagram in [
        Ip::ping(LEASED, FAR),
        Ip::echo(LEASED, FAR, 0, 7),
        Ip::udp(LEASED, FAR, (5000, 53), b""),
        Ip::udp(LEASED, FAR, (5000, 53), &[0xaa; 1400]),
        Ip::new(LEASED, FAR, 47, vec![1; 100]),
        Ip::new(LEASED, FAR, 132, vec![1; 3]),
        Ip::new(LEASED, FAR, 50, vec![]),
        Ip { padding: 18, ..Ip::new(LEASED, FAR, 50, vec![1]) },
    ] {
        let reply = answer_to(&mut told("", ""), &datagram).expect("an answer");
        let (macs, ends, inside) = open(&reply);
        assert_eq!(macs, [EthernetAddress(GATEWAY_MAC), EthernetAddress(GUEST_MAC)]);
        assert_eq!(ends, [GATEWAY, LEASED]);
        prohibited(&inside, &Ip { padding: 0, ..datagram });
    }
}

#[test]
fn it_is_answered_whichever_rule_refuses_it_and_nothing_is_that_passes() {
    let mut world = told("", "@host,8.8.8.8:53");
    for (datagram, reason) in [
        (Ip::tcp(LEASED, GATEWAY, (1, 22)), DropReason::Blocked),
        (Ip::udp(LEASED, Ipv4Addr::new(8, 8, 8, 8), (1, 53), b""), DropReason::Blocked),
        (Ip::tcp(LEASED, NEIGHBOUR, (1, 22)), DropReason::NotReachable),
        (Ip::ping(LEASED, Ipv4Addr::new(169, 254, 169, 254)), DropReason::NotReachable),
    ] {
        let (judgement, reply) = answer(&mut world, FromGuest, &datagram.frame(GATEWAY_MAC, GUEST_MAC));
        assert_eq!(judgement, Err(reason));
        assert!(reply.is_some(), "{datagram:?}");
        assert_eq!(world.guest_ip(&Ip::ping(LEASED, WORLD)), Ok(()));
        assert!(world.engine.reply().is_empty(), "the reply was to another frame");
    }
}

#[test]
fn by_default_all_is_silent() {
    let mut world = World::leased("", "");
    for datagram in [Ip::tcp(LEASED, FAR, (1, 22)), Ip::ping(LEASED, FAR)] {
        assert_eq!(answer_to(&mut world, &datagram), None);
    }
}

#[test]
fn nobody_is_told_of_what_is_for_many_or_is_an_error_or_a_piece() {
    let mut world = told("@host", "0.0.0.0/0");
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let quoted = Ip::udp(FAR, LEASED, (53, 5000), b"");
    let fragment = |more_fragments, fragment_offset| Ip {
        more_fragments,
        fragment_offset,
        ..Ip::new(LEASED, FAR, TCP, segment(1, 2, "S").repeat(2))
    };
    let mut frames: Vec<Vec<u8>> = vec![
        Ip::udp(LEASED, ALL, (5000, 5001), b"").frame(BROADCAST, GUEST_MAC),
        Ip::udp(LEASED, SUBNET_BROADCAST, (5000, 5001), b"").frame(BROADCAST, GUEST_MAC),
        Ip::tcp(LEASED, SUBNET_BROADCAST, (5000, 5001)).frame(BROADCAST, GUEST_MAC),
        Ip::udp(LEASED, group, (5353, 5353), b"").frame([1, 0, 0x5e, 0, 0, 251], GUEST_MAC),
        Ip::tcp(LEASED, group, (5353, 5353)).frame([1, 0, 0x5e, 0, 0, 251], GUEST_MAC),
    ];
    let mut datagrams = vec![
        fragment(true, 0),
        fragment(true, 100),
        fragment(false, 100),
        Ip::segment(LEASED, FAR, (1, 2), "R"),
        Ip::segment(LEASED, FAR, (1, 2), "RA"),
        Ip::segment(LEASED, FAR, (1, 2), "SR"),
        // No address of a host's.
        Ip::tcp(LEASED, ANY, (1, 2)),
        Ip::tcp(LEASED, Ipv4Addr::new(0, 1, 2, 3), (1, 2)),
        Ip::tcp(LEASED, Ipv4Addr::LOCALHOST, (1, 2)),
        Ip::ping(LEASED, Ipv4Addr::new(127, 255, 255, 255)),
        Ip::tcp(LEASED, Ipv4Addr::new(240, 0, 0, 1), (1, 2)),
        // What might be DHCP's by either port.
        Ip::udp(LEASED, FAR, (68, 5000), b""),
        Ip::udp(LEASED, FAR, (5000, 68), b""),
    ];
    datagrams.extend([3, 4, 11, 12].map(|kind| Ip::error(LEASED, FAR, kind, &quoted)));
    datagrams.extend([1, 2, 6, 7, 9, 10, 19, 40, 255].map(|kind| Ip::echo(LEASED, FAR, kind, 1)));
    datagrams.push(Ip::new(LEASED, FAR, ICMP, vec![]));
    frames.extend(datagrams.iter().map(|datagram| datagram.frame(GATEWAY_MAC, GUEST_MAC)));
    for frame in frames {
        let (judgement, reply) = answer(&mut world, FromGuest, &frame);
        assert_eq!((judgement, reply), (Err(DropReason::Blocked), None), "{frame:02x?}");
    }
    assert!(answer_to(&mut world, &Ip::ping(LEASED, FAR)).is_some(), "the bucket was not empty");
}

#[test]
fn nobody_is_told_who_speaks_for_another_or_is_dropped_for_another_reason() {
    let mut world = told("", "0.0.0.0/0");
    let dhcp = Dhcp::discover(9).to_all();
    for (frame, reason) in [
        (Ip::tcp(NEIGHBOUR, FAR, (1, 2)).frame(GATEWAY_MAC, GUEST_MAC), DropReason::SourceAddress),
        (Ip::tcp(FAR, FAR, (1, 2)).frame(GATEWAY_MAC, GUEST_MAC), DropReason::SourceAddress),
        (Ip::tcp(LEASED, FAR, (1, 2)).frame(GATEWAY_MAC, NEIGHBOUR_MAC), DropReason::EthernetSource),
        (Ip::tcp(LEASED, FAR, (1, 2)).frame(NEIGHBOUR_MAC, GUEST_MAC), DropReason::EthernetDestination),
        (Ip::tcp(LEASED, FAR, (1, 2)).frame(BROADCAST, GUEST_MAC), DropReason::EthernetDestination),
        (Ip { checksum: Some(1), ..Ip::ping(LEASED, FAR) }.frame(GATEWAY_MAC, GUEST_MAC), DropReason::Ipv4Checksum),
        (Ip { options: vec![1; 4], ..Ip::ping(LEASED, FAR) }.frame(GATEWAY_MAC, GUEST_MAC), DropReason::Ipv4Options),
        (Ip::new(LEASED, FAR, TCP, vec![0; 19]).frame(GATEWAY_MAC, GUEST_MAC), DropReason::TcpMalformed),
        (Ip { source: LEASED, ..dhcp.clone() }.frame(GATEWAY_MAC, GUEST_MAC), DropReason::EthernetDestination),
    ] {
        assert_eq!(answer(&mut world, FromGuest, &frame), (Err(reason), None));
    }
    let mut world = World::new(Config { refusals: Refusals::Answered, ..config() });
    let frame = Ip::tcp(LEASED, FAR, (1, 2)).frame(GATEWAY_MAC, GUEST_MAC);
    assert_eq!(answer(&mut world, FromGuest, &frame), (Err(DropReason::NoLease), None));
}

#[test]
fn while_isolation_is_off_the_gateway_still_speaks_for_itself() {
    let policy = entries("0.0.0.0/0", "10.0.0.0/8,192.168.64.8");
    let mut world =
        World::leased_with(Config { policy, isolation: Isolation::Open, refusals: Refusals::Answered, ..config() });
    let (_, reply) = answer(&mut world, FromGuest, &Ip::ping(LEASED, NEIGHBOUR).frame(NEIGHBOUR_MAC, GUEST_MAC));
    let (macs, ends, _) = open(&reply.unwrap());
    assert_eq!((macs[0], ends[0]), (EthernetAddress(GATEWAY_MAC), GATEWAY));
    let (_, reply) = answer(&mut world, FromGuest, &Ip::tcp(LEASED, NEIGHBOUR, (1, 2)).frame(NEIGHBOUR_MAC, GUEST_MAC));
    let (macs, ends, _) = open(&reply.unwrap());
    assert_eq!((macs[0], ends[0]), (EthernetAddress(NEIGHBOUR_MAC), NEIGHBOUR));
}

#[test]
fn a_connection_that_a_new_policy_ends_is_reset_at_once() {
    let mut world = told("", "");
    assert_eq!(world.guest_ip(&Ip::segment(LEASED, WORLD, (5000, 443), "A")), Ok(()));
    world.engine.set_policy(entries("", "out 0.0.0.0/0"));
    let reply = answer_to(&mut world, &Ip::segment(LEASED, WORLD, (5000, 443), "PA")).unwrap();
    let (_, ends, inside) = open(&reply);
    assert_eq!(reset(&inside, ends, (443, 5000)), (0, None));
}

#[test]
fn what_no_name_may_be_asked_by_is_answered_as_well() {
    let policy = entries("a.org", "");
    let dns_questions = DnsQuestions::OfAllowedNames;
    let mut world = World::leased_with(Config { policy, dns_questions, refusals: Refusals::Answered, ..config() });
    let (_, ends, inside) = open(&answer_to(&mut world, &Ip::tcp(LEASED, GATEWAY, (1, 53))).unwrap());
    assert_eq!(reset(&inside, ends, (53, 1)), (0, Some(2)));
    let unreadable = Ip::udp(LEASED, GATEWAY, (1, 53), b"what");
    let (_, ends, inside) = open(&answer_to(&mut world, &unreadable).unwrap());
    assert_eq!(ends, [GATEWAY, LEASED]);
    prohibited(&inside, &unreadable);
    // A refusal in the words of DNS is one answer.
    let question = Ip::udp(LEASED, GATEWAY, (1, 53), &Dns::query(7, "b.org").bytes());
    let (_, _, inside) = open(&answer_to(&mut world, &question).unwrap());
    assert_eq!((inside[..2].to_vec(), inside[8..12].to_vec()), (vec![0, 53], vec![0, 7, 0x81, 5]));
}

#[test]
fn answers_are_bounded_and_so_each_is_shorter_than_two_of_what_it_answers() {
    let mut world = told("", "");
    let frames = [
        Ip::new(LEASED, FAR, 50, vec![]).frame(GATEWAY_MAC, GUEST_MAC),
        Ip::udp(LEASED, FAR, (1, 2), b"").frame(GATEWAY_MAC, GUEST_MAC),
        Ip::tcp(LEASED, FAR, (1, 2)).frame(GATEWAY_MAC, GUEST_MAC),
    ];
    let (mut answers, mut bytes) = (0, 0);
    for frame in frames.iter().cycle().take(999) {
        if let (_, Some(reply)) = answer(&mut world, FromGuest, frame) {
            assert!(reply.len() < 2 * frame.len());
            answers += 1;
            bytes += reply.len();
        }
    }
    assert_eq!(answers, 64);
    assert!(bytes <= 64 * 70);
    world.wait(5);
    let more = frames.iter().cycle().take(999).filter(|frame| answer(&mut world, FromGuest, frame).1.is_some());
    assert_eq!(more.count(), 5);
}

#[test]
fn what_is_said_of_an_answer_is_what_is_answered() {
    let mut told_of = [0; 7];
    for (allow, block) in [("", ""), ("", "@host,8.0.0.0/8"), ("", "in 0.0.0.0/0,in @host,@host:22,out 10.0.0.0/8")] {
        let policy = entries(allow, block).normalised();
        for isolation in [Isolation::Isolated, Isolation::Open] {
            let config = Config { policy: policy.clone(), refusals: Refusals::Answered, isolation, ..config() };
            let grounds = Grounds {
                policy: &policy,
                administrator: &PolicyEntries::default(),
                net_type: config.net_type,
                isolation,
                gateway: GATEWAY,
                subnet: config.network.subnet,
                dns_servers: &[],
            };
            let [a, b, c, _] = GATEWAY.octets();
            let odd =
                [[a, b, c, 0], [a, b, c, 255], [0, 0, 0, 0], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1]];
            let fars = [FAR, GATEWAY, NEIGHBOUR, Ipv4Addr::new(8, 8, 8, 8)].into_iter().chain(odd.map(Ipv4Addr::from));
            for (far, direction) in fars.flat_map(|far| [(far, FromGuest), (far, FromHost)]) {
                let (source, destination) = if direction == FromGuest { (LEASED, far) } else { (far, LEASED) };
                for datagram in [
                    Ip::segment(source, destination, (5000, 22), "S"),
                    Ip::udp(source, destination, (5000, 22), b"what"),
                    Ip::udp(source, destination, (68, 22), b"what"),
                    Ip::ping(source, destination),
                    Ip { more_fragments: true, ..Ip::new(source, destination, UDP, vec![1; 64]) },
                ] {
                    let mut world = World::leased_with(config.clone());
                    let mac = match far.octets() {
                        [224, ..] => [0x01, 0, 0x5e, 0, 0, 1],
                        [.., 255] => BROADCAST,
                        _ => GATEWAY_MAC,
                    };
                    let frame = match direction {
                        FromGuest => datagram.frame(mac, GUEST_MAC),
                        FromHost if far == NEIGHBOUR => datagram.frame(GUEST_MAC, NEIGHBOUR_MAC),
                        FromHost => datagram.frame(GUEST_MAC, GATEWAY_MAC),
                    };
                    let (judgement, reply) = answer(&mut world, direction, &frame);
                    let Err(reason) = judgement else { continue };
                    let Some(Contents::Ipv4(digest)) = Digest::read(&frame).map(|digest| digest.contents) else {
                        panic!("{datagram:?}")
                    };
                    let said = grounds.answered(direction, &digest, reason);
                    let is_what = match (said, reply.map(|reply| reply[23])) {
                        (Answered::Reset, Some(protocol)) => protocol == TCP,
                        (Answered::Prohibited, Some(protocol)) => protocol == 1,
                        (Answered::Silence(_), reply) => reply.is_none(),
                        (_, None) => false,
                    };
                    assert!(is_what, "{said:?}: {reason:?} of {datagram:?}");
                    told_of[match said {
                        Answered::Reset => 0,
                        Answered::Prohibited => 1,
                        Answered::Silence(Silence::Neighbour) => 2,
                        Answered::Silence(Silence::Dhcp) => 3,
                        Answered::Silence(Silence::Fragment) => 4,
                        Answered::Silence(Silence::NoHost) => 5,
                        Answered::Silence(Silence::Form) => 6,
                    }] += 1;
                }
            }
        }
    }
    assert!(told_of[..6].iter().all(|&count| count > 0), "each comes up: {told_of:?}");
}
