//! A guest with a kernel's own stack that costs as little as it can, so that what is measured is the relay.
//!
//! The pump between its TAP device and its frame socket has the kernel leave cutting and joining to it, and moves batches.
//! What a relay carries are single frames, as a VM sends them.

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use softnet::sys::batch::{Batch, FRAMES};
use softnet::sys::datagram::{DatagramIo, Sent};
use softnet::sys::port::Port;
use softnet::sys::tun::{self, Header};
use softnet_testbed::guest::KernelGuest;
use softnet_testbed::wire::Mac;

const MAX_FRAME: usize = 1514;
/// How often it looks whether it is to end, in milliseconds.
const LOOK: u16 = 100;

/// The guest `name` behind `socket`.
pub(crate) fn start(name: &str, mac: Mac, socket: UnixDatagram) -> KernelGuest {
    KernelGuest::behind(name, mac, || {
        let (device, _) = tun::create_tap("eth0", Header::Vnet).expect("a TAP device");
        let left = tun::leave_to_us(&device).expect("the kernel has offload for TAP devices");
        Pump::start(Port::with_offload(device, left), socket)
    })
}

/// Carries frames on a thread of its own until it is dropped.
struct Pump {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    fn start(port: Port, socket: UnixDatagram) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || carry(port, &socket, &stopped));
        Pump { stop, thread: Some(thread) }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(mut port: Port, socket: &UnixDatagram, stop: &AtomicBool) {
    let (mut io, mut batch) = (DatagramIo::new(FRAMES), Batch::new(FRAMES, MAX_FRAME));
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(port.as_fd(), PollFlags::POLLIN), PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let timeout = if port.holds_frames() { PollTimeout::ZERO } else { PollTimeout::from(LOOK) };
        let _ = poll(&mut fds, timeout);
        let [from_kernel, from_relay] = fds.map(|fd| fd.any().unwrap_or(false));
        if from_kernel || port.holds_frames() {
            batch.clear();
            port.receive(&mut batch).expect("the guest's interface is there");
            // A guest waits for a relay that is behind: no frame is lost before it is carried.
            while let Ok(Sent::Taken(taken)) = io.send(socket.as_fd(), &batch)
                && taken < batch.len()
            {
                let mut number = 0;
                batch.retain(|_| {
                    number += 1;
                    number > taken
                });
                let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(LOOK));
            }
        }
        if from_relay {
            batch.clear();
            if io.receive(socket.as_fd(), &mut batch).is_err() {
                return;
            }
            let _ = port.send(&batch, |_| true);
        }
    }
}
