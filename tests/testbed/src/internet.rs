//! A small world behind the host's uplink.
//!
//! ```text
//!  host (the test's network)                    namespace "internet"
//!  ┌───────────────────────────┐               ┌────────────────────────────────────────────┐
//!  │ uplink 10.99.0.2 ─────────┼─── veth ──────┼─ 10.99.0.1, and every address below, each  │
//!  │ default via 10.99.0.1     │               │  with HTTP on 80, UDP echo on 7, DNS on 53 │
//!  └───────────────────────────┘               └────────────────────────────────────────────┘
//! ```
//!
//! [`Internet::new`] proves that the host reaches each of them. What a guest does not reach was therefore held back by
//! softnet or its firewall, and not by a hole in the world.

use std::net::{Ipv4Addr, SocketAddr};

use crate::netns::Netns;
use crate::testbed::Facts;
use crate::wait::PATIENCE;
use crate::{isolate, servers, tools};

/// A public web server.
pub const WEB: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 14);
/// A second public web server, to be blocked while the first is not.
pub const OTHER_WEB: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
/// The name that the world's DNS server knows; it belongs to [`WEB`].
pub const NAME: &str = "www.example.com";
/// A public DNS server, the one that the host's resolv.conf names.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
/// A server on a private network that the host reaches.
pub const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 20, 30, 40);
/// The cloud's metadata service.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// One address of each other range that is not the global Internet.
pub const SPECIAL: &[Ipv4Addr] = &[
    Ipv4Addr::new(100, 64, 0, 1),
    Ipv4Addr::new(172, 16, 5, 5),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(192, 88, 99, 1),
    Ipv4Addr::new(192, 168, 7, 7),
    Ipv4Addr::new(198, 18, 0, 1),
    Ipv4Addr::new(198, 51, 100, 7),
    Ipv4Addr::new(203, 0, 113, 9),
];
/// The host's own address on the uplink.
pub const UPLINK: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// The router beyond the uplink.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The world, for the life of the test.
#[derive(Clone, Debug)]
pub struct Internet {
    /// Where it lives.
    pub netns: Netns,
}

impl Internet {
    /// Builds it, and proves that the host reaches every server.
    ///
    /// # Panics
    /// When it cannot be built or reached.
    #[must_use]
    pub fn new() -> Self {
        let netns = Netns::new("internet");
        tools::run("ip link add uplink type veth peer name beyond");
        tools::run(&format!("ip link set beyond netns {}", netns.name()));
        tools::run(&format!("ip addr add {UPLINK}/24 dev uplink"));
        tools::run("ip link set uplink up");
        netns.run(&format!("ip addr add {ROUTER}/24 dev beyond"));
        netns.run("ip link set beyond up");
        tools::run(&format!("ip route add default via {ROUTER}"));
        let targets = [WEB, OTHER_WEB, RESOLVER, PRIVATE, METADATA];
        for address in targets.iter().chain(SPECIAL) {
            netns.run(&format!("ip addr add {address}/32 dev lo"));
        }
        netns.enter(|| {
            servers::http(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)));
            // An answer over UDP comes from the address that was asked only if the server is bound to it.
            for address in targets.iter().chain(SPECIAL) {
                servers::udp_echo(SocketAddr::from((*address, 7)));
                servers::dns(SocketAddr::from((*address, 53)), NAME, WEB);
            }
        });
        isolate::replace_file("/etc/resolv.conf", &format!("nameserver {RESOLVER}\n"));
        for address in targets.iter().chain(SPECIAL) {
            assert_host_reaches(*address);
        }
        Internet { netns }
    }

    /// Whom a scenario may try to reach here.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            web: WEB,
            other_web: OTHER_WEB,
            name: (NAME.to_owned(), WEB),
            private: PRIVATE,
            metadata: METADATA,
            lease_seconds: 600,
        }
    }
}

impl Default for Internet {
    fn default() -> Self {
        Self::new()
    }
}

/// The control: the host itself reaches `address`.
///
/// # Panics
/// When it does not.
pub fn assert_host_reaches(address: Ipv4Addr) {
    let page =
        servers::fetch(address, PATIENCE).unwrap_or_else(|error| panic!("the host does not reach {address}: {error}"));
    assert!(page.starts_with(&format!("server {address}\n")), "somebody else answers for {address}: {page}");
}
