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

/// What an inherited socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The guest's frames (`--vm-fd`).
    Frames,
    /// The control channel (`--control-fd`).
    Control,
}

impl Role {
    const fn kind(self) -> SockType {
        match self {
            Role::Frames => SockType::Datagram,
            Role::Control => SockType::Stream,
        }
    }

    /// What its caller is to do, should it be something else.
    const fn mend(self) -> &'static str {
        match self {
            Role::Frames => "pass one end of a connected socketpair(AF_UNIX, SOCK_DGRAM), whose other end the VM holds",
            Role::Control => {
                "pass one end of a connected socketpair(AF_UNIX, SOCK_STREAM), whose other end the client holds"
            }
        }
    }
}

/// What is wrong with an inherited descriptor.
#[derive(Debug, Error)]
#[error("descriptor {fd} {fault}: {}", .role.mend())]
pub struct DescriptorError {
    fd: RawFd,
    role: Role,
    fault: DescriptorFault,
}

/// The same, without its number.
#[derive(Debug, Error)]
pub enum DescriptorFault {
    /// Nothing is open under that number.
    #[error("is not open")]
    Closed,
    /// It is a file, a pipe, a terminal...
    #[error("is not a socket")]
    NotASocket,
    /// A socket of the network, for instance.
    #[error("is a socket of family {0}, not AF_UNIX")]
    Family(i32),
    /// It keeps frames together, or cuts a stream into pieces.
    #[error("is a {0:?} socket")]
    Type(SockType),
    /// It has no other end.
    #[error("is not connected")]
    NotConnected,
    /// A question about it failed.
    #[error("cannot be examined ({0})")]
    Os(io::Error),
}

impl DescriptorError {
    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &DescriptorFault {
        &self.fault
    }
}

impl From<Errno> for DescriptorFault {
    fn from(errno: Errno) -> Self {
        DescriptorFault::Os(errno.into())
    }
}

/// Looks at descriptor `fd` without changing anything: open, a socket, AF_UNIX, of the right type, connected.
///
/// # Errors
/// What is wrong with it.
pub fn check(fd: RawFd, role: Role) -> Result<(), DescriptorError> {
    examine(fd, role).map_err(|fault| DescriptorError { fd, role, fault })
}

fn examine(fd: RawFd, role: Role) -> Result<(), DescriptorFault> {
    if fd < 0 {
        return Err(DescriptorFault::Closed);
    }
    // SAFETY: the number is not negative, and the borrow is used for nothing but questions, which fail with EBADF when
    // nothing is open there; nobody else in this process opens or closes descriptors meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let kind = match getsockopt(&borrowed, sockopt::SockType) {
        Err(Errno::EBADF) => return Err(DescriptorFault::Closed),
        Err(Errno::ENOTSOCK) => return Err(DescriptorFault::NotASocket),
        answer => answer?,
    };
    match socket_family(fd).map_err(DescriptorFault::Os)? {
        libc::AF_UNIX => {}
        family => return Err(DescriptorFault::Family(family)),
    }
    if kind != role.kind() {
        return Err(DescriptorFault::Type(kind));
    }
    match nix::sys::socket::getpeername::<nix::sys::socket::UnixAddr>(fd) {
        Ok(_) => Ok(()),
        Err(Errno::ENOTCONN) => Err(DescriptorFault::NotConnected),
        Err(errno) => Err(errno.into()),
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
/// (0, 1, 2) becomes /dev/null in its place, so that no message can ever be written into the socket.
///
/// # Errors
/// What [`check`] finds, or that fcntl(2), dup2(2) or open(2) of /dev/null failed.
pub fn adopt(fd: RawFd, role: Role) -> Result<OwnedFd, DescriptorError> {
    check(fd, role)?;
    let owned = take_over(fd).map_err(|error| DescriptorError { fd, role, fault: DescriptorFault::Os(error) })?;
    #[cfg(target_os = "linux")]
    refuse_descriptors(&owned);
    Ok(owned)
}

/// No descriptors come with the bytes (SO_PASSRIGHTS of unix(7), Linux 6.16; before that they are dropped as they come).
/// To drop one may take any time: the last close of a TCP socket that lingers (SO_LINGER) waits for its peer.
#[cfg(target_os = "linux")]
pub(super) fn refuse_descriptors(socket: &impl AsRawFd) {
    const SO_PASSRIGHTS: libc::c_int = 83;
    let off: libc::c_int = 0;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is valid for reads through the call, and length says how long it is.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const off).cast(), length);
    }
}

/// Makes descriptor `fd`, which was looked at, ours, as [`adopt`] says.
pub(super) fn take_over(fd: RawFd) -> io::Result<OwnedFd> {
    if fd > 2 {
        // SAFETY: it was just seen to be open, the caller of softnet handed it over for this purpose, and nothing else
        // in this process owns it.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        return Ok(owned);
    }
    // SAFETY: it was just seen to be open, and the standard library never closes 0, 1 and 2.
    let standard = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = fcntl(standard, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the kernel has just made this descriptor for us.
    let owned = unsafe { OwnedFd::from_raw_fd(copy) };
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: dup2(2) takes two numbers; the second stays open, now as /dev/null.
    if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
        return Err(Errno::last().into());
    }
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::{AsFd, IntoRawFd};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    const ROLES: [Role; 2] = [Role::Frames, Role::Control];

    #[test]
    fn a_connected_pair_of_the_right_type_is_what_we_want() {
        let (datagram, _other) = UnixDatagram::pair().unwrap();
        check(datagram.as_raw_fd(), Role::Frames).unwrap();
        let (stream, _other) = UnixStream::pair().unwrap();
        check(stream.as_raw_fd(), Role::Control).unwrap();
    }

    #[test]
    fn everything_else_is_named_for_what_it_is() {
        let (datagram, _other) = UnixDatagram::pair().unwrap();
        let (stream, _other) = UnixStream::pair().unwrap();
        let fault = |fd: RawFd, role| check(fd, role).unwrap_err().fault;
        assert!(matches!(fault(stream.as_raw_fd(), Role::Frames), DescriptorFault::Type(SockType::Stream)));
        assert!(matches!(fault(datagram.as_raw_fd(), Role::Control), DescriptorFault::Type(SockType::Datagram)));
        let file = File::open("/").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for role in ROLES {
            assert!(matches!(fault(file.as_raw_fd(), role), DescriptorFault::NotASocket));
            assert!(matches!(fault(udp.as_raw_fd(), role), DescriptorFault::Family(libc::AF_INET)));
            assert!(matches!(fault(900_000, role), DescriptorFault::Closed));
            assert!(matches!(fault(-1, role), DescriptorFault::Closed));
        }
        let alone = UnixDatagram::unbound().unwrap();
        assert!(matches!(fault(alone.as_raw_fd(), Role::Frames), DescriptorFault::NotConnected));
        let folder = std::env::temp_dir().join(format!("softnet-test-{}", std::process::id()));
        let listening = UnixListener::bind(&folder).unwrap();
        std::fs::remove_file(folder).unwrap();
        assert!(matches!(fault(listening.as_raw_fd(), Role::Control), DescriptorFault::NotConnected));
    }

    #[test]
    fn an_error_says_what_was_found_and_what_is_wanted() {
        let error = check(900_000, Role::Control).unwrap_err().to_string();
        assert_eq!(error, format!("descriptor 900000 is not open: {}", Role::Control.mend()));
        assert!(
            error.contains("SOCK_STREAM") && check(-1, Role::Frames).unwrap_err().to_string().contains("SOCK_DGRAM")
        );
    }

    #[test]
    fn an_adopted_descriptor_is_not_inherited() {
        let (datagram, _other) = UnixDatagram::pair().unwrap();
        let (stream, _other) = UnixStream::pair().unwrap();
        for (fd, role) in [(datagram.into_raw_fd(), Role::Frames), (stream.into_raw_fd(), Role::Control)] {
            let adopted = adopt(fd, role).unwrap();
            let flags = fcntl(adopted.as_fd(), FcntlArg::F_GETFD).unwrap();
            assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        }
    }
}
