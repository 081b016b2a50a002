//! A naive reading of rules with directions and ports, and of flows: lists that are searched from end to end, and the whole
//! history of each flow, read anew for every frame.

use std::net::Ipv4Addr;

use crate::engine_world::Judgement;
use crate::engine_world::frames::*;
use softnet::engine::Direction::{self, FromGuest, FromHost};
use softnet::engine::DropReason;
use softnet_fuzz_targets::oracle::is_of_the_world;

/// An entry as the reference has it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// "", "in " or "out ".
    pub(crate) way: &'static str,
    pub(crate) address: Ipv4Addr,
    pub(crate) length: u32,
    pub(crate) ports: Option<(u16, u16)>,
}

impl Rule {
    pub(crate) fn text(&self) -> String {
        let ports = self.ports.map_or(String::new(), |(first, last)| format!(":{first}-{last}"));
        format!("{}{}/{}{ports}", self.way, self.address, self.length)
    }
}

/// What a packet carries, for the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Carries {
    Tcp(&'static str),
    Udp,
    /// 8 or 0.
    Echo(u8),
    /// An ICMP message of this type about a packet that goes the other way.
    Error(u8, Box<Packet>),
    /// A protocol that has no ports and no flows.
    Other,
}

/// A packet between the guest's lease and a far address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) direction: Direction,
    pub(crate) far: Ipv4Addr,
    pub(crate) carries: Carries,
    /// For an echo, the guest's is the identifier.
    pub(crate) guest_port: u16,
    pub(crate) far_port: u16,
    pub(crate) is_fragment: bool,
}

impl Packet {
    pub(crate) fn datagram(&self) -> Ip {
        let (source, destination, ports) = match self.direction {
            FromGuest => (LEASED, self.far, (self.guest_port, self.far_port)),
            FromHost => (self.far, LEASED, (self.far_port, self.guest_port)),
        };
        let mut datagram = match &self.carries {
            Carries::Tcp(flags) => Ip::segment(source, destination, ports, flags),
            Carries::Udp => Ip::udp(source, destination, ports, &[0; 16]),
            Carries::Echo(kind) => Ip::echo(source, destination, *kind, self.guest_port),
            Carries::Error(kind, about) => Ip::error(source, destination, *kind, &about.datagram()),
            Carries::Other => Ip::new(source, destination, 47, vec![0; 16]),
        };
        if self.is_fragment {
            datagram.more_fragments = true;
            datagram.payload.resize(datagram.payload.len().next_multiple_of(8).max(24), 0);
        }
        datagram
    }

    fn has_ports(&self) -> bool {
        matches!(self.carries, Carries::Tcp(_) | Carries::Udp)
    }
}

/// What makes two packets one flow.
type Name = (&'static str, Ipv4Addr, u16, u16);

fn name(packet: &Packet) -> Option<Name> {
    let asks_guest = |kind: u8| (kind == 8) == (packet.direction == FromGuest);
    match &packet.carries {
        _ if packet.is_fragment => None,
        Carries::Tcp(_) => Some(("tcp", packet.far, packet.guest_port, packet.far_port)),
        Carries::Udp => Some(("udp", packet.far, packet.guest_port, packet.far_port)),
        Carries::Echo(kind) if asks_guest(*kind) => Some(("guest asks", packet.far, packet.guest_port, 0)),
        Carries::Echo(_) => Some(("far asks", packet.far, packet.guest_port, 0)),
        // A neighbour is no router.
        Carries::Error(_, about) if packet.far == NEIGHBOUR && about.far != NEIGHBOUR => None,
        Carries::Error(3 | 11 | 12, about) => name(about),
        Carries::Error(..) | Carries::Other => None,
    }
}

/// A flow and all that was ever let pass as a part of it, with times in milliseconds.
#[derive(Clone, Debug)]
struct Flow {
    name: Name,
    first: Packet,
    policy: usize,
    history: Vec<(i64, Packet)>,
}

impl Flow {
    /// When it ends, and whether it is on its way to. Its time counts from the beginning of a second.
    fn fate(&self) -> (i64, bool) {
        let initiator = self.first.direction;
        let second = |at: i64| at / 1000 * 1000;
        let began = second(self.history[0].0);
        let Carries::Tcp(first_flags) = self.first.carries else {
            let last = self
                .history
                .iter()
                .rev()
                .find(|(_, packet)| packet.direction == initiator && !matches!(packet.carries, Carries::Error(..)));
            return (last.map_or(began, |(at, _)| second(*at)) + 30_000, false);
        };
        let (mut end, mut answered, mut established) = (began + 60_000, false, false);
        let (mut ended_by, mut reset) = (Vec::new(), false);
        for (at, packet) in &self.history[1..] {
            let Carries::Tcp(flags) = packet.carries else { continue };
            let is_initiator = packet.direction == initiator;
            let has = |letter| flags.contains(letter);
            if has('R') {
                reset = true;
            } else if has('S') {
                answered |= !is_initiator && flags == "SA";
            } else {
                if has('F') && !ended_by.contains(&is_initiator) {
                    ended_by.push(is_initiator);
                }
                answered |= has('A') && !is_initiator && first_flags != "S";
                established |= has('A') && is_initiator && answered;
                if has('A') && is_initiator && established && ended_by.len() < 2 {
                    reset = false;
                    end = second(*at) + 300_000;
                }
            }
            if reset || ended_by.len() == 2 {
                end = end.min(second(*at) + 10_000);
            }
        }
        (end, reset || ended_by.len() == 2)
    }
}

/// The reference.
#[derive(Default)]
pub(crate) struct Reference {
    allow: Vec<Rule>,
    block: Vec<Rule>,
    /// The number of the present policy.
    policy: usize,
    flows: Vec<Flow>,
    /// Whether there was no state before this policy, and when its first frame came.
    picks_up: bool,
    first_frame: Option<i64>,
}

impl Reference {
    pub(crate) fn new(allow: Vec<Rule>, block: Vec<Rule>) -> Self {
        Reference { allow, block, ..Default::default() }
    }

    fn is_stateful(&self) -> bool {
        self.allow.iter().chain(&self.block).any(|rule| !rule.way.is_empty())
    }

    pub(crate) fn set_policy(&mut self, allow: Vec<Rule>, block: Vec<Rule>) {
        self.picks_up = !self.is_stateful();
        self.first_frame = None;
        (self.allow, self.block) = (allow, block);
        self.policy += 1;
        if !self.is_stateful() {
            self.flows.clear();
        }
    }

    /// What is to become of a packet.
    pub(crate) fn judge(&mut self, packet: &Packet, now: i64) -> Judgement {
        if !self.is_stateful() {
            return match packet.direction {
                FromHost if packet.far != NEIGHBOUR => Ok(()),
                // Whom the guest may send to may answer.
                FromHost if self.decision(FromGuest, packet) == Some("allow") => Ok(()),
                FromHost => Err(DropReason::Neighbour),
                FromGuest => self.rules(packet),
            };
        }
        let first_frame = *self.first_frame.get_or_insert(now);
        self.flows.retain(|flow| now < flow.fate().0);
        let mut position = name(packet).and_then(|name| self.flows.iter().position(|flow| flow.name == name));
        if let Some(index) = position
            && self.flows[index].policy != self.policy
        {
            if self.rules(&self.flows[index].first).is_ok() {
                self.flows[index].policy = self.policy;
            } else {
                self.flows.remove(index);
                position = None;
            }
        }
        if let Some(index) = position {
            let flow = &mut self.flows[index];
            let is_answer = packet.direction != flow.first.direction;
            let is_part = match packet.carries {
                Carries::Tcp("S") => false,
                Carries::Tcp(flags) => !is_answer || !flags.contains('S') || flags == "SA",
                _ => true,
            };
            if is_part {
                flow.history.push((now, packet.clone()));
                return Ok(());
            }
        }
        self.rules(packet)?;
        let in_the_middle = |flags: &str| flags.contains('A') && !flags.contains(['S', 'R']);
        let begins = match packet.carries {
            Carries::Tcp("S") | Carries::Udp | Carries::Echo(8) => true,
            Carries::Tcp(flags) => self.picks_up && now < first_frame + 300_000 && in_the_middle(flags),
            _ => false,
        };
        if let (true, Some(name)) = (begins, name(packet)) {
            match position {
                Some(index) if !self.flows[index].fate().1 => return Ok(()),
                Some(index) => drop(self.flows.remove(index)),
                None => {}
            }
            let history = vec![(now, packet.clone())];
            self.flows.push(Flow { name, first: packet.clone(), policy: self.policy, history });
        }
        Ok(())
    }

    fn rules(&self, packet: &Packet) -> Judgement {
        let is_neighbour = packet.far == NEIGHBOUR;
        match (self.decision(packet.direction, packet), packet.direction) {
            (Some("allow"), _) => Ok(()),
            (_, FromHost) if is_neighbour => Err(DropReason::Neighbour),
            (Some(_), _) => Err(DropReason::Blocked),
            (None, FromHost) => Ok(()),
            (None, FromGuest) if packet.far == GATEWAY => Ok(()),
            (None, FromGuest) if is_of_the_world(packet.far) => Ok(()),
            (None, FromGuest) => Err(DropReason::NotReachable),
        }
    }

    /// "allow", "block", or nothing.
    fn decision(&self, direction: Direction, packet: &Packet) -> Option<&'static str> {
        let mut matching = Vec::new();
        for (list, rules) in [("allow", &self.allow), ("block", &self.block)] {
            for rule in rules.iter().filter(|rule| covers(rule, list, direction, packet)) {
                // The last of the sorted ones decides.
                matching.push((rule.ports.is_some(), rule.length, list));
            }
        }
        matching.sort();
        matching.last().map(|&(.., list)| list)
    }
}

fn covers(rule: &Rule, list: &str, direction: Direction, packet: &Packet) -> bool {
    let is_of_direction = match rule.way {
        "" => true,
        "in " => direction == FromHost,
        _ => direction == FromGuest,
    };
    let differs = u32::from(rule.address) ^ u32::from(packet.far);
    let is_within = rule.length == 0 || differs >> (32 - rule.length) == 0;
    let has_port = match rule.ports {
        None => true,
        Some(_) if packet.is_fragment => list == "block",
        Some((first, last)) => {
            let port = if rule.way == "in " { packet.guest_port } else { packet.far_port };
            packet.has_ports() && first <= port && port <= last
        }
    };
    is_of_direction && is_within && has_port
}
