//! The softnet that serves the guest, as a child: started anew from the same program, so that it gets its rights as any start does.
//!
//! Its standard input is its end of the guest's socket and its standard output a pipe by which it says that it is ready: the descriptors
//! that sudo leaves open, should it need sudo.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sys::passing::Passing;

/// How long softnet may take to end: by itself it looks once a second whether the guest is still there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked meanwhile.
const STEP: Duration = Duration::from_millis(5);

/// softnet, serving the guest or about to.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    ready: PipeReader,
}

/// What comes of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The guest's first frame would be forwarded.
    Ready,
    /// It ended instead, and has said why.
    Ended(ExitStatus),
    /// This process was asked to end.
    Interrupted(Signal),
}

impl Server {
    /// Starts softnet with the arguments `words` and `wire` as its end of the guest's socket.
    pub(super) fn start(words: &[OsString], wire: OwnedFd) -> io::Result<Self> {
        let (ready, told) = io::pipe()?;
        let mut command = Command::new(this_program()?);
        command.arg0("softnet").args(words).stdin(Stdio::from(wire)).stdout(told);
        // Out of reach of what the terminal sends, which is for the command.
        command.process_group(0);
        Ok(Server { child: command.spawn()?, ready })
    }

    /// Waits until it is ready or has ended.
    pub(super) fn wait_ready(&mut self, signals: &Passing) -> io::Result<Start> {
        loop {
            let mut polled = [self.ready.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let has_spoken = polled[0].any().unwrap_or(true);
            while let Some((signal, _)) = signals.next() {
                if matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT) {
                    return Ok(Start::Interrupted(signal));
                }
            }
            if has_spoken {
                let mut byte = [0];
                return match (&self.ready).read(&mut byte)? {
                    0 => Ok(Start::Ended(self.wait_end()?)),
                    _ => Ok(Start::Ready),
                };
            }
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Ends it: the guest's end of the socket is closed already, a signal makes it quicker. One that sudo started hears no signal of
    /// a user's, and finds out by itself within a second.
    pub(super) fn end(mut self) {
        self.signal(Signal::SIGTERM);
        // Whatever comes of it, there is no more to be done.
        let _ = self.wait_end();
    }

    fn wait_end(&mut self) -> io::Result<ExitStatus> {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= limit {
                self.signal(Signal::SIGKILL);
                return self.child.wait();
            }
            std::thread::sleep(STEP);
        }
    }

    fn signal(&self, signal: Signal) {
        // Not waited for yet, so that the number is still its own.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::SIGTERM);
        }
    }
}

/// The file that this program was started from, by its path, so that it bears its name in lists of processes. Should it have been
/// removed meanwhile, Linux still has it. Whatever stands there by now has only what its owner and its setuid bit give it, as ever.
fn this_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    if cfg!(target_os = "linux") && !path.exists() { Ok("/proc/self/exe".into()) } else { Ok(path) }
}
