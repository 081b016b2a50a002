//! One datagram a system call: recv(2), send(2). What macOS falls back to, made to look like the calls that move many.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::Messages;

/// Nobody is killed by a lost peer: MSG_NOSIGNAL on Linux; on macOS, Rust's runtime has SIGPIPE ignored.
#[cfg(target_os = "linux")]
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT;

/// Buffers, and the lengths of the datagrams in them.
pub(super) struct Plain {
    pub(super) vectors: Box<[libc::iovec]>,
    pub(super) lengths: Box<[usize]>,
}

impl Messages for Plain {
    fn new(capacity: usize) -> Self {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Plain { vectors: vec![vector; capacity].into(), lengths: vec![0; capacity].into() }
    }

    fn capacity(&self) -> usize {
        self.vectors.len()
    }

    fn point(&mut self, index: usize, base: *mut u8, length: usize) {
        self.vectors[index] = libc::iovec { iov_base: base.cast(), iov_len: length };
    }

    fn length(&self, index: usize) -> usize {
        self.lengths[index]
    }

    unsafe fn receive(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        for (index, (vector, length)) in self.vectors[..count].iter().zip(&mut self.lengths).enumerate() {
            // SAFETY: the vector says where the buffer is and how long; that it is alive and ours, the caller says.
            let result = unsafe { libc::recv(socket.as_raw_fd(), vector.iov_base, vector.iov_len, libc::MSG_DONTWAIT) };
            match usize::try_from(result) {
                Ok(received) => *length = received,
                // An error that lasts is met again by the next call.
                Err(_) if index > 0 => return Ok(index),
                Err(_) => return Err(io::Error::last_os_error()),
            }
        }
        Ok(count)
    }

    unsafe fn send(&mut self, socket: BorrowedFd<'_>, range: Range<usize>) -> io::Result<usize> {
        let vectors = &self.vectors[range];
        for (index, vector) in vectors.iter().enumerate() {
            // SAFETY: the vector says where the buffer is and how long; that it is alive and unchanged, the caller says.
            let result = unsafe { libc::send(socket.as_raw_fd(), vector.iov_base, vector.iov_len, SEND_FLAGS) };
            match result {
                0.. => {}
                _ if index > 0 => return Ok(index),
                _ => return Err(io::Error::last_os_error()),
            }
        }
        Ok(vectors.len())
    }
}
