//! A second process of softnet's own (fork(2)), which has what it is given and nothing else.
//!
//! fork(2) copies all: descriptors, signal handlers, memory. So the child begins by leaving it: the signals that end softnet are
//! the parent's to hear, and every descriptor but those that are named is closed, standard input and output being sockets
//! of the launcher's as often as not. Nothing of the parent's memory is dropped there: what a value would close when it is dropped is
//! another's by then, or nobody's.

use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, getpid, getppid, setpgid};

use super::process;

/// What comes to all processes of a terminal, of a session or of a service; the child ends when its parent does, and has no
/// counters to tell.
const THE_PARENTS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1];

/// What the child exits with after a panic, as a program does.
const PANICKED: i32 = 101;

/// Runs `body` in a child, which ends with the number that it returns. There, `kept` and standard error are all descriptors that are
/// open, standard input and output lead nowhere, and the signals that end softnet are ignored. Whoever calls this waits for no child
/// afterwards: an ended one leaves nothing, and cannot be waited for.
///
/// Setup phase, one thread: a lock that another one held would stay locked in the child.
///
/// # Errors
/// Those of fork(2).
pub fn run_in_child(kept: &[RawFd], body: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the disposition runs none of our code; with it the kernel keeps no ended child (sigaction(2)).
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn)? };
    fork(kept, body)
}

/// The same for a process that waits for its children.
///
/// # Errors
/// Those of fork(2).
pub fn run_in_awaited_child(kept: &[RawFd], body: impl FnOnce() -> i32) -> io::Result<Awaited> {
    Ok(Awaited { pid: fork(kept, body)?, ended: None })
}

/// A child that is waited for: it is killed when this is dropped.
#[derive(Debug)]
pub struct Awaited {
    pid: Pid,
    ended: Option<ExitStatus>,
}

impl Awaited {
    /// Its number, which is its own as long as this is not known to have ended.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Those of waitpid(2).
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait(libc::WNOHANG)
    }

    fn wait(&mut self, options: libc::c_int) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let mut status = 0;
            // SAFETY: the number is that of a child which has not been waited for, and the status lives through the call.
            match unsafe { libc::waitpid(self.pid.as_raw(), &raw mut status, options) } {
                0 => {}
                -1 => return Err(io::Error::last_os_error()),
                _ => self.ended = Some(ExitStatus::from_raw(status)),
            }
        }
        Ok(self.ended)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(None)) {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = self.wait(0);
        }
    }
}

/// In a child: what a terminal sends is for others, and the handlers are the parent's.
///
/// # Errors
/// Those of setpgid(2) and sigaction(2).
pub fn stand_apart() -> io::Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    for ignored in [Signal::SIGQUIT, Signal::SIGUSR2] {
        // SAFETY: to ignore a signal runs none of our code.
        unsafe { signal(ignored, SigHandler::SigIgn)? };
    }
    // SAFETY: as above.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl)? };
    Ok(())
}

fn fork(kept: &[RawFd], body: impl FnOnce() -> i32) -> io::Result<Pid> {
    let parent = getpid();
    // No handler of the parent's runs in the child: it would write to the parent.
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: this process has one thread, so that the child's memory is whole and no lock in it is held by somebody who is
    // not there.
    let forked = unsafe { nix::unistd::fork() };
    if let Ok(ForkResult::Child) = forked {
        let code = catch_unwind(AssertUnwindSafe(|| match begin(parent, &before, kept) {
            Ok(()) => body(),
            Err(error) => {
                log::warn!("a process of softnet's own cannot begin: {error}");
                1
            }
        }));
        // SAFETY: it does not return, and drops nothing.
        unsafe { libc::_exit(code.unwrap_or(PANICKED)) }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    match forked? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => unreachable!("the child has ended above"),
    }
}

fn begin(parent: Pid, mask: &SigSet, kept: &[RawFd]) -> io::Result<()> {
    die_with_parent()?;
    if getppid() != parent {
        return Err(io::Error::other("the parent has ended"));
    }
    for signal in THE_PARENTS {
        // SAFETY: to ignore a signal runs none of our code.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn)? };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None)?;
    let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    drop(nothing);
    process::close_all_but(kept)
}

/// Asks the kernel to kill this process when its parent ends (prctl(2): PR_SET_PDEATHSIG), stopped or not. It forgets that when
/// ids change, and Landlock may keep a confined parent's end from being told: to be asked for again after a drop, and not the
/// only thing to rely on.
///
/// # Errors
/// Those of prctl(2).
pub fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// What ps(1) and top(1) show this process as: up to 15 bytes.
///
/// # Errors
/// Those of prctl(2).
pub fn set_name(name: &CStr) -> io::Result<()> {
    Ok(nix::sys::prctl::set_name(name)?)
}
