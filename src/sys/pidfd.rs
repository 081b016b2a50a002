//! Signals to a process that is no child of ours, by a descriptor that cannot come to mean another process
//! (pidfd_open(2), pidfd_send_signal(2); Linux 5.3).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// A descriptor of the process that has this number now.
///
/// # Errors
/// ESRCH when there is none.
pub fn open_pid(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let descriptor = i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor (close-on-exec by itself) and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether the process has ended and closed all that it had open. That comes after its command line is gone.
///
/// # Errors
/// What poll(2) said.
pub fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut polled, PollTimeout::ZERO)? > 0)
}

/// Sends a signal.
///
/// # Errors
/// ESRCH when the process has ended, EPERM when it may not be signalled.
pub fn signal_pid(process: &OwnedFd, signal: Signal) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and a null `siginfo_t` means that of kill(2).
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal as libc::c_int, no_info, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
