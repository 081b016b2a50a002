//! A stream socket that is never waited for, and whose other end may be gone at any time.
//!
//! Every call carries its flags instead of setting them on the socket, whose open file description others share.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send as nix_send, shutdown};

/// Receives what waits, as much as `buffer` takes. `Some(0)` is the end of the stream, and `None` that nothing waits. A peer that
/// closed its end without reading all that it was sent (ECONNRESET, behind all that it had sent) is an end as well.
/// Descriptors that come along are dropped (unix(7): SCM_RIGHTS without a buffer for it).
///
/// # Errors
/// Those of recv(2).
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    told(|| match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
        Err(Errno::ECONNRESET) => Ok(0),
        received => received,
    })
}

/// Sends of `bytes` what the other end takes now; `None` says that it takes nothing. Where the system lets one ask, no SIGPIPE
/// comes of it; where not, the standard library has it ignored from the start.
///
/// # Errors
/// Those of send(2): EPIPE is that nobody reads any more.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Option<usize>> {
    #[cfg(target_os = "linux")]
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    #[cfg(target_os = "macos")]
    let flags = MsgFlags::MSG_DONTWAIT;
    told(|| nix_send(socket.as_raw_fd(), bytes, flags))
}

/// Ends the stream both ways, whoever else holds a copy of its descriptor.
///
/// # Errors
/// Those of shutdown(2).
pub fn shut_down(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(shutdown(socket.as_raw_fd(), Shutdown::Both)?)
}

/// Calls again after a signal, and tells "not now" apart from errors.
fn told(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
