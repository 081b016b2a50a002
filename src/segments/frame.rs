//! A whole TCP or UDP datagram in one frame: what joining and cutting need to know of it.

#![forbid(unsafe_code)]

use super::checksum::Sum;

/// Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// IPv4 header without options.
pub(super) const IPV4: usize = 20;
/// Where TCP or UDP begins.
pub(super) const TRANSPORT: usize = ETHERNET + IPV4;
/// TCP header without options.
const TCP: usize = 20;
const UDP: usize = 8;

/// Places in the frame.
pub(super) mod at {
    use super::{ETHERNET, TRANSPORT};
    pub(in crate::segments) const TOTAL_LENGTH: usize = ETHERNET + 2;
    pub(in crate::segments) const IDENTIFICATION: usize = ETHERNET + 4;
    pub(in crate::segments) const FRAGMENT: usize = ETHERNET + 6;
    pub(in crate::segments) const PROTOCOL: usize = ETHERNET + 9;
    pub(in crate::segments) const IP_CHECKSUM: usize = ETHERNET + 10;
    pub(in crate::segments) const ADDRESSES: usize = ETHERNET + 12;
    pub(in crate::segments) const SEQUENCE: usize = TRANSPORT + 4;
    pub(in crate::segments) const ACKNOWLEDGED: usize = TRANSPORT + 8;
    pub(in crate::segments) const DATA_OFFSET: usize = TRANSPORT + 12;
    pub(in crate::segments) const FLAGS: usize = TRANSPORT + 13;
    pub(in crate::segments) const WINDOW: usize = TRANSPORT + 14;
    pub(in crate::segments) const URGENT: usize = TRANSPORT + 18;
    pub(in crate::segments) const UDP_LENGTH: usize = TRANSPORT + 4;
}

/// TCP's flags (RFC 9293, section 3.1; RFC 3168).
pub(super) mod flag {
    pub(in crate::segments) const FIN: u8 = 0x01;
    pub(in crate::segments) const PSH: u8 = 0x08;
    pub(in crate::segments) const ACK: u8 = 0x10;
    pub(in crate::segments) const CWR: u8 = 0x80;
}

/// In the field of the fragment offset: more fragments follow, or this is not the first.
const FRAGMENTED: u16 = 0x3fff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(super) const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// Where the checksum is, from where TCP or UDP begins.
    pub(super) const fn checksum_offset(self) -> usize {
        match self {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
        }
    }
}

/// A frame with an IPv4 datagram, no fragment, whose headers are whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'f> {
    pub(super) frame: &'f [u8],
    pub(super) protocol: Protocol,
    /// Where TCP or UDP begins: [`TRANSPORT`], unless there are IPv4 options.
    pub(super) transport: usize,
    /// Where the payload begins: the length of all headers.
    pub(super) headers: usize,
}

impl<'f> Datagram<'f> {
    /// Reads the headers of a datagram without options. The total length is not looked at: it is what a run does not have
    /// right yet.
    #[inline]
    pub(super) fn read(frame: &'f [u8]) -> Option<Self> {
        if frame.get(ETHERNET) == Some(&0x45) { Self::read_with_options(frame) } else { None }
    }

    /// The same, with options or without.
    #[inline]
    pub(super) fn read_with_options(frame: &'f [u8]) -> Option<Self> {
        let &[0x08, 0x00, version @ 0x45..=0x4f] = frame.get(12..)?.first_chunk()? else { return None };
        if number(frame, at::FRAGMENT) & FRAGMENTED != 0 {
            return None;
        }
        let transport = ETHERNET + usize::from(version & 0x0f) * 4;
        let (protocol, headers) = match frame.get(at::PROTOCOL)? {
            6 => {
                let length = usize::from(frame.get(transport - TRANSPORT + at::DATA_OFFSET)? >> 4) * 4;
                (Protocol::Tcp, if length >= TCP { transport + length } else { return None })
            }
            17 => (Protocol::Udp, transport + UDP),
            _ => return None,
        };
        (headers <= frame.len()).then_some(Datagram { frame, protocol, transport, headers })
    }

    /// What IPv4 says that it carries, its own header left out; nothing if it lies about that.
    pub(super) fn transport_length(self) -> Option<usize> {
        let total = usize::from(number(self.frame, at::TOTAL_LENGTH));
        (total + ETHERNET == self.frame.len()).then(|| total + ETHERNET - self.transport)
    }

    pub(super) fn payload(self) -> usize {
        self.frame.len() - self.headers
    }

    pub(super) fn number(self, place: usize) -> u16 {
        number(self.frame, place)
    }

    pub(super) fn long(self, place: usize) -> u32 {
        u32::from(number(self.frame, place)) << 16 | u32::from(number(self.frame, place + 2))
    }

    pub(super) fn checksum(self) -> u16 {
        number(self.frame, self.transport + self.protocol.checksum_offset())
    }

    /// Whether the checksum of the IPv4 header is right.
    pub(super) fn header_is_right(self) -> bool {
        Sum::of(&self.frame[ETHERNET..self.transport]).is_right()
    }

    /// Whether the checksum of TCP or UDP is right. This is what reads the whole frame.
    pub(super) fn payload_is_right(self) -> bool {
        let transport = &self.frame[self.transport..];
        let length = transport.len() as u16;
        (self.pseudo(length) + Sum::of(transport)).is_right()
    }

    pub(super) fn pseudo(self, length: u16) -> Sum {
        Sum::pseudo(&self.frame[at::ADDRESSES..TRANSPORT], self.protocol.number(), length)
    }
}

/// The 16-bit number at a place, which is there.
fn number(bytes: &[u8], place: usize) -> u16 {
    bytes.get(place..).and_then(<[u8]>::first_chunk).map_or(0, |&bytes| u16::from_be_bytes(bytes))
}
