//! Who sent the datagram that waits in a socket, found out without reading a byte of it.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem::{self, offset_of};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

/// The address of a Unix socket that has one: a path, or on Linux an abstract name (unix(7)).
#[derive(Clone, Copy)]
pub struct Sender {
    address: libc::sockaddr_un,
    length: libc::socklen_t,
}

/// A datagram that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// How long it is.
    pub length: usize,
    /// Who sent it; None for a socket without an address, which cannot be answered.
    pub sender: Option<Sender>,
}

/// The next datagram in `socket`, left there, and none of its bytes looked at.
///
/// # Errors
/// Those of recvmsg(2), but that nothing waits.
pub fn waiting(socket: &UnixDatagram) -> io::Result<Option<Waiting>> {
    // SAFETY: all-zero bytes are a valid sockaddr_un, and a valid msghdr: no vectors, no control data.
    let (mut address, mut header): (libc::sockaddr_un, libc::msghdr) = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: the header points at an address of the size that it tells, alive through the call, and at nothing else.
    let told = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    match Errno::result(told) {
        Ok(told) => {
            let sender = Sender { address, length: header.msg_namelen };
            let length = length(socket, told)?;
            Ok(Some(Waiting { length, sender: (!sender.name().is_empty()).then_some(sender) }))
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// MSG_TRUNC has recvmsg(2) return the length of the whole.
#[cfg(target_os = "linux")]
fn length(_socket: &UnixDatagram, told: isize) -> io::Result<usize> {
    usize::try_from(told).map_err(io::Error::other)
}

/// SO_NREAD of getsockopt(2): the length of the first datagram.
#[cfg(target_os = "macos")]
fn length(socket: &UnixDatagram, _told: isize) -> io::Result<usize> {
    let mut length: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value and size are valid for writes, and the size says how long the value is.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NREAD, (&raw mut length).cast(), &raw mut size)
    };
    if result == 0 { usize::try_from(length).map_err(io::Error::other) } else { Err(io::Error::last_os_error()) }
}

/// Throws the next datagram away, unread.
///
/// # Errors
/// Those of recv(2), but that nothing waits.
pub fn discard(socket: &UnixDatagram) -> io::Result<()> {
    match recv(socket.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT) {
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Connects `socket` to `peer`: from now on it sends there, and on Linux the kernel takes datagrams of nobody else.
///
/// # Errors
/// Those of connect(2).
pub fn connect(socket: &UnixDatagram, peer: &Sender) -> io::Result<()> {
    // SAFETY: the address is one that the kernel gave, with the length that it told, which is at most that of the structure.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const peer.address).cast(), peer.length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Sender {
    /// The bytes of its name: a path, or a zero byte and an abstract name.
    fn name(&self) -> &[u8] {
        let length = (self.length as usize).saturating_sub(offset_of!(libc::sockaddr_un, sun_path));
        let length = length.min(self.address.sun_path.len());
        // SAFETY: the name is initialized, and as long as this or longer; c_char and u8 have the same layout.
        let name = unsafe { std::slice::from_raw_parts(ptr::from_ref(&self.address.sun_path).cast::<u8>(), length) };
        match name.first() {
            // Abstract: zero bytes count. (On macOS an address without a name is one of zeroes.)
            Some(0) if cfg!(target_os = "linux") => name,
            _ => name.split(|&byte| byte == 0).next().unwrap_or_default(),
        }
    }

    /// Its path, if it has one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        let name = self.name();
        (name.first() != Some(&0)).then(|| Path::new(OsStr::from_bytes(name)))
    }
}

impl PartialEq for Sender {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Its path; `@` and its name where that is abstract, as ss(8) has it. Whoever chose it chose every byte.
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name().strip_prefix(b"\0") {
            Some(name) => write!(f, "@{}", name.escape_ascii()),
            None => write!(f, "{}", self.name().escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_asked_for_its_length_and_sender_and_stays() {
        let folder = std::env::temp_dir().join(format!("softnet-waiting-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("ours");
        let (socket, vm) = (UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind(folder.join("vm")).unwrap());
        assert!(waiting(&socket).unwrap().is_none());
        vm.send_to(&[7; 60], &path).unwrap();
        UnixDatagram::unbound().unwrap().send_to(&[], &path).unwrap();
        for _ in 0..2 {
            let Waiting { length, sender } = waiting(&socket).unwrap().unwrap();
            assert_eq!((length, sender.unwrap().path()), (60, Some(folder.join("vm").as_path())));
        }
        discard(&socket).unwrap();
        let Waiting { length, sender } = waiting(&socket).unwrap().unwrap();
        assert_eq!((length, sender), (0, None));
        discard(&socket).unwrap();
        assert!(waiting(&socket).unwrap().is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_abstract_name_is_an_address_to_answer_to() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;

        let name = format!("softnet-{}\n", std::process::id());
        let folder = std::env::temp_dir().join(format!("softnet-abstract-{}", std::process::id()));
        let socket = UnixDatagram::bind(&folder).unwrap();
        let vm = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        vm.send_to(&[7; 60], &folder).unwrap();
        std::fs::remove_file(folder).unwrap();
        let sender = waiting(&socket).unwrap().unwrap().sender.unwrap();
        assert_eq!((sender.path(), sender.to_string()), (None, format!("@{}", name.escape_default())));
        connect(&socket, &sender).unwrap();
        socket.send(&[1; 9]).unwrap();
        assert_eq!(vm.recv(&mut [0; 20]).unwrap(), 9);
    }
}
