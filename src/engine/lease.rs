//! The guest's lease.

use std::net::Ipv4Addr;

use super::Instant;

/// The address that the guest may speak from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The leased address.
    pub address: Ipv4Addr,
    /// When it lapses.
    pub expires: Instant,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Its time was over.
    Lapsed,
    /// The server took it back (DHCPNAK).
    Refused,
    /// The guest gave it back (DHCPRELEASE or DHCPDECLINE).
    Released,
}

/// What the operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest has a lease, new or with another address than before.
    LeaseGranted {
        /// The leased address.
        address: Ipv4Addr,
        /// How long, in seconds, as the server said.
        seconds: u32,
    },
    /// The guest has lost its lease.
    LeaseEnded {
        /// The address that was leased.
        address: Ipv4Addr,
        /// Why.
        cause: LeaseEnd,
    },
}
