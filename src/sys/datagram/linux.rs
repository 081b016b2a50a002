//! Linux: recvmmsg(2), sendmmsg(2).

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::Messages;

/// The headers that the kernel wants.
pub(super) struct System {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
}

impl Messages for System {
    fn new(capacity: usize) -> Self {
        // SAFETY: all-zero bytes are a valid mmsghdr: no name, no vectors, no control data.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        System { headers: vec![header; capacity].into(), vectors: vec![vector; capacity].into() }
    }

    fn capacity(&self) -> usize {
        self.headers.len()
    }

    fn point(&mut self, index: usize, base: *mut u8, length: usize) {
        self.vectors[index] = libc::iovec { iov_base: base.cast(), iov_len: length };
        self.headers[index].msg_hdr.msg_iov = &raw mut self.vectors[index];
        self.headers[index].msg_hdr.msg_iovlen = 1;
    }

    fn length(&self, index: usize) -> usize {
        self.headers[index].msg_len as usize
    }

    unsafe fn receive(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        let headers = &mut self.headers[..count];
        // SAFETY: the headers point at vectors of ours; that these point at buffers that are alive and ours, the caller
        // says.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _, // of another type in musl
                ptr::null_mut(),
            )
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    unsafe fn send(&mut self, socket: BorrowedFd<'_>, range: Range<usize>) -> io::Result<usize> {
        let headers = &mut self.headers[range];
        // Not by the C library: musl's sends one message a call, on 64-bit systems, since its headers have gaps that the
        // kernel takes for a part of its fields. Ours are zero.
        // SAFETY: the headers point at vectors of ours; that these point at buffers that are alive and unchanged, the
        // caller says.
        let result = unsafe {
            libc::syscall(
                libc::SYS_sendmmsg,
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }
}
