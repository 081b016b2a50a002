//! Frames to and from a TAP device, with offload or without.
//!
//! # Theory of operation
//! Without offload a read and a write are one frame. With it, each has a header before it (`segments`): to the kernel, what
//! continues one another goes in one write; from the kernel comes one frame, or a large one,
//! which is cut into the batch. What of that finds no room waits here for the next call, and
//! [`Port::holds_frames`] says so.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::uio::writev;
use nix::unistd::{read, write};

use crate::segments::VnetHeader;
use crate::segments::cut::{self, Cut};
use crate::segments::join::{Joiner, MAX_MEMBERS, UdpRuns, Write};
use crate::sys::batch::{Batch, FRAMES, ZEROES};
use crate::sys::tun::Left;

/// IPv4's longest datagram in an Ethernet frame.
const MAX_LARGE: usize = 14 + 65_535;

/// A frame that goes alone has a header that says nothing.
const _: () = assert!(ZEROES == VnetHeader::LEN);

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
    /// What was read: the header and one frame, with room for one byte more than any has.
    read: Box<[u8]>,
    /// Of the frame that is being cut.
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
            read: vec![0; VnetHeader::LEN + MAX_LARGE + 1].into(),
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
                let mut parts = [IoSlice::new(&[]); 1 + MAX_MEMBERS];
                for planned in offload.joiner.writes() {
                    match planned {
                        // In one piece: a vector of two costs some 150 ns more.
                        Write::Frame(number) => {
                            let frame = batch.frame_behind_zeroes(number).unwrap_or_default();
                            count(1, retry_interrupted(|| write(&self.device, frame)))?;
                        }
                        Write::Run(run) => {
                            parts[0] = IoSlice::new(run.head);
                            let (from, mut used) = (run.payload_from, 1);
                            for (part, number) in parts[1..].iter_mut().zip(run) {
                                let frame = batch.frame(number).unwrap_or_default();
                                *part = IoSlice::new(frame.get(from..).unwrap_or_default());
                                used += 1;
                            }
                            count(used - 1, retry_interrupted(|| writev(&self.device, &parts[..used])))?;
                        }
                    }
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
            let length = cut.next(&self.read[VnetHeader::LEN..][..self.length], slot);
            if length.is_none() || cut.is_over() {
                self.cut = None;
            }
            return Ok(length);
        }

        // All are read to one place, in one piece, which stays in the cache: a vector that has the slot in it costs more than
        // to copy a frame of the usual size.
        let read = read(device, &mut self.read)?;
        let Some((header, frame)) = self.read[..read].split_first_chunk_mut() else {
            self.unusable += 1;
            return Ok(None);
        };
        let header = VnetHeader::from_bytes(*header);
        if header.gso_type == VnetHeader::GSO_NONE {
            // One that is too long for the link stays so: the engine is to see that.
            let length = frame.len().min(slot.len());
            let whole = frame.len() > length || cut::complete(header, frame);
            self.unusable += u64::from(!whole);
            slot[..length].copy_from_slice(&frame[..length]);
            return Ok(whole.then_some(length));
        }
        let max_frame = slot.len() - 1;
        self.length = frame.len();
        self.cut = (self.length <= MAX_LARGE).then(|| Cut::new(header, frame, max_frame)).flatten();
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

#[cfg(test)]
#[path = "../../tests/segments/model.rs"]
#[allow(dead_code)]
pub(crate) mod model;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::model::{self, ACK, PSH, Packet, TCP, UDP};
    use super::*;

    const MAX_FRAME: usize = 1514;

    /// A port, and the kernel's end of it: a datagram is what a read gives and what a write takes.
    fn port() -> (Port, UnixDatagram) {
        let (ours, kernel) = UnixDatagram::pair().unwrap();
        for socket in [&ours, &kernel] {
            setsockopt(socket, sockopt::SndBuf, &(4 << 20)).unwrap();
            socket.set_nonblocking(true).unwrap();
        }
        (Port::with_offload(ours.into(), Left::TcpAndUdp), kernel)
    }

    fn packet(protocol: u8, payload: usize) -> Packet {
        Packet { payload: (0..payload).map(|at| at as u8).collect(), ..Packet::new(protocol, (443, 40_000)) }
    }

    fn large(protocol: u8, payload: usize, gso_size: u16) -> (VnetHeader, Vec<u8>) {
        let frame = packet(protocol, payload).frame();
        let gso_type = if protocol == TCP { VnetHeader::GSO_TCPV4 } else { VnetHeader::GSO_UDP_L4 };
        let csum_offset = (model::checksum_place(&frame) - 34) as u16;
        let hdr_len = (frame.len() - payload) as u16;
        (VnetHeader { flags: VnetHeader::NEEDS_CSUM, gso_type, hdr_len, gso_size, csum_start: 34, csum_offset }, frame)
    }

    fn give(kernel: &UnixDatagram, header: VnetHeader, frame: &[u8]) {
        kernel.send(&[&header.to_bytes()[..], frame].concat()).unwrap();
    }

    fn receive(port: &mut Port, batch: &mut Batch) -> Vec<Vec<u8>> {
        batch.clear();
        port.receive(batch).unwrap();
        batch.frames().map(<[u8]>::to_vec).collect()
    }

    fn batch_of(frames: &[Vec<u8>]) -> Batch {
        let mut batch = Batch::new(frames.len(), MAX_FRAME);
        for frame in frames {
            batch.free_slots().next().unwrap()[..frame.len()].copy_from_slice(frame);
            batch.commit(frame.len());
        }
        batch
    }

    #[test]
    fn a_large_frame_is_cut_into_as_many_batches_as_it_takes_and_nothing_overtakes_it() {
        let (mut port, kernel) = port();
        let (header, frame) = large(TCP, 10_000, 1000);
        let after = packet(UDP, 5).frame();
        give(&kernel, header, &frame);
        give(&kernel, VnetHeader::default(), &after);
        let mut batch = Batch::new(4, MAX_FRAME);
        let mut segments = Vec::new();
        for (count, holds) in [(4, true), (4, true), (3, false), (0, false)] {
            let frames = receive(&mut port, &mut batch);
            assert_eq!((frames.len(), port.holds_frames()), (count, holds));
            segments.extend(frames);
        }
        assert_eq!(segments.pop(), Some(after));
        assert_eq!(segments, model::cut(&frame, 54, 1000));
    }

    #[test]
    fn a_large_frame_that_ends_with_the_batch_leaves_nothing() {
        let (mut port, kernel) = port();
        let (header, frame) = large(UDP, 4000, 1000);
        give(&kernel, header, &frame);
        assert_eq!(receive(&mut port, &mut Batch::new(4, MAX_FRAME)), model::cut(&frame, 42, 1000));
        assert!(!port.holds_frames());
    }

    #[test]
    fn a_large_frame_of_the_longest_and_one_that_is_shorter_than_a_slot_are_cut() {
        let (mut port, kernel) = port();
        for payload in [65_535 - 40, 900] {
            let (header, frame) = large(TCP, payload, 100);
            give(&kernel, header, &frame);
            assert_eq!(receive(&mut port, &mut Batch::new(1000, MAX_FRAME)), model::cut(&frame, 54, 100));
        }
        assert_eq!(port.unusable(), 0);
    }

    #[test]
    fn a_checksum_that_the_kernel_left_to_us_is_completed() {
        let (mut port, kernel) = port();
        let (header, frame) = large(UDP, 1000, 0);
        let mut partial = frame.clone();
        partial[40..42].copy_from_slice(&model::pseudo_sum(&frame, frame.len() - 34).to_be_bytes());
        give(&kernel, VnetHeader { gso_type: VnetHeader::GSO_NONE, ..header }, &partial);
        assert_eq!(receive(&mut port, &mut Batch::new(4, MAX_FRAME)), [frame]);
    }

    #[test]
    fn what_does_not_go_together_is_counted_and_goes_nowhere() {
        let (mut port, kernel) = port();
        let (header, frame) = large(TCP, 3000, 1000);
        kernel.send(&[0; 9]).unwrap();
        give(&kernel, VnetHeader { gso_size: 1461, ..header }, &frame);
        give(&kernel, VnetHeader { gso_type: 4, ..header }, &frame);
        give(&kernel, header, &[frame.clone(), vec![0; 70_000]].concat());
        give(&kernel, VnetHeader { gso_type: 0, csum_start: 4000, ..header }, &packet(TCP, 5).frame());
        give(&kernel, VnetHeader::default(), &packet(TCP, 5).frame());
        assert_eq!(receive(&mut port, &mut Batch::new(8, MAX_FRAME)), [packet(TCP, 5).frame()]);
        assert_eq!(port.unusable(), 5);
        // Too long for the link: the engine is to see that.
        give(&kernel, VnetHeader::default(), &frame);
        assert_eq!(receive(&mut port, &mut Batch::new(8, MAX_FRAME))[0].len(), MAX_FRAME + 1);
    }

    #[test]
    fn no_bytes_of_the_kernels_panic() {
        let (mut port, kernel) = port();
        let (header, frame) = large(TCP, 3000, 1000);
        let good = [&header.to_bytes()[..], &frame].concat();
        let mut batch = Batch::new(3, MAX_FRAME);
        for seed in 0..3000_usize {
            let mut bytes = good[..seed * 37 % (good.len() + 1)].to_vec();
            for step in 0..seed % 4 {
                if let Some(byte) = bytes.get_mut(seed * 13 % 70 + step) {
                    *byte = (seed * 7 + step) as u8;
                }
            }
            kernel.send(&bytes).unwrap();
            while !receive(&mut port, &mut batch).is_empty() {}
        }
    }

    #[test]
    fn what_goes_on_is_one_write_and_what_does_not_is_its_own() {
        let (mut port, kernel) = port();
        let mut all = packet(TCP, 3500).frame();
        all[47] |= PSH;
        let mut frames = model::cut(&all, 54, 1000);
        assert_eq!(frames[3][47], ACK | PSH);
        let mut arp = vec![0xff; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        frames.push(arp.clone());
        let batch = batch_of(&frames);
        assert_eq!(port.send(&batch, |_| true), Ok(5));
        let mut buffer = vec![0; 70_000];
        let mut next = || kernel.recv(&mut buffer).map(|length| buffer[..length].to_vec()).ok();
        assert_eq!(model::kernel(&next().unwrap()), frames[..4]);
        assert_eq!(next().unwrap(), [&[0; 10][..], &arp].concat());
        assert_eq!(next(), None);
    }

    #[test]
    fn a_device_that_takes_no_more_loses_frames_and_one_that_is_gone_is_told() {
        let (mut port, kernel) = port();
        let frames = model::cut(&packet(TCP, 64_000).frame(), 54, 1000);
        let batch = batch_of(&frames);
        let taken: usize = (0..1000).map(|_| port.send(&batch, |_| false).unwrap()).sum();
        assert!(taken > 0 && taken < 64_000 && taken.is_multiple_of(64), "{taken}");
        drop(kernel);
        assert_eq!(port.send(&batch, |errno| errno == Errno::ECONNREFUSED), Err(Errno::ECONNREFUSED));
        assert_eq!(port.send(&batch, |_| false), Ok(0));
    }
}
