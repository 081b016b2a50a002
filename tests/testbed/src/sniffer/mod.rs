//! What really passes on an interface: the witness that a spoofed frame reached nobody.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

use std::time::{Duration, Instant};

use crate::wait::Timeout;
#[cfg(target_os = "linux")]
use linux::Tap;
#[cfg(target_os = "macos")]
use macos::Tap;

/// Sees every frame of one interface from the moment it is made; on a bridge, also those between its ports.
#[derive(Debug)]
pub struct Sniffer {
    tap: Tap,
    seen: Vec<Vec<u8>>,
}

impl Sniffer {
    /// A witness on `interface`.
    ///
    /// # Panics
    /// When there is no such interface, on Linux in the calling thread's network namespace.
    #[must_use]
    pub fn on(interface: &str) -> Self {
        Sniffer { tap: Tap::on(interface), seen: Vec::new() }
    }

    /// All that passed so far, oldest first.
    pub fn frames(&mut self) -> &[Vec<u8>] {
        while let Some(frame) = self.tap.next() {
            self.seen.push(frame);
        }
        &self.seen
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
            self.tap.wait(left);
        }
    }
}
