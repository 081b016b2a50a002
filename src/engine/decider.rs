//! What decided over a datagram: an entry of the operator's, or what holds where no entry covers it.
//!
//! For people: lines of a log, `softnet explain`. A verdict says *that* the policy blocks a datagram; this says which entry
//! does. It reads the entries themselves, so it costs a look at each, and nobody asks for every frame. It judges nothing:
//! tests compare what it says with the verdicts.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::digest::{Contents, Datagram, Digest, Load};
use super::exposures::{Exposed, ExposedPort, Exposures};
use super::filter::{Subnet, is_refusal};
use super::names::Pattern;
use super::policy::{Carried, Entry, List, PolicyEntries, State, Terms, Way};
use super::special::is_global_unicast;
use super::verdict::{Direction, DropReason, Verdict};
use super::{Engine, Isolation, NetType};

const DHCP_SERVER_PORT: u16 = 67;
const DHCP_CLIENT_PORT: u16 = 68;
const DNS_PORT: u16 = 53;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What decides over a datagram whose form and whose sender are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider<'a> {
    /// An entry, in normal form.
    Entry(List, &'a Entry),
    /// An entry of the administrator's that blocks.
    Administrator(&'a Entry),
    /// By default the gateway is reachable.
    Gateway,
    /// By default, in nat mode, the world is.
    World,
    /// By default, in nat mode, port 53 of the DNS servers of the lease is.
    DnsServer,
    /// By default nothing else is.
    NotReachable,
    /// By default others may begin.
    Inbound,
    /// The guest is isolated from its neighbours, and no entry allows this one.
    Isolation,
    /// The rules would drop it, but it belongs to a flow that they have let begin.
    Flow,
    /// The rules would drop it, but it belongs to an exposed port.
    ExposedPort,
    /// DHCP, over which no entry decides.
    Dhcp,
}

impl Decider<'_> {
    /// The decider as one lower-case word with hyphens: stable, for logs and programs. What entry: the field tells.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Decider::Entry(List::Allow, _) => "allow",
            Decider::Entry(List::Block, _) => "block",
            Decider::Administrator(_) => "administrator",
            Decider::Gateway => "default-gateway",
            Decider::World => "default-world",
            Decider::DnsServer => "default-dns-server",
            Decider::NotReachable => "default-not-reachable",
            Decider::Inbound => "default-inbound",
            Decider::Isolation => "isolation",
            Decider::Flow => "flow",
            Decider::ExposedPort => "exposed-port",
            Decider::Dhcp => "dhcp",
        }
    }
}

/// A phrase for people: `--allow 'in 10.0.0.0/8:22'`, as it would be typed, or what holds by default.
impl fmt::Display for Decider<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decider::Entry(list, entry) => {
                let option = if *list == List::Allow { "--allow" } else { "--block" };
                return write!(f, "{option} '{entry}'");
            }
            Decider::Administrator(entry) => return write!(f, "the administrator's block '{entry}'"),
            Decider::Gateway => "default: the gateway",
            Decider::World => "default: globally routable",
            Decider::DnsServer => "default: a DNS server of the lease",
            Decider::NotReachable => "default: not reachable",
            Decider::Inbound => "default: others may begin",
            Decider::Isolation => "default: isolated from neighbours",
            Decider::Flow => "a flow that has begun",
            Decider::ExposedPort => "an exposed port",
            Decider::Dhcp => "DHCP has rules of its own",
        })
    }
}

/// How a datagram that begins something, and that is dropped, is answered where what the policy refuses is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// By a TCP reset, in the name of whom it was for.
    Reset,
    /// By ICMP "communication administratively prohibited" (3/13).
    Prohibited,
    /// By nothing.
    Silence(Silence),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is from a neighbour, whom the guest is isolated from.
    Neighbour,
    /// It is DHCP's.
    Dhcp,
    /// It is a fragment.
    Fragment,
    /// The far address is of many, of nobody or of the asker itself.
    NoHost,
    /// It is not the policy that drops it.
    Form,
}

/// A phrase for people.
impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answered::Reset => "answered by a TCP reset",
            Answered::Prohibited => "answered by ICMP 3/13, administratively prohibited",
            Answered::Silence(Silence::Neighbour) => "in silence: neighbours get no answer",
            Answered::Silence(Silence::Dhcp) => "in silence: DHCP gets no answer",
            Answered::Silence(Silence::Fragment) => "in silence: fragments get no answer",
            Answered::Silence(Silence::NoHost) => "in silence: the address is no single host's",
            Answered::Silence(Silence::Form) => "in silence: it is not the policy that drops it",
        })
    }
}

/// What becomes of a datagram, and what decides so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// It passes, or is dropped for this reason.
    pub outcome: Result<(), DropReason>,
    /// What decides.
    pub decider: Decider<'a>,
}

/// All that decides over a datagram besides its form, its sender and the flows.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// The operator's entries. Of those that say the same, the first is named.
    pub policy: &'a PolicyEntries,
    /// The administrator's, which are asked first; only what they block counts.
    pub administrator: &'a PolicyEntries,
    /// What is reachable by default.
    pub net_type: NetType,
    /// Whether neighbours are heard.
    pub isolation: Isolation,
    /// The gateway's address.
    pub gateway: Ipv4Addr,
    /// The link's subnet.
    pub subnet: Ipv4Net,
    /// The DNS servers of the lease.
    pub dns_servers: &'a [Ipv4Addr],
}

impl<'a> Grounds<'a> {
    /// What becomes of a datagram that begins something. `has_name` says whether a name that an entry is about is known to
    /// be one of the far side's address.
    pub fn decide(
        &self,
        direction: Direction,
        datagram: &Datagram,
        has_name: impl Fn(&Pattern) -> bool,
    ) -> Decision<'a> {
        match (direction, datagram.protocol, datagram.load) {
            (Direction::FromGuest, UDP, Load::Ports { source: DHCP_SERVER_PORT, .. }) => {
                Decision { outcome: Err(DropReason::DhcpServerPort), decider: Decider::Dhcp }
            }
            (Direction::FromHost, UDP, Load::Ports { destination: DHCP_SERVER_PORT, .. }) => {
                Decision { outcome: Err(DropReason::DhcpClientPort), decider: Decider::Dhcp }
            }
            (Direction::FromGuest, UDP, Load::Ports { destination: DHCP_SERVER_PORT, .. })
            | (Direction::FromHost, UDP, Load::Ports { destination: DHCP_CLIENT_PORT, .. }) => {
                Decision { outcome: Ok(()), decider: Decider::Dhcp }
            }
            (Direction::FromGuest, ..) => self.decide_outward(datagram, has_name),
            (Direction::FromHost, ..) => self.decide_inward(datagram, has_name),
        }
    }

    /// How a datagram that begins something, and is dropped for this reason, is answered.
    #[must_use]
    pub fn answered(&self, direction: Direction, datagram: &Datagram, reason: DropReason) -> Answered {
        let far = match direction {
            Direction::FromGuest => datagram.destination,
            Direction::FromHost => datagram.source,
        };
        let is_dhcp = match (datagram.protocol, datagram.load) {
            (UDP, Load::Ports { source, destination }) => {
                [source, destination].iter().any(|port| matches!(*port, DHCP_SERVER_PORT | DHCP_CLIENT_PORT))
            }
            _ => false,
        };
        match (datagram.protocol, datagram.load) {
            _ if is_dhcp => Answered::Silence(Silence::Dhcp),
            _ if reason == DropReason::Neighbour => Answered::Silence(Silence::Neighbour),
            _ if !is_refusal(direction, reason) => Answered::Silence(Silence::Form),
            (_, Load::Fragment) => Answered::Silence(Silence::Fragment),
            _ if !Subnet::new(self.subnet).has_host(far) => Answered::Silence(Silence::NoHost),
            (TCP, _) => Answered::Reset,
            _ => Answered::Prohibited,
        }
    }

    /// Whether a datagram can be of an exposed port, so that it passes whatever the operator's entries say: towards the guest it
    /// begins something there, and from the guest it answers.
    #[must_use]
    pub fn exposes(&self, exposures: &Exposures, direction: Direction, datagram: &Datagram) -> bool {
        let Datagram { source, destination, protocol, load } = *datagram;
        let inward = match (direction, load) {
            (Direction::FromHost, Load::Ports { .. }) => *datagram,
            (Direction::FromGuest, Load::Ports { source: guest, destination: far }) => Datagram {
                source: destination,
                destination: source,
                protocol,
                load: Load::Ports { source: far, destination: guest },
            },
            _ => return false,
        };
        let (far, Load::Ports { source: far_port, destination: port }) = (inward.source, inward.load) else {
            return false;
        };
        let protocol = match protocol {
            TCP => ExposedPort::Tcp,
            UDP => ExposedPort::Udp,
            _ => return false,
        };
        exposures.have(&Exposed { port, protocol }, far, self.gateway)
            && !exposures.is_of_a_service(far_port)
            && !self.is_neighbour(far)
            && self.closed_by(Way::In, far, inward.carried_in()).is_none()
    }

    fn is_neighbour(&self, far: Ipv4Addr) -> bool {
        self.isolation == Isolation::Isolated && self.subnet.contains(&far) && far != self.gateway
    }

    fn decide_outward(&self, datagram: &Datagram, has_name: impl Fn(&Pattern) -> bool) -> Decision<'a> {
        let far = datagram.destination;
        if let Some(entry) = self.closed_by(Way::Out, far, datagram.carried_out()) {
            return Decision { outcome: Err(DropReason::Blocked), decider: Decider::Administrator(entry) };
        }
        let entry = self.policy.deciding(self.terms(), Way::Out, far, datagram.carried_out(), has_name);
        let passes = |decider| Decision { outcome: Ok(()), decider };
        match entry {
            Some((List::Allow, entry)) => passes(Decider::Entry(List::Allow, entry)),
            Some((List::Block, entry)) => {
                Decision { outcome: Err(DropReason::Blocked), decider: Decider::Entry(List::Block, entry) }
            }
            None if far == self.gateway => passes(Decider::Gateway),
            None if self.net_type == NetType::Nat && is_global_unicast(far) && !self.subnet.contains(&far) => {
                passes(Decider::World)
            }
            None if self.net_type == NetType::Nat && self.is_question(datagram) => passes(Decider::DnsServer),
            None => Decision { outcome: Err(DropReason::NotReachable), decider: Decider::NotReachable },
        }
    }

    /// The entry of the administrator's that blocks, if one does.
    fn closed_by(&self, way: Way, far: Ipv4Addr, carried: Carried) -> Option<&'a Entry> {
        match self.administrator.deciding(self.terms(), way, far, carried, |_| false) {
            Some((List::Block, entry)) => Some(entry),
            _ => None,
        }
    }

    /// One entry with a direction, whosever it is, makes all of it stateful.
    fn terms(&self) -> Terms {
        let is_stateful = self.policy.is_stateful() || self.administrator_keeps_state();
        Terms { gateway: self.gateway, state: if is_stateful { State::Kept } else { State::AsEntriesAsk } }
    }

    /// Entries that block nothing ask for nothing.
    fn administrator_keeps_state(&self) -> bool {
        !self.administrator.block.is_empty() && self.administrator.is_stateful()
    }

    /// Whether a datagram goes to port 53 of a DNS server of the lease.
    fn is_question(&self, datagram: &Datagram) -> bool {
        matches!(datagram.load, Load::Ports { destination: DNS_PORT, .. })
            && !datagram.destination.is_unspecified()
            && self.dns_servers.contains(&datagram.destination)
    }

    fn decide_inward(&self, datagram: &Datagram, has_name: impl Fn(&Pattern) -> bool) -> Decision<'a> {
        let far = datagram.source;
        let is_neighbour = self.is_neighbour(far);
        let inbound = Decision { outcome: Ok(()), decider: Decider::Inbound };
        if self.terms().state == State::AsEntriesAsk && !is_neighbour {
            return inbound;
        }
        let dropped = if is_neighbour { DropReason::Neighbour } else { DropReason::Blocked };
        if let Some(entry) = self.closed_by(Way::In, far, datagram.carried_in()) {
            return Decision { outcome: Err(dropped), decider: Decider::Administrator(entry) };
        }
        match self.policy.deciding(self.terms(), Way::In, far, datagram.carried_in(), has_name) {
            Some((List::Allow, entry)) => Decision { outcome: Ok(()), decider: Decider::Entry(List::Allow, entry) },
            Some((List::Block, entry)) => {
                Decision { outcome: Err(dropped), decider: Decider::Entry(List::Block, entry) }
            }
            None if is_neighbour => Decision { outcome: Err(dropped), decider: Decider::Isolation },
            None => inbound,
        }
    }
}

impl Engine {
    /// What decided over a frame that has just been judged, if the policy was asked: the form of a frame and its sender come
    /// first, and then the drop's reason says all.
    ///
    /// Of what belongs to a flow, an entry or a default is named that would let it pass without the flow too, if there is one.
    #[must_use]
    pub fn decider(&self, direction: Direction, frame: &[u8], verdict: Verdict) -> Option<Decider<'_>> {
        let isolation = (verdict == Verdict::Drop(DropReason::Neighbour)).then_some(Decider::Isolation);
        let Some(Digest { contents: Contents::Ipv4(datagram), .. }) = Digest::read(frame) else { return isolation };
        let far = match direction {
            Direction::FromGuest => datagram.destination,
            Direction::FromHost => datagram.source,
        };
        let has_name = |pattern: &Pattern| self.filter.is_pinned(far, pattern, self.now);
        let grounds = self.filter.grounds(&self.policy, &self.administrator);
        let Decision { outcome, decider } = grounds.decide(direction, &datagram, has_name);
        match (verdict, outcome) {
            (Verdict::Forward, Ok(())) => Some(decider),
            (Verdict::Forward, Err(_)) => {
                let is_exposed =
                    self.filter.exposures().is_some_and(|exposures| grounds.exposes(exposures, direction, &datagram));
                Some(if is_exposed { Decider::ExposedPort } else { Decider::Flow })
            }
            (Verdict::Drop(reason) | Verdict::Reply(reason), Err(by_rules)) if reason == by_rules => Some(decider),
            (Verdict::Drop(_) | Verdict::Reply(_), _) => isolation,
        }
    }
}
