//! Whoever did not begin a flow sends what it likes: of all that passes, each frame is read anew here, by fixed positions, and is
//! an answer to what the other side has sent not long ago.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use crate::mutation::{Mutation, mutate, mutation};
use crate::without_files;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// What the honest side sends, as the guest, at the start.
fn begun() -> Vec<Ip> {
    vec![
        Ip::segment(LEASED, WORLD, (5000, 443), "S"),
        Ip::udp(LEASED, WORLD, (5000, 53), &[1; 8]),
        Ip::echo(LEASED, WORLD, 8, 7),
        Ip::udp(LEASED, GATEWAY, (5001, 53), &[1; 8]),
    ]
}

/// How long after its last datagram each may be answered, at the most, in milliseconds.
const LIVES: [u64; 4] = [300_000, 30_000, 30_000, 30_000];

/// The same datagram with its ends swapped.
fn turned(datagram: &Ip) -> Ip {
    let mut turned = Ip { source: datagram.destination, destination: datagram.source, ..datagram.clone() };
    match datagram.protocol {
        ICMP if datagram.payload[0] == 8 => turned.payload[0] = 0,
        ICMP => turned.payload[0] = 8,
        _ => {
            turned.payload.swap(0, 2);
            turned.payload.swap(1, 3);
        }
    }
    turned
}

/// Answers, and what looks like them.
fn answers() -> Vec<Ip> {
    let honest = begun();
    let mut answers: Vec<Ip> = honest.iter().map(turned).collect();
    for flags in ["SA", "A", "PA", "FA", "R", "SF"] {
        answers.push(Ip::segment(WORLD, LEASED, (443, 5000), flags));
    }
    for about in &honest {
        answers.push(Ip::error(GATEWAY, LEASED, 3, about));
        answers.push(Ip { more_fragments: true, ..turned(about) });
    }
    answers
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

/// Which of `begun` these bytes of an IP packet answer, by a second reading.
fn answered(packet: &[u8], begun: &[Ip]) -> Option<usize> {
    let header = usize::from(packet[0] & 15) * 4;
    let is_fragment = packet[6] & 0x3f != 0 || packet[7] != 0;
    let payload = &packet[header..];
    begun.iter().position(|first| {
        let ours = first.bytes();
        let is_between = packet[12..16] == ours[16..20] && packet[16..20] == ours[12..16];
        let is_answer = match (packet[9], first.protocol) {
            (ICMP, ICMP) => payload.len() >= 8 && payload[..2] == [0, 0] && payload[4..6] == ours[24..26],
            (TCP, TCP) => {
                let is_open = payload.len() >= 20 && (payload[13] & 2 == 0 || payload[13] & 0x17 == 0x12);
                is_open && payload[..2] == ours[22..24] && payload[2..4] == ours[20..22]
            }
            (UDP, UDP) => payload.len() >= 8 && payload[..2] == ours[22..24] && payload[2..4] == ours[20..22],
            _ => false,
        };
        // An error quotes a datagram of ours: protocol, ends, and ports or identifier.
        let quote = payload.get(8..36).unwrap_or_default();
        let is_word_of_it = packet[9] == ICMP
            && address(&packet[16..20]) == LEASED
            && [3, 11, 12].contains(&payload[0])
            && quote.len() == 28
            && (quote[0], quote[9]) == (0x45, first.protocol)
            && quote[12..20] == ours[12..20]
            && match first.protocol {
                ICMP => (quote[20], &quote[24..26]) == (8, &ours[24..26]),
                _ => quote[20..24] == ours[20..24],
            };
        !is_fragment && (is_between && is_answer || is_word_of_it)
    })
}

#[derive(Clone, Debug)]
enum Act {
    /// A frame of the far side's or a neighbour's, with things done to it.
    Send(Ip, Mac, Vec<Mutation>),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (select(answers()), select(vec![GATEWAY_MAC, GATEWAY_MAC, NEIGHBOUR_MAC]), vec(mutation(), 0..4))
            .prop_map(|(datagram, mac, mutations)| Act::Send(datagram, mac, mutations)),
        1 => select(vec![1u64, 9_000, 20_000, 60_000, 240_000]).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(without_files(400))]

    #[test]
    fn nothing_rides_on_a_flow(
        acts in vec(act(), 1..80),
        connects in any::<bool>(),
    ) {
        let mut world = World::new(softnet::engine::Config { policy: entries("", "in 0.0.0.0/0"), ..config() });
        world.lease(LEASED, u32::MAX, 1);
        let begun = begun();
        for datagram in &begun {
            prop_assert_eq!(world.guest_ip(datagram), Ok(()));
        }
        if connects {
            prop_assert_eq!(world.host_ip(&Ip::segment(WORLD, LEASED, (443, 5000), "SA")), Ok(()));
            prop_assert_eq!(world.guest_ip(&Ip::segment(LEASED, WORLD, (5000, 443), "A")), Ok(()));
        }
        let mut waited = 0;
        for act in acts {
            match act {
                Act::Wait(millis) => {
                    world.wait(millis);
                    waited += millis;
                }
                Act::Send(datagram, mac, mutations) => {
                    let mut frame = datagram.frame(GUEST_MAC, mac);
                    mutate(&mut frame, &mutations);
                    let passes = world.host(&frame).is_ok();
                    if passes && frame[12..14] == [8, 0] {
                        let which = answered(&frame[14..], &begun);
                        prop_assert!(which.is_some(), "{:?} passed", frame);
                        let life = if connects { LIVES } else { [60_000, 30_000, 30_000, 30_000] }[which.unwrap()];
                        prop_assert!(waited < life, "{:?} passed after {} ms", frame, waited);
                    }
                }
            }
        }
    }
}
