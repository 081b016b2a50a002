//! The host's side of the link: what the relay asks of it, and the two kinds there are.
//!
//! Linux: a TAP device on a bridge ([`tap`]). macOS: vmnet.framework, which hands out and takes batches of frames and
//! tells by a callback that frames wait; the trait is cut so that both fit: readiness is a descriptor, and frames move in
//! [`Batch`]es.

#[cfg(target_os = "linux")]
pub mod tap;

use std::io;
use std::os::fd::BorrowedFd;

use crate::engine::Network;
use crate::sys::batch::Batch;

/// The setup was asked to end: a signal came, or the guest is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("asked to end")]
pub struct Interrupted;

/// How the setup waits: sleeps for about the duration, and says when the setup is to end instead.
pub type Wait<'a> = dyn FnMut(std::time::Duration) -> Result<(), Interrupted> + 'a;

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

    /// Hands the frames of `batch` to the host; never blocks. Returns how many the host took; the others are lost, as on
    /// a congested wire, and the caller counts them.
    ///
    /// # Errors
    /// The link is lost for good. A full queue is no error.
    fn send(&mut self, batch: &Batch) -> io::Result<usize>;

    /// Closes the link in order.
    ///
    /// # Errors
    /// What the host reported while closing.
    fn stop(self: Box<Self>) -> io::Result<()>;
}
