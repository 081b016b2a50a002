//! The Internet checksum (RFC 1071).
//!
//! The sum does not depend on the order of the bytes in its words (section 2, B), nor on how wide they are (C): 32 bits at a
//! time, in the machine's order, in eight lanes that the compiler makes vectors of.

#![forbid(unsafe_code)]

use std::ops::Add;

const LANES: usize = 8;
const WORD: usize = 4;

/// A sum that goes on: 16-bit words in the machine's order, not yet folded. There is room for 2^32 words of 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`, which begin at an even place; an odd one at the end is the high byte of a word.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut lanes = [0_u64; LANES];
        let chunks = bytes.chunks_exact(LANES * WORD);
        let rest = chunks.remainder().chunks_exact(WORD);
        let mut last = [0; WORD];
        last[..rest.remainder().len()].copy_from_slice(rest.remainder());
        for chunk in chunks {
            for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(WORD)) {
                *lane += word_of(word);
            }
        }
        for (lane, word) in lanes.iter_mut().zip(rest) {
            *lane += word_of(word);
        }
        Sum(lanes.iter().sum::<u64>() + word_of(&last))
    }

    /// The sum of one word, given as a number.
    #[must_use]
    pub fn word(number: u16) -> Self {
        Sum(u16::from_ne_bytes(number.to_be_bytes()).into())
    }

    /// What the pseudo-header adds to a TCP or UDP checksum (RFC 9293, section 3.1; RFC 768): both addresses, as they
    /// stand in the IPv4 header, the protocol, and the length of header and payload.
    #[must_use]
    pub fn pseudo(addresses: &[u8], protocol: u8, length: u16) -> Self {
        Sum::of(addresses) + Sum::word(protocol.into()) + Sum::word(length)
    }

    /// Whether the sum is that of a packet with its right checksum in it.
    #[must_use]
    pub fn is_right(self) -> bool {
        self.folded() == 0xffff
    }

    /// The sum as the bytes of a field: what is left there for someone to go on with.
    #[must_use]
    pub fn unfinished(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// The checksum as the bytes of its field, which was zero in the sum.
    #[must_use]
    pub fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// The same where zero says that there is none (RFC 768): all ones, which sum up to the same.
    #[must_use]
    pub fn nonzero_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            bytes => bytes,
        }
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }
}

impl Add for Sum {
    type Output = Sum;

    fn add(self, other: Sum) -> Sum {
        Sum(self.0 + other.0)
    }
}

/// Of four bytes; the compiler sees that there are.
fn word_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |&bytes| u32::from_ne_bytes(bytes)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word by word, as RFC 1071 has it in section 4.1.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.unfinished(), [0xdd, 0xf2]);
        assert_eq!(sum.checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn every_length_is_summed_as_word_by_word() {
        let bytes: Vec<u8> = (0..70_000_u32).map(|n| (n * 251 + n / 7) as u8).collect();
        for length in (0..200).chain([1447, 1448, 1460, 65_535, 70_000]) {
            let sum = Sum::of(&bytes[..length]);
            assert_eq!(sum.checksum(), slow(&bytes[..length]).to_be_bytes(), "{length} bytes");
        }
        let ones = vec![0xff; 70_000];
        assert_eq!(Sum::of(&ones).checksum(), [0, 0]);
        assert_eq!(Sum::of(&ones).nonzero_checksum(), [0xff, 0xff]);
        assert!(Sum::of(&ones).is_right() && !Sum::of(&ones[..1]).is_right());
    }

    #[test]
    fn a_word_and_the_pseudo_header_are_summed_as_their_bytes() {
        assert_eq!(Sum::word(0x1234), Sum::of(&[0x12, 0x34]));
        let addresses = [192, 168, 64, 2, 93, 184, 215, 14];
        let mut bytes = addresses.to_vec();
        bytes.extend([0, 17, 0x05, 0xb4]);
        assert_eq!(Sum::pseudo(&addresses, 17, 0x05b4).checksum(), Sum::of(&bytes).checksum());
    }
}
