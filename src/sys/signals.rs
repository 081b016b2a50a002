//! The signals that end softnet in order, and those that ask for its counters, as a descriptor that becomes readable.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};

/// SIGINT is how Tart ends softnet, SIGTERM how a service manager does, SIGHUP comes when the terminal goes away.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// SIGUSR1 asks for the counters, and so does SIGINFO, which BSD's terminals send by Ctrl-T.
#[cfg(target_os = "linux")]
const ASKING: [Signal; 1] = [Signal::SIGUSR1];
#[cfg(target_os = "macos")]
const ASKING: [Signal; 2] = [Signal::SIGUSR1, Signal::SIGINFO];

/// Signals that a caller may have set to be ignored or blocked before it started us, with consequences for us: a child
/// that cannot be waited for, a wait that cannot be ended.
const RESET: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXCPU,
    Signal::SIGUSR2,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
];

/// Signals that say nothing that a system call does not say as well: a file that may not grow (EFBIG), and input on a
/// descriptor whose description the caller, who shares it, set to signal (O_ASYNC). The question for counters, which may
/// come before [`Signals::catch`]. And what stops a process in the background that writes to its terminal (`stty tostop`): a
/// message that a guest brings about must not stop the guest's network.
const IGNORED: [Signal; 4] = [Signal::SIGXFSZ, Signal::SIGIO, Signal::SIGUSR1, Signal::SIGTTOU];

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

/// Catches the ending and the asking signals for the rest of the process's life.
#[derive(Debug)]
pub struct Signals {
    /// Readable when one of them has come; which one, the flags say.
    reader: UnixStream,
    end: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
}

impl Signals {
    /// Starts to catch SIGINT, SIGTERM and SIGHUP, and those that ask.
    ///
    /// # Errors
    /// Those of socketpair(2) and sigaction(2).
    pub fn catch() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let (end, asked) = (Arc::default(), Arc::default());
        let ending = ENDING.iter().map(|signal| (signal, &end));
        for (&signal, flag) in ending.chain(ASKING.iter().map(|signal| (signal, &asked))) {
            // In this order: whoever is woken finds the flag.
            signal_hook::flag::register(signal as i32, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal as i32, writer.try_clone()?)?;
        }
        Ok(Signals { reader, end, asked })
    }

    /// Whether an ending signal has come. Empties the descriptor, which costs a system call.
    #[must_use]
    pub fn caught(&self) -> bool {
        // What is left of a burst makes the descriptor readable once more, no harm done.
        let mut bytes = [0; 64];
        let _ = (&self.reader).read(&mut bytes);
        self.end.load(Ordering::Relaxed)
    }

    /// Whether an asking signal has come since the last question.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::Relaxed)
    }
}

impl AsFd for Signals {
    /// Readable once a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn a_question_wakes_and_is_no_end_and_is_asked_once() {
        let signals = Signals::catch().unwrap();
        for _ in 0..3 {
            raise(Signal::SIGUSR1).unwrap();
        }
        assert!(!signals.caught(), "a question ends nothing");
        assert!(signals.asked());
        assert!(!signals.asked(), "it was told");
    }
}
