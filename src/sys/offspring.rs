//! Programs that are started for a caller without privilege, and what they get: its frame sockets, a descriptor, an end with this process.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};

/// The sizes of the buffers that Tart gives both ends of the guest's socket.
const RECEIVE_BUFFER: usize = 4 << 20;
const SEND_BUFFER: usize = 1 << 20;

/// Both ends of a socket for a guest's frames, one a datagram.
///
/// # Errors
/// Those of socketpair(2) and setsockopt(2).
pub fn frame_sockets() -> io::Result<(UnixDatagram, UnixDatagram)> {
    let (guest, wire) = UnixDatagram::pair()?;
    for end in [&guest, &wire] {
        set_buffers(end)?;
    }
    Ok((guest, wire))
}

/// Buffers as a guest's frames want them, or as large as the system lets anyone have (net.core.rmem_max, wmem_max).
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_buffers(socket: &UnixDatagram) -> io::Result<()> {
    setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    Ok(setsockopt(socket, sockopt::SndBuf, &SEND_BUFFER)?)
}

/// Lets the programs that are started from now on inherit `descriptor`.
///
/// # Errors
/// Those of fcntl(2).
pub fn give_to_children(descriptor: &OwnedFd) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Keeps descriptor `fd`, which this process inherited, from the programs that are started from now on.
///
/// # Errors
/// EBADF when nothing is open there.
pub fn keep_from_children(fd: RawFd) -> io::Result<()> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is not negative, and the borrow is used for one call, which fails when nothing is open there.
    let inherited = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(inherited, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Has the kernel kill the program of `command` when this process, or the thread that starts it, ends, however that happens
/// (PR_SET_PDEATHSIG of prctl(2)). A program that gains rights as it starts, sudo for one, is let go by the kernel.
#[cfg(target_os = "linux")]
pub fn end_with_this_process(command: &mut Command) {
    let parent = nix::unistd::getpid().as_raw();
    let bind = move || {
        // SAFETY: both calls take numbers alone.
        let (result, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0), libc::getppid()) };
        match result {
            0 if now == parent => Ok(()),
            // It ended before the kernel knew.
            0 => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec `bind` makes two system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(bind) };
}

/// macOS has nothing of the kind.
#[cfg(target_os = "macos")]
pub fn end_with_this_process(_command: &mut Command) {}
