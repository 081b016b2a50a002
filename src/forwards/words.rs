//! What relay and forwarder say to each other, as text: the lease one way, how many go through each port the other.
//!
//! Each side takes the other's words for words: what does not read as one is no lease, or no change.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

/// The relay's word: where the ports lead.
pub(super) fn lease(lease: Option<Ipv4Addr>) -> String {
    lease.map_or_else(|| "none".into(), |address| address.to_string())
}

/// Reads it.
pub(super) fn read_lease(word: &[u8]) -> Option<Ipv4Addr> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The forwarder's word: what goes through each port, in their order.
pub(super) fn counts(counts: &[u16]) -> String {
    counts.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
}

/// Reads it, if it is about `ports` ports.
pub(super) fn read_counts(word: &[u8], ports: usize) -> Option<impl Iterator<Item = u16> + '_> {
    let numbers = || std::str::from_utf8(word).unwrap_or_default().split(' ').map_while(|text| text.parse().ok());
    let is_whole = std::str::from_utf8(word).ok()?.split(' ').count() == ports && numbers().count() == ports;
    is_whole.then(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_reads_what_the_other_writes() {
        for address in [None, Some([192, 168, 64, 2].into())] {
            assert_eq!(read_lease(lease(address).as_bytes()), address);
        }
        let through = [0, 7, u16::MAX];
        let word = counts(&through);
        assert_eq!(read_counts(word.as_bytes(), 3).unwrap().collect::<Vec<_>>(), through);
    }

    #[test]
    fn counts_that_are_none_change_nothing() {
        for word in ["", "1", "1 2 3", "1 x", "1 2 ", "1  2", "1 65536", "1 -2", "inside"] {
            assert!(read_counts(word.as_bytes(), 2).is_none(), "{word:?}");
        }
        assert!(read_counts(&[b'1', b' ', 0xff], 2).is_none());
    }
}
