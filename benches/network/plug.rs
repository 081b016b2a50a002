//! The wire between the guest's interface and a contender: two threads, one a direction, which carry frames in batches, so that
//! what is measured is the contender and not the wire.
//!
//! Each frame still takes one system call on the guest's TAP, as the guest's virtual hardware takes its own time. A contender
//! that is behind is waited for, as a VM does, and the guest's interface fills up meanwhile.

use std::fs::File;
use std::io::{Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use softnet_testbed::sys;

/// Frames a batch.
const BATCH: usize = 64;
/// More than any frame.
const SLOT: usize = 2048;
/// How long a thread may take to see that it is to end.
const STOP: Duration = Duration::from_millis(50);
/// The length before each frame on a stream (QEMU's net/stream.c, passt(1)).
const PREFIX: usize = 4;

/// The guest's end of a contender's socket.
pub(crate) enum Link {
    /// One frame a datagram.
    Datagrams(UnixDatagram),
    /// Each frame behind its length.
    Stream(UnixStream),
}

impl Link {
    /// Sends one frame, or none if there is no room.
    pub(crate) fn send(&self, frame: &[u8]) {
        match self {
            Link::Datagrams(socket) => drop(socket.send(frame)),
            Link::Stream(socket) => drop((&*socket).write_all(&[&prefix(frame.len())[..], frame].concat())),
        }
    }

    /// Receives one frame within `limit`.
    pub(crate) fn receive(&self, limit: Duration) -> Option<Vec<u8>> {
        let mut frame = vec![0; SLOT];
        let length = match self {
            Link::Datagrams(socket) => {
                socket.set_read_timeout(Some(limit)).ok()?;
                socket.recv(&mut frame).ok()?
            }
            Link::Stream(socket) => {
                let (mut socket, mut length) = (socket, [0; PREFIX]);
                socket.set_read_timeout(Some(limit)).ok()?;
                socket.read_exact(&mut length).ok()?;
                let length = u32::from_be_bytes(length) as usize;
                socket.read_exact(&mut frame[..length]).ok()?;
                length
            }
        };
        frame.truncate(length);
        Some(frame)
    }
}

/// The threads; they end when this is dropped.
pub(crate) struct Plug {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Plug {
    /// Joins the guest's TAP and a contender.
    pub(crate) fn join(tap: File, link: Link) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let other = tap.try_clone().expect("a descriptor is doubled");
        let (first, second) = (Arc::clone(&stop), Arc::clone(&stop));
        let threads = match link {
            Link::Datagrams(socket) => {
                socket.set_read_timeout(Some(STOP)).expect("a socket has a time limit");
                let twin = socket.try_clone().expect("a descriptor is doubled");
                vec![
                    thread::spawn(move || from_guest(tap, &first, &mut Datagrams::new(socket))),
                    thread::spawn(move || to_guest_datagrams(other, &second, Datagrams::new(twin))),
                ]
            }
            Link::Stream(socket) => {
                socket.set_read_timeout(Some(STOP)).expect("a socket has a time limit");
                let twin = socket.try_clone().expect("a descriptor is doubled");
                vec![
                    thread::spawn(move || from_guest(tap, &first, &mut Stream { socket, buffer: Vec::new() })),
                    thread::spawn(move || to_guest_stream(other, &second, twin)),
                ]
            }
        };
        Plug { stop, threads }
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Where a batch of the guest's frames goes.
trait Sink {
    /// Takes `frame` into the batch.
    fn add(&mut self, frame: &[u8]);

    /// Sends the batch, waiting for room.
    fn flush(&mut self);
}

fn from_guest(mut tap: File, stop: &AtomicBool, sink: &mut impl Sink) {
    let mut frame = [0; SLOT];
    while !stop.load(Ordering::Relaxed) {
        let mut count = 0;
        while count < BATCH {
            let Ok(length) = tap.read(&mut frame) else { break };
            sink.add(&frame[..length]);
            count += 1;
        }
        match count {
            0 => sys::wait_readable(&[&tap], STOP),
            _ => sink.flush(),
        }
    }
}

fn to_guest_datagrams(mut tap: File, stop: &AtomicBool, mut datagrams: Datagrams) {
    while !stop.load(Ordering::Relaxed) {
        for frame in datagrams.receive() {
            // A full queue loses frames, as a wire does.
            let _ = tap.write(frame);
        }
    }
}

fn to_guest_stream(mut tap: File, stop: &AtomicBool, mut socket: UnixStream) {
    let (mut buffer, mut filled) = (vec![0; BATCH * SLOT], 0);
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.read(&mut buffer[filled..]) else { continue };
        if length == 0 {
            return;
        }
        filled += length;
        let mut rest = &buffer[..filled];
        while let Some((head, behind)) = rest.split_first_chunk() {
            let Some(frame) = behind.get(..u32::from_be_bytes(*head) as usize) else { break };
            let _ = tap.write(frame);
            rest = &behind[frame.len()..];
        }
        let used = filled - rest.len();
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
}

struct Stream {
    socket: UnixStream,
    buffer: Vec<u8>,
}

impl Sink for Stream {
    fn add(&mut self, frame: &[u8]) {
        self.buffer.extend_from_slice(&prefix(frame.len()));
        self.buffer.extend_from_slice(frame);
    }

    fn flush(&mut self) {
        let _ = self.socket.write_all(&self.buffer);
        self.buffer.clear();
    }
}

fn prefix(length: usize) -> [u8; PREFIX] {
    u32::try_from(length).expect("a frame is short").to_be_bytes()
}

/// A datagram socket, and memory for a batch of its frames.
struct Datagrams {
    socket: UnixDatagram,
    storage: Vec<[u8; SLOT]>,
    lengths: [usize; BATCH],
    count: usize,
}

impl Datagrams {
    fn new(socket: UnixDatagram) -> Self {
        Datagrams { socket, storage: vec![[0; SLOT]; BATCH], lengths: [SLOT; BATCH], count: 0 }
    }

    /// Calls `call` with a header for each of the first `count` slots.
    fn with_headers<T>(&mut self, count: usize, call: impl FnOnce(i32, &mut [libc::mmsghdr]) -> T) -> T {
        let mut parts: [libc::iovec; BATCH] = std::array::from_fn(|index| libc::iovec {
            iov_base: self.storage[index].as_mut_ptr().cast(),
            iov_len: self.lengths[index],
        });
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|index| {
            // SAFETY: plain data, for which all zeroes are valid.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = &raw mut parts[index];
            header.msg_hdr.msg_iovlen = 1;
            header
        });
        call(self.socket.as_raw_fd(), &mut headers[..count])
    }

    /// Waits for frames, for a while, and returns those that are there.
    fn receive(&mut self) -> impl Iterator<Item = &[u8]> {
        self.lengths = [SLOT; BATCH];
        let (count, lengths) = self.with_headers(BATCH, |socket, headers| {
            let (pointer, flags) = (headers.as_mut_ptr(), libc::MSG_WAITFORONE);
            // SAFETY: as many headers as said, whose parts point into `storage`; all of it outlives the call.
            let count = unsafe { libc::recvmmsg(socket, pointer, BATCH as u32, flags, std::ptr::null_mut()) };
            (
                usize::try_from(count).unwrap_or(0),
                std::array::from_fn::<usize, BATCH, _>(|i| headers[i].msg_len as usize),
            )
        });
        self.storage[..count].iter().zip(lengths).map(|(slot, length)| &slot[..length])
    }
}

impl Sink for Datagrams {
    fn add(&mut self, frame: &[u8]) {
        self.storage[self.count][..frame.len()].copy_from_slice(frame);
        self.lengths[self.count] = frame.len();
        self.count += 1;
    }

    fn flush(&mut self) {
        let count = mem::take(&mut self.count);
        self.with_headers(count, |socket, headers| {
            let mut sent = 0;
            while sent < count {
                let rest = &mut headers[sent..];
                // SAFETY: as many headers as said, whose parts point into `storage`; all of it outlives the call.
                match unsafe { libc::sendmmsg(socket, rest.as_mut_ptr(), rest.len() as u32, 0) } {
                    0.. if rest.is_empty() => return,
                    number @ 1.. => sent += number as usize,
                    // The contender has ended, or was interrupted: the frames are lost, as on a wire.
                    _ => return,
                }
            }
        });
    }
}
