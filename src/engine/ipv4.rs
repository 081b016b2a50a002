//! An IPv4 datagram whose header is sound, and what of it is a whole datagram or a fragment.
//!
//! Checked here once, for both directions; what only one side may do (options) is left to the rules. A *fragment* is a
//! datagram with more-fragments set or an offset. Its ports are read where the first fragment has them, to forbid, never to
//! allow.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::{IpProtocol, Ipv4Packet, UdpPacket};

use super::verdict::DropReason;

/// Whether a datagram is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It is.
    Whole,
    /// The fragment with offset 0.
    First,
    /// A fragment with this offset, in bytes.
    Later(u16),
}

/// A datagram with a sound header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ipv4<'a> {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: IpProtocol,
    pub(super) part: Part,
    /// What is behind the header, without the frame's padding.
    pub(super) payload: &'a [u8],
}

/// What an IPv4 header may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Exactly 20 bytes and a valid checksum (RFC 1122, section 3.2.1.2: a wrong one is silently discarded).
    Plain,
    /// Options, whose bytes nobody looks at. The checksum is the receiver's business.
    Any,
}

impl<'a> Ipv4<'a> {
    /// The datagram in the payload of a frame.
    #[inline]
    pub(super) fn parse(bytes: &'a [u8], header: Header) -> Result<Self, DropReason> {
        // Checks that 20 <= header length <= total length <= bytes.
        let packet = Ipv4Packet::new_checked(bytes).map_err(|_| DropReason::Ipv4Malformed)?;
        if packet.version() != 4 {
            return Err(DropReason::Ipv4Malformed);
        }
        if header == Header::Plain {
            if packet.header_len() != 20 {
                return Err(DropReason::Ipv4Options);
            }
            if !packet.verify_checksum() {
                return Err(DropReason::Ipv4Checksum);
            }
        }
        let payload = packet.payload();
        let part = match (packet.more_frags(), packet.frag_offset()) {
            (false, 0) => Part::Whole,
            (more_follow, offset) => {
                check_fragment_size(more_follow, offset, packet.header_len(), payload.len())?;
                if offset == 0 { Part::First } else { Part::Later(offset) }
            }
        };
        Ok(Ipv4 {
            source: packet.src_addr(),
            destination: packet.dst_addr(),
            protocol: packet.next_header(),
            part,
            payload,
        })
    }
}

/// All fragments but the last carry a nonzero multiple of 8 bytes, none is empty, and none ends past what a datagram can be
/// (RFC 791, section 3.2).
fn check_fragment_size(more_follow: bool, offset: u16, header: u8, payload: usize) -> Result<(), DropReason> {
    let end = usize::from(offset) + usize::from(header) + payload;
    if payload == 0 || (more_follow && !payload.is_multiple_of(8)) || end > usize::from(u16::MAX) {
        return Err(DropReason::FragmentMalformed);
    }
    Ok(())
}

/// The ports of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) source: u16,
    pub(super) destination: u16,
}

/// A UDP datagram whose length is sound, or the first fragment of one.
pub(super) struct Udp<'a> {
    pub(super) ports: Ports,
    /// What is behind the header by its own length, and whether that is all there is: empty for a fragment.
    pub(super) payload: &'a [u8],
    pub(super) fills_datagram: bool,
}

impl<'a> Udp<'a> {
    /// The UDP header of a whole datagram (RFC 768).
    #[inline]
    pub(super) fn parse_whole(bytes: &'a [u8]) -> Result<Self, DropReason> {
        // Checks that 8 <= length <= bytes.
        let packet = UdpPacket::new_checked(bytes).map_err(|_| DropReason::UdpMalformed)?;
        Ok(Udp {
            ports: Ports { source: packet.src_port(), destination: packet.dst_port() },
            payload: packet.payload(),
            fills_datagram: usize::from(packet.len()) == bytes.len(),
        })
    }

    /// The ports of a first fragment. The unit of fragmentation is 8 bytes, the whole UDP header, so no other fragment can
    /// give the datagram other ones, overlapping or not.
    pub(super) fn first_fragment_ports(bytes: &[u8]) -> Result<Ports, DropReason> {
        match *bytes {
            [a, b, c, d, _, _, _, _, ..] => {
                Ok(Ports { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) })
            }
            _ => Err(DropReason::UdpMalformed),
        }
    }
}

/// What the rules read of a TCP header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp {
    pub(super) ports: Ports,
    pub(super) flags: u8,
}

impl Tcp {
    /// The fixed part of a header, in bytes.
    pub(super) const HEADER: usize = 20;

    /// The TCP header of a whole datagram: it has its fixed part and ends within the segment (RFC 9293, section 3.1).
    #[inline]
    pub(super) fn parse_whole(segment: &[u8]) -> Result<Self, DropReason> {
        let (header, _) = segment.split_first_chunk::<{ Tcp::HEADER }>().ok_or(DropReason::TcpMalformed)?;
        let &[a, b, c, d, _, _, _, _, _, _, _, _, offset, flags, ..] = header;
        let length = usize::from(offset >> 4) * 4;
        if length < Self::HEADER || length > segment.len() {
            return Err(DropReason::TcpMalformed);
        }
        let ports = Ports { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) };
        Ok(Tcp { ports, flags })
    }
}
