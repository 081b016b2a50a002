//! A frame of softnet's own, in answer to one that goes no further.
//!
//! There is room for one, made with the engine: the caller sends it before it brings the next frame. What may be answered
//! is bounded: a bucket of 64 replies that fills by one a millisecond. What finds it empty is dropped in silence.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use super::Instant;

/// The longest reply: headers, and a DNS message of one question.
pub const MAX_REPLY: usize = HEADERS + 12 + 255 + 4;
const HEADERS: usize = 14 + 20 + 8;

/// Replies that may be made at once.
const BURST: i64 = 64;
/// The time in which the bucket gains one, in microseconds.
const REFILL_MICROS: i64 = 1000;

const UDP: u8 = 17;

/// Room for a reply, and how many may be made.
#[derive(Debug)]
pub(super) struct Replies {
    frame: [u8; MAX_REPLY],
    /// Of the frame; 0 if there is none.
    length: usize,
    /// What is in the bucket, counted in the time that it took to fill.
    micros: i64,
    refilled: Instant,
}

/// The ends of a reply: its sender, which is whom the guest spoke to, and its receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<T> {
    pub(super) from: T,
    pub(super) to: T,
}

impl Replies {
    /// No reply, and a full bucket.
    pub(super) fn new() -> Self {
        Replies {
            frame: [0; MAX_REPLY],
            length: 0,
            micros: BURST * REFILL_MICROS,
            refilled: Instant::from_micros_const(i64::MIN),
        }
    }

    /// Forgets the reply.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// The reply; empty if there is none.
    #[inline]
    pub(super) fn frame(&self) -> &[u8] {
        self.frame.get(..self.length).unwrap_or_default()
    }

    /// Makes a UDP datagram in a frame, if one may be made.
    pub(super) fn udp(
        &mut self,
        macs: Ends<EthernetAddress>,
        addresses: Ends<Ipv4Addr>,
        ports: Ends<u16>,
        payload: [&[u8]; 2],
        now: Instant,
    ) {
        if self.spend(now) {
            self.length = write_udp(&mut self.frame, macs, addresses, ports, payload).unwrap_or(0);
        }
    }

    fn spend(&mut self, now: Instant) -> bool {
        let elapsed = now.total_micros().saturating_sub(self.refilled.total_micros()).max(0);
        self.micros = self.micros.saturating_add(elapsed).min(BURST * REFILL_MICROS);
        self.refilled = now;
        let may = self.micros >= REFILL_MICROS;
        if may {
            self.micros -= REFILL_MICROS;
        }
        may
    }
}

/// Writes the frame, and returns its length; none if it has no room.
fn write_udp(
    frame: &mut [u8; MAX_REPLY],
    macs: Ends<EthernetAddress>,
    addresses: Ends<Ipv4Addr>,
    ports: Ends<u16>,
    [head, body]: [&[u8]; 2],
) -> Option<usize> {
    let length = HEADERS + head.len() + body.len();
    let (ethernet, rest) = frame.get_mut(..length)?.split_first_chunk_mut::<14>()?;
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (macs.to.0, macs.from.0);
    *ethernet = [a, b, c, d, e, f, g, h, i, j, k, l, 0x08, 0x00];
    let (ipv4, rest) = rest.split_first_chunk_mut::<20>()?;
    let udp_length = u16::try_from(rest.len()).ok()?;
    let [high, low] = udp_length.checked_add(20)?.to_be_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (addresses.from.octets(), addresses.to.octets());
    // Never fragmented, so without an identifier (RFC 6864, section 4.1).
    let header = |[sum_high, sum_low]: [u8; 2]| {
        [0x45, 0, high, low, 0, 0, 0x40, 0, 64, UDP, sum_high, sum_low, a, b, c, d, e, f, g, h]
    };
    *ipv4 = header(checksum(sum(&header([0; 2]))));
    let (udp, payload) = rest.split_first_chunk_mut::<8>()?;
    let (first, second) = payload.split_at_mut_checked(head.len())?;
    first.iter_mut().zip(head).for_each(|(to, &from)| *to = from);
    second.iter_mut().zip(body).for_each(|(to, &from)| *to = from);
    let ([i, j], [k, l], [m, n]) = (ports.from.to_be_bytes(), ports.to.to_be_bytes(), udp_length.to_be_bytes());
    let header = |[sum_high, sum_low]: [u8; 2]| [i, j, k, l, m, n, sum_high, sum_low];
    let pseudo = [a, b, c, d, e, f, g, h, 0, UDP, m, n];
    let total = sum(&pseudo) + sum(&header([0; 2])) + sum(payload);
    // 0 is none, and its other form is sent for it (RFC 768).
    *udp = header(match checksum(total) {
        [0, 0] => [0xff, 0xff],
        sum => sum,
    });
    Some(length)
}

/// The sum of the words (RFC 1071): of a reply there are too few to overflow it.
fn sum(bytes: &[u8]) -> u32 {
    let (words, odd) = bytes.as_chunks::<2>();
    let sum: u32 = words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    sum + odd.first().map_or(0, |&byte| u32::from(byte) << 8)
}

fn checksum(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::{EthernetFrame, Ipv4Packet, UdpPacket};

    use super::*;

    const MACS: Ends<EthernetAddress> = Ends { from: EthernetAddress([2; 6]), to: EthernetAddress([4; 6]) };
    const ADDRESSES: Ends<Ipv4Addr> = Ends { from: Ipv4Addr::new(10, 0, 0, 1), to: Ipv4Addr::new(10, 0, 0, 255) };
    const PORTS: Ends<u16> = Ends { from: 53, to: 40_000 };

    #[test]
    fn a_reply_is_what_smoltcp_takes_for_sound() {
        for body in [&b""[..], b"odd", b"even", &[0xff; 259]] {
            let mut replies = Replies::new();
            replies.udp(MACS, ADDRESSES, PORTS, [&[7; 12], body], Instant::from_secs(1));
            let frame = EthernetFrame::new_checked(replies.frame()).unwrap();
            assert_eq!((frame.src_addr(), frame.dst_addr()), (MACS.from, MACS.to));
            let datagram = Ipv4Packet::new_checked(frame.payload()).unwrap();
            assert!(datagram.verify_checksum() && datagram.dont_frag() && datagram.hop_limit() == 64);
            assert_eq!((datagram.src_addr(), datagram.dst_addr()), (ADDRESSES.from, ADDRESSES.to));
            let udp = UdpPacket::new_checked(datagram.payload()).unwrap();
            assert!(udp.verify_checksum(&ADDRESSES.from.into(), &ADDRESSES.to.into()) && udp.checksum() != 0);
            assert_eq!((udp.src_port(), udp.dst_port()), (PORTS.from, PORTS.to));
            assert_eq!(udp.payload(), [&[7; 12], body].concat());
        }
    }

    #[test]
    fn what_is_too_long_is_no_reply() {
        let mut replies = Replies::new();
        replies.udp(MACS, ADDRESSES, PORTS, [&[7; 12], &[0; 260]], Instant::from_secs(1));
        assert!(replies.frame().is_empty());
    }

    #[test]
    fn replies_are_bounded_and_one_a_millisecond() {
        let mut replies = Replies::new();
        let mut reply_at = |micros| {
            replies.clear();
            replies.udp(MACS, ADDRESSES, PORTS, [&[], &[]], Instant::from_micros_const(micros));
            !replies.frame().is_empty()
        };
        assert_eq!((0..1000).filter(|_| reply_at(0)).count(), 64);
        assert!(!reply_at(999) && reply_at(1000) && !reply_at(1000));
        assert_eq!((0..1000).filter(|_| reply_at(10_000_000)).count(), 64);
    }
}
