//! The capture of `--pcap`: every frame with what became of it, in a file or FIFO of the caller's.
//!
//! # Theory of operation
//! [`Capture::open`] runs in the setup phase, by the caller's rights; all memory is made there. Each frame becomes a block in a
//! queue of [`QUEUE`] bytes, which is written to the file once a turn, or before if it is full. So whoever follows the file
//! sees what passed as soon as the relay has nothing else to do.
//!
//! A FIFO is not waited for. While it has no reader yet, or a slow one, the queue fills, and what then has no room is left out:
//! counted, told once, and told in the capture (`epb_dropcount`). Blocks are given to it whole or not at all. Once a reader has
//! had something and is gone, the capture has ended. A regular file takes what it is given; writing to it takes as long as it
//! takes.
//!
//! The capture ends when the next block would make it longer than its limit, and when it cannot be written. One line says so,
//! the file is closed, and frames pass as before. What is in it ends with a whole block, but on a disk that fills up in
//! the middle of one.

use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};

use crate::capture::pcapng::{self, Packet};
use crate::capture::{NoRoom, OWN_ANSWER, Queue, Way};
use crate::engine::{Direction, EthernetAddress, Instant, Verdict, colons};
use crate::sys::clock;
use crate::sys::sink::{Sink, SinkError, Written};

/// Two turns of full batches.
const QUEUE: usize = 1 << 20;
/// Room is made in the queue when so much of it is written: to move what waits to the front costs time.
const WORTH_MOVING: usize = QUEUE / 4;
/// How long a FIFO's reader may take to empty the queue when softnet ends.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A comment is one reason, with its description: it never grows past this.
const COMMENT: usize = 256;
/// The longest frame that any link of ours carries, when what links carry is not known yet.
const LONGEST_FRAME: usize = 65_535;

/// Frames on their way to a file.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    /// None once the capture has ended.
    sink: Option<Sink>,
    queue: Queue,
    /// How much longer the capture may get.
    left: u64,
    limit: u64,
    comment: String,
    packets: u64,
    /// Whether anything has been taken: a FIFO had a reader then.
    is_begun: bool,
    /// Whether it is as long as it may get: what waits is still written.
    is_full: bool,
    /// Whether the latest write took nothing.
    is_stalled: bool,
    is_lagging: bool,
}

impl Capture {
    /// A capture of what `guest` sends and is sent, to `path`, relative to `directory`, of at most `limit` bytes.
    ///
    /// # Errors
    /// The path is nothing that a capture can be written to.
    pub fn open(
        directory: Option<BorrowedFd<'_>>,
        path: &Path,
        limit: u64,
        guest: EthernetAddress,
    ) -> Result<Self, SinkError> {
        let sink = Sink::open(directory, path)?;
        let application = concat!("softnet ", env!("CARGO_PKG_VERSION"));
        let beginning = pcapng::beginning(application, &format!("guest {}", colons(guest)), LONGEST_FRAME);
        Ok(Capture {
            path: path.to_owned(),
            sink: Some(sink),
            queue: Queue::new(QUEUE, &beginning),
            left: limit.saturating_sub(beginning.len() as u64),
            limit,
            comment: String::with_capacity(COMMENT),
            packets: 0,
            is_begun: false,
            is_full: false,
            is_stalled: false,
            is_lagging: false,
        })
    }

    /// The file's descriptor.
    #[must_use]
    pub fn descriptor(&self) -> Option<RawFd> {
        self.sink.as_ref().map(|sink| sink.as_fd().as_raw_fd())
    }

    /// Whether frames are still taken.
    pub(super) fn is_on(&self) -> bool {
        self.sink.is_some() && !self.is_full
    }

    /// Takes a frame that was judged.
    pub(super) fn judged(&mut self, direction: Direction, frame: &[u8], verdict: Verdict) {
        self.comment.clear();
        // A string takes all that is written to it.
        let _ = match verdict {
            Verdict::Forward => write!(self.comment, "forwarded"),
            Verdict::Drop(reason) => write!(self.comment, "dropped: {}: {reason}", reason.name()),
            Verdict::Reply(reason) => write!(self.comment, "answered: {}: {reason}", reason.name()),
        };
        self.take(way(direction), frame);
    }

    /// Takes a frame of softnet's own, in answer to one that went this way.
    pub(super) fn replied(&mut self, direction: Direction, frame: &[u8]) {
        self.comment.clear();
        self.comment.push_str(OWN_ANSWER);
        self.take(way(direction.reverse()), frame);
    }

    /// Writes what waits, as far as it is taken now.
    pub(super) fn turn(&mut self) {
        self.is_stalled = false;
        while let Some(sink) = &mut self.sink
            && !self.queue.is_empty()
        {
            match sink.write(self.queue.whole_blocks(sink.at_once())) {
                Ok(Written::Bytes(count)) => {
                    self.queue.wrote(count);
                    self.is_begun |= count > 0;
                }
                Ok(Written::NoReader) if self.is_begun => self.end("its reader is gone"),
                Ok(Written::Later | Written::NoReader) => {
                    self.is_stalled = true;
                    return;
                }
                Err(error) => self.end(&format!("it cannot be written: {error}")),
            }
        }
        if self.is_full {
            self.end(&format!("it is as long as it may get, {} bytes (--pcap-limit)", self.limit));
        }
    }

    /// The relay ends.
    pub(super) fn finish(&mut self, now: Instant) {
        self.turn();
        let until = now + LAST_WORDS.into();
        while self.is_stalled && self.is_begun && clock::now() < until {
            if self.sink.as_ref().is_some_and(|sink| sink.wait(LAST_WORDS).is_err()) {
                break;
            }
            self.turn();
        }
        let left_out = self.queue.left_out();
        info!("--pcap {}: {} frames, {left_out} left out", self.path.display(), self.packets);
        self.sink = None;
    }

    fn take(&mut self, way: Way, frame: &[u8]) {
        if !self.is_on() {
            return;
        }
        let length = self.queue.length_of(frame, &self.comment);
        if length as u64 > self.left {
            self.is_full = true;
            return;
        }
        if !self.queue.has_room_for(length) && !self.is_stalled {
            self.turn();
            self.queue.settle(WORTH_MOVING);
        }
        let packet = Packet { nanos: clock::wall_nanos(), way, frame, comment: &self.comment, left_out: 0 };
        match self.queue.push(&packet) {
            Ok(()) => {
                self.left -= length as u64;
                self.packets += 1;
            }
            Err(NoRoom) => self.leave_out(),
        }
    }

    fn leave_out(&mut self) {
        self.queue.leave_out();
        if self.sink.is_some() && !std::mem::replace(&mut self.is_lagging, true) {
            let reader = if self.is_begun { "its reader is slow" } else { "nobody reads it" };
            warn!("--pcap {}: {reader}: frames are left out of the capture", self.path.display());
        }
    }

    /// The capture ends here.
    fn end(&mut self, why: &str) {
        if self.sink.take().is_some() {
            let packets = self.packets;
            warn!("--pcap {}: {why}: the capture ends, after {packets} frames; the guest goes on", self.path.display());
        }
    }
}

/// As the guest sees it.
fn way(direction: Direction) -> Way {
    match direction {
        Direction::FromGuest => Way::Out,
        Direction::FromHost => Way::In,
    }
}
