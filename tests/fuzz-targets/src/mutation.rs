//! What is done to a valid frame: at a place where something is, a value on which a rule turns; or anything anywhere.

use crate::input::Input;
use crate::templates::{ADDRESSES, MACS, WORDS};

/// More than any link here carries.
const CAPACITY: usize = 2048;

/// A frame being made, on the stack: nothing is allocated for one.
#[derive(Debug)]
pub struct Frame {
    bytes: [u8; CAPACITY],
    length: usize,
}

/// Where a frame has addresses: ARP's, IPv4's, those in an ICMP error's quote, DHCP's; option 50 of a request.
const ADDRESSES_AT: [usize; 12] = [28, 38, 26, 30, 26, 30, 54, 58, 62, 66, 54, 58];
const MACS_AT: [usize; 6] = [0, 6, 0, 22, 32, 70];
const WORDS_AT: [usize; 12] = [12, 14, 16, 18, 20, 20, 34, 36, 34, 36, 38, 282];

impl Frame {
    /// A copy.
    #[must_use]
    #[inline]
    pub fn new(of: &[u8]) -> Self {
        let length = of.len().min(CAPACITY);
        let mut bytes = [0; CAPACITY];
        bytes[..length].copy_from_slice(&of[..length]);
        Frame { bytes, length }
    }

    /// What goes on the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Up to three changes; then, mostly, the sums and lengths that a sender would have made right, so that rules behind
    /// them are reached.
    #[inline]
    pub fn mutate(&mut self, input: &mut Input<'_>) {
        let how = input.byte();
        for _ in 0..[0, 1, 1, 1, 2, 2, 3, 1][usize::from(how & 7)] {
            self.mutate_once(input);
        }
        match how >> 3 & 7 {
            0 => {}
            1 => {
                self.mend_lengths();
                self.mend_checksum();
            }
            _ => self.mend_checksum(),
        }
    }

    fn mutate_once(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        match kind % 16 {
            0 => self.put(self.place(input), &[input.byte()]),
            1 => {
                let at = self.place(input);
                let bit = 1 << (input.byte() & 7);
                self.put(at, &[self.bytes[at] ^ bit]);
            }
            2 => self.length = usize::from(input.word()) % (self.length + 1),
            3 => self.pad(input),
            4..=6 => self.put(input.choose(&ADDRESSES_AT), &input.choose(&ADDRESSES).octets()),
            7 | 8 => self.put(input.choose(&MACS_AT), &input.choose(&MACS)),
            9 | 10 => self.put(input.choose(&WORDS_AT), &input.choose(&WORDS).to_be_bytes()),
            11 => {
                // A length that is off by a little, which is where lies are told.
                let at = input.choose(&[16, 38]);
                let off = i16::from(input.byte().cast_signed() % 16);
                let value = i16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]).wrapping_add(off);
                self.put(at, &value.to_be_bytes());
            }
            12 => self.put(23, &[input.choose(&[1, 6, 17, 2, 0, 50, 132])]),
            13 => self.put(14, &[input.choose(&[0x45, 0x46, 0x44, 0x4f, 0x40, 0x55, 0x65])]),
            14 => self.shift(input),
            _ => {
                // Options of DHCP start at 282.
                let at = 282 + usize::from(input.byte() % 48);
                let code = input.choose(&[0, 255, 53, 52, 50, 51, 61, 6, 82, 118, 1, 3, 4, 5, 8]);
                self.put(at, &[code]);
            }
        }
    }

    /// Anywhere, in headers mostly.
    fn place(&self, input: &mut Input<'_>) -> usize {
        let at = usize::from(input.word());
        if at & 0xc000 == 0 { at % CAPACITY } else { at % 64 }
    }

    /// Writes what is within the frame.
    fn put(&mut self, at: usize, value: &[u8]) {
        let end = (at + value.len()).min(self.length);
        if at < end {
            self.bytes[at..end].copy_from_slice(&value[..end - at]);
        }
    }

    fn pad(&mut self, input: &mut Input<'_>) {
        let to = input.choose(&[self.length + 1, self.length + 8, self.length + 46, 60, 590, 1514, 1515, CAPACITY]);
        let to = to.clamp(self.length, CAPACITY);
        self.bytes[self.length..to].fill(input.byte());
        self.length = to;
    }

    /// Puts four bytes behind the MACs, as a tag, or takes them away.
    fn shift(&mut self, input: &mut Input<'_>) {
        if input.rarely(2) && self.length + 4 <= CAPACITY && self.length > 12 {
            self.bytes.copy_within(12..self.length, 16);
            self.length += 4;
            self.put(12, &[0x81, 0, 0, input.byte()]);
        } else if self.length > 16 {
            self.bytes.copy_within(16..self.length, 12);
            self.length -= 4;
        }
    }

    fn is_ipv4(&self) -> bool {
        self.length >= 34 && self.bytes[12..14] == [8, 0]
    }

    fn mend_lengths(&mut self) {
        if self.is_ipv4() {
            let total = self.length - 14;
            self.put(16, &u16::try_from(total).unwrap_or(u16::MAX).to_be_bytes());
            if self.bytes[23] == 17 && total >= 28 && self.bytes[20] & 0x1f == 0 && self.bytes[21] == 0 {
                self.put(38, &u16::try_from(total - 20).unwrap_or(u16::MAX).to_be_bytes());
            }
        }
    }

    fn mend_checksum(&mut self) {
        if self.is_ipv4() {
            self.bytes[24..26].fill(0);
            let words =
                self.bytes[14..34].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
            let sum = words.sum::<u32>();
            let folded = (sum >> 16) + (sum & 0xffff);
            let folded = (folded >> 16) + (folded & 0xffff);
            let checksum = !u16::try_from(folded).unwrap_or_default();
            self.bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}
