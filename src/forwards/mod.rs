//! Port forwards: ports of the host that lead to the guest's, while it has a lease.
//!
//! # Theory of operation
//! Linux: the ports are bound in the setup phase ([`ports`]), before anything is set up on the host, and given to a companion
//! ([`crate::companion`]), the [`forwarder`], which accepts, connects to the leased address and moves the bytes: the guest sees the
//! gateway as its peer. The relay does one thing: it tells the companion what the lease is, whenever that changes ([`Forwards`]).
//! The engine lets the answers of an exposed port pass (`engine::exposures`).
//!
//! While there is no lease, what comes is refused at once. When the lease moves, connections to the old address end.
//!
//! macOS: the host's link forwards TCP ports itself, and is told the same ([`crate::host::Host::forward`]). The ports are bound all the same,
//! and held without listening: so nobody takes over the port of a service that is there, or comes later, and no two guests have one.

#[cfg(target_os = "linux")]
pub mod forwarder;
mod link;
pub mod ports;
#[cfg(target_os = "linux")]
mod tcp;
#[cfg(target_os = "linux")]
mod udp;

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

#[cfg(target_os = "linux")]
use crate::companion::Companion;
#[cfg(target_os = "linux")]
use crate::companion::line::{Heard, MAX_MESSAGE, Told};
use crate::host::Host;
pub use link::LinkPort;

/// The changes that are told by default: a guest whose lease comes and goes fills no terminal.
const CHANGES_TOLD: u32 = 20;

/// Who forwards.
#[derive(Debug)]
pub enum By {
    /// A companion.
    #[cfg(target_os = "linux")]
    Companion(Companion),
    /// The host's link, with the port of each.
    Link(Vec<LinkPort>),
}

/// The relay's side of the forwards of one guest.
#[derive(Debug)]
pub struct Forwards {
    /// As they were typed.
    texts: Vec<String>,
    by: By,
    /// The lease as it was told last; `None` before the first time.
    told: Option<Option<Ipv4Addr>>,
    /// Where they led last.
    last: Option<Ipv4Addr>,
    changes: u32,
}

impl Forwards {
    /// Forwards as they were typed.
    #[must_use]
    pub fn new(texts: Vec<String>, by: By) -> Self {
        Forwards { texts, by, told: None, last: None, changes: 0 }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.texts.len()
    }

    /// What becomes readable when the companion has ended.
    #[must_use]
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.by {
            #[cfg(target_os = "linux")]
            By::Companion(companion) => companion.line(),
            By::Link(_) => None,
        }
    }

    /// Looks whether the companion is there still: it says nothing by itself.
    pub fn listen(&mut self) {
        match &mut self.by {
            #[cfg(target_os = "linux")]
            By::Companion(companion) => while let Heard::Message(_) = companion.hear(&mut [0; MAX_MESSAGE]) {},
            By::Link(_) => {}
        }
    }

    /// Tells whoever forwards what the lease is, if that has changed. Costs a comparison else.
    #[inline]
    pub fn turn(&mut self, lease: Option<Ipv4Addr>, host: &mut dyn Host) {
        if self.told != Some(lease) {
            self.change(lease, host);
        }
    }

    #[cold]
    fn change(&mut self, lease: Option<Ipv4Addr>, host: &mut dyn Host) {
        let led: Vec<bool> = match &mut self.by {
            #[cfg(target_os = "linux")]
            By::Companion(companion) => {
                let _ = host;
                match companion.tell(forwarder::word(lease).as_bytes()) {
                    Told::Sent => vec![true; self.texts.len()],
                    // Told again with the next turn.
                    Told::Full => return,
                    Told::End => Vec::new(),
                }
            }
            By::Link(ports) => {
                ports.iter_mut().zip(&self.texts).map(|(port, text)| port.lead(text, lease, host)).collect()
            }
        };
        self.told = Some(lease);
        if led.contains(&true) {
            self.say(&led, lease);
        }
    }

    /// Says where those that were led are led to.
    fn say(&mut self, led: &[bool], lease: Option<Ipv4Addr>) {
        self.changes += 1;
        let level = if self.changes <= CHANGES_TOLD { log::Level::Warn } else { log::Level::Info };
        for (text, _) in self.texts.iter().zip(led).filter(|(_, led)| **led) {
            match (self.last, lease) {
                (_, None) => log::log!(level, "--expose {text} waits: the guest has no lease"),
                (Some(old), Some(new)) if old != new => {
                    log::log!(level, "--expose {text} moves from {old} to {new}: connections to {old} end");
                }
                (_, Some(new)) => log::log!(level, "--expose {text} works: it leads to {new}"),
            }
        }
        self.last = lease.or(self.last);
        if self.changes == CHANGES_TOLD {
            log::warn!("--expose: from here on its changes are told at level info");
        }
    }

    /// Ends whoever forwards, so that the ports are free for the next softnet.
    pub fn end(self) {
        match self.by {
            #[cfg(target_os = "linux")]
            By::Companion(companion) => companion.end(),
            By::Link(_) => {}
        }
    }
}
