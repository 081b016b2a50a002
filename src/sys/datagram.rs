//! Frames to and from the guest's socket: one datagram a frame, many frames a system call (recvmmsg(2), sendmmsg(2)).
//!
//! Every call carries MSG_DONTWAIT instead of O_NONBLOCK on the socket: the flag would be set on the open file
//! description, which the program that started us shares.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::batch::Batch;

/// What became of a batch that was sent to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The guest's socket took that many frames; the others are lost, since the guest is slow or cannot take them.
    Taken(usize),
    /// The other end of the socket is closed.
    PeerGone,
}

/// The headers that the kernel wants, allocated once.
pub struct DatagramIo {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
}

impl DatagramIo {
    /// Headers for up to `capacity` frames a call.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        // SAFETY: all-zero bytes are a valid mmsghdr: no name, no vectors, no control data.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        DatagramIo { headers: vec![header; capacity].into(), vectors: vec![vector; capacity].into() }
    }

    /// Points the first headers at the buffers; returns how many there are.
    fn point_at(&mut self, buffers: impl Iterator<Item = (*mut u8, usize)>) -> usize {
        let mut count = 0;
        for ((base, length), (header, vector)) in buffers.zip(self.headers.iter_mut().zip(self.vectors.iter_mut())) {
            *vector = libc::iovec { iov_base: base.cast(), iov_len: length };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        count
    }

    /// Appends the frames that wait in `socket` to `batch`, as many as there is room for, in one call. Never blocks; a
    /// batch that comes back with room left says that nothing waits. An oversize frame is committed one byte longer
    /// than the limit, whatever its length was.
    ///
    /// # Errors
    /// Those of recvmmsg(2), but for EAGAIN (nothing waits), EINTR (tried again) and ECONNRESET (the peer was
    /// reconnected: no end by itself).
    pub fn receive(&mut self, socket: BorrowedFd<'_>, batch: &mut Batch) -> io::Result<()> {
        let count = self.point_at(batch.free_slots().map(|slot| (slot.as_mut_ptr(), slot.len())));
        let received = loop {
            // SAFETY: the first `count` headers point at vectors of ours, which point at distinct slots of the batch,
            // all alive and not otherwise used until the call is over.
            let result = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    count as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                )
            };
            match usize::try_from(result) {
                Ok(received) => break received,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    error if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                    error => return Err(error),
                },
            }
        };
        for header in &self.headers[..received] {
            // A cut frame fills its slot, which is one byte longer than any frame may be.
            batch.commit(header.msg_len as usize);
        }
        Ok(())
    }

    /// Sends the frames of `batch`. Never blocks and never waits for a slow guest: what its socket does not take now is
    /// lost, as on a congested wire.
    ///
    /// # Errors
    /// Those of sendmmsg(2) that say that the socket itself is of no more use.
    pub fn send(&mut self, socket: BorrowedFd<'_>, batch: &Batch) -> io::Result<Sent> {
        // The kernel only reads what these vectors point at; iovec has no const form.
        let count = self.point_at(batch.frames().map(|frame| (frame.as_ptr().cast_mut(), frame.len())));
        let (mut next, mut taken) = (0, 0);
        while next < count {
            let headers = &mut self.headers[next..count];
            // SAFETY: the headers point at vectors of ours, which point at frames of the batch, all alive and unchanged
            // until the call is over.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as libc::c_uint,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            match usize::try_from(result) {
                Ok(sent) => (next, taken) = (next + sent, taken + sent),
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => match error.raw_os_error() {
                        // The guest is slow (EAGAIN on Linux, ENOBUFS on macOS): the rest would meet the same.
                        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => break,
                        // This frame is more than the guest's socket buffer holds: the next may not be.
                        Some(libc::EMSGSIZE) => next += 1,
                        Some(libc::ECONNREFUSED | libc::ENOTCONN | libc::ECONNRESET | libc::EPIPE) => {
                            return Ok(Sent::PeerGone);
                        }
                        _ => return Err(error),
                    },
                },
            }
        }
        Ok(Sent::Taken(taken))
    }
}

impl std::fmt::Debug for DatagramIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatagramIo").field("capacity", &self.headers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn lengths(batch: &Batch) -> Vec<usize> {
        batch.frames().map(<[u8]>::len).collect()
    }

    #[test]
    fn frames_empty_ones_and_oversize_ones_come_in_order() {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        for length in [60, 0, 9000, 1514] {
            guest.send(&vec![7; length]).unwrap();
        }
        let (mut io, mut batch) = (DatagramIo::new(8), Batch::new(8, 1514));
        io.receive(ours.as_fd(), &mut batch).unwrap();
        assert_eq!(lengths(&batch), [60, 0, 1515, 1514]);
        io.receive(ours.as_fd(), &mut batch).unwrap();
        assert_eq!(batch.len(), 4, "nothing waits, and nothing blocks");
    }

    #[test]
    fn a_batch_takes_no_more_than_it_has_room_for() {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        for length in 1..=3 {
            guest.send(&vec![7; length]).unwrap();
        }
        let (mut io, mut batch) = (DatagramIo::new(2), Batch::new(2, 1514));
        io.receive(ours.as_fd(), &mut batch).unwrap();
        assert_eq!(lengths(&batch), [1, 2]);
        batch.clear();
        io.receive(ours.as_fd(), &mut batch).unwrap();
        assert_eq!(lengths(&batch), [3]);
    }

    #[test]
    fn what_a_slow_guest_does_not_take_is_lost_and_counted() {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        let (mut io, mut batch) = (DatagramIo::new(4096), Batch::new(4096, 100));
        for _ in 0..4096 {
            batch.commit(100);
        }
        let Sent::Taken(taken) = io.send(ours.as_fd(), &batch).unwrap() else { panic!("the guest is there") };
        assert!(taken > 0 && taken < 4096, "{taken}");
        assert_eq!(io.send(ours.as_fd(), &batch).unwrap(), Sent::Taken(0));
        drop(guest);
    }

    #[test]
    fn a_closed_peer_is_told_apart_from_a_slow_one() {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        drop(guest);
        let (mut io, mut batch) = (DatagramIo::new(1), Batch::new(1, 100));
        batch.commit(100);
        assert_eq!(io.send(ours.as_fd(), &batch).unwrap(), Sent::PeerGone);
        assert!(io.receive(ours.as_fd(), &mut Batch::new(1, 100)).is_ok());
    }

    #[test]
    fn only_kept_frames_are_sent() {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        let (mut io, mut batch) = (DatagramIo::new(3), Batch::new(3, 100));
        for length in [10, 20, 30] {
            batch.commit(length);
        }
        batch.retain(|frame| frame.len() != 20);
        assert_eq!(io.send(ours.as_fd(), &batch).unwrap(), Sent::Taken(2));
        let mut buffer = [0; 100];
        assert_eq!([guest.recv(&mut buffer).unwrap(), guest.recv(&mut buffer).unwrap()], [10, 30]);
    }
}
