//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng), in little-endian order, which the section header tells.
//!
//! | block | what is in it |
//! | --- | --- |
//! | Section Header (4.1) | `shb_userappl`: which softnet wrote it; its length is not told, since it grows |
//! | Interface Description (4.2) | Ethernet; the longest frame of the link, since none is cut; `if_name`; `if_tsresol`: nanoseconds |
//! | Enhanced Packet (4.3) | the frame as it was judged; `opt_comment`: what became of it; `epb_flags`: its way; `epb_dropcount`: how many before it are left out of the capture |
#![forbid(unsafe_code)]

use super::Way;

/// How each block begins: type and total length, and ends: the length again.
const FRAMING: usize = 12;
/// An Enhanced Packet Block without data and options.
const PACKET: usize = FRAMING + 20;

pub(super) const SECTION_HEADER: u32 = 0x0A0D_0D0A;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
const LINKTYPE_ETHERNET: u16 = 1;

const OPT_ENDOFOPT: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const IF_TSRESOL: u16 = 9;

/// Ten to the power of minus nine seconds.
const NANOSECONDS: u8 = 9;

/// A frame of the capture.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was judged, in nanoseconds since 1970.
    pub nanos: u64,
    /// Which way it went.
    pub way: Way,
    /// The frame, whole.
    pub frame: &'a [u8],
    /// What became of it.
    pub comment: &'a str,
    /// How many frames are left out of the capture since the packet before this one.
    pub left_out: u64,
}

/// The blocks that a capture begins with: what wrote it, and the one interface. `longest` is the longest frame of the link.
#[must_use]
pub fn beginning(application: &str, interface: &str, longest: usize) -> Vec<u8> {
    let mut out = Vec::new();
    block(&mut out, SECTION_HEADER, |out| {
        out.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend(1u16.to_le_bytes());
        out.extend(0u16.to_le_bytes());
        out.extend((-1i64).to_le_bytes());
        option(out, SHB_USERAPPL, application.as_bytes());
        option(out, OPT_ENDOFOPT, &[]);
    });
    block(&mut out, INTERFACE_DESCRIPTION, |out| {
        out.extend(LINKTYPE_ETHERNET.to_le_bytes());
        out.extend([0; 2]);
        out.extend(length(longest).to_le_bytes());
        option(out, IF_NAME, interface.as_bytes());
        option(out, IF_TSRESOL, &[NANOSECONDS]);
        option(out, OPT_ENDOFOPT, &[]);
    });
    out
}

/// How long the block of a packet is.
#[must_use]
pub fn packet_length(frame: &[u8], comment: &str, left_out: u64) -> usize {
    let lost = if left_out > 0 { 4 + 8 } else { 0 };
    PACKET + padded(frame.len()) + 4 + padded(comment.len()) + 4 + 4 + lost + 4
}

/// Appends the block of a packet to `out`.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend([0; 4]);
        let [a, b, c, d, e, f, g, h] = packet.nanos.to_le_bytes();
        out.extend([e, f, g, h, a, b, c, d]);
        out.extend(length(packet.frame.len()).to_le_bytes());
        out.extend(length(packet.frame.len()).to_le_bytes());
        out.extend_from_slice(packet.frame);
        pad(out, packet.frame.len());
        option(out, OPT_COMMENT, packet.comment.as_bytes());
        let way: u32 = match packet.way {
            Way::In => 1,
            Way::Out => 2,
        };
        option(out, EPB_FLAGS, &way.to_le_bytes());
        if packet.left_out > 0 {
            option(out, EPB_DROPCOUNT, &packet.left_out.to_le_bytes());
        }
        option(out, OPT_ENDOFOPT, &[]);
    });
}

/// A block with what `body` writes, which is a multiple of four bytes long.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let total = length(out.len() - start + 4).to_le_bytes();
    out.extend(total);
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&total);
    }
}

/// An option; a value is cut at the 65,535 bytes that its length can tell.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let told = u16::try_from(value.len()).unwrap_or(u16::MAX);
    let value = value.get(..told.into()).unwrap_or(value);
    out.extend(code.to_le_bytes());
    out.extend(told.to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

fn pad(out: &mut Vec<u8>, written: usize) {
    out.extend(std::iter::repeat_n(0, padded(written) - written));
}

/// Everything in a block stands at a multiple of four bytes.
const fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_laid_out_as_the_draft_says() {
        #[rustfmt::skip]
        let expected = [
            // Section Header: type, length, magic, version 1.0, length not told
            0x0a, 0x0d, 0x0d, 0x0a, 48, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            4, 0, 9, 0, b's', b'o', b'f', b't', b'n', b'e', b't', b' ', b'1', 0, 0, 0,
            0, 0, 0, 0, // end of options
            48, 0, 0, 0,
            // Interface Description: type, length, Ethernet, reserved, longest frame
            1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0xea, 5, 0, 0,
            2, 0, 2, 0, b'i', b'f', 0, 0,
            9, 0, 1, 0, 9, 0, 0, 0,
            0, 0, 0, 0,
            40, 0, 0, 0,
        ];
        let begun = beginning("softnet 1", "if", 1514);
        assert_eq!(begun, expected);
    }

    #[test]
    fn a_packet_is_laid_out_as_the_draft_says() {
        let sent =
            Packet { nanos: 0x0102_0304_0506_0708, way: Way::Out, frame: &[7, 8, 9], comment: "fine", left_out: 0 };
        #[rustfmt::skip]
        let expected = [
            6, 0, 0, 0, 56, 0, 0, 0, 0, 0, 0, 0,
            4, 3, 2, 1, 8, 7, 6, 5, // the upper half of the time first
            3, 0, 0, 0, 3, 0, 0, 0, 7, 8, 9, 0,
            1, 0, 4, 0, b'f', b'i', b'n', b'e',
            2, 0, 4, 0, 2, 0, 0, 0, // outbound
            0, 0, 0, 0,
            56, 0, 0, 0,
        ];
        let mut out = Vec::new();
        packet(&mut out, &sent);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_packets_length_is_known_before_it_is_written() {
        for frame in [&[][..], &[1], &[1; 4], &[1; 61], &[1; 1514]] {
            for comment in ["", "a", "abcd", "dropped: blocked"] {
                for left_out in [0, 7] {
                    let told = Packet { nanos: 0, way: Way::In, frame, comment, left_out };
                    let mut out = vec![1, 2, 3];
                    packet(&mut out, &told);
                    assert_eq!(out.len() - 3, packet_length(frame, comment, left_out));
                    assert_eq!(out[7..11], u32::try_from(out.len() - 3).unwrap().to_le_bytes());
                    assert_eq!(out[out.len() - 4..], out[7..11]);
                    assert!(packet_length(frame, comment, left_out).is_multiple_of(4));
                }
            }
        }
    }

    #[test]
    fn an_inbound_packet_says_so_and_how_many_are_left_out_before_it() {
        let mut out = Vec::new();
        packet(&mut out, &Packet { nanos: 0, way: Way::In, frame: &[], comment: "", left_out: 3 });
        let options = &out[28..];
        assert_eq!(options[..4], [1, 0, 0, 0], "an empty comment");
        assert_eq!(options[4..12], [2, 0, 4, 0, 1, 0, 0, 0], "inbound");
        assert_eq!(options[12..24], [4, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0], "epb_dropcount");
    }
}
