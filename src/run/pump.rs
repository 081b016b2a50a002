//! The pump of `--tap`: frames between the TAP device, whose other end the VM's program has, and the guest's socket.
//!
//! # Theory of operation
//! The program writes what its guest sends to the device, and reads from it what its guest is to get. The pump is the kernel's side of
//! that device: two packet sockets (`sys::packet`), one for each direction. What it moves is what any program would move that
//! takes the socket itself: one frame a datagram. So softnet judges the same frames as ever, and what is here decides nothing.
//!
//! **From the program** a frame has a header before it, and may be a large one whose cutting, or whose checksum, was left to the
//! device: programs offer that to their guests. [`crate::segments`] makes single frames with right checksums of it, as it does for the
//! host's device. What the header and the frame do not agree on is dropped.
//! **To the program** goes what continues one another in one write, as it does to the host's device: a program that offers its guest
//! large frames reads one where it would read forty, and for any other the kernel cuts it again.
//!
//! What a socket does not take is lost, as on a wire, with one exception: the guest's socket has room for a large frame or two, and
//! the other end reads all the time, so for that the pump waits a moment.
//!
//! Must not: decide what passes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::segments::VnetHeader;
use crate::segments::cut::{self, Cut};
use crate::sys::batch::{Batch, FRAMES};
use crate::sys::datagram::{DatagramIo, Sent};
use crate::sys::port::Port;

/// Ethernet's longest frame, without a checksum. A longer one is one byte longer when it gets to softnet, which drops and counts it.
const MAX_FRAME: usize = 14 + 1500;
/// What the kernel gives at most: the header, and a large frame.
const MAX_LARGE: usize = VnetHeader::LEN + 14 + 65_535;
/// Large frames a batch. Memory that none was in is not there.
const LARGE: usize = 32;
/// How long the guest's socket may be full, in milliseconds.
const MOMENT: u16 = 20;

/// The sockets and what moves between them.
pub(super) struct Pump {
    /// What the program writes.
    from_program: OwnedFd,
    /// What it reads.
    to_program: Port,
    /// The guest's socket.
    wire: OwnedFd,
    io: DatagramIo,
    large: Batch,
    frames: Batch,
}

/// Why it ends.
#[derive(Debug)]
pub(super) enum End {
    /// softnet has closed its end of the guest's socket.
    Wire,
    /// A socket is of no more use.
    Broken(io::Error),
}

impl Pump {
    /// With all its memory.
    pub(super) fn new(from_program: OwnedFd, to_program: Port, wire: OwnedFd) -> Self {
        let io = DatagramIo::new(FRAMES);
        let (large, frames) = (Batch::new(LARGE, MAX_LARGE), Batch::new(FRAMES, MAX_FRAME));
        Pump { from_program, to_program, wire, io, large, frames }
    }

    /// Moves frames until one of the three is of no more use.
    pub(super) fn run(mut self) -> End {
        loop {
            let mut polled = [&self.from_program, &self.wire].map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return End::Broken(errno.into()),
            }
            let [program, wire] = polled.map(|polled| polled.any().unwrap_or(true));
            if program && let Err(end) = self.pass_from_program() {
                return end;
            }
            if wire && let Err(end) = self.pass_to_program() {
                return end;
            }
        }
    }

    /// A batch of what the program has written.
    fn pass_from_program(&mut self) -> Result<(), End> {
        self.large.clear();
        self.frames.clear();
        if let Err(error) = self.io.receive(self.from_program.as_fd(), &mut self.large)
            && error.raw_os_error().is_some_and(|number| is_the_end(Errno::from_raw(number)))
        {
            return Err(End::Broken(error));
        }
        for bytes in self.large.frames() {
            let Some((header, frame)) = bytes.split_first_chunk() else { continue };
            let header = VnetHeader::from_bytes(*header);
            if header.gso_type == VnetHeader::GSO_NONE {
                make_room(&mut self.io, self.wire.as_fd(), &mut self.frames)?;
                put(&mut self.frames, header, frame);
                continue;
            }
            let fits = bytes.len() <= MAX_LARGE;
            let Some(mut cut) = fits.then(|| Cut::new(header, frame, MAX_FRAME)).flatten() else { continue };
            while !cut.is_over() {
                make_room(&mut self.io, self.wire.as_fd(), &mut self.frames)?;
                let Some(slot) = self.frames.free_slots().next() else { break };
                let Some(length) = cut.next(frame, slot) else { break };
                self.frames.commit(length);
            }
        }
        send(&mut self.io, self.wire.as_fd(), &mut self.frames)
    }

    /// A batch of what is for the program.
    fn pass_to_program(&mut self) -> Result<(), End> {
        self.frames.clear();
        self.io.receive(self.wire.as_fd(), &mut self.frames).map_err(End::Broken)?;
        self.frames.retain(|frame| frame.len() <= MAX_FRAME);
        self.to_program.send(&self.frames, is_the_end).map(|_| ()).map_err(|errno| End::Broken(errno.into()))
    }
}

/// A frame that is one frame, its checksum completed if that was left to the device.
fn put(frames: &mut Batch, header: VnetHeader, frame: &[u8]) {
    let Some(slot) = frames.free_slots().next() else { return };
    let length = frame.len().min(slot.len());
    let (from, to) = (&frame[..length], &mut slot[..length]);
    to.copy_from_slice(from);
    // One that is too long stays so: softnet is to see that.
    if length < frame.len() || cut::complete(header, to) {
        frames.commit(length);
    }
}

/// Sends what is there if there is no room for one more.
fn make_room(io: &mut DatagramIo, wire: BorrowedFd<'_>, frames: &mut Batch) -> Result<(), End> {
    if frames.room() == 0 { send(io, wire, frames) } else { Ok(()) }
}

/// Sends all that is there to the guest's socket, and forgets it.
fn send(io: &mut DatagramIo, wire: BorrowedFd<'_>, frames: &mut Batch) -> Result<(), End> {
    while !frames.is_empty() {
        let taken = match io.send(wire, frames).map_err(End::Broken)? {
            Sent::PeerGone => return Err(End::Wire),
            Sent::Taken(taken) => taken,
        };
        let mut number = 0;
        frames.retain(|_| {
            number += 1;
            number > taken
        });
        if frames.is_empty() || !has_room_in_a_moment(wire)? {
            break;
        }
    }
    frames.clear();
    Ok(())
}

fn has_room_in_a_moment(wire: BorrowedFd<'_>) -> Result<bool, End> {
    match poll(&mut [PollFd::new(wire, PollFlags::POLLOUT)], MOMENT) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(End::Broken(errno.into())),
    }
}

/// An error of a packet socket's is about one frame, unless the link is down or gone.
fn is_the_end(errno: Errno) -> bool {
    matches!(errno, Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV | Errno::EBADF)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sys::offspring::frame_sockets;
    use crate::sys::port::model::{self, Packet, TCP, UDP};
    use crate::sys::tun::Left;

    /// A pump, the program's ends of its packet sockets (a datagram is what those give and take), and softnet's end of the wire.
    fn pump() -> (Pump, UnixDatagram, UnixDatagram, UnixDatagram) {
        let [(from, writes), (to, reads), (wire, softnet)] = std::array::from_fn(|_| frame_sockets().unwrap());
        for socket in [&writes, &reads, &softnet, &to] {
            socket.set_nonblocking(true).unwrap();
        }
        let to = Port::with_offload(to.into(), Left::TcpAndUdp);
        (Pump::new(from.into(), to, wire.into()), writes, reads, softnet)
    }

    fn all(socket: &UnixDatagram) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 70_000];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())).collect()
    }

    fn packet(protocol: u8, payload: usize) -> Vec<u8> {
        Packet { payload: (0..payload).map(|at| at as u8).collect(), ..Packet::new(protocol, (443, 40_000)) }.frame()
    }

    /// `frame` as a program writes it whose guest leaves the cutting to the device.
    fn large(frame: &[u8], gso_size: u16) -> Vec<u8> {
        let csum_offset = model::checksum_place(frame) as u16 - 34;
        let gso_type = if frame[23] == TCP { VnetHeader::GSO_TCPV4 } else { VnetHeader::GSO_UDP_L4 };
        let flags = VnetHeader::NEEDS_CSUM;
        let header = VnetHeader { flags, gso_type, hdr_len: 54, gso_size, csum_start: 34, csum_offset };
        [&header.to_bytes()[..], frame].concat()
    }

    #[test]
    fn what_a_program_writes_arrives_as_single_frames_in_order() {
        let (mut pump, writes, _, softnet) = pump();
        let (small, run) = (packet(UDP, 100), packet(TCP, 60_000));
        let mut expected = Vec::new();
        for _ in 0..3 {
            writes.send(&[&[0; 10], &small[..]].concat()).unwrap();
            writes.send(&large(&run, 1000)).unwrap();
            expected.push(small.clone());
            expected.extend(model::cut(&run, 54, 1000));
        }
        // More than the socket takes at once.
        let reader = std::thread::spawn(move || {
            let (mut frames, start) = (Vec::new(), Instant::now());
            while frames.len() < 183 && start.elapsed() < Duration::from_secs(10) {
                frames.extend(all(&softnet));
            }
            (frames, softnet)
        });
        pump.pass_from_program().unwrap();
        let (frames, softnet) = reader.join().unwrap();
        assert!(frames == expected, "{} frames of {}", frames.len(), expected.len());
        drop(softnet);
        writes.send(&[&[0; 10], &small[..]].concat()).unwrap();
        assert!(matches!(pump.pass_from_program(), Err(End::Wire)));
    }

    #[test]
    fn no_bytes_panic_and_what_makes_no_sense_is_nothing() {
        let (mut pump, writes, _, softnet) = pump();
        let good = large(&packet(TCP, 3000), 1000);
        for seed in 0..3000_usize {
            let mut bytes = good[..seed * 37 % (good.len() + 1)].to_vec();
            for step in 0..seed % 4 {
                if let Some(byte) = bytes.get_mut(seed * 13 % 70 + step) {
                    *byte = (seed * 7 + step) as u8;
                }
            }
            writes.send(&bytes).unwrap();
            pump.pass_from_program().unwrap();
            assert!(all(&softnet).iter().all(|frame| frame.len() <= MAX_FRAME + 1));
        }
        // One that is too long for the link is for softnet to see, and a program's large frame that is none is lost.
        writes.send(&[&[0; 10], &packet(UDP, 3000)[..]].concat()).unwrap();
        writes.send(&large(&packet(TCP, 3000), 1461)).unwrap();
        pump.pass_from_program().unwrap();
        assert_eq!(all(&softnet).iter().map(Vec::len).collect::<Vec<_>>(), [MAX_FRAME + 1]);
    }

    #[test]
    fn a_wire_that_nobody_reads_loses_frames_and_holds_up_for_a_moment_only() {
        let (mut pump, writes, _, softnet) = pump();
        let frame = [&[0; 10], &packet(UDP, 1400)[..]].concat();
        let start = Instant::now();
        for _ in 0..40 {
            for _ in 0..LARGE {
                let _ = writes.send(&frame);
            }
            pump.pass_from_program().unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        let waited = all(&softnet).len();
        assert!(waited > 0 && waited < 40 * LARGE, "{waited}");
    }

    #[test]
    fn what_continues_one_another_goes_to_the_program_in_one_and_what_is_too_long_does_not() {
        let (mut pump, _, reads, softnet) = pump();
        let (run, alone) = (packet(TCP, 3500), packet(UDP, 60));
        let frames = model::cut(&run, 54, 1000);
        for frame in frames.iter().chain([&alone, &packet(UDP, 1473)]) {
            softnet.send(frame).unwrap();
        }
        pump.pass_to_program().unwrap();
        let written = all(&reads);
        assert_eq!(written.len(), 2);
        assert_eq!(model::kernel(&written[0]), frames);
        assert_eq!(written[1], [&[0; 10], &alone[..]].concat());
    }
}
