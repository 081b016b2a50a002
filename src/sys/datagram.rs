//! Frames to and from the guest's socket: one datagram a frame, many frames a system call where the system can.
//!
//! What is done with a batch and with each error is told here, once; how many datagrams move a call is each system's own
//! (`Messages`). Every call carries MSG_DONTWAIT instead of O_NONBLOCK on the socket: the flag would be set on the open
//! file description, which the program that started us shares.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;
#[cfg(any(target_os = "macos", test))]
mod plain;

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

#[cfg(target_os = "linux")]
use linux::System;
#[cfg(target_os = "macos")]
use macos::System;

use super::batch::Batch;

/// What became of a batch that was sent to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The guest's socket took that many frames; the others are lost, since the guest is slow or cannot take them.
    Taken(usize),
    /// The other end of the socket is closed.
    PeerGone,
}

/// What the kernel wants for a number of datagrams, allocated once, and the calls that move them.
trait Messages {
    fn new(capacity: usize) -> Self;

    fn capacity(&self) -> usize;

    /// Points message `index` at a buffer.
    fn point(&mut self, index: usize, base: *mut u8, length: usize);

    /// The length of the datagram that message `index` received.
    fn length(&self, index: usize) -> usize;

    /// Receives up to `count` datagrams into the first messages, without blocking; returns how many, at least one.
    ///
    /// # Safety
    /// These messages point at distinct buffers that are alive and not otherwise used until the call is over.
    unsafe fn receive(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize>;

    /// Sends messages of `range`, which is not empty, from its start on, without blocking; returns how many, at least
    /// one. An error is about the first.
    ///
    /// # Safety
    /// These messages point at buffers that are alive and unchanged until the call is over.
    unsafe fn send(&mut self, socket: BorrowedFd<'_>, range: Range<usize>) -> io::Result<usize>;
}

/// Moves batches by the calls of this system.
pub struct DatagramIo(Mover<System>);

impl DatagramIo {
    /// Room for up to `capacity` frames.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        DatagramIo(Mover(System::new(capacity)))
    }

    /// Appends the frames that wait in `socket` to `batch`, as many as there is room for. Never blocks; when a batch
    /// comes back with room left, poll(2) tells whether more waits. An oversize frame is committed one byte longer than
    /// the limit, whatever its length was.
    ///
    /// # Errors
    /// Those of recvmsg(2), but for EAGAIN (nothing waits), EINTR (tried again) and ECONNRESET (the peer is gone, or was
    /// reconnected: no end by itself).
    pub fn receive(&mut self, socket: BorrowedFd<'_>, batch: &mut Batch) -> io::Result<()> {
        self.0.receive(socket, batch)
    }

    /// Sends the frames of `batch`. Never blocks and never waits for a slow guest: what its socket does not take now is
    /// lost, as on a congested wire.
    ///
    /// # Errors
    /// Those of sendmsg(2) that say that the socket itself is of no more use.
    pub fn send(&mut self, socket: BorrowedFd<'_>, batch: &Batch) -> io::Result<Sent> {
        self.0.send(socket, batch)
    }
}

/// [`DatagramIo`] by any kind of calls.
struct Mover<M>(M);

impl<M: Messages> Mover<M> {
    /// Points the first messages at the buffers; returns how many there are.
    fn point_at(&mut self, buffers: impl Iterator<Item = (*mut u8, usize)>) -> usize {
        let mut count = 0;
        for (base, length) in buffers.take(self.0.capacity()) {
            self.0.point(count, base, length);
            count += 1;
        }
        count
    }

    fn receive(&mut self, socket: BorrowedFd<'_>, batch: &mut Batch) -> io::Result<()> {
        let count = self.point_at(batch.free_slots().map(|slot| (slot.as_mut_ptr(), slot.len())));
        let received = loop {
            // SAFETY: the messages point at distinct slots of the batch, which is borrowed until the call is over.
            match unsafe { self.0.receive(socket, count) } {
                Ok(received) => break received,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionReset => return Ok(()),
                    _ => return Err(error),
                },
            }
        };
        for index in 0..received {
            // A cut frame fills its slot, which is one byte longer than any frame may be.
            batch.commit(self.0.length(index));
        }
        Ok(())
    }

    fn send(&mut self, socket: BorrowedFd<'_>, batch: &Batch) -> io::Result<Sent> {
        // The kernel only reads what these messages point at; iovec has no const form.
        let count = self.point_at(batch.frames().map(|frame| (frame.as_ptr().cast_mut(), frame.len())));
        let (mut next, mut taken) = (0, 0);
        while next < count {
            // SAFETY: the messages point at frames of the batch, which is borrowed until the call is over.
            match unsafe { self.0.send(socket, next..count) } {
                Ok(sent) => (next, taken) = (next + sent, taken + sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => match error.raw_os_error() {
                    // The guest is slow (EAGAIN on Linux, ENOBUFS on macOS): the rest would meet the same.
                    Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => break,
                    // This frame is more than the guest's socket buffer holds: the next may not be.
                    Some(libc::EMSGSIZE) => next += 1,
                    // On macOS, a socket whose peer has gone is left without a destination.
                    Some(libc::ECONNREFUSED | libc::ENOTCONN | libc::EDESTADDRREQ | libc::ECONNRESET | libc::EPIPE) => {
                        return Ok(Sent::PeerGone);
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(Sent::Taken(taken))
    }
}

impl std::fmt::Debug for DatagramIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatagramIo").field("capacity", &self.0.0.capacity()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::plain::Plain;
    use super::*;

    /// Each of these for each kind of calls that this system has.
    macro_rules! for_each_kind {
        ($($name:ident)*) => {
            mod system {
                $(#[test] fn $name() { super::$name::<super::System>(); })*
            }
            mod plain {
                $(#[test] fn $name() { super::$name::<super::Plain>(); })*
            }
            mod macos {
                $(#[test] fn $name() { super::$name::<super::super::macos::System>(); })*
            }
        };
    }

    for_each_kind! {
        frames_empty_ones_and_oversize_ones_come_in_order
        a_batch_takes_no_more_than_it_has_room_for
        what_a_slow_guest_does_not_take_is_lost_and_counted
        a_closed_peer_is_told_apart_from_a_slow_one
        only_kept_frames_are_sent
    }

    /// A socket pair with the buffers that Tart gives it: by default, macOS lets no datagram over 2 KiB through.
    pub(super) fn pair() -> (UnixDatagram, UnixDatagram) {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        for socket in [&ours, &guest] {
            setsockopt(socket, sockopt::SndBuf, &(1 << 20)).unwrap();
            setsockopt(socket, sockopt::RcvBuf, &(4 << 20)).unwrap();
        }
        (ours, guest)
    }

    fn mover<M: Messages>(capacity: usize) -> Mover<M> {
        Mover(M::new(capacity))
    }

    fn lengths(batch: &Batch) -> Vec<usize> {
        batch.frames().map(<[u8]>::len).collect()
    }

    fn frames_empty_ones_and_oversize_ones_come_in_order<M: Messages>() {
        let (ours, guest) = pair();
        for length in [60, 0, 9000, 1514] {
            guest.send(&vec![7; length]).unwrap();
        }
        let (mut io, mut batch) = (mover::<M>(8), Batch::new(8, 1514));
        io.receive(ours.as_fd(), &mut batch).unwrap();
        assert_eq!(lengths(&batch), [60, 0, 1515, 1514]);
        io.receive(ours.as_fd(), &mut batch).unwrap();
        assert_eq!(batch.len(), 4, "nothing waits, and nothing blocks");
    }

    fn a_batch_takes_no_more_than_it_has_room_for<M: Messages>() {
        let (ours, guest) = pair();
        for length in 1..=3 {
            guest.send(&vec![7; length]).unwrap();
        }
        let (mut io, mut batch) = (mover::<M>(2), Batch::new(2, 1514));
        io.receive(ours.as_fd(), &mut batch).unwrap();
        assert_eq!(lengths(&batch), [1, 2]);
        batch.clear();
        io.receive(ours.as_fd(), &mut batch).unwrap();
        assert_eq!(lengths(&batch), [3]);
    }

    fn what_a_slow_guest_does_not_take_is_lost_and_counted<M: Messages>() {
        let (ours, guest) = pair();
        let (mut io, mut batch) = (mover::<M>(4096), Batch::new(4096, 100));
        for _ in 0..4096 {
            batch.commit(100);
        }
        let Sent::Taken(taken) = io.send(ours.as_fd(), &batch).unwrap() else { panic!("the guest is there") };
        assert!(taken > 0 && taken < 4096, "{taken}");
        assert_eq!(io.send(ours.as_fd(), &batch).unwrap(), Sent::Taken(0));
        drop(guest);
    }

    fn a_closed_peer_is_told_apart_from_a_slow_one<M: Messages>() {
        let (ours, guest) = pair();
        drop(guest);
        let (mut io, mut batch) = (mover::<M>(1), Batch::new(1, 100));
        batch.commit(100);
        assert_eq!(io.send(ours.as_fd(), &batch).unwrap(), Sent::PeerGone);
        assert!(io.receive(ours.as_fd(), &mut Batch::new(1, 100)).is_ok());
    }

    fn only_kept_frames_are_sent<M: Messages>() {
        let (ours, guest) = pair();
        let (mut io, mut batch) = (mover::<M>(3), Batch::new(3, 100));
        for length in [10, 20, 30] {
            batch.commit(length);
        }
        batch.retain(|frame| frame.len() != 20);
        assert_eq!(io.send(ours.as_fd(), &batch).unwrap(), Sent::Taken(2));
        let mut buffer = [0; 100];
        assert_eq!([guest.recv(&mut buffer).unwrap(), guest.recv(&mut buffer).unwrap()], [10, 30]);
    }
}
