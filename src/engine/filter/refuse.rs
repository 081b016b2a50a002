//! Answers to what the policy has refused, where the operator wants them: see the last paragraph of [`super`]'s documentation.
//!
//! They are as a firewall's: a TCP segment is answered by a reset in the name of whom it was for (RFC 9293, section 3.10.7.1),
//! anything else by ICMP "communication administratively prohibited" (RFC 1812, section 5.2.7.1). Here are those who get none
//! (RFC 1122, section 3.2.2): whatever is about many, or comes from nobody, or is an error itself; and fragments.
#![forbid(unsafe_code)]

use smoltcp::wire::{EthernetAddress, IpProtocol};

use super::super::ipv4::{Header, Ipv4, Part, Udp};
use super::super::reply::{self, Ends, Reset, Route};
use super::super::verdict::{Direction, DropReason};
use super::super::{Instant, Refusals};
use super::{DHCP_CLIENT_PORT, DHCP_SERVER_PORT, Ethernet, Filter};

/// Of what is no TCP, an answer quotes the header and so many bytes more (RFC 792).
const QUOTE: usize = 8;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// How a datagram is answered.
#[derive(Clone, Copy, Debug)]
enum Answer<'a> {
    Reset { ports: Ends<u16>, reset: Reset },
    Prohibited { quote: [&'a [u8]; 2] },
}

impl Filter {
    /// Answers a frame that was dropped, if it was the policy that refused it, and answers are wanted.
    #[inline]
    pub(in super::super) fn refuse(&mut self, direction: Direction, frame: &[u8], reason: DropReason, now: Instant) {
        if self.refusals == Refusals::Answered && is_refusal(direction, reason) && self.replies.frame().is_empty() {
            // What has no answer has none.
            let _ = self.answer(direction, frame, now);
        }
    }

    #[cold]
    #[inline(never)]
    fn answer(&mut self, direction: Direction, frame: &[u8], now: Instant) -> Option<()> {
        let frame = Ethernet::parse(frame)?;
        // From the host as well: one with options or a wrong checksum is passed on for the guest to judge, but not answered.
        let datagram = Ipv4::parse(frame.payload, Header::Plain).ok()?;
        let answer = answer_to(datagram)?;
        let (asker, asked) = (datagram.source(), datagram.destination());
        if !self.subnet.has_host(asker) || !self.subnet.has_host(asked) {
            return None;
        }
        let (macs, speaker) = match (direction, answer) {
            (Direction::FromGuest, Answer::Reset { .. }) => {
                (Ends { from: frame.destination(), to: self.guest_mac }, asked)
            }
            (Direction::FromGuest, Answer::Prohibited { .. }) => {
                (Ends { from: self.leases.gateway_mac()?, to: self.guest_mac }, self.network.gateway)
            }
            (Direction::FromHost, answer) => (self.macs_outward(frame, datagram, answer)?, asked),
        };
        let route = Route { macs, addresses: Ends { from: speaker, to: asker } };
        self.replies.make(direction, now, |frame| match answer {
            Answer::Reset { ports, reset } => reply::reset(frame, route, ports, reset),
            Answer::Prohibited { quote } => reply::prohibited(frame, route, quote),
        });
        Some(())
    }

    /// In the guest's name only what the guest itself might say: from its MAC and its lease, to where it may send. And only
    /// what would begin something is answered, of TCP a SYN alone, of ICMP a request: a late segment must not end a connection
    /// that lives.
    fn macs_outward(
        &self,
        frame: Ethernet<'_>,
        datagram: Ipv4<'_>,
        answer: Answer<'_>,
    ) -> Option<Ends<EthernetAddress>> {
        let begins = match answer {
            Answer::Reset { .. } => is_syn_alone(datagram),
            Answer::Prohibited { .. } => datagram.protocol() != IpProtocol::Icmp || is_request(datagram.payload),
        };
        let is_sound = begins
            && frame.destination() == self.guest_mac
            && self.leases.is_leased(datagram.destination())
            && !self.leases.is_leased(datagram.source())
            && self.check_unicast_mac(frame.source()).is_ok();
        is_sound.then(|| Ends { from: self.guest_mac, to: frame.source() })
    }
}

/// Whether it is the policy that drops a frame for this reason, which may be answered.
#[inline]
pub(in super::super) fn is_refusal(direction: Direction, reason: DropReason) -> bool {
    match direction {
        Direction::FromGuest => matches!(reason, DropReason::Blocked | DropReason::NotReachable | DropReason::DnsName),
        Direction::FromHost => reason == DropReason::Blocked,
    }
}

/// The answer to a datagram, if it is one to answer.
fn answer_to(datagram: Ipv4<'_>) -> Option<Answer<'_>> {
    if datagram.part() != Part::Whole {
        return None;
    }
    match datagram.protocol() {
        IpProtocol::Tcp => reset_to(datagram.payload),
        IpProtocol::Icmp if !is_known_query(datagram.payload) => None,
        IpProtocol::Udp if is_dhcp(datagram.payload) => None,
        _ => {
            let quoted = datagram.payload.get(..QUOTE).unwrap_or(datagram.payload);
            Some(Answer::Prohibited { quote: [datagram.header, quoted] })
        }
    }
}

fn is_dhcp(payload: &[u8]) -> bool {
    let Ok(Udp { ports, .. }) = Udp::parse_whole(payload) else { return true };
    let is_of_dhcp = |port| port == DHCP_SERVER_PORT || port == DHCP_CLIENT_PORT;
    is_of_dhcp(ports.source) || is_of_dhcp(ports.destination)
}

/// Echo, timestamp, information and address mask (RFC 792, RFC 950): what is neither an error nor unknown.
fn is_known_query(message: &[u8]) -> bool {
    matches!(message.first(), Some(0 | 8 | 13..=18))
}

/// Those of them that ask.
fn is_request(message: &[u8]) -> bool {
    matches!(message.first(), Some(8 | 13 | 15 | 17))
}

/// The reset for a segment (RFC 9293, section 3.10.7.1), unless that is a reset itself.
fn reset_to(segment: &[u8]) -> Option<Answer<'_>> {
    let &[a, b, c, d, e, f, g, h, i, j, k, l, offset, flags, ..] = segment.first_chunk::<20>()?;
    if flags & RST != 0 {
        return None;
    }
    let header_bytes = usize::from(offset >> 4) * 4;
    let reset = if flags & ACK != 0 {
        Reset::To { acknowledged: u32::from_be_bytes([i, j, k, l]) }
    } else {
        let data = u32::try_from(segment.get(header_bytes..)?.len()).ok()?;
        let length = data.wrapping_add(u32::from(flags & SYN != 0)).wrapping_add(u32::from(flags & FIN != 0));
        Reset::Acknowledging { next: u32::from_be_bytes([e, f, g, h]).wrapping_add(length) }
    };
    let ports = Ends { from: u16::from_be_bytes([c, d]), to: u16::from_be_bytes([a, b]) };
    Some(Answer::Reset { ports, reset })
}

fn is_syn_alone(datagram: Ipv4<'_>) -> bool {
    datagram.payload.get(13).is_some_and(|flags| flags & (FIN | SYN | RST | ACK) == SYN)
}
