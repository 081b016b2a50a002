//! An engine with nothing special about it, for the unit tests of what is around it.

#![forbid(unsafe_code)]

use ipnet::Ipv4Net;

use super::{Config, Engine, EthernetAddress, Network};

/// A link on which nobody has been heard yet.
pub(crate) fn network() -> Network {
    Network {
        gateway: [192, 168, 64, 1].into(),
        gateway_mac: None,
        subnet: Ipv4Net::new_assert([192, 168, 64, 0].into(), 24),
        max_frame: 1514,
    }
}

/// A guest's engine that has seen nothing, with no policy.
pub(crate) fn engine() -> Engine {
    Engine::new(Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]), network(), [1, 2]))
}
