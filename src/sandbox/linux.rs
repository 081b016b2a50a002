//! Entering the sandbox: one thread, Landlock, limits, seccomp.

use std::io;
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

use caps::CapSet;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, setrlimit};

use super::landlock::Leave;
use super::{Features, Room, SandboxError, calls, landlock, nowhere};

/// poll(2) refuses more entries than RLIMIT_NOFILE says, and the relay polls six.
const POLLED: u64 = 6;

/// What [`super::enter`] does on Linux.
pub(super) fn confine(features: Features) -> Result<(), SandboxError> {
    restrict(&[])?;
    let free = lowest_free_descriptor().map_err(|source| SandboxError::Limit { what: "descriptors", source })?;
    lower_limits(free.max(POLLED))?;
    calls::install(calls::RELAY, features).map_err(|error| SandboxError::Filter(error.to_string()))
}

/// What [`super::enter_as`] does.
pub(super) fn confine_as(room: &Room<'_>) -> Result<(), SandboxError> {
    restrict(room.left)?;
    lower_limits(room.descriptors)?;
    calls::install(room.calls, Features::default()).map_err(|error| SandboxError::Filter(error.to_string()))
}

/// What [`super::enter_as_caller`] does.
pub(super) fn confine_caller(room: &Room<'_>) -> Result<(), SandboxError> {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(|error| SandboxError::Capabilities(error.to_string()))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(|errno| SandboxError::Filter(errno.to_string()))?;
    restrict_in_place(room.left)?;
    lower_limits(room.descriptors)?;
    calls::install(room.calls, Features::default()).map_err(|error| SandboxError::Filter(error.to_string()))
}

fn restrict(left: &[Leave]) -> Result<(), SandboxError> {
    if !nowhere::is_empty() {
        return Err(SandboxError::Root);
    }
    restrict_in_place(left)
}

fn restrict_in_place(left: &[Leave]) -> Result<(), SandboxError> {
    require_one_thread()?;
    match landlock::restrict(left) {
        Ok(abi) => log::debug!("sandbox: Landlock {abi} and seccomp"),
        Err(error) => log::debug!("sandbox: seccomp without Landlock, which this kernel does not give us: {error}"),
    }
    Ok(())
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

/// No process beside this one, no core, and no more descriptors than are told. For the relay that is the lowest number that is
/// free, so that none can be made here and none can be received in a message. What softnet itself closes later leaves a number to
/// be taken.
///
/// RLIMIT_FSIZE stays as it is: standard error may be a file, and the signal at its limit would end softnet. So does memory: an
/// allocation that fails ends it as well.
fn lower_limits(descriptors: u64) -> Result<(), SandboxError> {
    let set = |resource, what, limit| {
        setrlimit(resource, limit, limit).map_err(|errno| SandboxError::Limit { what, source: errno.into() })
    };
    set(Resource::RLIMIT_NOFILE, "descriptors", descriptors)?;
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
