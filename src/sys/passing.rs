//! The signals of a program that stands for another one: which came, and whether the terminal sent it, which sends it to the
//! other one as well.
//!
//! A handler writes two bytes into a pipe that poll(2) can wait for. What the caller had set to be ignored (nohup(1)) stays ignored,
//! here and in the program that is started.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// What a person, a terminal or a service manager has to say to a program, and the end of a child.
const CAUGHT: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
];

/// The pipe's end that the handler writes to. Open for the rest of the process's life once it is there.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A process.
    Process,
    /// The kernel: for a terminal, to all of its foreground process group.
    Kernel,
}

/// The signals that come from now on.
#[derive(Debug)]
pub struct Passing {
    reader: PipeReader,
}

impl Passing {
    /// Catches them, for the rest of the process's life.
    ///
    /// # Errors
    /// Those of pipe(2), fcntl(2) and sigaction(2).
    pub fn catch() -> io::Result<Self> {
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
        // A pipe of this process's alone, so that the flag is nobody else's.
        for end in [reader.as_fd(), writer.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        PIPE.store(writer.into_raw_fd(), Ordering::Release);
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_RESTART;
        let action = SigAction::new(SigHandler::SigAction(tell), flags, SigSet::empty());
        for signal in CAUGHT {
            if signal == Signal::SIGCHLD || !is_ignored(signal)? {
                // SAFETY: the handler does what signal-safety(7) allows: it writes to a pipe and keeps errno.
                unsafe { sigaction(signal, &action)? };
            }
        }
        Ok(Passing { reader })
    }

    /// The next signal that has come, if any.
    #[must_use]
    pub fn next(&self) -> Option<(Signal, Sender)> {
        let mut bytes = [0; 2];
        // Two bytes go into a pipe at once, and come out at once.
        match (&self.reader).read(&mut bytes) {
            Ok(2) => {
                let sender = if bytes[1] == 0 { Sender::Process } else { Sender::Kernel };
                Some((Signal::try_from(i32::from(bytes[0])).ok()?, sender))
            }
            _ => None,
        }
    }
}

impl AsFd for Passing {
    /// Readable once a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

fn is_ignored(signal: Signal) -> io::Result<bool> {
    // SAFETY: all-zero bytes are a valid sigaction; without a new action the call only tells the old one.
    let old = unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        Errno::result(libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut old))?;
        old
    };
    Ok(old.sa_sigaction == libc::SIG_IGN)
}

/// The handler.
extern "C" fn tell(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let errno = Errno::last_raw();
    // SAFETY: with SA_SIGINFO the kernel gives a valid siginfo_t; the bytes live through the call.
    unsafe {
        let bytes = [signal.cast_unsigned() as u8, u8::from(comes_from_the_kernel(&*info))];
        let _ = libc::write(PIPE.load(Ordering::Acquire), bytes.as_ptr().cast(), bytes.len());
    }
    Errno::set_raw(errno);
}

#[cfg(target_os = "linux")]
fn comes_from_the_kernel(info: &libc::siginfo_t) -> bool {
    // sigaction(2); libc has it for other systems only.
    const SI_KERNEL: libc::c_int = 0x80;
    info.si_code == SI_KERNEL
}

/// No code of macOS's says so: a sender without a number.
#[cfg(target_os = "macos")]
fn comes_from_the_kernel(info: &libc::siginfo_t) -> bool {
    info.si_pid == 0
}
