//! Which IPv4 addresses are of the world: unicast and globally reachable.
//!
//! The source is the IANA IPv4 Special-Purpose Address Registry (RFC 6890), its column "Globally Reachable", with two
//! places where this table is narrower than the registry:
//!
//! * 192.0.0.0/24 is not global as a whole. The registry calls 192.0.0.9 (PCP anycast, RFC 7723) and 192.0.0.10 (TURN
//!   anycast, RFC 8155) global, but they are answered by the *nearest* router, which is the host's own network.
//! * 192.88.99.0/24 (6to4 relay anycast, deprecated by RFC 7526) is "N/A" in the registry and nearest-router too.
//!
//! AS112 (192.31.196.0/24, 192.175.48.0/24) and AMT (192.52.193.0/24) are global by the registry and here. Multicast
//! (224.0.0.0/4) is not in that registry; it is not unicast, and so not of the world either.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

/// Whether `address` is a globally reachable unicast address. A match on the first octet, so that nearly every address of
/// the world is decided by one comparison.
#[inline]
pub(super) fn is_global_unicast(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    match a {
        0 => false,            // "this network", RFC 791
        10 => false,           // private, RFC 1918
        100 => b & 0xc0 != 64, // 100.64.0.0/10 shared, RFC 6598
        127 => false,          // loopback, RFC 1122
        169 => b != 254,       // link local and cloud metadata, RFC 3927
        172 => b & 0xf0 != 16, // 172.16.0.0/12 private, RFC 1918
        192 => match b {
            0 => c != 0 && c != 2, // IETF protocols, RFC 6890; TEST-NET-1, RFC 5737
            88 => c != 99,         // 6to4 relays, RFC 7526
            168 => false,          // private, RFC 1918
            _ => true,
        },
        198 => match b {
            18 | 19 => false, // benchmarks, RFC 2544
            51 => c != 100,   // TEST-NET-2, RFC 5737
            _ => true,
        },
        203 => (b, c) != (0, 113), // TEST-NET-3, RFC 5737
        224.. => false,            // multicast, RFC 5771; reserved, RFC 1112; limited broadcast, RFC 919
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use ipnet::Ipv4Net;

    use super::*;

    /// The registry, line by line, as text: what is not globally reachable, and what is.
    const NOT_GLOBAL: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    ];
    const GLOBAL: &[&str] = &["192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "1.1.1.1/32", "8.8.8.0/24"];

    fn by_the_registry(address: Ipv4Addr) -> bool {
        !NOT_GLOBAL.iter().any(|net| net.parse::<Ipv4Net>().unwrap().contains(&address))
    }

    #[test]
    fn every_edge_of_every_registered_block_is_judged_as_registered() {
        for net in NOT_GLOBAL.iter().chain(GLOBAL) {
            let net: Ipv4Net = net.parse().unwrap();
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            for address in [first.wrapping_sub(1), first, first + (last - first) / 2, last, last.wrapping_add(1)] {
                let address = Ipv4Addr::from(address);
                assert_eq!(is_global_unicast(address), by_the_registry(address), "{address}");
            }
        }
        for net in GLOBAL {
            assert!(is_global_unicast(net.parse::<Ipv4Net>().unwrap().addr()), "{net}");
        }
    }

    #[test]
    fn every_24_is_judged_as_registered() {
        let nets: Vec<Ipv4Net> = NOT_GLOBAL.iter().map(|net| net.parse().unwrap()).collect();
        for top in (0..1 << 24).step_by(7) {
            let address = Ipv4Addr::from(top << 8 | 77);
            assert_eq!(is_global_unicast(address), !nets.iter().any(|net| net.contains(&address)), "{address}");
        }
    }
}
