//! macOS: getpeername(2), which fails once the other end is closed; measured, and no more than the socket's own state
//! (`SS_ISCONNECTED`) in xnu, which Linux keeps otherwise.
//!
//! LOCAL_PEERPID of unix(4) names the process that used the other end last, and kqueue(2) tells of its end (EVFILT_PROC,
//! NOTE_EXIT). A kqueue is a descriptor that poll(2) can wait for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use nix::sys::socket::{UnixAddr, getpeername, getsockopt, sockopt};
use nix::unistd::getpid;

/// Answers whether the other end of one socket is open.
#[derive(Debug)]
pub struct PeerWatch {
    socket: OwnedFd,
    maker: Option<Kqueue>,
}

impl PeerWatch {
    /// A watch for the other end of `socket`.
    ///
    /// # Errors
    /// What the kernel refused: fcntl(2), or the first question about the socket.
    pub fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut watch = PeerWatch { socket: socket.try_clone_to_owned()?, maker: process_at_the_other_end(socket) };
        watch.is_gone()?;
        Ok(watch)
    }

    /// Whether the other end has been closed by all who held it.
    ///
    /// # Errors
    /// Those of getpeername(2) that say something else.
    pub fn is_gone(&mut self) -> io::Result<bool> {
        match getpeername::<UnixAddr>(self.socket.as_raw_fd()) {
            Ok(_) => Ok(false),
            // EINVAL: the socket was shut down both ways.
            Err(Errno::ENOTCONN | Errno::EINVAL) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A descriptor that becomes readable, once, when it is worth to look early: the process at the other end has ended.
    /// None where there is no such process, and after [`PeerWatch::maker_ended`].
    #[must_use]
    pub fn maker(&self) -> Option<BorrowedFd<'_>> {
        self.maker.as_ref().map(AsFd::as_fd)
    }

    /// Says that the descriptor of [`PeerWatch::maker`] was seen readable: it has told what it can tell.
    pub fn maker_ended(&mut self) {
        self.maker = None;
    }
}

/// A kqueue with the end of the process at the other end of `socket`; None when that process is this one, or has ended
/// already, or the kernel says no: there will be no early look then.
fn process_at_the_other_end(socket: BorrowedFd<'_>) -> Option<Kqueue> {
    let pid = getsockopt(&socket, sockopt::LocalPeerPid).ok().filter(|&pid| pid > 0 && pid != getpid().as_raw())?;
    let queue = Kqueue::new().ok()?;
    let ident = usize::try_from(pid).ok()?;
    let flags = EvFlags::EV_ADD | EvFlags::EV_ONESHOT;
    let end = KEvent::new(ident, EventFilter::EVFILT_PROC, flags, FilterFlag::NOTE_EXIT, 0, 0);
    queue.kevent(&[end], &mut [], None).ok()?;
    Some(queue)
}
