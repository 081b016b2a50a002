//! The signals that end softnet in order, as a descriptor that becomes readable.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};

/// SIGINT is how Tart ends softnet, SIGTERM how a service manager does, SIGHUP comes when the terminal goes away.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Signals that a caller may have set to be ignored or blocked before it started us, with consequences for us: a child
/// that cannot be waited for, a wait that cannot be ended.
const RESET: [Signal; 11] = [
    Signal::SIGCHLD,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXCPU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Signals that say nothing that a system call does not say as well: a file that may not grow (EFBIG), and input on a
/// descriptor whose description the caller, who shares it, set to signal (O_ASYNC).
const IGNORED: [Signal; 2] = [Signal::SIGXFSZ, Signal::SIGIO];

/// Undoes what the caller set: an empty signal mask, dispositions as softnet counts on them.
///
/// # Errors
/// Those of sigprocmask(2) and sigaction(2).
pub fn reset() -> io::Result<()> {
    for signal in RESET {
        // SAFETY: the default disposition runs none of our code.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl)? };
    }
    for signal in IGNORED {
        // SAFETY: to ignore a signal runs none of our code.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn)? };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Catches the ending signals for the rest of the process's life.
#[derive(Debug)]
pub struct Signals {
    reader: UnixStream,
}

impl Signals {
    /// Starts to catch SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// Those of socketpair(2) and sigaction(2).
    pub fn catch() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        for signal in ENDING {
            signal_hook::low_level::pipe::register(signal as i32, writer.try_clone()?)?;
        }
        Ok(Signals { reader })
    }

    /// Whether one of them has come since the last question.
    #[must_use]
    pub fn caught(&self) -> bool {
        let mut bytes = [0; 16];
        matches!((&self.reader).read(&mut bytes), Ok(count) if count > 0)
    }
}

impl AsFd for Signals {
    /// Readable once a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
