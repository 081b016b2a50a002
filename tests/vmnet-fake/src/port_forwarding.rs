//! Port forwards from the host to the guest.

use std::net::IpAddr;

/// A forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Of the address.
    pub address_family: AddressFamily,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The host's port.
    pub external_port: u16,
    /// The guest.
    pub addr: IpAddr,
    /// The guest's port.
    pub internal_port: u16,
}

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum AddressFamily {
    Ipv4,
    Ipv6,
}

/// The protocol of a forward.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
}
