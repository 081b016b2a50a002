//! The bytes of a reply: headers without options, checksums filled in.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use super::{Ends, MAX_REPLY, Route};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Destination unreachable, and its code for what a policy refuses (RFC 1812, section 5.2.7.1).
const UNREACHABLE: u8 = 3;
const PROHIBITED: u8 = 13;
/// The precedence of what is about the network itself, which an error should have (RFC 1812, section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;
const ROUTINE: u8 = 0;

/// What a reset answers (RFC 9293, section 3.10.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Reset {
    /// A segment with an acknowledgement, whose number the reset has as its own.
    To {
        /// It.
        acknowledged: u32,
    },
    /// A segment without one: the reset acknowledges all of it.
    Acknowledging {
        /// The number behind its last.
        next: u32,
    },
}

/// A UDP datagram; the frame's length, or none if it has no room.
pub(in super::super) fn udp(
    frame: &mut [u8; MAX_REPLY],
    route: Route,
    ports: Ends<u16>,
    [head, body]: [&[u8]; 2],
) -> Option<usize> {
    let (length, rest) = envelope(frame, route, ROUTINE, UDP, 8 + head.len() + body.len())?;
    let udp_length = u16::try_from(rest.len()).ok()?;
    let (udp, payload) = rest.split_first_chunk_mut::<8>()?;
    let (first, second) = payload.split_at_mut_checked(head.len())?;
    copy(first, head);
    copy(second, body);
    let ([i, j], [k, l], [m, n]) = (ports.from.to_be_bytes(), ports.to.to_be_bytes(), udp_length.to_be_bytes());
    let header = |[sum_high, sum_low]: [u8; 2]| [i, j, k, l, m, n, sum_high, sum_low];
    let total = pseudo_header(route.addresses, UDP, udp_length) + sum(&header([0; 2])) + sum(payload);
    // 0 is none, and its other form is sent for it (RFC 768).
    *udp = header(match checksum(total) {
        [0, 0] => [0xff, 0xff],
        sum => sum,
    });
    Some(length)
}

/// A TCP segment that ends a connection, or refuses one.
pub(in super::super) fn reset(
    frame: &mut [u8; MAX_REPLY],
    route: Route,
    ports: Ends<u16>,
    reset: Reset,
) -> Option<usize> {
    const LENGTH: u16 = 20;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    let (sequence, acknowledgement, flags) = match reset {
        Reset::To { acknowledged } => (acknowledged, 0, RST),
        Reset::Acknowledging { next } => (0, next, RST | ACK),
    };
    let (length, rest) = envelope(frame, route, ROUTINE, TCP, LENGTH.into())?;
    let segment = rest.first_chunk_mut::<20>()?;
    let ([a, b], [c, d]) = (ports.from.to_be_bytes(), ports.to.to_be_bytes());
    let ([e, f, g, h], [i, j, k, l]) = (sequence.to_be_bytes(), acknowledgement.to_be_bytes());
    let header = |[sum_high, sum_low]: [u8; 2]| {
        [a, b, c, d, e, f, g, h, i, j, k, l, 5 << 4, flags, 0, 0, sum_high, sum_low, 0, 0]
    };
    *segment = header(checksum(pseudo_header(route.addresses, TCP, LENGTH) + sum(&header([0; 2]))));
    Some(length)
}

/// Word that a policy prohibits a datagram, of which this is the header and what it quotes of the rest.
pub(in super::super) fn prohibited(
    frame: &mut [u8; MAX_REPLY],
    route: Route,
    [header, rest]: [&[u8]; 2],
) -> Option<usize> {
    let (length, message) = envelope(frame, route, INTERNETWORK_CONTROL, ICMP, 8 + header.len() + rest.len())?;
    let (icmp, quote) = message.split_first_chunk_mut::<8>()?;
    let (first, second) = quote.split_at_mut_checked(header.len())?;
    copy(first, header);
    copy(second, rest);
    let header = |[sum_high, sum_low]: [u8; 2]| [UNREACHABLE, PROHIBITED, sum_high, sum_low, 0, 0, 0, 0];
    *icmp = header(checksum(sum(&header([0; 2])) + sum(quote)));
    Some(length)
}

/// Ethernet and IPv4 around so many bytes: the frame's length, and these.
fn envelope(
    frame: &mut [u8; MAX_REPLY],
    Route { macs, addresses }: Route,
    service: u8,
    protocol: u8,
    inside: usize,
) -> Option<(usize, &mut [u8])> {
    let length = 14 + 20 + inside;
    let (ethernet, rest) = frame.get_mut(..length)?.split_first_chunk_mut::<14>()?;
    let (EthernetAddress([a, b, c, d, e, f]), EthernetAddress([g, h, i, j, k, l])) = (macs.to, macs.from);
    *ethernet = [a, b, c, d, e, f, g, h, i, j, k, l, 0x08, 0x00];
    let [high, low] = u16::try_from(rest.len()).ok()?.to_be_bytes();
    let (ipv4, rest) = rest.split_first_chunk_mut::<20>()?;
    let ([a, b, c, d], [e, f, g, h]) = (addresses.from.octets(), addresses.to.octets());
    // Never fragmented, so without an identifier (RFC 6864, section 4.1).
    let header = |[sum_high, sum_low]: [u8; 2]| {
        [0x45, service, high, low, 0, 0, 0x40, 0, 64, protocol, sum_high, sum_low, a, b, c, d, e, f, g, h]
    };
    *ipv4 = header(checksum(sum(&header([0; 2]))));
    Some((length, rest))
}

fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
}

/// What UDP and TCP take into their checksums of the header in front.
fn pseudo_header(addresses: Ends<Ipv4Addr>, protocol: u8, length: u16) -> u32 {
    sum(&addresses.from.octets()) + sum(&addresses.to.octets()) + u32::from(protocol) + u32::from(length)
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
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        EthernetFrame, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber,
        UdpPacket,
    };

    use super::*;

    const ROUTE: Route = Route {
        macs: Ends { from: EthernetAddress([2; 6]), to: EthernetAddress([4; 6]) },
        addresses: Ends { from: Ipv4Addr::new(10, 0, 0, 1), to: Ipv4Addr::new(10, 0, 0, 255) },
    };
    const PORTS: Ends<u16> = Ends { from: 53, to: 40_000 };

    /// What is in the frame, whose headers smoltcp takes for sound.
    fn opened(frame: &[u8; MAX_REPLY], length: usize, protocol: IpProtocol, service: u8) -> Vec<u8> {
        let frame = EthernetFrame::new_checked(&frame[..length]).unwrap();
        assert_eq!((frame.src_addr(), frame.dst_addr()), (ROUTE.macs.from, ROUTE.macs.to));
        let datagram = Ipv4Packet::new_checked(frame.payload()).unwrap();
        assert!(datagram.verify_checksum() && datagram.dont_frag() && datagram.hop_limit() == 64);
        assert_eq!((datagram.src_addr(), datagram.dst_addr()), (ROUTE.addresses.from, ROUTE.addresses.to));
        assert_eq!((datagram.next_header(), frame.payload()[1]), (protocol, service));
        assert_eq!(usize::from(datagram.total_len()), frame.payload().len());
        datagram.payload().to_vec()
    }

    #[test]
    fn a_datagram_is_what_smoltcp_takes_for_sound() {
        for body in [&b""[..], b"odd", b"even", &[0xff; 259]] {
            let mut frame = [0xaa; MAX_REPLY];
            let length = udp(&mut frame, ROUTE, PORTS, [&[7; 12], body]).unwrap();
            let inside = opened(&frame, length, IpProtocol::Udp, 0);
            let udp = UdpPacket::new_checked(&inside[..]).unwrap();
            assert!(udp.verify_checksum(&ROUTE.addresses.from.into(), &ROUTE.addresses.to.into()));
            assert!(udp.checksum() != 0);
            assert_eq!((udp.src_port(), udp.dst_port()), (PORTS.from, PORTS.to));
            assert_eq!(udp.payload(), [&[7; 12], body].concat());
        }
    }

    #[test]
    fn a_reset_is_what_smoltcp_takes_for_sound() {
        for (made, sequence, acknowledged) in [
            (Reset::To { acknowledged: 0xfedc_ba98 }, 0xfedc_ba98u32, None),
            (Reset::Acknowledging { next: 0x8000_0001 }, 0, Some(0x8000_0001u32)),
        ] {
            let mut frame = [0xaa; MAX_REPLY];
            let length = reset(&mut frame, ROUTE, PORTS, made).unwrap();
            let inside = opened(&frame, length, IpProtocol::Tcp, 0);
            let tcp = TcpPacket::new_checked(&inside[..]).unwrap();
            assert!(tcp.verify_checksum(&ROUTE.addresses.from.into(), &ROUTE.addresses.to.into()));
            assert_eq!((tcp.src_port(), tcp.dst_port()), (PORTS.from, PORTS.to));
            assert!(tcp.rst() && !tcp.syn() && !tcp.fin() && !tcp.psh());
            assert_eq!(tcp.seq_number(), TcpSeqNumber(sequence.cast_signed()));
            let number = acknowledged.map(|number| TcpSeqNumber(number.cast_signed()));
            assert_eq!(tcp.ack().then(|| tcp.ack_number()), number);
            assert_eq!((tcp.payload().len(), tcp.header_len()), (0, 20));
        }
    }

    #[test]
    fn word_of_a_prohibition_is_what_smoltcp_takes_for_sound() {
        let quoted = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 255, 8, 8, 8, 8][..], b"eightbyt"].concat();
        for length_of_rest in 0..=8 {
            let mut frame = [0xaa; MAX_REPLY];
            let (header, rest) = quoted[..20 + length_of_rest].split_at(20);
            let length = prohibited(&mut frame, ROUTE, [header, rest]).unwrap();
            let inside = opened(&frame, length, IpProtocol::Icmp, 0xc0);
            let icmp = Icmpv4Packet::new_checked(&inside[..]).unwrap();
            assert!(icmp.verify_checksum());
            assert_eq!(inside[8..], quoted[..20 + length_of_rest]);
            if length_of_rest == 8 {
                let Icmpv4Repr::DstUnreachable { reason, data, .. } =
                    Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).unwrap()
                else {
                    panic!("another message");
                };
                assert_eq!((reason, data), (Icmpv4DstUnreachable::CommProhibited, &b"eightbyt"[..]));
            }
        }
    }

    #[test]
    fn what_is_too_long_is_no_reply() {
        let mut frame = [0; MAX_REPLY];
        assert_eq!(udp(&mut frame, ROUTE, PORTS, [&[7; 12], &[0; 260]]), None);
        assert_eq!(prohibited(&mut frame, ROUTE, [&[0; 300], &[]]), None);
    }
}
