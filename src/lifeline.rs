//! What ends a softnet in order, in the setup as in the relay: a signal, or the guest's side being gone.
//!
//! The guest's side is looked at at most once a second, and at once when the process that made the socket pair ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration as Wait;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::engine::{Duration, Instant};
use crate::sys::clock;
use crate::sys::peer::PeerWatch;
use crate::sys::signals::Signals;

/// How often the guest's side is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why softnet ends, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// SIGINT, SIGTERM or SIGHUP came.
    #[error("asked to end by a signal")]
    Signal,
    /// The other end of the guest's socket is closed.
    #[error("the guest's side is gone")]
    GuestGone,
}

/// Why a step that waits comes to nothing: softnet ends meanwhile, which is in order, or the step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop<E> {
    /// The end came.
    Ended(End),
    /// The step failed.
    Failed(E),
}

impl<E> Stop<E> {
    /// The same to a caller, of whose failures this is one.
    pub fn widen<F: From<E>>(self) -> Stop<F> {
        match self {
            Stop::Ended(end) => Stop::Ended(end),
            Stop::Failed(error) => Stop::Failed(error.into()),
        }
    }
}

impl<E> From<End> for Stop<E> {
    fn from(end: End) -> Self {
        Stop::Ended(end)
    }
}

/// Watches for what ends softnet.
#[derive(Debug)]
pub struct Lifeline {
    signals: Signals,
    peer: PeerWatch,
    next_look: Instant,
}

impl Lifeline {
    /// Catches the ending signals and watches the other end of `guest`. In the setup phase, as [`PeerWatch::new`] says.
    ///
    /// # Errors
    /// Those of [`Signals::catch`] and [`PeerWatch::new`].
    pub fn new(guest: BorrowedFd<'_>) -> io::Result<Self> {
        Self::with(Signals::catch()?, guest)
    }

    /// The same with `signals` that are caught already.
    ///
    /// # Errors
    /// Those of [`PeerWatch::new`].
    pub fn with(signals: Signals, guest: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Lifeline { signals, peer: PeerWatch::new(guest)?, next_look: clock::now() })
    }

    /// Whether an ending signal has come. Costs a system call: to be asked when the first of [`Lifeline::descriptors`] is readable.
    #[must_use]
    pub fn signalled(&self) -> bool {
        self.signals.caught()
    }

    /// Whether the counters were asked for since the last question, by a signal.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.signals.asked()
    }

    /// Whether the guest's side is gone. Costs nothing but once a second, when it looks.
    #[must_use]
    pub fn guest_gone(&mut self, now: Instant) -> bool {
        now >= self.next_look && self.look(now)
    }

    /// When [`Lifeline::guest_gone`] should be asked at the latest.
    #[must_use]
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// The descriptors that become readable when there is a reason to ask: a signal came; and, where the kernel has it, the
    /// process that made the socket pair has ended.
    #[must_use]
    pub fn descriptors(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.signals.as_fd(), self.peer.maker())
    }

    /// Says that the second of [`Lifeline::descriptors`] is readable: the peer is looked at with the next question.
    pub fn maker_ended(&mut self, now: Instant) {
        self.peer.maker_ended();
        self.next_look = now;
    }

    /// Lets `wait` pass in the setup phase.
    ///
    /// # Errors
    /// The end, should it come meanwhile.
    pub fn pause(&mut self, wait: Wait) -> Result<(), End> {
        let until = clock::now() + wait.into();
        loop {
            let now = clock::now();
            if self.signalled() {
                return Err(End::Signal);
            }
            if self.guest_gone(now) {
                return Err(End::GuestGone);
            }
            if now >= until {
                return Ok(());
            }
            let timeout = timeout_until(until.min(self.next_look), now);
            let mut signals = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut signals, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                // Not expected of poll(2) with one descriptor; the end of the wait is judged by the clock above.
                Err(_) => return Ok(()),
            }
        }
    }

    fn look(&mut self, now: Instant) -> bool {
        self.next_look = now + LOOK_EVERY;
        match self.peer.is_gone() {
            Ok(gone) => gone,
            Err(error) => {
                log::debug!("cannot tell whether the guest is still there: {error}");
                false
            }
        }
    }
}

/// The timeout of poll(2) that ends at `deadline`, rounded up to whole milliseconds, so that nothing spins before it.
pub(crate) fn timeout_until(deadline: Instant, now: Instant) -> PollTimeout {
    let micros = (deadline - now.min(deadline)).total_micros();
    PollTimeout::try_from(micros.div_ceil(1_000)).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_pause_ends_early_when_the_guest_goes() {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        let mut lifeline = Lifeline::new(ours.as_fd()).unwrap();
        assert_eq!(lifeline.pause(Wait::from_millis(1)), Ok(()));
        drop(guest);
        let start = clock::now();
        assert_eq!(lifeline.pause(Wait::from_secs(30)), Err(End::GuestGone));
        assert!(clock::now() - start < Duration::from_secs(2));
    }

    #[test]
    fn timeouts_are_rounded_up_and_never_negative() {
        let at = Instant::from_micros;
        assert_eq!(timeout_until(at(1), at(0)), PollTimeout::from(1u8));
        assert_eq!(timeout_until(at(2_000), at(0)), PollTimeout::from(2u8));
        assert_eq!(timeout_until(at(0), at(5)), PollTimeout::ZERO);
    }
}
