//! An IPv4 datagram whose header is sound, and what of it is a whole datagram or a fragment.
//!
//! Checked here once, for both directions; what only one side may do (options) is left to the rules. A *fragment* is a
//! datagram with more-fragments set or an offset. Its ports are read where the first fragment has them, to forbid, never to
//! allow.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::{IpProtocol, UdpPacket};

use super::verdict::DropReason;

/// The flag of every fragment but the last.
const MORE_FRAGMENTS: u8 = 0x20;

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

/// A datagram with a sound header: a view, whose fields stay where they are. Copied out into a struct of small fields they would
/// come back in pieces of other sizes, and each such load waits for the stores before it: a third of a frame's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ipv4<'a> {
    pub(super) header: &'a [u8; 20],
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
    pub(super) fn parse(bytes: &'a [u8], kind: Header) -> Result<Self, DropReason> {
        let header = bytes.first_chunk::<20>().ok_or(DropReason::Ipv4Malformed)?;
        let &[version_and_length, _, high, low, ..] = header;
        let header_bytes = match version_and_length {
            0x45 => header.len(),
            0x46..=0x4f => usize::from(version_and_length & 0x0f) * 4,
            _ => return Err(DropReason::Ipv4Malformed),
        };
        let total_length = usize::from(u16::from_be_bytes([high, low]));
        // Holds that 20 <= header length <= total length <= bytes.
        let payload = bytes.get(header_bytes..total_length).ok_or(DropReason::Ipv4Malformed)?;
        if kind == Header::Plain {
            if header_bytes != header.len() {
                return Err(DropReason::Ipv4Options);
            }
            if !has_valid_checksum(header) {
                return Err(DropReason::Ipv4Checksum);
            }
        }
        let datagram = Ipv4 { header, payload };
        if datagram.part() != Part::Whole {
            datagram.check_fragment_size(header_bytes)?;
        }
        Ok(datagram)
    }

    #[inline]
    pub(super) fn source(&self) -> Ipv4Addr {
        let &[.., a, b, c, d, _, _, _, _] = self.header;
        Ipv4Addr::new(a, b, c, d)
    }

    #[inline]
    pub(super) fn destination(&self) -> Ipv4Addr {
        let &[.., a, b, c, d] = self.header;
        Ipv4Addr::new(a, b, c, d)
    }

    #[inline]
    pub(super) fn protocol(&self) -> IpProtocol {
        let &[_, _, _, _, _, _, _, _, _, protocol, ..] = self.header;
        IpProtocol::from(protocol)
    }

    #[inline]
    pub(super) fn part(&self) -> Part {
        let &[_, _, _, _, _, _, flags, low, ..] = self.header;
        // In units of 8 bytes, 13 bits.
        match u16::from_be_bytes([flags & 0x1f, low]) << 3 {
            0 if flags & MORE_FRAGMENTS == 0 => Part::Whole,
            0 => Part::First,
            offset => Part::Later(offset),
        }
    }

    /// All fragments but the last carry a nonzero multiple of 8 bytes, none is empty, and none ends past what a datagram can be
    /// (RFC 791, section 3.2).
    fn check_fragment_size(&self, header_bytes: usize) -> Result<(), DropReason> {
        let offset = if let Part::Later(offset) = self.part() { offset } else { 0 };
        let &[_, _, _, _, _, _, flags, ..] = self.header;
        let (more_follow, length) = (flags & MORE_FRAGMENTS != 0, self.payload.len());
        let end = usize::from(offset) + header_bytes + length;
        if length == 0 || (more_follow && !length.is_multiple_of(8)) || end > usize::from(u16::MAX) {
            return Err(DropReason::FragmentMalformed);
        }
        Ok(())
    }
}

/// Whether the one's complement sum of the header's words, checksum included, is what it must be (RFC 1071): zero, in the form of
/// 0xffff, since a header with a version is not all zeroes. The sum may be taken in words of any length and of the machine's
/// own order, if what is carried out at the top comes in at the bottom.
#[inline(always)]
fn has_valid_checksum(header: &[u8; 20]) -> bool {
    let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = header;
    let (sum, carry) =
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]).overflowing_add(u64::from_ne_bytes([i, j, k, l, m, n, o, p]));
    let rest = u32::from_ne_bytes([q, r, s, t]);
    // Three numbers of 32 bits and a carry: no overflow.
    let sum = (sum >> 32) + (sum & u64::from(u32::MAX)) + u64::from(rest) + u64::from(carry);
    sum.is_multiple_of(0xffff)
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

#[cfg(test)]
mod tests {
    use smoltcp::wire::Ipv4Packet;

    use super::*;

    #[test]
    fn a_checksum_is_valid_where_smoltcps_is() {
        let mut state = 1u64;
        let mut valid = 0;
        for round in 0..20_000 {
            let mut header = [0; 20];
            for byte in &mut header {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = match round % 4 {
                    0 => 0xff,
                    1 => (state >> 63) as u8 * 0xff,
                    _ => (state >> 56) as u8,
                };
            }
            header[0] = 0x45;
            let mut packet = Ipv4Packet::new_unchecked(&mut header);
            if round % 3 != 0 {
                packet.fill_checksum();
            }
            let expected = packet.verify_checksum();
            assert_eq!(has_valid_checksum(&header), expected, "{header:?}");
            valid += u32::from(expected);
        }
        assert!((13_000..14_500).contains(&valid), "{valid}");
    }
}
