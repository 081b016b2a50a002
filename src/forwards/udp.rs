//! Forwarded UDP: each client of a port has a socket of its own towards the guest, so that its answers are told apart.
//!
//! A client is forgotten [`IDLE`] after the last datagram of either side. There are at most [`MOST_CLIENTS`]; what comes from one more, or
//! while there is no lease, is dropped. An answer leaves from the address that the client has sent to (IP_PKTINFO of ip(7)), which on a
//! host of several need not be the one that the kernel would choose.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockType, SockaddrIn, recv, recvmsg, send, sendmsg,
};

use super::forwarder::{Open, Token};
use super::tcp::connect_to;
use crate::engine::{Duration, Instant};

/// The most clients at a time.
pub(super) const MOST_CLIENTS: usize = 256;
/// How long a client is remembered. The engine's flows have the same.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// Datagrams from one socket before others have their turn.
const DATAGRAMS_A_TURN: usize = 32;

/// Somebody who sends to one of the ports.
#[derive(Debug)]
pub(super) struct Client {
    port: usize,
    address: SockaddrIn,
    /// The host's address that it sends to.
    own: libc::in_pktinfo,
    guest: OwnedFd,
    heard: Instant,
}

impl Client {
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.heard + IDLE <= now
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    slots: Vec<Option<Client>>,
    free: Vec<usize>,
    /// Free after this turn, whose events may still name them.
    freed: Vec<usize>,
}

impl Clients {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len() + self.freed.len()
    }

    /// Each one's port.
    pub(super) fn ports(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.iter().flatten().map(|client| client.port)
    }

    /// Passes on what has come to a port.
    pub(super) fn on_question(
        &mut self,
        port: usize,
        socket: &UdpSocket,
        to: Option<SocketAddrV4>,
        epoll: &Epoll,
        scratch: &mut [u8],
        now: Instant,
    ) {
        for _ in 0..DATAGRAMS_A_TURN {
            let (length, address, own) = match receive(socket, scratch) {
                Ok(Some(received)) => received,
                // Nothing waits, or there is nobody to tell of an error.
                Ok(None) | Err(Errno::EAGAIN) => return,
                Err(_) => continue,
            };
            let Some(to) = to else { continue };
            if let Some(client) = self.find_or_begin(port, address, own, to, epoll, now) {
                client.heard = now;
                // What the guest's side does not take is lost, as on a wire.
                let _ = send(client.guest.as_raw_fd(), &scratch[..length], MsgFlags::MSG_DONTWAIT);
            }
        }
    }

    fn find_or_begin(
        &mut self,
        port: usize,
        address: SockaddrIn,
        own: libc::in_pktinfo,
        to: SocketAddrV4,
        epoll: &Epoll,
        now: Instant,
    ) -> Option<&mut Client> {
        let is_it = |client: &Client| client.port == port && client.address == address;
        let index = match self.slots.iter().position(|slot| slot.as_ref().is_some_and(is_it)) {
            Some(index) => index,
            None => {
                if self.slots.len() - self.free.len() - self.freed.len() >= MOST_CLIENTS {
                    return None;
                }
                let guest = connect_to(to, SockType::Datagram).ok()?;
                let index = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    self.slots.len() - 1
                });
                let event = EpollEvent::new(EpollFlags::EPOLLIN, Token::client(index));
                if epoll.add(&guest, event).is_err() {
                    self.freed.push(index);
                    return None;
                }
                *self.slots.get_mut(index)? = Some(Client { port, address, own, guest, heard: now });
                index
            }
        };
        self.slots.get_mut(index)?.as_mut()
    }

    /// Passes the guest's answers back.
    pub(super) fn on_answer(&mut self, index: usize, ports: &[Open], scratch: &mut [u8], now: Instant) {
        let Some(Some(client)) = self.slots.get_mut(index) else { return };
        let Some(socket) = ports.get(client.port).and_then(Open::udp) else { return };
        for _ in 0..DATAGRAMS_A_TURN {
            match recv(client.guest.as_raw_fd(), scratch, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    client.heard = now;
                    answer(socket, client, &scratch[..length]);
                }
                Err(Errno::EAGAIN) => return,
                // An ICMP error of the guest's: told once, and nothing to be done.
                Err(_) => {}
            }
        }
    }

    pub(super) fn forget(&mut self, which: impl Fn(&Client) -> bool) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(&which) {
                *slot = None;
                self.freed.push(index);
            }
        }
    }

    /// After a turn.
    pub(super) fn reuse(&mut self) {
        self.free.append(&mut self.freed);
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> nix::Result<Option<(usize, SockaddrIn, libc::in_pktinfo)>> {
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let mut vector = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut vector, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let info = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    Ok(message.address.zip(info).map(|(address, info)| (message.bytes, address, info)))
}

fn answer(socket: &UdpSocket, client: &Client, bytes: &[u8]) {
    // Where it came in says nothing of where the answer goes out; what it was sent to does.
    let from = libc::in_pktinfo { ipi_ifindex: 0, ..client.own };
    let control = [ControlMessage::Ipv4PacketInfo(&from)];
    let vector = [IoSlice::new(bytes)];
    let _ = sendmsg(socket.as_raw_fd(), &vector, &control, MsgFlags::MSG_DONTWAIT, Some(&client.address));
}
