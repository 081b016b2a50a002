//! Descriptors that another program gave us: what they are is checked before anything is done with them, since under
//! setuid that program is not to be trusted.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use thiserror::Error;

/// What is wrong with an inherited descriptor.
#[derive(Debug, Error)]
pub enum DescriptorError {
    /// Nothing is open under that number.
    #[error("descriptor {0} is not open: pass one end of a connected socketpair(AF_UNIX, SOCK_DGRAM)")]
    Closed(RawFd),
    /// It is a file, a pipe, a terminal...
    #[error("descriptor {0} is not a socket: pass one end of a connected socketpair(AF_UNIX, SOCK_DGRAM)")]
    NotASocket(RawFd),
    /// A socket of the network, for instance.
    #[error("descriptor {0} is a socket of family {1}, not AF_UNIX: pass one end of socketpair(AF_UNIX, SOCK_DGRAM)")]
    Family(RawFd, i32),
    /// It does not keep frames apart.
    #[error("descriptor {0} is a {1:?} socket, not SOCK_DGRAM: pass one end of socketpair(AF_UNIX, SOCK_DGRAM)")]
    Type(RawFd, SockType),
    /// It has no other end.
    #[error("descriptor {0} is not connected: pass one end of a socketpair whose other end the VM holds")]
    NotConnected(RawFd),
    /// A question about it failed.
    #[error("descriptor {0} cannot be examined: {1}")]
    Os(RawFd, io::Error),
}

/// Looks at descriptor `fd` without changing anything: open, a socket, AF_UNIX, SOCK_DGRAM, connected.
///
/// # Errors
/// What is wrong with it.
pub fn check_guest_socket(fd: RawFd) -> Result<(), DescriptorError> {
    if fd < 0 {
        return Err(DescriptorError::Closed(fd));
    }
    // SAFETY: the number is not negative, and the borrow is used for nothing but questions, which fail with EBADF when
    // nothing is open there; nobody else in this process opens or closes descriptors meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let failed = |errno: Errno| DescriptorError::Os(fd, errno.into());
    let kind = match getsockopt(&borrowed, sockopt::SockType) {
        Err(Errno::EBADF) => return Err(DescriptorError::Closed(fd)),
        Err(Errno::ENOTSOCK) => return Err(DescriptorError::NotASocket(fd)),
        answer => answer.map_err(failed)?,
    };
    match socket_family(fd).map_err(|error| DescriptorError::Os(fd, error))? {
        libc::AF_UNIX => {}
        family => return Err(DescriptorError::Family(fd, family)),
    }
    if kind != SockType::Datagram {
        return Err(DescriptorError::Type(fd, kind));
    }
    match nix::sys::socket::getpeername::<nix::sys::socket::UnixAddr>(fd) {
        Ok(_) => Ok(()),
        Err(Errno::ENOTCONN) => Err(DescriptorError::NotConnected(fd)),
        Err(errno) => Err(failed(errno)),
    }
}

/// The family of the socket `fd`, by getsockname(2), which both systems answer for every socket.
fn socket_family(fd: RawFd) -> io::Result<i32> {
    // SAFETY: all-zero bytes are a valid sockaddr_storage.
    let mut address: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: address and length are valid for writes, and length says how long address is.
    let result = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &raw mut length) };
    if result == 0 { Ok(i32::from(address.ss_family)) } else { Err(io::Error::last_os_error()) }
}

/// Takes over descriptor `fd`: it becomes ours to close, and no program that we start inherits it. A standard descriptor
/// (0, 1, 2) becomes /dev/null in its place, so that no message can ever be written into the guest's socket.
///
/// # Errors
/// What [`check_guest_socket`] finds, or that fcntl(2), dup2(2) or open(2) of /dev/null failed.
pub fn adopt_guest_socket(fd: RawFd) -> Result<OwnedFd, DescriptorError> {
    check_guest_socket(fd)?;
    let owned = take_over(fd)?;
    #[cfg(target_os = "linux")]
    refuse_descriptors(&owned);
    Ok(owned)
}

/// No descriptors come with the frames (SO_PASSRIGHTS of unix(7), Linux 6.16; before that they are dropped as they come).
/// To drop one may take any time: the last close of a TCP socket that lingers (SO_LINGER) waits for its peer.
#[cfg(target_os = "linux")]
fn refuse_descriptors(socket: &OwnedFd) {
    const SO_PASSRIGHTS: libc::c_int = 83;
    let off: libc::c_int = 0;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is valid for reads through the call, and length says how long it is.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const off).cast(), length);
    }
}

fn take_over(fd: RawFd) -> Result<OwnedFd, DescriptorError> {
    let failed = |errno: Errno| DescriptorError::Os(fd, errno.into());
    if fd > 2 {
        // SAFETY: it was just seen to be open, the caller of softnet handed it over for this purpose, and nothing else
        // in this process owns it.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed)?;
        return Ok(owned);
    }
    // SAFETY: it was just seen to be open, and the standard library never closes 0, 1 and 2.
    let standard = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = fcntl(standard, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(failed)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let owned = unsafe { OwnedFd::from_raw_fd(copy) };
    let null =
        File::options().read(true).write(true).open("/dev/null").map_err(|error| DescriptorError::Os(fd, error))?;
    // SAFETY: dup2(2) takes two numbers; the second stays open, now as /dev/null.
    if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
        return Err(failed(Errno::last()));
    }
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn a_connected_datagram_pair_is_what_we_want() {
        let (ours, _theirs) = UnixDatagram::pair().unwrap();
        check_guest_socket(ours.as_raw_fd()).unwrap();
    }

    #[test]
    fn everything_else_is_named_for_what_it_is() {
        let file = File::open("/").unwrap();
        assert!(matches!(check_guest_socket(file.as_raw_fd()), Err(DescriptorError::NotASocket(_))));
        let (stream, _other) = UnixStream::pair().unwrap();
        assert!(matches!(check_guest_socket(stream.as_raw_fd()), Err(DescriptorError::Type(_, SockType::Stream))));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(matches!(check_guest_socket(udp.as_raw_fd()), Err(DescriptorError::Family(_, libc::AF_INET))));
        let alone = UnixDatagram::unbound().unwrap();
        assert!(matches!(check_guest_socket(alone.as_raw_fd()), Err(DescriptorError::NotConnected(_))));
        assert!(matches!(check_guest_socket(900_000), Err(DescriptorError::Closed(_))));
        assert!(matches!(check_guest_socket(-1), Err(DescriptorError::Closed(-1))));
    }

    #[test]
    fn an_adopted_descriptor_is_not_inherited() {
        let (ours, _theirs) = UnixDatagram::pair().unwrap();
        let raw = nix::unistd::dup(&ours).unwrap();
        let adopted = adopt_guest_socket(std::os::fd::IntoRawFd::into_raw_fd(raw)).unwrap();
        let flags = fcntl(adopted.as_fd(), FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    }
}
