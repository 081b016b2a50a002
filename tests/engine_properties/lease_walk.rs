//! A random walk of a client, a server and a liar. The guest speaks from an address only while the *server* knows it to be
//! the guest's: whatever the guest asks in whatever order, under whatever ids, and whatever is lost on the way.
//!
//! The server takes messages in the order in which the engine let them pass, and its replies come in order, but each may
//! come later or never. It answers, refuses or ignores as it likes, but does not refuse a client what that client holds, and
//! all its leases are of one length (were a shorter renewal lost, nobody here could know). One more thing is taken for granted, and written down where the engine relies on it: no reply comes a minute after its request.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use crate::without_files;
use proptest::collection::vec;
use proptest::prelude::*;
use softnet::engine::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
enum Mood {
    Grant,
    Refuse,
    Ignore,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Discover { xid: u32 },
    Request { xid: u32, address: u8 },
    Renew { xid: u32, address: u8 },
    Release { address: u8 },
    Decline { address: u8 },
    Inform { xid: u32 },
    ServerTakesOne(Mood),
    ReplyArrives,
    ReplyIsLost,
    Lie { xid: u32, address: u8, kind: u8, how: u8 },
    Wait { millis: u64 },
}

/// Few ids and few addresses, so that they meet.
fn step() -> impl Strategy<Value = Step> {
    let xid = || 1..4u32;
    let address = || 7..10u8;
    let mood = prop_oneof![
        4 => Just(Mood::Grant),
        1 => Just(Mood::Refuse),
        2 => Just(Mood::Ignore),
    ];
    prop_oneof![
        1 => xid().prop_map(|xid| Step::Discover { xid }),
        4 => (xid(), address()).prop_map(|(xid, address)| Step::Request { xid, address }),
        3 => (xid(), address()).prop_map(|(xid, address)| Step::Renew { xid, address }),
        1 => address().prop_map(|address| Step::Release { address }),
        1 => address().prop_map(|address| Step::Decline { address }),
        1 => xid().prop_map(|xid| Step::Inform { xid }),
        7 => mood.prop_map(Step::ServerTakesOne),
        6 => Just(Step::ReplyArrives),
        1 => Just(Step::ReplyIsLost),
        2 => (xid(), address(), prop_oneof![Just(ACK), Just(NAK), Just(OFFER)], 0..5u8)
            .prop_map(|(xid, address, kind, how)| Step::Lie { xid, address, kind, how }),
        3 => prop_oneof![0..100u64, 1000..9000u64, Just(61_000u64), Just(590_000u64)].prop_map(|millis| Step::Wait { millis }),
    ]
}

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 64, last)
}

#[derive(Default)]
struct Server {
    /// What the guest sent and has not been read yet, and when.
    inbox: VecDeque<(Dhcp, Instant)>,
    /// What the server answered and has not arrived yet, and when the request was sent.
    outbox: VecDeque<(Dhcp, Instant)>,
    lease: Option<(Ipv4Addr, Instant)>,
    seconds: u32,
}

impl Server {
    fn holds(&self, address: Ipv4Addr, now: Instant) -> bool {
        self.lease.is_some_and(|(held, expires)| held == address && now < expires)
    }

    fn lose_what_is_late(&mut self, now: Instant) {
        self.inbox.retain(|(_, sent)| now < *sent + Duration::from_secs(60));
        self.outbox.retain(|(_, sent)| now < *sent + Duration::from_secs(60));
    }

    fn take_one(&mut self, mood: Mood, now: Instant) {
        let Some((message, sent)) = self.inbox.pop_front() else { return };
        let mut answers = Vec::new();
        let mut answer = |reply| answers.push((reply, sent));
        let option = |code| message.options.iter().find(|(each, _)| *each == code).map(|(_, value)| value.clone());
        let requested = option(50).map(|octets| Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]));
        let kind = option(53).unwrap()[0];
        match (kind, mood) {
            (RELEASE, _) if self.holds(message.ciaddr, now) => self.lease = None,
            (DECLINE, _) if requested.is_some_and(|address| self.holds(address, now)) => self.lease = None,
            (DISCOVER, Mood::Grant) => answer(Dhcp::offer(message.xid, host(7))),
            (INFORM, Mood::Grant) => answer(Dhcp::from_server(ACK, message.xid)),
            (REQUEST, Mood::Grant) => {
                let address = requested.unwrap_or(message.ciaddr);
                self.lease = Some((address, now + Duration::from_secs(self.seconds.into())));
                answer(Dhcp::ack(message.xid, address, self.seconds));
            }
            (REQUEST, Mood::Refuse) if !self.holds(requested.unwrap_or(message.ciaddr), now) => {
                self.lease = None;
                answer(Dhcp::nak(message.xid));
            }
            _ => {}
        }
        self.outbox.extend(answers);
    }
}

fn walk(seconds: u32, steps: &[Step]) -> Result<usize, TestCaseError> {
    let mut world = World::new(config());
    let mut server = Server { seconds, ..Server::default() };
    let mut spoken = 0;
    for &step in steps {
        let sent = match step {
            Step::Discover { xid } => Some(Dhcp::discover(xid)),
            Step::Request { xid, address } => Some(Dhcp::request(xid, host(address))),
            Step::Renew { xid, address } => Some(Dhcp::renewal(xid, host(address))),
            Step::Release { address } => Some(Dhcp::release(9, host(address))),
            Step::Decline { address } => Some(Dhcp::decline(9, host(address))),
            Step::Inform { xid } => Some(Dhcp::from_guest(INFORM, xid)),
            _ => None,
        };
        if let Some(message) = sent
            && world.guest_dhcp(&message).is_ok()
        {
            server.inbox.push_back((message, world.now));
        }
        match step {
            Step::ServerTakesOne(mood) => server.take_one(mood, world.now),
            Step::ReplyArrives => {
                if let Some((reply, _)) = server.outbox.pop_front() {
                    let _ = world.host_dhcp(&reply);
                }
            }
            Step::ReplyIsLost => drop(server.outbox.pop_front()),
            Step::Lie { xid, address, kind, how } => {
                let lie = Dhcp { yiaddr: host(address), ..Dhcp::from_server(kind, xid) }.option(51, &[0, 0, 9, 9]);
                let datagram = lie.by_gateway();
                let lie = match how {
                    0 => Ip { source: NEIGHBOUR, ..datagram },
                    1 => Ip { payload: udp(68, 68, &lie.bytes()), ..datagram },
                    2 => Dhcp { chaddr: NEIGHBOUR_MAC, ..lie }.by_gateway(),
                    3 => Dhcp { xid: xid + 100, ..lie }.by_gateway(),
                    _ => Dhcp { op: 1, ..lie }.by_gateway(),
                };
                prop_assert!(world.host(&lie.frame(BROADCAST, GATEWAY_MAC)).is_err());
            }
            Step::Wait { millis } => {
                world.wait(millis);
                server.lose_what_is_late(world.now);
            }
            _ => {}
        }
        for address in (1..12).map(host) {
            if world.speaks_from(address).is_ok() {
                spoken += 1;
                prop_assert!(server.holds(address, world.now), "{address} passes, the server has {:?}", server.lease);
            }
        }
    }
    Ok(spoken)
}

proptest! {
    #![proptest_config(without_files(400))]

    #[test]
    fn the_guest_speaks_only_from_an_address_that_the_server_knows_to_be_its(
        seconds in prop_oneof![Just(5u32), Just(60), Just(600)],
        steps in vec(step(), 1..60),
    ) {
        walk(seconds, &steps)?;
    }
}

#[test]
fn the_walk_of_an_honest_client_does_speak() {
    use Step::*;
    let steps = [
        Discover { xid: 1 },
        ServerTakesOne(Mood::Grant),
        ReplyArrives,
        Request { xid: 1, address: 7 },
        ServerTakesOne(Mood::Grant),
        ReplyArrives,
        Wait { millis: 10 },
    ];
    assert_eq!(walk(600, &steps).unwrap(), 2);
}
