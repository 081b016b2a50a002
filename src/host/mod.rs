//! The host's side of the link: what the relay asks of it, and the two kinds there are.
//!
//! Linux: a TAP device on a bridge (`tap`). macOS: vmnet.framework (`vmnet`), which hands out and takes batches of frames
//! and tells by a callback that frames wait, and the lease time of its DHCP server (`bootpd`). The trait is cut so that
//! both fit: readiness is a descriptor, and frames move in [`Batch`]es.

// The macOS host is compiled elsewhere too, for its tests, against a double of vmnet's API.
#[cfg(any(target_os = "macos", test))]
pub mod bootpd;
#[cfg(target_os = "linux")]
pub mod tap;
#[cfg(any(target_os = "macos", test))]
pub mod vmnet;

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use ipnet::Ipv4Net;
use thiserror::Error;

use crate::engine::{EthernetAddress, Isolation, NetType, Network};
use crate::sys::batch::Batch;

/// What the setup asks a host for: a link for one guest.
#[derive(Clone, Debug)]
pub struct LinkRequest {
    /// The guest's MAC.
    pub guest_mac: EthernetAddress,
    /// Whether the link leads to the world or to the host alone.
    pub net_type: NetType,
    /// Whether it is kept apart from the links of other guests.
    pub isolation: Isolation,
    /// The DHCP lease time for this guest, in seconds.
    pub lease_seconds: u32,
    /// Linux: a bridge that is there already, instead of softnet's own.
    pub bridge: Option<String>,
    /// Linux: the subnet of softnet's own bridge, should it have to be made.
    pub subnet: Option<Ipv4Net>,
    /// Linux: whose guest it is.
    pub owner: Owner,
    /// Linux: what it is called.
    pub name: Option<String>,
    /// Linux: whether runs of frames are joined and cut here.
    pub offload: Offload,
}

/// Whose guest it is: whom softnet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// How many guests the user may have on this host, this one included; none: any number.
    pub most_guests: Option<u32>,
}

/// Whether the kernel is given, and gives, runs of frames as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Where it can.
    Wanted,
    /// Each frame goes alone.
    Off,
}

/// The setup was asked to end: a signal came, or the guest is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("asked to end")]
pub struct Interrupted;

/// How the setup waits: sleeps for about the duration, and says when the setup is to end instead.
pub type Wait<'a> = dyn FnMut(Duration) -> Result<(), Interrupted> + 'a;

/// Why a link could not be opened.
#[cfg(target_os = "linux")]
pub type OpenError = tap::Error;
/// Why a link could not be opened.
#[cfg(target_os = "macos")]
pub type OpenError = vmnet::Error;

/// Whether only root can [`open`] a link on this system. Where it is not needed, it is still wanted: see [`open`].
#[must_use]
pub fn root_needed() -> bool {
    #[cfg(target_os = "macos")]
    return vmnet::rights::root_needed();
    #[cfg(not(target_os = "macos"))]
    return true;
}

/// Opens a link of this system's kind. Setup phase: needs root.
///
/// # Errors
/// What failed, on what, and how to mend it; or that `wait` was interrupted.
#[cfg(target_os = "linux")]
pub fn open(request: &LinkRequest, wait: &mut Wait<'_>) -> Result<Box<dyn Host>, OpenError> {
    Ok(Box::new(tap::open(request, wait)?))
}

/// Opens a link of this system's kind. Setup phase: needs root where [`root_needed`] says so; without it, the lease time
/// of the DHCP server stays as it is.
///
/// # Errors
/// What failed, on what, and how to mend it; or that `wait` was interrupted. A lease time that could not be set is told
/// and is no error: the guest has its network all the same.
#[cfg(target_os = "macos")]
pub fn open(request: &LinkRequest, wait: &mut Wait<'_>) -> Result<Box<dyn Host>, OpenError> {
    if nix::unistd::geteuid().is_root() {
        match bootpd::tune(request.lease_seconds, wait) {
            Ok(()) => {}
            Err(bootpd::TuneError::Interrupted(interrupted)) => return Err(interrupted.into()),
            Err(error) => log::warn!("{error}"),
        }
    } else {
        log::warn!("without root, the DHCP lease time of guests stays as it is on this Mac (a day unless it was set)");
    }
    Ok(Box::new(vmnet::open(request, wait)?))
}

/// The addresses that the link's DHCP server leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How many there are.
    pub size: usize,
    /// How many of them are leased at this moment.
    pub leased: usize,
}

impl Pool {
    /// Whether none is left.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.leased >= self.size
    }
}

/// A TCP port of the host that the link leads to one of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// The host's port.
    pub external: u16,
    /// The guest's port.
    pub internal: u16,
}

/// The host's end of the guest's link, opened in the setup phase and driven by the relay without any privilege.
pub trait Host {
    /// The facts of the link.
    fn network(&self) -> &Network;

    /// A descriptor that is readable (`POLLIN`, level-triggered) while frames wait in [`Host::receive`].
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Appends waiting frames to `batch` until the batch is full or none is left; never blocks. A batch that comes back
    /// with room left says that nothing waits.
    ///
    /// # Errors
    /// The link is lost for good. That nothing waits is no error.
    fn receive(&mut self, batch: &mut Batch) -> io::Result<()>;

    /// Whether frames wait that the descriptor does not tell of: [`Host::receive`] took more from the system at once than
    /// the batch had room for.
    fn holds_frames(&self) -> bool {
        false
    }

    /// The file for what others on this host may know of the guest ([`crate::record`]), once, where there is one.
    fn take_record(&mut self) -> Option<File> {
        None
    }

    /// How many frames the system gave that could not be made frames for the guest.
    fn unusable(&self) -> u64 {
        0
    }

    /// The addresses of the link's DHCP server, where softnet can know. Not for every frame: it reads the server's records.
    fn pool(&self) -> Option<Pool> {
        None
    }

    /// The descriptor that [`Host::pool`] reads.
    fn lease_file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whose MAC the host itself has for an address of the link's, where it can be asked.
    fn mac_of(&mut self, _address: Ipv4Addr) -> Option<EthernetAddress> {
        None
    }

    /// Hands the frames of `batch` to the host; never blocks. Returns how many the host took; the others are lost, as on
    /// a congested wire, and the caller counts them.
    ///
    /// # Errors
    /// The link is lost for good. A full queue is no error.
    fn send(&mut self, batch: &Batch) -> io::Result<usize>;

    /// Makes a port of the host lead to `lease`, or nowhere, where the link itself forwards ports. May wait for the host.
    ///
    /// # Errors
    /// What the host said. It is told, and the guest's network goes on.
    fn forward(&mut self, _forward: PortForward, _lease: Option<Ipv4Addr>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Closes the link in order.
    ///
    /// # Errors
    /// What the host reported while closing.
    fn stop(self: Box<Self>) -> io::Result<()>;
}
