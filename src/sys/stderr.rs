//! Messages on standard error, which belongs to whoever started us: a pipe that nobody empties, or a terminal that was
//! halted, must hold up neither a setup, which others wait for, nor a relay.

use std::io::{self, Write};

use nix::errno::Errno;
#[cfg(target_os = "linux")]
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
#[cfg(target_os = "linux")]
use nix::sys::stat::Mode;

/// What a pipe that poll(2) calls writable takes at once, and in one piece.
const CHUNK: usize = libc::PIPE_BUF;
/// How long a reader that has been quick so far may take, in milliseconds.
const A_MOMENT: u8 = 20;

/// How long a line may wait for its reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// A moment, if the reader has been quick so far.
    #[default]
    AMoment,
    /// Not at all.
    None,
}

/// Standard error as a [`Write`] that does not block: what is not taken within a moment is lost.
///
/// O_NONBLOCK would be set on the open file description, which others share.
#[derive(Debug, Default)]
pub struct Stderr {
    is_stuck: bool,
    patience: Patience,
}

impl Stderr {
    /// With patience, for a reader that is taken to be quick.
    #[must_use]
    pub const fn new() -> Self {
        Stderr { is_stuck: false, patience: Patience::AMoment }
    }

    /// How long the next lines may wait.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }
}

/// Has standard error, if it is a terminal, be an open file description of softnet's own, which never waits. poll(2) calls a terminal
/// writable that has room for a single byte, and a write of more would then wait until somebody reads: of a terminal that nobody
/// empties, a guest could have that last byte be reached.
///
/// Nobody gains a right by it: it is done only where the description of before could be written to. Where it cannot be done, as
/// without /proc, standard error stays what it was.
#[cfg(target_os = "linux")]
pub fn own_terminal() {
    let stderr = io::stderr();
    let may_write = fcntl(&stderr, FcntlArg::F_GETFL)
        .is_ok_and(|flags| OFlag::from_bits_retain(flags).intersects(OFlag::O_WRONLY | OFlag::O_RDWR));
    if may_write && io::IsTerminal::is_terminal(&stderr) {
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        if let Ok(own) = open("/proc/self/fd/2", flags, Mode::empty()) {
            let _ = nix::unistd::dup2_stderr(&own);
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let is_patient = self.patience == Patience::AMoment && !self.is_stuck;
        let timeout = PollTimeout::from(if is_patient { A_MOMENT } else { 0 });
        let mut polled = [PollFd::new(std::os::fd::AsFd::as_fd(&stderr), PollFlags::POLLOUT)];
        let ready = match poll(&mut polled, timeout) {
            Ok(count) => count > 0,
            Err(Errno::EINTR) => return Err(io::ErrorKind::Interrupted.into()),
            Err(errno) => return Err(errno.into()),
        };
        self.is_stuck = !ready;
        if self.is_stuck {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        stderr.lock().write(&bytes[..bytes.len().min(CHUNK)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
