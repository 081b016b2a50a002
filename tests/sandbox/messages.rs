//! What the filter cannot see, since it is in memory: the name that a message is sent to, and descriptors that come with
//! one. What holds there is the empty root directory, Landlock, and the limit of descriptors.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::child::{exit_at_once, inside_with};

/// A guest's socket: our end, and the other, which stays open.
fn frame_sockets() -> (UnixDatagram, UnixDatagram) {
    UnixDatagram::pair().unwrap()
}

/// Sends a message the one way that the filter allows, to `address` instead of the peer.
fn send_to(socket: &UnixDatagram, address: &libc::sockaddr_un, length: usize) -> Result<(), Errno> {
    let mut byte = *b"x";
    let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: all-zero bytes are a valid mmsghdr.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = (&raw const *address).cast_mut().cast();
    header.msg_hdr.msg_namelen = length as libc::socklen_t;
    header.msg_hdr.msg_iov = &raw mut vector;
    header.msg_hdr.msg_iovlen = 1;
    // SAFETY: the header points at values that live through the call.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            socket.as_raw_fd(),
            &raw mut header,
            1,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    if sent == 1 { Ok(()) } else { Err(Errno::last()) }
}

/// An address of unix(7), and its length.
fn address(name: &[u8]) -> (libc::sockaddr_un, usize) {
    // SAFETY: all-zero bytes are a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(name) {
        *to = from.cast_signed() as libc::c_char;
    }
    (address, size_of::<libc::sa_family_t>() + name.len())
}

/// Whether a message from inside reaches a socket of that name, which `listener` is: exit code 0 if not.
fn assert_unreachable(listener: &UnixDatagram, name: &[u8], with: Errno) {
    let (address, length) = address(name);
    listener.set_nonblocking(true).unwrap();
    // The control: without the sandbox it does.
    let (ours, _guest) = frame_sockets();
    assert_eq!(send_to(&ours, &address, length), Ok(()));
    assert_eq!(listener.recv(&mut [0; 8]).ok(), Some(1));

    inside_with(frame_sockets, |(ours, _guest)| {
        if send_to(&ours, &address, length) != Err(with) {
            exit_at_once(1);
        }
    })
    .assert_exited(0);
    assert_eq!(listener.recv(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

/// A socket that anyone may write to, as /dev/log is.
struct Listener(PathBuf);

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_message_reaches_no_socket_by_its_path() {
    let path = Listener(Path::new("/tmp").join(format!("softnet-test-{}", std::process::id())));
    let listener = UnixDatagram::bind(&path.0).unwrap();
    std::fs::set_permissions(&path.0, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert_unreachable(&listener, path.0.as_os_str().as_encoded_bytes(), Errno::ENOENT);
}

#[test]
fn a_message_reaches_no_abstract_socket() {
    // SAFETY: asked for the version, the kernel takes no pointer.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    if abi < 6 {
        eprintln!("skipped: Landlock's ABI is {abi}, and 6 is the first that knows abstract sockets");
        return;
    }
    let name = format!("softnet-test-{}", std::process::id());
    let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    assert_unreachable(&listener, format!("\0{name}").as_bytes(), Errno::EPERM);
}

#[test]
fn no_descriptor_comes_with_a_message() {
    let prepare = || {
        let (ours, guest) = frame_sockets();
        let fds = [guest.as_raw_fd()];
        let rights = [nix::sys::socket::ControlMessage::ScmRights(&fds)];
        let vector = [io::IoSlice::new(b"x")];
        let flags = nix::sys::socket::MsgFlags::empty();
        nix::sys::socket::sendmsg::<()>(guest.as_raw_fd(), &vector, &rights, flags, None).unwrap();
        (OwnedFd::from(ours), guest)
    };
    inside_with(prepare, |(ours, _guest)| {
        let mut byte = [0_u8; 8];
        let mut control = [0_u64; 8];
        let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 8 };
        // SAFETY: all-zero bytes are a valid mmsghdr.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = &raw mut vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = size_of_val(&control) as _;
        let none = std::ptr::null_mut();
        // SAFETY: the header points at values that live through the call.
        let received = unsafe { libc::recvmmsg(ours.as_raw_fd(), &raw mut header, 1, libc::MSG_DONTWAIT as _, none) };
        let refused = header.msg_hdr.msg_flags & libc::MSG_CTRUNC != 0 && header.msg_hdr.msg_controllen == 0;
        if received != 1 || !refused {
            exit_at_once(1);
        }
    })
    .assert_exited(0);
}
