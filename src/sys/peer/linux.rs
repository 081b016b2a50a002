//! Linux: sock_diag(7). Asked for our own socket with UDIAG_SHOW_PEER, the kernel names the inode of the peer, 0 once it
//! is closed, without any privilege. The netlink socket is opened in the setup phase, for the namespace that the guest's
//! socket was made in (sock_diag sees only the sockets of its own).
//!
//! SO_PEERPIDFD (Linux 6.5) gives a descriptor that becomes readable when the process that made the pair ends.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::thread;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::unix::nlas::Nla;
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags, UnixRequest};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// Answers whether the other end of one socket is open.
#[derive(Debug)]
pub struct PeerWatch {
    diag: Socket,
    inode: u32,
    maker: Option<OwnedFd>,
}

impl PeerWatch {
    /// A watch for the other end of `socket`. Called in the setup phase: a socket of another network namespace can be
    /// watched only with CAP_NET_ADMIN over it.
    ///
    /// # Errors
    /// What the kernel refused: socket(2), fstat(2), or the first question about the socket.
    pub fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let inode = u32::try_from(nix::sys::stat::fstat(socket)?.st_ino).map_err(io::Error::other)?;
        let mut watch = PeerWatch { diag: diag_socket()?, inode, maker: peer_pidfd(socket) };
        match watch.is_gone() {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                watch.diag = diag_socket_beside(socket)?;
                watch.is_gone()?;
            }
            answer => {
                answer?;
            }
        }
        Ok(watch)
    }

    /// Whether the other end has been closed by all who held it.
    ///
    /// # Errors
    /// Those of netlink(7); ENOENT when the socket belongs to another network namespace than this watch.
    pub fn is_gone(&mut self) -> io::Result<bool> {
        let request = SockDiagMessage::UnixRequest(UnixRequest {
            state_flags: StateFlags::all(),
            inode: self.inode,
            show_flags: ShowFlags::PEER,
            cookie: [0xff; 8],
        });
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.diag.send(&bytes, 0)?;

        // The kernel answers within send(2): nothing to wait for.
        let mut answer = Vec::with_capacity(4096);
        self.diag.recv(&mut answer, libc::MSG_DONTWAIT)?;
        let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::UnixResponse(socket)) => {
                let peer =
                    socket.nlas.iter().find_map(|nla| if let Nla::Peer(inode) = nla { Some(*inode) } else { None });
                Ok(peer.unwrap_or(0) == 0)
            }
            NetlinkPayload::Error(error) => Err(error.to_io()),
            other => Err(io::Error::other(format!("sock_diag answered {other:?}"))),
        }
    }

    /// A descriptor that becomes readable, once, when it is worth to look early: the process that made the socket pair
    /// has ended. None where the kernel has no such thing, and after [`PeerWatch::maker_ended`].
    #[must_use]
    pub fn maker(&self) -> Option<BorrowedFd<'_>> {
        self.maker.as_ref().map(AsFd::as_fd)
    }

    /// Says that the descriptor of [`PeerWatch::maker`] was seen readable: it has told what it can tell.
    pub fn maker_ended(&mut self) {
        self.maker = None;
    }
}

fn diag_socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// A sock_diag socket in the network namespace that `socket` was made in (SIOCGSKNS), opened by a thread that goes there
/// and ends, so that this process stays where it is.
fn diag_socket_beside(socket: BorrowedFd<'_>) -> io::Result<Socket> {
    // SAFETY: SIOCGSKNS takes no argument and returns a new descriptor or -1.
    let raw = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGSKNS as _, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us.
    let namespace = unsafe { OwnedFd::from_raw_fd(raw) };
    thread::scope(|scope| {
        let opener = thread::Builder::new().spawn_scoped(scope, || {
            // SAFETY: setns(2) changes the namespace of this thread alone, which ends right after.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            diag_socket()
        })?;
        opener.join().unwrap_or_else(|_| Err(io::Error::other("the thread that opens sock_diag panicked")))
    })
}

/// SO_PEERPIDFD of unix(7), which nix does not wrap yet; None on kernels before 6.5.
fn peer_pidfd(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut raw: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value and length are valid for writes, and length says how long the value is.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut raw).cast(), &raw mut length)
    };
    // SAFETY: on success the kernel has just made this descriptor for us (with close-on-exec set).
    (result == 0 && raw >= 0).then(|| unsafe { OwnedFd::from_raw_fd(raw) })
}
