//! The modes of an interface.

/// The mode in which an interface is started.
#[derive(Clone, Debug)]
pub enum Mode {
    /// The host alone.
    Host(Host),
    /// The host, and the world by NAT.
    Shared(Shared),
}

/// Settings of host mode.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The largest IP packet.
    pub mtu: Option<u64>,
}

/// Settings of shared mode.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The largest IP packet.
    pub mtu: Option<u64>,
}
