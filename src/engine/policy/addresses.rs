//! What holds of each address, out of prefixes that lie in one another.
//!
//! The prefixes are flattened to *pieces*: the address space cut where anything begins or ends. A piece ends where the next
//! one begins, so that an address is in just one, and what the longest prefix says of it is said there once and for all. Which
//! one: an index by the first bits of the address says where its pieces begin, and what is left is a binary search among a few.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// How many of an address's first bits the index goes by: 4096 prefixes spread over an eighth of the space leave 16 pieces to
/// search, and all in one /12 leave 8192. The index is 8 KiB.
const INDEX_BITS: u32 = 12;
const SHIFT: u32 = u32::BITS - INDEX_BITS;

/// A value for each address.
#[derive(Debug)]
pub(super) struct Addresses<T> {
    /// Sorted by their first addresses. The first one begins at 0.0.0.0.
    pieces: Vec<Piece<T>>,
    /// For each value of the first bits, and for the one past the last, how many pieces begin in front of it.
    index: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Piece<T> {
    first: u32,
    value: T,
}

impl<T: Copy> Addresses<T> {
    /// The values of prefixes that are sorted by address and then by length, each once: `value` is told a prefix's item and the
    /// value around it. Outside of all, `outside` holds.
    pub(super) fn flatten<I>(
        outside: T,
        prefixes: impl Iterator<Item = (Ipv4Net, I)>,
        mut value: impl FnMut(I, T) -> T,
    ) -> Self {
        let mut pieces = vec![Piece { first: 0, value: outside }];
        // The prefixes that hold what comes next, each within the one before, with the last address of each.
        let mut open: Vec<(u32, T)> = Vec::new();
        for (prefix, item) in prefixes {
            let first = u32::from(prefix.network());
            close(&mut open, &mut pieces, outside, |last| last < first);
            let inside = value(item, around(&open, outside));
            begin(&mut pieces, first, inside);
            open.push((u32::from(prefix.broadcast()), inside));
        }
        close(&mut open, &mut pieces, outside, |_| true);
        let index = index(&pieces);
        Addresses { pieces, index }
    }

    /// The value of an address. There always is one.
    #[inline]
    pub(super) fn get(&self, address: Ipv4Addr) -> Option<T> {
        let address = u32::from(address);
        let bits = bits(address);
        let (from, to) = (usize::from(*self.index.get(bits)?), usize::from(*self.index.get(bits + 1)?));
        let begun = from + self.pieces.get(from..to)?.partition_point(|piece| piece.first <= address);
        self.pieces.get(begun.checked_sub(1)?).map(|piece| piece.value)
    }
}

/// The value where the innermost of the open prefixes holds.
fn around<T: Copy>(open: &[(u32, T)], outside: T) -> T {
    open.last().map_or(outside, |&(_, value)| value)
}

/// Ends the prefixes whose last addresses are so. Behind the last address of all nothing begins.
fn close<T: Copy>(open: &mut Vec<(u32, T)>, pieces: &mut Vec<Piece<T>>, outside: T, is_over: impl Fn(u32) -> bool) {
    while let Some((last, _)) = open.pop_if(|&mut (last, _)| is_over(last)) {
        if let Some(behind) = last.checked_add(1) {
            begin(pieces, behind, around(open, outside));
        }
    }
}

/// Begins a piece. The last one may have begun at the same address, and is none then.
fn begin<T>(pieces: &mut Vec<Piece<T>>, first: u32, value: T) {
    pieces.pop_if(|piece| piece.first == first);
    pieces.push(Piece { first, value });
}

fn index<T>(pieces: &[Piece<T>]) -> Vec<u16> {
    let mut index = vec![0u16; (1 << INDEX_BITS) + 1];
    for piece in pieces {
        if let Some(count) = index.get_mut(bits(piece.first) + 1) {
            *count += 1;
        }
    }
    let mut in_front = 0;
    for count in &mut index {
        in_front += *count;
        *count = in_front;
    }
    index
}

/// The first bits of an address: a place in the index.
#[inline]
fn bits(address: u32) -> usize {
    (address >> SHIFT) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest of the prefixes that holds an address, found one by one.
    fn longest(prefixes: &[Ipv4Net], address: Ipv4Addr) -> Option<Ipv4Net> {
        prefixes.iter().filter(|prefix| prefix.contains(&address)).max_by_key(|prefix| prefix.prefix_len()).copied()
    }

    fn flatten(prefixes: &[Ipv4Net]) -> Addresses<Option<Ipv4Net>> {
        Addresses::flatten(None, prefixes.iter().map(|&prefix| (prefix, prefix)), |prefix, around| {
            assert!(around.is_none_or(|around: Ipv4Net| around != prefix && around.contains(&prefix)));
            Some(prefix)
        })
    }

    /// Checks both edges of every prefix, from within and from outside.
    fn check(mut prefixes: Vec<Ipv4Net>) {
        prefixes.sort_unstable_by_key(|prefix| (prefix.addr(), prefix.prefix_len()));
        prefixes.dedup();
        let addresses = flatten(&prefixes);
        assert!(addresses.pieces.is_sorted_by(|a, b| a.first < b.first), "none is empty");
        for prefix in &prefixes {
            let (first, last) = (u32::from(prefix.network()), u32::from(prefix.broadcast()));
            for address in [first.wrapping_sub(1), first, first + (last - first) / 2, last, last.wrapping_add(1)] {
                let address = Ipv4Addr::from(address);
                assert_eq!(addresses.get(address), Some(longest(&prefixes, address)), "{address} in {prefixes:?}");
            }
        }
    }

    #[test]
    fn the_longest_prefix_has_an_address_wherever_prefixes_begin_and_end() {
        let mut state = 1u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..300 {
            // From a /8 full of prefixes to a few in all of the space, with many that begin or end together.
            let (count, mask) = (1 + next(120), [0xf000_000f, 0x0000_ff0f, 0xffff_ffff, 0x0180_8081][round % 4]);
            let prefixes = (0..count).map(|_| {
                let address = (next(1 << 32) as u32 & mask) | if round % 3 == 0 { 0x0a00_0000 } else { 0 };
                Ipv4Net::new_assert(address.into(), next(33) as u8).trunc()
            });
            check(prefixes.collect());
        }
    }

    #[test]
    fn prefixes_of_every_length_within_one_another_at_both_ends_of_the_space() {
        for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 255, 0, 255)] {
            check((0..=32).map(|length| Ipv4Net::new_assert(address, length).trunc()).collect());
        }
        assert_eq!(flatten(&[]).get(Ipv4Addr::LOCALHOST), Some(None));
    }

    #[test]
    fn as_many_as_a_policy_takes_fit_the_index() {
        let (base, step) = (u32::from(Ipv4Addr::new(10, 0, 0, 0)), 8);
        let count = u32::try_from(super::super::MAX_ENTRIES).unwrap();
        let net = |index| Ipv4Net::from(Ipv4Addr::from(base + index * step));
        let prefixes: Vec<Ipv4Net> = (0..count).map(net).collect();
        let addresses = flatten(&prefixes);
        assert_eq!(addresses.pieces.len(), 2 * prefixes.len() + 1);
        for &prefix in &prefixes {
            let behind = Ipv4Addr::from(u32::from(prefix.addr()) + 1);
            assert_eq!((addresses.get(prefix.addr()), addresses.get(behind)), (Some(Some(prefix)), Some(None)));
        }
    }
}
