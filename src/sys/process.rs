//! What of this process the caller must not decide, since under setuid the caller is the attacker: the environment, open
//! descriptors, limits, signals and timers, core dumps, the file mode mask, the working directory.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::fcntl::{OFlag, open};
#[cfg(target_os = "macos")]
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};

#[cfg(target_os = "linux")]
use super::limits;
use super::signals;

/// The only variable that softnet reads: the log filter of env_logger.
const KEPT: &str = "RUST_LOG";

/// Clears the environment, but for `RUST_LOG`. First of all in a privileged process, and while it has one thread only.
pub fn clear_environment() {
    let kept = env::var_os(KEPT);
    let _ = PATH.set(env::var_os("PATH").unwrap_or_default());
    remove_all_variables();
    if let Some(value) = kept {
        // SAFETY: called at the start of main, before there is a second thread.
        unsafe { env::set_var(KEPT, value) };
    }
}

/// The caller's PATH, kept aside when the environment is cleared.
static PATH: OnceLock<OsString> = OnceLock::new();

/// Where the caller's programs are looked for. For whoever acts with the caller's rights: nothing is started by it while there
/// are others.
#[must_use]
pub fn callers_path() -> OsString {
    PATH.get().cloned().or_else(|| env::var_os("PATH")).unwrap_or_default()
}

/// At once (clearenv(3)), since one by one it cannot be done: execve(2) takes entries whose name is empty, has a '=' or is
/// missing, and unsetenv(3) refuses them.
#[cfg(target_os = "linux")]
fn remove_all_variables() {
    // SAFETY: called at the start of main, before there is a second thread.
    unsafe { libc::clearenv() };
}

/// One by one, for want of clearenv(3). What is not a variable's name, no program can ask for.
#[cfg(target_os = "macos")]
fn remove_all_variables() {
    use std::os::unix::ffi::OsStrExt;

    let names = env::vars_os().map(|(name, _)| name).filter(|name| !name.as_bytes().contains(&b'='));
    for name in names {
        // SAFETY: called at the start of main, before there is a second thread.
        unsafe { env::remove_var(name) };
    }
}

/// Puts what the caller set up back to what softnet counts on: limits that end nothing half-way, no core dump (memory of a
/// process that was root), files that only root writes, a working directory that holds no file system busy, signals as at
/// a login, no timer.
///
/// # Errors
/// Those of setrlimit(2), prctl(2), chdir(2), setitimer(2), sigaction(2) and sigprocmask(2).
pub fn reset() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        limits::restore()?;
        hide()?;
    }
    #[cfg(target_os = "macos")]
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    umask(Mode::from_bits_truncate(0o022));
    nix::unistd::chdir("/")?;
    stop_timers()?;
    signals::reset()
}

/// The timers of setitimer(2) and alarm(2), which go on through execve(2) and end a process that does not know of them.
fn stop_timers() -> io::Result<()> {
    for timer in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // SAFETY: all zeroes are a valid itimerval, and mean "none"; the old value is not asked for.
        let result = unsafe {
            let none: libc::itimerval = std::mem::zeroed();
            libc::setitimer(timer, &raw const none, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The working directory, for what the caller names relative to it. It is opened by the rights that this process has at the
/// moment, and gives none: what is opened in it later is opened by the rights of then. None where it cannot be had.
#[must_use]
pub fn working_directory() -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    let access = OFlag::O_PATH;
    #[cfg(not(target_os = "linux"))]
    let access = OFlag::O_RDONLY;
    open(".", access | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// No other process may look into this one, and no core is dumped, not to a program either, which no limit keeps from that
/// (core(5)). The kernel may forget it when the user changes. (macOS has nothing like it: there a process that was setuid is hidden anyway.)
///
/// # Errors
/// Those of prctl(2).
pub fn hide() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: takes plain numbers and touches no memory of ours.
        if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes all descriptors but 0, 1, 2 and those `kept`: whatever else the caller left open is not for a root process to hold.
/// What softnet has opened itself must be among those.
///
/// # Errors
/// Those of close_range(2).
#[cfg(target_os = "linux")]
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let close = |first: RawFd, last: RawFd| {
        if first > last {
            return Ok(());
        }
        // SAFETY: what softnet itself has opened is kept, so that no owned descriptor is in the range; or in a child that drops none
        // of its parent's.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, last as libc::c_uint, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|&fd| fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        close(first, fd - 1)?;
        first = fd.saturating_add(1);
    }
    close(first, RawFd::MAX)
}

/// Closes all descriptors but 0, 1, 2 and those `kept`: whatever else the caller left open is not for a root process to hold.
/// What softnet has opened itself must be among those.
///
/// # Errors
/// That /dev/fd (fd(4)), which lists them, cannot be read.
#[cfg(target_os = "macos")]
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    // Not by counting up to a limit: the caller may have lowered the limit after opening them.
    let mut open: Vec<RawFd> = Vec::new();
    for entry in std::fs::read_dir("/dev/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for fd in open.into_iter().filter(|&fd| fd > 2 && !kept.contains(&fd)) {
        // SAFETY: what softnet itself has opened is kept, so that no owned descriptor is among them. The one of the listing
        // is closed by now: EBADF, and so it may be.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// No other process may look into this one or take its memory, whatever its user; and no program that it might start
/// gains rights (prctl(2): PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS).
///
/// # Errors
/// Those of prctl(2).
#[cfg(target_os = "linux")]
pub fn seal() -> io::Result<()> {
    hide()?;
    // SAFETY: takes plain numbers and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// No other process may look into this one, whatever its user (ptrace(2): PT_DENY_ATTACH; a process that is being traced
/// already ends here). Its memory goes into no core file: [`reset`] has seen to that.
///
/// # Errors
/// Those of ptrace(2).
#[cfg(target_os = "macos")]
pub fn seal() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // SAFETY: the request takes no process, address or data.
    let result = unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
