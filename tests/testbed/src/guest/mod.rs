//! Three kinds of guests, from the quickest to the most real. The first runs anywhere, the others on Linux.

#[cfg(target_os = "linux")]
pub mod kernel;
pub mod portable;
#[cfg(target_os = "linux")]
pub mod vm;

use std::net::Ipv4Addr;

#[cfg(target_os = "linux")]
pub use kernel::KernelGuest;
pub use portable::PortableGuest;

/// What a DHCP server granted a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The length of its subnet's prefix.
    pub prefix: u8,
    /// The default gateway.
    pub router: Option<Ipv4Addr>,
    /// The DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// The DHCP server.
    pub server: Ipv4Addr,
    /// How long the lease lasts, in seconds, as the acknowledgement says.
    pub seconds: Option<u32>,
}
