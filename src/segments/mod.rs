//! Runs of frames: joined on the way to the kernel, cut on the way from it. Pure: bytes in, bytes out.
//!
//! # Theory of operation
//! What a frame costs on a TAP device is mostly the system call and the kernel's walk through its bridge, its firewall and
//! its routes, which is the same for 60 bytes and for 64 KiB. The kernel therefore takes and gives a *run* of TCP or UDP
//! segments as one large frame, with a header of ten bytes before it that says how it is to be cut: `struct
//! virtio_net_hdr` (virtio 1.2, 5.1.6; [`VnetHeader`]).
//!
//! **To the kernel** ([`join`]). The frames of one batch that the engine let pass, each judged alone, are looked at once
//! more: a frame that continues the run before it of its own flow, so exactly that the kernel's cutting gives back the
//! very bytes, becomes a member of that run. The rules are those that Linux has for what a network card may merge on
//! reception and still forward (GRO), and stricter where that costs nothing:
//!
//! - IPv4 without options, no fragment, nothing behind its total length, its header's checksum right;
//! - every byte of the headers is that of the first member, but for sequence number, lengths and checksums; the IP
//!   identification is one more than that of the member before, or the same while fragmentation is forbidden (DF);
//! - all members carry as much as the first, but for the last, which may carry less;
//! - TCP: the sequence number continues; no flag but ACK, and PSH on the last alone;
//! - UDP: the checksum is there; neither port is DNS's or DHCP's, whose questions the host's firewall counts one by one;
//! - each member's TCP or UDP checksum is verified: a run has one checksum that the kernel makes anew, and a frame that was
//!   damaged on its way must stay so.
//!
//! What comes out of the kernel's cutting differs from what went in at one place: where all identifications were the same
//! (DF), they count up from the first. Nothing may read them then (RFC 6864, section 4.1).
//!
//! Frames of one flow never overtake each other. Frames of different flows may, inside one batch, as on any path with more
//! than one queue. A frame that is no whole TCP or UDP datagram belongs to no flow, or to any: nothing overtakes it.
//!
//! **From the kernel** ([`cut`]). A large frame is cut before the engine sees it: what is judged is what is forwarded. A
//! checksum that the kernel left to its network card, which we are, is completed.
//!
//! The header before a frame is made here alone, from what was verified; nothing of it comes from the guest. The one that
//! is read comes from the kernel alone. Nothing in here relies on it: a header that makes no sense loses its frame.
//!
//! May: look into frames. Must not: decide what passes, know the policy, the system, or descriptors.

#![forbid(unsafe_code)]

pub mod checksum;
pub mod cut;
mod frame;
pub mod join;

/// What is written and read before each frame of a TAP device that was made so: `struct virtio_net_hdr`, in the byte order
/// of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`VnetHeader::NEEDS_CSUM`] and others.
    pub flags: u8,
    /// How the frame is to be cut: [`VnetHeader::GSO_TCPV4`] and others.
    pub gso_type: u8,
    /// Ethernet, IPv4 and TCP or UDP headers: how much of the frame the kernel should have at hand.
    pub hdr_len: u16,
    /// How much each segment carries.
    pub gso_size: u16,
    /// From where on the checksum is made.
    pub csum_start: u16,
    /// Where it is put, from there.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Its length.
    pub const LEN: usize = 10;
    /// In the flags: the checksum field holds the sum of the pseudo-header alone.
    pub const NEEDS_CSUM: u8 = 1;
    /// In the type: the frame is one frame.
    pub const GSO_NONE: u8 = 0;
    /// In the type: TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// In the type: UDP datagrams, of which each has a header of its own.
    pub const GSO_UDP_L4: u8 = 5;
    /// Beside another type: CWR is set in the first segment.
    pub const GSO_ECN: u8 = 0x80;

    /// As it is written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        let numbers = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset];
        for (place, number) in bytes[2..].chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// As it was read.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = bytes;
        let number = u16::from_ne_bytes;
        VnetHeader {
            flags,
            gso_type,
            hdr_len: number([a, b]),
            gso_size: number([c, d]),
            csum_start: number([e, f]),
            csum_offset: number([g, h]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header =
            VnetHeader { flags: 1, gso_type: 5, hdr_len: 66, gso_size: 1448, csum_start: 34, csum_offset: 0x0102 };
        let bytes = header.to_bytes();
        assert_eq!(VnetHeader::from_bytes(bytes), header);
        assert_eq!(bytes[..2], [1, 5]);
        assert_eq!(bytes[8..], 0x0102_u16.to_ne_bytes());
        assert_eq!(VnetHeader::default().to_bytes(), [0; 10]);
    }
}
