//! What of a frame people read: its ends, for a line of a log or of an answer. It judges nothing.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::Ipv4Addr;

use smoltcp::wire::{EthernetAddress, EthernetProtocol, IpProtocol};

use super::colons;
use super::ipv4::{Header, Ipv4, Part, Ports, Tcp, Udp};
use super::policy::Carried;

/// The ends of a frame, as far as they can be read. Its [`Display`](fmt::Display) has numbers and fixed words alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The Ethernet source.
    pub source_mac: EthernetAddress,
    /// The Ethernet destination.
    pub destination_mac: EthernetAddress,
    /// What is inside.
    pub contents: Contents,
}

/// What is inside of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// ARP of Ethernet and IPv4.
    Arp {
        /// Who speaks.
        sender: Ipv4Addr,
        /// Whom it is about.
        target: Ipv4Addr,
    },
    /// An IPv4 datagram.
    Ipv4(Datagram),
    /// Anything else, or something that cannot be read: its EtherType.
    Other(u16),
}

/// The ends of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The source.
    pub source: Ipv4Addr,
    /// The destination.
    pub destination: Ipv4Addr,
    /// The protocol by its number (6 is TCP, 17 UDP, 1 ICMP).
    pub protocol: u8,
    /// What the rules can see of it besides.
    pub load: Load,
}

/// What the rules can see of a datagram besides its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A whole datagram of TCP or UDP with these ports.
    Ports {
        /// The source's.
        source: u16,
        /// The destination's.
        destination: u16,
    },
    /// A fragment.
    Fragment,
    /// Another protocol, or a header that cannot be read.
    Plain,
}

impl Digest {
    /// Reads a frame; one that is shorter than an Ethernet header has nothing to read.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let (&[a, b, c, d, e, f, g, h, i, j, k, l, high, low], payload) = frame.split_first_chunk::<14>()?;
        let ether_type = u16::from_be_bytes([high, low]);
        let contents = match EthernetProtocol::from(ether_type) {
            EthernetProtocol::Arp => read_arp(payload),
            EthernetProtocol::Ipv4 => Datagram::read(payload).map(Contents::Ipv4),
            _ => None,
        };
        Some(Digest {
            source_mac: EthernetAddress([g, h, i, j, k, l]),
            destination_mac: EthernetAddress([a, b, c, d, e, f]),
            contents: contents.unwrap_or(Contents::Other(ether_type)),
        })
    }
}

fn read_arp(packet: &[u8]) -> Option<Contents> {
    let &[0, 1, 8, 0, 6, 4, _, _, _, _, _, _, _, _, a, b, c, d, _, _, _, _, _, _, e, f, g, h] =
        packet.first_chunk::<28>()?
    else {
        return None;
    };
    Some(Contents::Arp { sender: Ipv4Addr::new(a, b, c, d), target: Ipv4Addr::new(e, f, g, h) })
}

impl Datagram {
    /// Reads an IPv4 datagram whose header is sound; its checksum is not looked at.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let datagram = Ipv4::parse(bytes, Header::Any).ok()?;
        let ports = match (datagram.part(), datagram.protocol()) {
            (Part::Whole, IpProtocol::Udp) => Udp::parse_whole(datagram.payload).ok().map(|udp| udp.ports),
            (Part::Whole, IpProtocol::Tcp) => Tcp::parse_whole(datagram.payload).ok().map(|tcp| tcp.ports),
            _ => None,
        };
        let load = match (datagram.part(), ports) {
            (Part::Whole, Some(Ports { source, destination })) => Load::Ports { source, destination },
            (Part::Whole, None) => Load::Plain,
            (Part::First | Part::Later(_), _) => Load::Fragment,
        };
        Some(Datagram {
            source: datagram.source(),
            destination: datagram.destination(),
            protocol: datagram.protocol().into(),
            load,
        })
    }

    /// What the rules see if the far side is the destination.
    pub(super) fn carried_out(&self) -> Carried {
        match self.load {
            Load::Ports { source, destination } => Carried::Ports { far: destination, guest: source },
            Load::Fragment => Carried::Fragment,
            Load::Plain => Carried::NoPorts,
        }
    }

    /// What the rules see if the far side is the source.
    pub(super) fn carried_in(&self) -> Carried {
        match self.load {
            Load::Ports { source, destination } => Carried::Ports { far: source, guest: destination },
            Load::Fragment => Carried::Fragment,
            Load::Plain => Carried::NoPorts,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.contents {
            Contents::Ipv4(datagram) => datagram.fmt(f),
            Contents::Arp { sender, target } => write!(f, "ARP {sender} > {target}"),
            Contents::Other(ether_type) => {
                let (source, destination) = (colons(self.source_mac), colons(self.destination_mac));
                write!(f, "type 0x{ether_type:04x} {source} > {destination}")
            }
        }
    }
}

impl fmt::Display for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Datagram { source: from, destination: to, protocol, load } = *self;
        match IpProtocol::from(protocol) {
            IpProtocol::Unknown(number) => write!(f, "protocol {number}")?,
            known => known.fmt(f)?,
        }
        match load {
            Load::Ports { source, destination } => write!(f, " {from}:{source} > {to}:{destination}"),
            Load::Fragment => write!(f, " fragment {from} > {to}"),
            Load::Plain => write!(f, " {from} > {to}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
        [&[4; 6][..], &[2; 6], &ether_type.to_be_bytes(), payload].concat()
    }

    /// From 10.0.0.1 to 10.0.0.2.
    fn ipv4(protocol: u8, fragment: u8, payload: &[u8]) -> Vec<u8> {
        let length = 20 + payload.len() as u8;
        let header = [0x45, 0, 0, length, 0, 0, fragment, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        ethernet(0x0800, &[&header, payload].concat())
    }

    #[test]
    fn a_frame_is_shown_by_its_ends_as_far_as_they_can_be_read() {
        let udp = [1, 0, 0, 53, 0, 8, 0, 0];
        let tcp = [&[1, 0, 0, 22][..], &[0; 8], &[0x50, 2], &[0; 6]].concat();
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2; 6], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat();
        for (frame, expected) in [
            (ipv4(17, 0, &udp), "UDP 10.0.0.1:256 > 10.0.0.2:53"),
            (ipv4(6, 0, &tcp), "TCP 10.0.0.1:256 > 10.0.0.2:22"),
            (ipv4(6, 0, &tcp[..19]), "TCP 10.0.0.1 > 10.0.0.2"),
            (ipv4(17, 0x20, &udp), "UDP fragment 10.0.0.1 > 10.0.0.2"),
            (ipv4(1, 0, &udp), "ICMP 10.0.0.1 > 10.0.0.2"),
            (ipv4(132, 0, &udp), "protocol 132 10.0.0.1 > 10.0.0.2"),
            (ethernet(0x0806, &arp), "ARP 10.0.0.1 > 10.0.0.2"),
            (ethernet(0x0806, &arp[..27]), "type 0x0806 02:02:02:02:02:02 > 04:04:04:04:04:04"),
            (ethernet(0x86dd, &[]), "type 0x86dd 02:02:02:02:02:02 > 04:04:04:04:04:04"),
            (ipv4(17, 0, &udp)[..33].to_vec(), "type 0x0800 02:02:02:02:02:02 > 04:04:04:04:04:04"),
        ] {
            assert_eq!(Digest::read(&frame).unwrap().to_string(), expected);
        }
        assert_eq!(Digest::read(&[0; 13]), None);
    }
}
