//! Rules with directions and ports, and flows, against the reference: random policies that change, random traffic both ways,
//! time that passes. Every judgement is the same, reason included.

use std::net::Ipv4Addr;

use crate::decider;
use crate::engine_world::frames::*;
use crate::engine_world::*;
use crate::flow_reference::{Carries, Packet, Reference, Rule};
use crate::without_files;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use softnet::engine::Direction::{FromGuest, FromHost};
use softnet::engine::PolicyEntries;

const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FAR: [Ipv4Addr; 4] = [WORLD, PRIVATE, GATEWAY, NEIGHBOUR];
const FLAGS: [&str; 14] = ["S", "SA", "A", "A", "A", "PA", "FA", "F", "R", "RA", "SF", "SR", "SFA", ""];

fn rule() -> impl Strategy<Value = Rule> {
    let ports = [(22, 22), (443, 443), (1, 100), (400, 500), (1, 65_535)];
    (
        select(vec!["", "in ", "out "]),
        select(FAR.to_vec()),
        select(vec![0, 8, 24, 31, 32]),
        prop::option::of(select(ports.to_vec())),
    )
        .prop_map(|(way, address, length, ports)| Rule { way, address, length, ports })
}

type Lists = (Vec<Rule>, Vec<Rule>);

/// Two short lists; now and then with no direction in them.
fn lists() -> impl Strategy<Value = Lists> {
    (vec(rule(), 0..4), vec(rule(), 0..4), 0..5u8).prop_map(|(mut allow, mut block, kind)| {
        if kind == 0 {
            allow.iter_mut().chain(&mut block).for_each(|rule| rule.way = "");
        }
        (allow, block)
    })
}

fn compile((allow, block): &Lists) -> PolicyEntries {
    let texts = |list: &[Rule]| list.iter().map(Rule::text).collect::<Vec<_>>();
    let (allow, block) = (texts(allow), texts(block));
    PolicyEntries::parse(allow.iter().map(String::as_str), block.iter().map(String::as_str)).unwrap()
}

fn plain_packet() -> impl Strategy<Value = Packet> {
    let carries = prop_oneof![
        6 => select(FLAGS.to_vec()).prop_map(Carries::Tcp),
        3 => Just(Carries::Udp),
        2 => select(vec![8u8, 0]).prop_map(Carries::Echo),
        1 => Just(Carries::Other),
    ];
    let port = || select(vec![22u16, 443, 5000]);
    (select(vec![FromGuest, FromHost]), select(FAR.to_vec()), carries, port(), port(), prop::bool::weighted(0.05))
        .prop_map(|(direction, far, carries, guest_port, far_port, is_fragment)| Packet {
            direction,
            far,
            carries,
            guest_port,
            far_port,
            is_fragment,
        })
}

#[derive(Clone, Debug)]
enum Act {
    Send(Packet),
    /// An earlier packet once more, or one that goes the other way, with other flags.
    Again {
        which: Index,
        turned: bool,
        flags: &'static str,
    },
    /// An ICMP error about an earlier packet, from anywhere.
    Error {
        which: Index,
        kind: u8,
        from: Ipv4Addr,
    },
    /// The handshake that an earlier segment may have begun, to its end.
    Connect {
        which: Index,
    },
    /// Both FINs of a connection.
    Close {
        which: Index,
    },
    Wait(u64),
    SetPolicy(Lists),
    /// The same policy, said otherwise.
    SameAgain,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => plain_packet().prop_map(Act::Send),
        12 => (any::<Index>(), any::<bool>(), select(FLAGS.to_vec()))
            .prop_map(|(which, turned, flags)| Act::Again { which, turned, flags }),
        2 => (any::<Index>(), select(vec![3u8, 11, 12, 4]), select(FAR.to_vec()))
            .prop_map(|(which, kind, from)| Act::Error { which, kind, from }),
        3 => any::<Index>().prop_map(|which| Act::Connect { which }),
        2 => any::<Index>().prop_map(|which| Act::Close { which }),
        6 => select(vec![1u64, 1000, 5000, 9_999, 10_000, 29_999, 30_000, 59_999, 60_000, 150_000, 299_999, 300_000])
            .prop_map(Act::Wait),
        1 => lists().prop_map(Act::SetPolicy),
        1 => Just(Act::SameAgain),
    ]
}

/// A world and the reference, which are told the same.
struct Twins {
    world: World,
    reference: Reference,
    lists: Lists,
    sent: Vec<Packet>,
}

impl Twins {
    fn new(lists: Lists) -> Self {
        let mut world = World::new(softnet::engine::Config { policy: compile(&lists), ..config() });
        world.lease(LEASED, u32::MAX, 1);
        Twins { world, reference: Reference::new(lists.0.clone(), lists.1.clone()), lists, sent: Vec::new() }
    }

    fn send(&mut self, packet: Packet) -> Result<(), TestCaseError> {
        let datagram = packet.datagram();
        let (frame, judgement) = match packet.direction {
            FromGuest => (datagram.frame(GATEWAY_MAC, GUEST_MAC), self.world.guest_ip(&datagram)),
            FromHost => {
                let mac = if packet.far == NEIGHBOUR { NEIGHBOUR_MAC } else { GATEWAY_MAC };
                let frame = datagram.frame(GUEST_MAC, mac);
                let judgement = self.world.host(&frame);
                (frame, judgement)
            }
        };
        let expected = self.reference.judge(&packet, self.world.now.total_millis());
        prop_assert_eq!(judgement, expected, "{:?} under {:?}", packet, self.world.engine.policy());
        decider::check(&self.world, packet.direction, &frame, judgement)?;
        self.sent.push(packet);
        Ok(())
    }

    fn earlier(&self, which: Index) -> Option<Packet> {
        let candidates: Vec<&Packet> =
            self.sent.iter().filter(|packet| !matches!(packet.carries, Carries::Error(..))).collect();
        (!candidates.is_empty()).then(|| which.get(&candidates).to_owned().clone())
    }

    /// Segments on the ports of an earlier one, in its direction or turned.
    fn play(&mut self, which: Index, segments: &[(bool, &'static str)]) -> Result<(), TestCaseError> {
        let packet = self.earlier(which).filter(|packet| matches!(packet.carries, Carries::Tcp(_)));
        for &(turned, flags) in packet.iter().flat_map(|_| segments) {
            let segment = vary(packet.clone().unwrap(), turned, flags);
            self.send(Packet { is_fragment: false, ..segment })?;
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Send(packet) => return self.send(packet),
            Act::Wait(millis) => self.world.wait(millis),
            Act::SameAgain => {
                let mut same = compile(&self.lists);
                same.allow.reverse();
                same.block.extend(same.block.clone());
                self.world.engine.set_policy(same);
            }
            Act::SetPolicy(lists) => {
                let policy = compile(&lists);
                if policy.clone().normalised() != *self.world.engine.policy() {
                    self.reference.set_policy(lists.0.clone(), lists.1.clone());
                }
                self.world.engine.set_policy(policy);
                self.lists = lists;
            }
            Act::Again { which, turned, flags } => {
                let Some(packet) = self.earlier(which) else { return Ok(()) };
                return self.send(vary(packet, turned, flags));
            }
            Act::Connect { which } => self.play(which, &[(false, "S"), (true, "SA"), (false, "A")])?,
            Act::Close { which } => self.play(which, &[(false, "FA"), (true, "FA"), (false, "A")])?,
            Act::Error { which, kind, from } => {
                let Some(about) = self.earlier(which) else { return Ok(()) };
                let direction = if about.direction == FromGuest { FromHost } else { FromGuest };
                // The guest's errors go to whom they are about, or another rule drops them.
                let far = if direction == FromGuest { about.far } else { from };
                let carries = Carries::Error(kind, Box::new(about));
                let (guest_port, far_port, is_fragment) = (0, 0, false);
                return self.send(Packet { direction, far, carries, guest_port, far_port, is_fragment });
            }
        }
        Ok(())
    }
}

fn vary(mut packet: Packet, turned: bool, flags: &'static str) -> Packet {
    if turned {
        packet.direction = if packet.direction == FromGuest { FromHost } else { FromGuest };
    }
    packet.carries = match packet.carries {
        Carries::Tcp(_) => Carries::Tcp(flags),
        Carries::Echo(kind) if turned => Carries::Echo(8 - kind),
        other => other,
    };
    packet
}

proptest! {
    #![proptest_config(without_files(600))]

    #[test]
    fn every_frame_is_judged_as_a_reader_of_the_entries_and_of_all_that_happened_expects(
        lists in lists(),
        acts in vec(act(), 1..80),
    ) {
        let mut twins = Twins::new(lists);
        for act in acts {
            twins.act(act)?;
        }
    }
}
