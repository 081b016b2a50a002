//! Frames, and the kernel's own cutting of a run, written from what it does (tcp_gso_segment, __udp_gso_segment,
//! inet_gso_segment, virtio_net_hdr_to_skb of Linux 6.1 to 6.18).

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;
pub(crate) const DF: u16 = 0x4000;

/// A datagram to be made a frame of. Checksums are made right.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) to: [u8; 6],
    pub(crate) tos: u8,
    pub(crate) id: u16,
    pub(crate) fragment: u16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) ports: (u16, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) reserved: u8,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn new(protocol: u8, ports: (u16, u16)) -> Self {
        Packet {
            to: [2, 0, 0, 0, 0, 1],
            tos: 0,
            id: 1,
            fragment: DF,
            ttl: 64,
            protocol,
            ports,
            seq: 1,
            ack: 7,
            reserved: 0,
            flags: ACK,
            window: 500,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut transport = Vec::new();
        transport.extend(self.ports.0.to_be_bytes());
        transport.extend(self.ports.1.to_be_bytes());
        if self.protocol == UDP {
            transport.extend((8 + self.payload.len() as u16).to_be_bytes());
            transport.extend([0, 0]);
        } else {
            transport.extend(self.seq.to_be_bytes());
            transport.extend(self.ack.to_be_bytes());
            transport.push(((5 + self.options.len() / 4) << 4) as u8 | self.reserved);
            transport.push(self.flags);
            transport.extend(self.window.to_be_bytes());
            transport.extend([0, 0]);
            transport.extend(self.urgent.to_be_bytes());
            transport.extend(&self.options);
        }
        transport.extend(&self.payload);

        let mut frame = self.to.to_vec();
        frame.extend([0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee, 8, 0, 0x45, self.tos]);
        frame.extend((20 + transport.len() as u16).to_be_bytes());
        frame.extend(self.id.to_be_bytes());
        frame.extend(self.fragment.to_be_bytes());
        frame.extend([self.ttl, self.protocol, 0, 0, 192, 168, 64, 2, 93, 184, 215, 14]);
        frame.extend(transport);
        fill_checksums(&mut frame);
        frame
    }
}

/// The sum of 16-bit words with the carry brought round, word by word.
pub(crate) fn ones_sum(bytes: &[u8], start: u16) -> u16 {
    bytes.chunks(2).fold(start, |sum, pair| {
        let word = u16::from(pair[0]) * 256 + u16::from(*pair.get(1).unwrap_or(&0));
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// The sum of the pseudo-header of `frame`, whose TCP or UDP part is `length` bytes long.
pub(crate) fn pseudo_sum(frame: &[u8], length: usize) -> u16 {
    let mut bytes = frame[26..34].to_vec();
    bytes.extend([0, frame[23]]);
    bytes.extend((length as u16).to_be_bytes());
    ones_sum(&bytes, 0)
}

pub(crate) fn checksum_place(frame: &[u8]) -> usize {
    34 + if frame[23] == TCP { 16 } else { 6 }
}

pub(crate) fn fill_checksums(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = !ones_sum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let place = checksum_place(frame);
    frame[place..place + 2].fill(0);
    let mut sum = !ones_sum(&frame[34..], pseudo_sum(frame, frame.len() - 34));
    if frame[23] == UDP && sum == 0 {
        sum = 0xffff;
    }
    frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}

pub(crate) fn id_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[18], frame[19]])
}

fn be(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// What goes out at the far end when `write`, header and all, is written to a TAP device: one frame or more. What the kernel
/// would refuse or get wrong fails the test.
pub(crate) fn kernel(write: &[u8]) -> Vec<Vec<u8>> {
    let (header, frame) = write.split_at(10);
    let number = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let (flags, kind, hdr_len, size, start, offset) =
        (header[0], header[1], number(2), number(4), number(6), number(8));
    if kind == 0 {
        assert_eq!(header, [0; 10], "a frame alone asks for nothing");
        return vec![frame.to_vec()];
    }
    assert_eq!(flags, 1, "the checksum is left to the kernel");
    let protocol = match kind & 0x7f {
        1 => TCP,
        5 => UDP,
        other => panic!("no such type of run: {other}"),
    };
    assert_eq!(frame[12..15], [8, 0, 0x45]);
    assert_eq!(frame[23], protocol);
    assert_eq!(be(&frame[16..18]) + 14, frame.len(), "the total length is that of the run");
    assert!(frame.len() < 65_536, "a device takes less than 64 KiB");
    let headers = 34 + if protocol == TCP { usize::from(frame[46] >> 4) * 4 } else { 8 };
    assert_eq!((hdr_len, start, offset + 34), (headers, 34, checksum_place(frame)));
    assert_eq!(be(&frame[34 + offset..34 + offset + 2]), usize::from(pseudo_sum(frame, frame.len() - 34)));
    assert_eq!(ones_sum(&frame[14..34], 0), 0xffff, "the IPv4 header's checksum is right");
    assert!(size > 0 && frame.len() - headers > size, "a run has more than one segment");
    if protocol == UDP {
        assert!((frame.len() - headers).div_ceil(size) <= 64, "UDP_MAX_SEGMENTS");
        assert_eq!(be(&frame[38..40]) + 34, frame.len());
    }
    cut(frame, headers, size)
}

/// tcp_gso_segment and __udp_gso_segment, then inet_gso_segment.
pub(crate) fn cut(frame: &[u8], headers: usize, size: usize) -> Vec<Vec<u8>> {
    let payload = &frame[headers..];
    let count = payload.chunks(size).count();
    payload
        .chunks(size)
        .enumerate()
        .map(|(index, part)| {
            let mut segment = [&frame[..headers], part].concat();
            let length = segment.len();
            segment[16..18].copy_from_slice(&((length - 14) as u16).to_be_bytes());
            segment[18..20].copy_from_slice(&id_of(frame).wrapping_add(index as u16).to_be_bytes());
            if frame[23] == TCP {
                let seq = (be(&frame[38..42]) as u32).wrapping_add((index * size) as u32);
                segment[38..42].copy_from_slice(&seq.to_be_bytes());
                if index > 0 {
                    segment[47] &= !CWR;
                }
                if index + 1 < count {
                    segment[47] &= !(FIN | PSH);
                }
            } else {
                segment[38..40].copy_from_slice(&((length - 34) as u16).to_be_bytes());
            }
            fill_checksums(&mut segment);
            segment
        })
        .collect()
}
