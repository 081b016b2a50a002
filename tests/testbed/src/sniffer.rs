//! What really passes on an interface: the witness that a spoofed frame reached nobody.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv};

use crate::sys;
use crate::wait::Timeout;

/// Sees every frame of one interface from the moment it is made; on a bridge, also those between its ports.
#[derive(Debug)]
pub struct Sniffer {
    socket: OwnedFd,
    seen: Vec<Vec<u8>>,
}

impl Sniffer {
    /// A witness on `interface`.
    ///
    /// # Panics
    /// When there is no such interface in the calling thread's network namespace.
    #[must_use]
    pub fn on(interface: &str) -> Self {
        let index = if_nametoindex(interface).unwrap_or_else(|error| panic!("no interface {interface}: {error}"));
        Sniffer { socket: sys::packet_socket(index), seen: Vec::new() }
    }

    /// All that passed so far, oldest first.
    pub fn frames(&mut self) -> &[Vec<u8>] {
        let mut buffer = vec![0; 65536];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => self.seen.push(buffer[..length].to_vec()),
                Err(Errno::EINTR) => {}
                Err(_) => return &self.seen,
            }
        }
    }

    /// How many frames that fit passed so far.
    pub fn count(&mut self, fits: impl Fn(&[u8]) -> bool) -> usize {
        self.frames().iter().filter(|frame| fits(frame)).count()
    }

    /// Waits for a frame that fits.
    ///
    /// # Errors
    /// None came within `limit`.
    pub fn expect(&mut self, what: &str, limit: Duration, fits: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Timeout> {
        let start = Instant::now();
        loop {
            if let Some(frame) = self.frames().iter().find(|frame| fits(frame)) {
                return Ok(frame.clone());
            }
            let Some(left) = limit.checked_sub(start.elapsed()) else {
                return Err(Timeout { what: what.to_owned(), after: limit });
            };
            sys::wait_readable(&[&self.socket], left);
        }
    }
}
