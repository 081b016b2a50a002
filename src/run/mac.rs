//! The MAC address of a VM that has none: locally administered (IEEE 802), unicast.

use std::hash::{BuildHasher as _, RandomState};

use siphasher::sip::SipHasher24;

use crate::engine::EthernetAddress;

/// The key of the hash that makes a MAC address of a name. Never to change: leases and policies elsewhere hang on the result.
const KEY: [u8; 16] = *b"softnet run name";

/// Always the same one for a name: SipHash-2-4 of its bytes under `KEY`, the first six bytes of the result (little-endian), with the
/// bit for "locally administered" set and that for groups cleared.
#[must_use]
pub fn of_name(name: &str) -> EthernetAddress {
    administered(SipHasher24::new_with_key(&KEY).hash(name.as_bytes()))
}

/// Another one each time.
#[must_use]
pub fn random() -> EthernetAddress {
    administered(RandomState::new().hash_one(0u8))
}

fn administered(hash: u64) -> EthernetAddress {
    let [first, second, third, fourth, fifth, sixth, ..] = hash.to_le_bytes();
    EthernetAddress([(first & !1) | 2, second, third, fourth, fifth, sixth])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::colons;

    #[test]
    fn a_name_has_one_address_for_ever() {
        assert_eq!(colons(of_name("web")), "02:97:d4:80:60:e1");
        assert_ne!(of_name("web"), of_name("web2"));
    }

    #[test]
    fn every_address_is_unicast_and_locally_administered() {
        for hash in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(administered(hash).0[0] & 3, 2);
        }
        assert_ne!(random(), random());
    }
}
