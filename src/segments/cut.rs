//! From the kernel: one large frame, as the segments that the link carries; one whose checksum was left to us, completed.
//!
//! The rules are those of the kernel's own cutting: every segment has the headers of the whole, with its own lengths,
//! sequence number and checksums; the IP identification counts up; FIN and PSH stand in the last segment, CWR in the first
//! (RFC 3168, section 6.1.2).

#![forbid(unsafe_code)]

use super::VnetHeader;
use super::checksum::Sum;
use super::frame::{Datagram, ETHERNET, Protocol, TRANSPORT, at, flag};

/// How a large frame is cut, and how far that has got.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    protocol: Protocol,
    /// Where TCP or UDP begins.
    transport: usize,
    headers: usize,
    /// What each segment carries.
    size: usize,
    /// Of the large frame.
    length: usize,
    /// Where the payload of the next segment begins.
    at: usize,
    /// How many have been cut off.
    done: u16,
    checksum: Checksum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    Made,
    /// UDP without one stays so.
    None,
}

impl Cut {
    /// What is to be done with `frame`, before which the kernel put `header`, on a link that carries `max_frame` bytes.
    /// None says that the two do not go together.
    #[must_use]
    pub fn new(header: VnetHeader, frame: &[u8], max_frame: usize) -> Option<Self> {
        let whole = Datagram::read_with_options(frame)?;
        let asked = match header.gso_type & !VnetHeader::GSO_ECN {
            VnetHeader::GSO_TCPV4 => Protocol::Tcp,
            VnetHeader::GSO_UDP_L4 => Protocol::Udp,
            _ => return None,
        };
        let size = usize::from(header.gso_size);
        let needs_checksum = header.flags & VnetHeader::NEEDS_CSUM != 0;
        let checksum_is_there = usize::from(header.csum_start) == whole.transport
            && usize::from(header.csum_offset) == whole.protocol.checksum_offset();
        let fits = asked == whole.protocol
            && whole.transport_length().is_some()
            && size > 0
            && whole.headers + size <= max_frame
            && whole.payload() > 0
            && (!needs_checksum || checksum_is_there);
        let without = whole.protocol == Protocol::Udp && !needs_checksum && whole.checksum() == 0;
        fits.then_some(Cut {
            protocol: whole.protocol,
            transport: whole.transport,
            headers: whole.headers,
            size,
            length: frame.len(),
            at: whole.headers,
            done: 0,
            checksum: if without { Checksum::None } else { Checksum::Made },
        })
    }

    /// Makes the next segment of `frame`, the one that [`Cut::new`] saw, in `slot`, and says how long it is. None says that
    /// all has been cut, or that it does not fit.
    pub fn next(&mut self, frame: &[u8], slot: &mut [u8]) -> Option<usize> {
        let end = self.length.min(self.at + self.size);
        let payload = frame.get(self.at..end).filter(|payload| !payload.is_empty())?;
        let length = self.headers + payload.len();
        let segment = slot.get_mut(..length)?;
        let (headers, body) = segment.split_at_mut(self.headers);
        headers.copy_from_slice(frame.get(..self.headers)?);
        body.copy_from_slice(payload);
        self.mend(headers, body);
        self.at = end;
        self.done = self.done.wrapping_add(1);
        Some(length)
    }

    /// Whether all has been cut.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.at >= self.length
    }

    /// The headers of one segment, made of those of the whole.
    fn mend(&self, headers: &mut [u8], body: &[u8]) {
        let total = (headers.len() + body.len() - ETHERNET) as u16;
        let length = total - (self.transport - ETHERNET) as u16;
        put(headers, at::TOTAL_LENGTH, total.to_be_bytes());
        let identification = take(headers, at::IDENTIFICATION).wrapping_add(self.done);
        put(headers, at::IDENTIFICATION, identification.to_be_bytes());
        put(headers, at::IP_CHECKSUM, [0, 0]);
        let sum = Sum::of(&headers[ETHERNET..self.transport]);
        put(headers, at::IP_CHECKSUM, sum.checksum());

        // All of an IPv4 header is copied to each segment, options and all, and they stand before what follows.
        let (ip, transport) = headers.split_at_mut(self.transport);
        let place = |at: usize| at - TRANSPORT;
        match self.protocol {
            Protocol::Tcp => {
                let before = (self.at - self.headers) as u32;
                let (sequence, flags) = (place(at::SEQUENCE), place(at::FLAGS));
                let high = u32::from(take(transport, sequence)) << 16;
                let number = (high | u32::from(take(transport, sequence + 2))).wrapping_add(before);
                transport[sequence..sequence + 4].copy_from_slice(&number.to_be_bytes());
                if self.at > self.headers {
                    transport[flags] &= !flag::CWR;
                }
                if self.at + body.len() < self.length {
                    transport[flags] &= !(flag::FIN | flag::PSH);
                }
            }
            Protocol::Udp => put(transport, place(at::UDP_LENGTH), length.to_be_bytes()),
        }
        if self.checksum == Checksum::Made {
            let place = self.protocol.checksum_offset();
            put(transport, place, [0, 0]);
            let pseudo = Sum::pseudo(&ip[at::ADDRESSES..TRANSPORT], self.protocol.number(), length);
            // The headers are of an even length, so that the body begins at an even place.
            let sum = pseudo + Sum::of(transport) + Sum::of(body);
            let value = match self.protocol {
                Protocol::Tcp => sum.checksum(),
                Protocol::Udp => sum.nonzero_checksum(),
            };
            put(transport, place, value);
        }
    }
}

/// Completes the checksum of a frame that is one frame, if `header` says that it is left to us. False says that the two do
/// not go together.
#[must_use]
pub fn complete(header: VnetHeader, frame: &mut [u8]) -> bool {
    if header.flags & VnetHeader::NEEDS_CSUM == 0 {
        return true;
    }
    let (start, offset) = (usize::from(header.csum_start), usize::from(header.csum_offset));
    let Some(covered) = frame.get_mut(start..) else { return false };
    // The field holds the sum of the pseudo-header, and is summed with the rest.
    let value = Sum::of(covered).nonzero_checksum();
    match covered.get_mut(offset..offset + 2) {
        Some(field) => {
            field.copy_from_slice(&value);
            true
        }
        None => false,
    }
}

fn take(bytes: &[u8], place: usize) -> u16 {
    u16::from_be_bytes([bytes[place], bytes[place + 1]])
}

fn put(bytes: &mut [u8], place: usize, value: [u8; 2]) {
    bytes[place..place + 2].copy_from_slice(&value);
}
