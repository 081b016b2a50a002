//! What a datagram is to a flow: which one it would be of, and what it does there.
//!
//! Fragments are of no flow, nor is what goes to a group, since nobody answers *from* a group; nor any protocol but TCP, UDP,
//! ICMP echo, and the ICMP errors that say what became of a datagram: destination unreachable, time exceeded and parameter
//! problem. A redirect says where to send instead, and a source quench nothing that anyone still heeds (RFC 6633): the rules
//! alone judge these.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::IpProtocol;

use super::super::ipv4::{Ipv4, Part, Ports};
use super::super::verdict::Direction;
use super::key::{Key, Protocol};
use super::tcp::Flags;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

const ICMP_HEADER: usize = 8;
/// What an error quotes at the least: a header without options, which the guest's always are, and 8 bytes (RFC 792).
const QUOTE: usize = 20 + 8;

/// A datagram as a step of a flow.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Step {
    pub(in super::super) key: Key,
    pub(super) kind: Kind,
}

/// What a datagram does in its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A segment of TCP with these flags.
    Tcp(Flags),
    /// A datagram of UDP.
    Udp,
    /// A request for an echo.
    EchoRequest,
    /// The echo.
    EchoReply,
    /// Word of a datagram of the flow, from wherever it got stuck.
    Error,
}

/// The ports of a whole datagram and, if it is TCP, its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Header {
    pub(in super::super) ports: Ports,
    pub(in super::super) flags: Option<Flags>,
}

impl Step {
    /// A datagram with its ports, if the protocol has any. It goes from or to the guest's lease.
    #[inline]
    pub(in super::super) fn read(direction: Direction, datagram: Ipv4<'_>, header: Option<Header>) -> Option<Self> {
        let ends = Ends::of(direction, datagram.source(), datagram.destination());
        if datagram.part() != Part::Whole {
            return None;
        }
        match header {
            Some(Header { ports, flags: Some(flags) }) => {
                Some(Step { key: ends.key(direction, ports, Protocol::Tcp), kind: Kind::Tcp(flags) })
            }
            Some(Header { ports, flags: None }) => {
                Some(Step { key: ends.key(direction, ports, Protocol::Udp), kind: Kind::Udp })
            }
            None if datagram.protocol() == IpProtocol::Icmp => Self::read_icmp(direction, ends, datagram),
            None => None,
        }
    }

    /// Whether it can be the first of a flow, for whoever keeps no track of connections that began before.
    pub(in super::super) fn begins(&self) -> bool {
        match self.kind {
            Kind::Tcp(flags) => flags.opens(),
            Kind::Udp | Kind::EchoRequest => true,
            Kind::EchoReply | Kind::Error => false,
        }
    }

    fn read_icmp(direction: Direction, ends: Ends, datagram: Ipv4<'_>) -> Option<Self> {
        let (&[kind, code, ..], quote) = datagram.payload.split_first_chunk::<ICMP_HEADER>()?;
        let kind = match kind {
            ECHO_REQUEST if code == 0 => Kind::EchoRequest,
            ECHO_REPLY if code == 0 => Kind::EchoReply,
            UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM => {
                return Self::read_quote(direction, datagram.destination(), quote.first_chunk()?);
            }
            _ => return None,
        };
        let request = if kind == Kind::EchoRequest { direction } else { direction.reverse() };
        Some(Step { key: ends.echo(Protocol::echo(request), datagram.payload)?, kind })
    }

    /// The flow of the datagram that an error quotes: one that whoever gets the error has sent.
    fn read_quote(direction: Direction, sent_by: Ipv4Addr, quote: &[u8; QUOTE]) -> Option<Self> {
        let (&[version, _, _, _, _, _, flags, offset, _, protocol, _, _, a, b, c, d, e, f, g, h], payload) =
            quote.split_first_chunk::<20>()?;
        let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
        let is_fragment = flags & 0x3f != 0 || offset != 0;
        if version != 0x45 || is_fragment || source != sent_by {
            return None;
        }
        let quoted = direction.reverse();
        let ends = Ends::of(quoted, source, destination);
        let key = match (IpProtocol::from(protocol), payload) {
            (IpProtocol::Icmp, &[ECHO_REQUEST, 0, ..]) => ends.echo(Protocol::echo(quoted), payload)?,
            (IpProtocol::Icmp, &[ECHO_REPLY, 0, ..]) => ends.echo(Protocol::echo(direction), payload)?,
            (IpProtocol::Tcp, payload) => ends.key(quoted, ports(payload)?, Protocol::Tcp),
            (IpProtocol::Udp, payload) => ends.key(quoted, ports(payload)?, Protocol::Udp),
            _ => return None,
        };
        Some(Step { key, kind: Kind::Error })
    }
}

fn ports(header: &[u8]) -> Option<Ports> {
    let &[a, b, c, d] = header.first_chunk()?;
    Some(Ports { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) })
}

/// Whom a datagram is between.
#[derive(Clone, Copy, Debug)]
struct Ends {
    guest: Ipv4Addr,
    far: Ipv4Addr,
}

impl Ends {
    #[inline]
    fn of(direction: Direction, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        match direction {
            Direction::FromGuest => Ends { guest: source, far: destination },
            Direction::FromHost => Ends { guest: destination, far: source },
        }
    }

    #[inline]
    fn key(self, direction: Direction, ports: Ports, protocol: Protocol) -> Key {
        let (guest_port, far_port) = match direction {
            Direction::FromGuest => (ports.source, ports.destination),
            Direction::FromHost => (ports.destination, ports.source),
        };
        Key { guest: self.guest, far: self.far, guest_port, far_port, protocol }
    }

    fn echo(self, protocol: Protocol, message: &[u8]) -> Option<Key> {
        let &[_, _, _, _, a, b] = message.first_chunk()?;
        let identifier = u16::from_be_bytes([a, b]);
        Some(Key { guest: self.guest, far: self.far, guest_port: identifier, far_port: identifier, protocol })
    }
}
