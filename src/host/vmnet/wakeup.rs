//! A descriptor that is readable from when it was raised until it is taken down, for any number of raises.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signal that packets wait. Raised by vmnet's callback, on a thread of vmnet's, and by the relay; taken down by the
/// relay. Never blocks, never locks, so that nothing can wait for a callback in vain.
#[derive(Debug)]
pub(super) struct Wakeup {
    reader: UnixStream,
    writer: UnixStream,
    /// Whether a byte is on its way or there: a storm of callbacks costs one system call.
    raised: AtomicBool,
}

impl Wakeup {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Wakeup { reader, writer, raised: AtomicBool::new(false) })
    }

    /// Makes the descriptor readable.
    pub(super) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            // Fails only if the buffer is full, and then it is readable.
            let _ = (&self.writer).write(&[0]);
        }
    }

    /// Makes the descriptor unreadable. Whatever was raised before must be looked for after this, or is lost.
    pub(super) fn take_down(&self) {
        // The bytes first, the flag second: the other way round, a raise in between would have its byte taken and the
        // flag left, and no later raise would write one. More than one byte is there only if a raise was held up between
        // its two steps.
        while matches!((&self.reader).read(&mut [0; 16]), Ok(16)) {}
        self.raised.store(false, Ordering::Release);
    }

    pub(super) fn readiness(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn is_readable(wakeup: &Wakeup, timeout: PollTimeout) -> bool {
        poll(&mut [PollFd::new(wakeup.readiness(), PollFlags::POLLIN)], timeout).unwrap() == 1
    }

    #[test]
    fn it_stays_raised_until_it_is_taken_down() {
        let wakeup = Wakeup::new().unwrap();
        assert!(!is_readable(&wakeup, PollTimeout::ZERO));
        for _ in 0..100_000 {
            wakeup.raise();
        }
        assert!(is_readable(&wakeup, PollTimeout::ZERO) && is_readable(&wakeup, PollTimeout::ZERO));
        wakeup.take_down();
        assert!(!is_readable(&wakeup, PollTimeout::ZERO));
        wakeup.raise();
        assert!(is_readable(&wakeup, PollTimeout::ZERO));
    }

    #[test]
    fn a_storm_of_raises_writes_one_byte() {
        let wakeup = Wakeup::new().unwrap();
        for _ in 0..1000 {
            wakeup.raise();
        }
        assert_eq!((&wakeup.reader).read(&mut [0; 100]).unwrap(), 1);
    }

    #[test]
    fn no_raise_is_lost_between_two_threads() {
        let (wakeup, done) = (Wakeup::new().unwrap(), AtomicBool::new(false));
        let lost = thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    wakeup.raise();
                }
            });
            let lost = (0..20_000).find(|_| {
                let readable = is_readable(&wakeup, PollTimeout::from(10_000u16));
                wakeup.take_down();
                !readable
            });
            done.store(true, Ordering::Relaxed);
            lost
        });
        assert_eq!(lost, None, "it was raised all the time");
    }
}
