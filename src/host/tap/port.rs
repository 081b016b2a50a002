//! Frames to and from a TAP device, with offload or without.
//!
//! # Theory of operation
//! Without offload a read and a write are one frame. With it, each has a header before it (`segments`): to the kernel, what
//! continues one another goes in one write; from the kernel comes one frame, which is read to where it stays, or a large one,
//! which is read into memory of its own and cut into the batch. What of that finds no room waits here for the next call, and
//! [`Port::holds_frames`] says so.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::uio::{readv, writev};
use nix::unistd::{read, write};

use crate::segments::VnetHeader;
use crate::segments::cut::{self, Cut};
use crate::segments::join::{Joiner, MAX_MEMBERS, UdpRuns, Write};
use crate::sys::batch::{Batch, FRAMES};
use crate::sys::tun::Left;

/// IPv4's longest datagram in an Ethernet frame.
const MAX_LARGE: usize = 14 + 65_535;

/// The open end of a TAP device.
#[derive(Debug)]
pub struct Port {
    device: OwnedFd,
    offload: Option<Offload>,
}

/// What a device with a header before its frames takes besides.
#[derive(Debug)]
struct Offload {
    joiner: Joiner,
    /// The large frame that is being cut, one byte longer than any.
    large: Box<[u8]>,
    length: usize,
    cut: Option<Cut>,
    unusable: u64,
}

impl Port {
    /// A device without a header before its frames.
    #[must_use]
    pub fn plain(device: OwnedFd) -> Self {
        Port { device, offload: None }
    }

    /// A device with one.
    #[must_use]
    pub fn with_offload(device: OwnedFd, left: Left) -> Self {
        let udp = match left {
            Left::Tcp => UdpRuns::Unknown,
            Left::TcpAndUdp => UdpRuns::Taken,
        };
        let offload = Offload {
            joiner: Joiner::new(FRAMES, udp),
            large: vec![0; MAX_LARGE + 1].into(),
            length: 0,
            cut: None,
            unusable: 0,
        };
        Port { device, offload: Some(offload) }
    }

    /// The device, to be waited for.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Whether a part of a large frame waits here, where poll(2) does not see it.
    #[must_use]
    pub fn holds_frames(&self) -> bool {
        self.offload.as_ref().is_some_and(|offload| offload.cut.is_some())
    }

    /// How many frames of the kernel's could not be used.
    #[must_use]
    pub fn unusable(&self) -> u64 {
        self.offload.as_ref().map_or(0, |offload| offload.unusable)
    }

    /// Appends the frames that wait to `batch`, as many as there is room for.
    ///
    /// # Errors
    /// Those of read(2), but for EAGAIN and EINTR.
    pub fn receive(&mut self, batch: &mut Batch) -> nix::Result<()> {
        loop {
            let received = match &mut self.offload {
                Some(offload) => offload.receive(&self.device, batch),
                None => batch.free_slots().next().map_or(Ok(None), |slot| read(&self.device, slot).map(Some)),
            };
            match received {
                Ok(Some(length)) => batch.commit(length),
                Ok(None) if batch.room() == 0 => return Ok(()),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Writes the frames of `batch`; returns how many the device took.
    ///
    /// # Errors
    /// The first that `fatal` says is the end of the device. Any other loses a frame, or a run of frames.
    pub fn send(&mut self, batch: &Batch, fatal: impl Fn(Errno) -> bool) -> nix::Result<usize> {
        let mut taken = 0;
        let mut count = |frames, result: nix::Result<usize>| match result {
            Ok(_) => {
                taken += frames;
                Ok(())
            }
            Err(errno) if fatal(errno) => Err(errno),
            Err(_) => Ok(()),
        };
        match &mut self.offload {
            None => {
                for frame in batch.frames() {
                    count(1, retry_interrupted(|| write(&self.device, frame)))?;
                }
            }
            Some(offload) => {
                offload.joiner.join(batch.frames());
                let none = VnetHeader::default().to_bytes();
                let mut parts = [IoSlice::new(&[]); 1 + MAX_MEMBERS];
                for planned in offload.joiner.writes() {
                    let (mut frames, mut used) = (0, 1);
                    match planned {
                        Write::Frame(number) => {
                            parts[0] = IoSlice::new(&none);
                            parts[1] = IoSlice::new(batch.frame(number).unwrap_or_default());
                            (frames, used) = (1, 2);
                        }
                        Write::Run(run) => {
                            parts[0] = IoSlice::new(run.head);
                            let from = run.payload_from;
                            for (part, number) in parts[1..].iter_mut().zip(run) {
                                *part = IoSlice::new(
                                    batch.frame(number).unwrap_or_default().get(from..).unwrap_or_default(),
                                );
                                (frames, used) = (frames + 1, used + 1);
                            }
                        }
                    }
                    count(frames, retry_interrupted(|| writev(&self.device, &parts[..used])))?;
                }
            }
        }
        Ok(taken)
    }
}

impl Offload {
    /// The next frame into the next free slot of `batch`, and its length there; or none, since there is no slot, or since
    /// what was read is yet to be cut, or nothing.
    fn receive(&mut self, device: &OwnedFd, batch: &mut Batch) -> nix::Result<Option<usize>> {
        let Some(slot) = batch.free_slots().next() else { return Ok(None) };
        if let Some(cut) = &mut self.cut {
            let length = cut.next(&self.large[..self.length], slot);
            if length.is_none() {
                self.cut = None;
            }
            return Ok(length);
        }

        // A frame that fits into the slot is read to there; of a large one, the slot gets as much as it takes.
        let mut header = [0; VnetHeader::LEN];
        let (_, rest) = self.large.split_at_mut(slot.len());
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(slot), IoSliceMut::new(rest)];
        let Some(length) = readv(device, &mut parts)?.checked_sub(VnetHeader::LEN) else {
            self.unusable += 1;
            return Ok(None);
        };
        let header = VnetHeader::from_bytes(header);
        let in_slot = length.min(slot.len());
        if header.gso_type == VnetHeader::GSO_NONE {
            let whole = length > in_slot || cut::complete(header, &mut slot[..in_slot]);
            self.unusable += u64::from(!whole);
            return Ok(whole.then_some(in_slot));
        }
        self.large[..in_slot].copy_from_slice(&slot[..in_slot]);
        self.length = length;
        let max_frame = slot.len() - 1;
        self.cut = (length <= MAX_LARGE).then(|| Cut::new(header, &self.large[..length], max_frame)).flatten();
        self.unusable += u64::from(self.cut.is_none());
        Ok(None)
    }
}

fn retry_interrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
