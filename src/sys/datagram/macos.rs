//! macOS: recvmsg_x and sendmsg_x, which move many datagrams a call; recv(2) and send(2) where they are missing or the
//! kernel refuses them.
//!
//! The two calls are in libSystem and in no public header: what they want is told in xnu, bsd/sys/socket_private.h. They
//! are looked up at run time, so that softnet starts on a macOS that has dropped them. The only flag they take is
//! MSG_DONTWAIT, all fields of a header but the vectors must be zero, and the number of messages a call has a limit that an
//! administrator can lower (kern.ipc.maxrecvmsgx, kern.ipc.maxsendmsgx; 100 in older versions), over which they fail with
//! EINVAL or EMSGSIZE. recvmsg_x may return fewer datagrams than wait; poll(2) tells of the others.
//!
//! This source is compiled on Linux too, for its tests, with stand-ins for the two calls.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use super::Messages;
use super::plain::Plain;

/// The most messages a call: below every default of the limit.
const MOST: usize = 64;

/// `struct msghdr_x`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    msg_name: *mut libc::c_void,
    msg_namelen: libc::socklen_t,
    msg_iov: *mut libc::iovec,
    msg_iovlen: libc::c_int,
    msg_control: *mut libc::c_void,
    msg_controllen: libc::socklen_t,
    msg_flags: libc::c_int,
    /// How long the received datagram is.
    msg_datalen: usize,
}

impl Header {
    /// A header that points at `vectors`, all else zero, as the kernel demands anew before each call.
    fn of(vector: *mut libc::iovec) -> Self {
        Header {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: vector,
            msg_iovlen: 1,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
            msg_datalen: 0,
        }
    }
}

/// Both calls have the same form.
type Call = unsafe extern "C" fn(RawFd, *mut Header, libc::c_uint, libc::c_int) -> isize;

/// The two calls of libSystem.
#[derive(Clone, Copy)]
struct Calls {
    receive: Call,
    send: Call,
}

impl Calls {
    #[cfg(target_os = "macos")]
    fn find() -> Option<Self> {
        let find = |name: &std::ffi::CStr| {
            // SAFETY: the name is a C string; RTLD_DEFAULT searches the libraries that are loaded already.
            let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            // SAFETY: it is not null, so it is the function of that name, which has this form.
            (!symbol.is_null()).then(|| unsafe { std::mem::transmute::<*mut libc::c_void, Call>(symbol) })
        };
        Some(Calls { receive: find(c"recvmsg_x")?, send: find(c"sendmsg_x")? })
    }

    /// Where there are no such calls.
    #[cfg(not(target_os = "macos"))]
    fn find() -> Option<Self> {
        None
    }
}

/// Buffers for either kind of call.
pub(super) struct System {
    plain: Plain,
    headers: Box<[Header]>,
    /// None when they are missing, or were found to be of no use.
    calls: Option<Calls>,
}

/// What a failed call is to be blamed on.
enum Blame {
    /// The socket or its peer: an error like any other.
    Socket,
    /// The number of messages, maybe: the first is tried alone.
    Number,
    /// The call: this kernel does not do it.
    Call,
}

fn blame(error: &io::Error, count: usize) -> Blame {
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL) => Blame::Call,
        Some(libc::EMSGSIZE) if count > 1 => Blame::Number,
        _ => Blame::Socket,
    }
}

impl System {
    /// Makes one call for the messages of `range`; None if it must be made by the plain calls.
    ///
    /// # Safety
    /// As [`Messages::receive`] and [`Messages::send`].
    unsafe fn call(&mut self, call: Call, socket: BorrowedFd<'_>, range: Range<usize>) -> Option<io::Result<usize>> {
        let range = range.start..range.end.min(range.start + MOST);
        for (header, vector) in self.headers[range.clone()].iter_mut().zip(&mut self.plain.vectors[range.clone()]) {
            *header = Header::of(vector);
        }
        let headers = &mut self.headers[range];
        let count = headers.len();
        // SAFETY: the headers point at vectors of ours; what these point at, the caller answers for.
        let result =
            unsafe { call(socket.as_raw_fd(), headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT) };
        if let Ok(moved) = usize::try_from(result) {
            return Some(Ok(moved.min(count)));
        }
        let error = io::Error::last_os_error();
        match blame(&error, count) {
            Blame::Socket => Some(Err(error)),
            Blame::Number => None,
            Blame::Call => {
                self.calls = None;
                None
            }
        }
    }
}

impl Messages for System {
    fn new(capacity: usize) -> Self {
        let header = Header::of(ptr::null_mut());
        System { plain: Plain::new(capacity), headers: vec![header; capacity].into(), calls: Calls::find() }
    }

    fn capacity(&self) -> usize {
        self.plain.capacity()
    }

    fn point(&mut self, index: usize, base: *mut u8, length: usize) {
        self.plain.point(index, base, length);
    }

    fn length(&self, index: usize) -> usize {
        self.plain.length(index)
    }

    unsafe fn receive(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        // A batch of more than a call takes: call until it is full, or a call comes back with less than it could.
        let mut done = 0;
        while let Some(calls) = self.calls
            && done < count
        {
            // SAFETY: the caller's word is passed on.
            match unsafe { self.call(calls.receive, socket, done..count) } {
                Some(Ok(received)) => {
                    for index in done..done + received {
                        self.plain.lengths[index] = self.headers[index].msg_datalen;
                    }
                    done += received;
                    if received < MOST {
                        return Ok(done);
                    }
                }
                Some(Err(_)) if done > 0 => return Ok(done),
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        if done > 0 {
            return Ok(done);
        }
        // SAFETY: likewise.
        unsafe { self.plain.receive(socket, count) }
    }

    unsafe fn send(&mut self, socket: BorrowedFd<'_>, range: Range<usize>) -> io::Result<usize> {
        if let Some(calls) = self.calls
            // SAFETY: the caller's word is passed on.
            && let Some(result) = unsafe { self.call(calls.send, socket, range.clone()) }
        {
            return result;
        }
        // One at a time, if the calls are still of use: the rest may do.
        let range = if self.calls.is_some() { range.start..range.start + 1 } else { range };
        // SAFETY: likewise.
        unsafe { self.plain.send(socket, range) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::fd::AsFd;

    use nix::errno::Errno;

    use super::super::tests::pair;
    use super::super::{Mover, Sent};
    use super::*;
    use crate::sys::batch::Batch;

    thread_local! {
        /// How many messages the stand-ins take a call, and how often they were called.
        static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
        static CALLED: Cell<usize> = const { Cell::new(0) };
    }

    /// Hands the messages to recv(2) or send(2), one after the other, as the kernel does where a protocol has nothing
    /// better.
    unsafe fn each(headers: *mut Header, count: libc::c_uint, mut one: impl FnMut(&mut Header) -> isize) -> isize {
        CALLED.set(CALLED.get() + 1);
        if count as usize > LIMIT.get() {
            Errno::EMSGSIZE.set();
            return -1;
        }
        // SAFETY: the caller passes a pointer to that many headers.
        let headers = unsafe { std::slice::from_raw_parts_mut(headers, count as usize) };
        for (index, header) in headers.iter_mut().enumerate() {
            let zero = (header.msg_flags, header.msg_datalen, header.msg_controllen, header.msg_namelen);
            assert_eq!((zero, header.msg_iovlen), ((0, 0, 0, 0), 1), "the kernel refuses anything else");
            if one(header) < 0 {
                return if index > 0 { index as isize } else { -1 };
            }
        }
        count as isize
    }

    unsafe extern "C" fn receive(socket: RawFd, headers: *mut Header, count: libc::c_uint, flags: i32) -> isize {
        assert_eq!(flags, libc::MSG_DONTWAIT);
        let one = |header: &mut Header| {
            // SAFETY: the header points at one vector, which points at a buffer of its length.
            let received = unsafe { libc::recv(socket, (*header.msg_iov).iov_base, (*header.msg_iov).iov_len, flags) };
            // What the kernel leaves in a header must not be there in the next call.
            (header.msg_datalen, header.msg_flags) = (received.max(0) as usize, libc::MSG_TRUNC);
            received
        };
        // SAFETY: passed on.
        unsafe { each(headers, count, one) }
    }

    unsafe extern "C" fn send(socket: RawFd, headers: *mut Header, count: libc::c_uint, flags: i32) -> isize {
        assert_eq!(flags, libc::MSG_DONTWAIT);
        let flags = flags | libc::MSG_NOSIGNAL;
        // SAFETY: the header points at one vector, which points at a buffer of its length.
        let one = |header: &mut Header| unsafe {
            libc::send(socket, (*header.msg_iov).iov_base, (*header.msg_iov).iov_len, flags)
        };
        // SAFETY: passed on.
        unsafe { each(headers, count, one) }
    }

    unsafe extern "C" fn not_there(_: RawFd, _: *mut Header, _: libc::c_uint, _: i32) -> isize {
        CALLED.set(CALLED.get() + 1);
        Errno::ENOSYS.set();
        -1
    }

    fn mover(calls: Calls) -> Mover<System> {
        let mut system = System::new(200);
        system.calls = Some(calls);
        Mover(system)
    }

    fn frames(count: usize) -> Batch {
        let mut batch = Batch::new(count, 1514);
        (0..count).for_each(|index| batch.commit(60 + index));
        batch
    }

    /// Sends `count` frames one way and receives them; how many calls each way that took, and what came.
    fn there_and_back(mover: &mut Mover<System>, count: usize) -> (usize, usize, Vec<usize>) {
        let (ours, guest) = pair();
        CALLED.set(0);
        assert_eq!(mover.send(ours.as_fd(), &frames(count)).unwrap(), Sent::Taken(count));
        let sends = CALLED.replace(0);
        let mut batch = Batch::new(200, 1514);
        mover.receive(guest.as_fd(), &mut batch).unwrap();
        (sends, CALLED.get(), batch.frames().map(<[u8]>::len).collect())
    }

    fn lengths(count: usize) -> Vec<usize> {
        (0..count).map(|index| 60 + index).collect()
    }

    #[test]
    fn many_frames_go_in_one_call_and_headers_are_clean_each_time() {
        let mut mover = mover(Calls { receive, send });
        for _ in 0..3 {
            assert_eq!(there_and_back(&mut mover, 5), (1, 1, lengths(5)));
        }
    }

    #[test]
    fn calls_that_the_kernel_lacks_are_tried_once() {
        let mut mover = mover(Calls { receive: not_there, send: not_there });
        assert_eq!(there_and_back(&mut mover, 5), (1, 0, lengths(5)));
        assert_eq!(there_and_back(&mut mover, 5), (0, 0, lengths(5)));
    }

    #[test]
    fn a_lowered_limit_costs_speed_and_no_frame() {
        LIMIT.set(2);
        let mut mover = mover(Calls { receive, send });
        let (_, _, came) = there_and_back(&mut mover, 5);
        assert_eq!(came, lengths(5));
    }

    #[test]
    fn a_frame_that_is_too_large_is_told_apart_from_too_many() {
        let (ours, guest) = pair();
        let mut batch = Batch::new(3, 8 << 20);
        [60, 8 << 20, 61].into_iter().for_each(|length| batch.commit(length));
        assert_eq!(mover(Calls { receive, send }).send(ours.as_fd(), &batch).unwrap(), Sent::Taken(2));
        let mut buffer = [0; 100];
        assert_eq!([guest.recv(&mut buffer).unwrap(), guest.recv(&mut buffer).unwrap()], [60, 61]);
    }

    #[test]
    fn a_slow_and_a_closed_peer_are_seen_through_these_calls_too() {
        let (ours, guest) = pair();
        let mut mover = mover(Calls { receive, send });
        while mover.send(ours.as_fd(), &frames(50)).unwrap() == Sent::Taken(50) {}
        assert_eq!(mover.send(ours.as_fd(), &frames(50)).unwrap(), Sent::Taken(0));
        assert!(mover.receive(ours.as_fd(), &mut Batch::new(1, 100)).is_ok());
        drop(guest);
        assert_eq!(mover.send(ours.as_fd(), &frames(1)).unwrap(), Sent::PeerGone);
    }
}
