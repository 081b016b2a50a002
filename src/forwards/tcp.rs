//! A forwarded TCP connection: two sockets, and bytes both ways.
//!
//! Each way has its own state: bytes that one socket gave and the other has not taken yet are held, [`MOST_HELD`] at the most, and while
//! any are, nothing is read from where they came: so a peer that does not read stops its own sender, by TCP's own window, and nobody
//! else. The end of one way (FIN) is passed on when all before it is through; the other way goes on. An error of either side
//! is a RST to the other.
//!
//! What ends a connection that nobody ends: 10 s without an answer from the guest ([`CONNECT`]); two minutes in which one side takes
//! nothing of what was sent, or does not answer the kernel's probes ([`tune`]).

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrIn, connect, getsockopt, recv, send, setsockopt,
    shutdown, socket, sockopt,
};

use crate::engine::{Duration, Instant};

/// How long the guest may take to answer.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// What one way holds at the most.
pub(super) const MOST_HELD: usize = 256 * 1024;
/// Reads from one socket before others have their turn.
const READS_A_TURN: usize = 4;

const PROBE_AFTER_SECONDS: u32 = 60;
const PROBE_EVERY_SECONDS: u32 = 15;
const PROBES: u32 = 4;
const STALLED_MILLISECONDS: u32 = 120_000;

/// No delay for small segments, which the ends have decided on already; probes of a silent peer; an end for a stalled one (tcp(7)).
pub(super) fn tune(socket: &impl AsFd) -> nix::Result<()> {
    setsockopt(socket, sockopt::TcpNoDelay, &true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &PROBE_AFTER_SECONDS)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &PROBE_EVERY_SECONDS)?;
    setsockopt(socket, sockopt::TcpKeepCount, &PROBES)?;
    setsockopt(socket, sockopt::TcpUserTimeout, &STALLED_MILLISECONDS)
}

/// Closes with a RST, at once (SO_LINGER of socket(7)).
pub(super) fn reset(socket: OwnedFd) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    let _ = setsockopt(&socket, sockopt::Linger, &at_once);
}

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Guest,
}

/// One way: from one socket to the other.
#[derive(Debug, Default)]
struct Way {
    held: Vec<u8>,
    /// How much of it is through.
    through: usize,
    /// The sender has sent its FIN.
    ended: bool,
    /// And it was passed on.
    passed_on: bool,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    /// Both ways have ended in order.
    Done,
    /// One side has failed.
    Failed,
}

/// A connection of a client's, and the one to the guest.
#[derive(Debug)]
pub(super) struct Connection {
    /// Which of the forwarder's ports the client came to.
    pub(super) port: usize,
    client: OwnedFd,
    guest: OwnedFd,
    /// Until when the guest is to answer; `None` once it has.
    answer_by: Option<Instant>,
    outward: Way,
    inward: Way,
    /// What is asked of epoll(7) for client and guest.
    pub(super) interest: [EpollFlags; 2],
}

impl Connection {
    /// Begins a connection to the guest for `client`.
    pub(super) fn begin(
        client: OwnedFd,
        port: usize,
        to: SocketAddrV4,
        now: Instant,
    ) -> Result<Self, (OwnedFd, Errno)> {
        match connect_to(to, SockType::Stream) {
            Ok(guest) => {
                let _ = tune(&guest);
                Ok(Connection {
                    port,
                    client,
                    guest,
                    answer_by: Some(now + CONNECT),
                    outward: Way::default(),
                    inward: Way::default(),
                    interest: [EpollFlags::empty(); 2],
                })
            }
            Err(errno) => Err((client, errno)),
        }
    }

    pub(super) fn sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.client.as_fd(), self.guest.as_fd()]
    }

    /// Whether the guest has let the time for its answer pass.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.answer_by.is_some_and(|by| by <= now)
    }

    /// What is to be waited for on each socket.
    pub(super) fn wanted(&self) -> [EpollFlags; 2] {
        if self.answer_by.is_some() {
            return [EpollFlags::empty(), EpollFlags::EPOLLOUT];
        }
        let flags = |from: &Way, to: &Way| {
            let mut flags = EpollFlags::empty();
            flags.set(EpollFlags::EPOLLIN, from.held.is_empty() && !from.ended);
            flags.set(EpollFlags::EPOLLOUT, !to.held.is_empty());
            flags
        };
        [flags(&self.inward, &self.outward), flags(&self.outward, &self.inward)]
    }

    /// Does what `side` is ready for.
    pub(super) fn on_ready(&mut self, side: Side, flags: EpollFlags, scratch: &mut [u8]) -> Progress {
        if self.answer_by.is_some() {
            // Nothing was asked of it.
            if side == Side::Client {
                return Progress::Open;
            }
            match getsockopt(&self.guest, sockopt::SocketError) {
                Ok(0) => self.answer_by = None,
                _ => return Progress::Failed,
            }
            return Progress::Open;
        }
        if flags.contains(EpollFlags::EPOLLERR) {
            return Progress::Failed;
        }
        let (own, other, from, to) = match side {
            Side::Client => (&self.client, &self.guest, &mut self.inward, &mut self.outward),
            Side::Guest => (&self.guest, &self.client, &mut self.outward, &mut self.inward),
        };
        let moved = to.drain(own).and_then(|()| from.carry(own, other, scratch));
        match moved {
            Err(_) => Progress::Failed,
            Ok(()) if self.inward.passed_on && self.outward.passed_on => Progress::Done,
            Ok(()) => Progress::Open,
        }
    }

    /// Ends it for both sides at once.
    pub(super) fn reset(self) {
        reset(self.client);
        reset(self.guest);
    }
}

impl Way {
    /// Moves what `from` has, as far as `to` takes it.
    fn carry(&mut self, from: &OwnedFd, to: &OwnedFd, scratch: &mut [u8]) -> nix::Result<()> {
        for _ in 0..READS_A_TURN {
            if self.ended || !self.held.is_empty() {
                break;
            }
            let length = match recv(from.as_raw_fd(), scratch, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => return Err(errno),
            };
            self.ended = length == 0;
            let bytes = &scratch[..length];
            let sent = if bytes.is_empty() { 0 } else { send_some(to, bytes)? };
            self.held.extend_from_slice(&bytes[sent..]);
        }
        self.pass_on_the_end(to)
    }

    /// Moves on what is held.
    fn drain(&mut self, to: &OwnedFd) -> nix::Result<()> {
        if self.through < self.held.len() {
            self.through += send_some(to, &self.held[self.through..])?;
        }
        if self.through == self.held.len() && self.through > 0 {
            self.held.clear();
            self.through = 0;
            // A connection that was slow once keeps no memory for it.
            self.held.shrink_to(0);
        }
        self.pass_on_the_end(to)
    }

    fn pass_on_the_end(&mut self, to: &OwnedFd) -> nix::Result<()> {
        if self.ended && self.held.is_empty() && !self.passed_on {
            self.passed_on = true;
            match shutdown(to.as_raw_fd(), Shutdown::Write) {
                // It is gone both ways, which the next read tells.
                Ok(()) | Err(Errno::ENOTCONN) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// How much of `bytes` the socket takes now. SIGPIPE is ignored from the start.
fn send_some(socket: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT) {
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
        sent => sent,
    }
}

/// A socket of the guest's side, which begins to connect.
pub(super) fn connect_to(to: SocketAddrV4, kind: SockType) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
