//! An engine with nothing special about it, for what has to do with its policy and not with frames.

use softnet::engine::{Config, Engine, EthernetAddress, Network};

/// A link on which nobody has been heard yet.
pub(crate) fn network() -> Network {
    Network {
        gateway: [192, 168, 64, 1].into(),
        gateway_mac: None,
        subnet: "192.168.64.0/24".parse().expect("a subnet"),
        max_frame: 1514,
    }
}

/// A guest's engine that has seen nothing, with no policy.
pub(crate) fn engine() -> Engine {
    Engine::new(Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]), network(), [1, 2]))
}
