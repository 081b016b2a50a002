//! Entering the sandbox: one thread, Landlock, limits, seccomp.

use std::io;
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, setrlimit};

use super::{Features, SandboxError, calls, landlock, nowhere};

/// poll(2) refuses more entries than RLIMIT_NOFILE says, and the relay polls five.
const POLLED: u64 = 5;

/// What [`super::enter`] does on Linux.
pub(super) fn confine(features: Features) -> Result<(), SandboxError> {
    if !nowhere::is_empty() {
        return Err(SandboxError::Root);
    }
    require_one_thread()?;
    match landlock::restrict() {
        Ok(abi) => log::debug!("sandbox: Landlock {abi} and seccomp"),
        Err(error) => log::debug!("sandbox: seccomp without Landlock, which this kernel does not give us: {error}"),
    }
    lower_limits()?;
    calls::install(features).map_err(|error| SandboxError::Filter(error.to_string()))
}

/// Landlock and the secure bits are a thread's. The setup had a thread of its own, for a moment (`sys::peer`): the kernel
/// may be a little later than pthread_join(3) to forget it.
fn require_one_thread() -> Result<(), SandboxError> {
    for _ in 0..100 {
        // SAFETY: unshare(CLONE_THREAD) changes nothing; it is refused to a process of more than one thread (unshare(2)).
        if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
            return Ok(());
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            // A container may refuse the call itself: the filter reaches all threads anyhow.
            return Ok(());
        }
        sleep(Duration::from_millis(1));
    }
    Err(SandboxError::Threads)
}

/// No process beside this one, no core, and no descriptor more: the limit is the lowest number that is free, so that none
/// can be made here and none can be received in a message. What softnet itself closes later leaves a number to be taken.
///
/// RLIMIT_FSIZE stays as it is: standard error may be a file, and the signal at its limit would end softnet. So does memory: an
/// allocation that fails ends it as well.
fn lower_limits() -> Result<(), SandboxError> {
    let set = |resource, what, limit| {
        setrlimit(resource, limit, limit).map_err(|errno| SandboxError::Limit { what, source: errno.into() })
    };
    let free = lowest_free_descriptor().map_err(|source| SandboxError::Limit { what: "descriptors", source })?;
    set(Resource::RLIMIT_NOFILE, "descriptors", free.max(POLLED))?;
    set(Resource::RLIMIT_NPROC, "processes", 0)?;
    set(Resource::RLIMIT_CORE, "core files", 0)
}

fn lowest_free_descriptor() -> io::Result<u64> {
    use std::os::fd::{FromRawFd, OwnedFd};
    let raw = fcntl(io::stderr(), FcntlArg::F_DUPFD_CLOEXEC(0))?;
    // SAFETY: the kernel has just made this descriptor for us.
    let copy = unsafe { OwnedFd::from_raw_fd(raw) };
    u64::try_from(copy.as_raw_fd()).map_err(io::Error::other)
}
