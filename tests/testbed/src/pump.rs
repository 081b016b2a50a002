//! A wire between a TAP device and a guest's socket: every frame, both ways, unfiltered.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sys;

/// Carries frames on a thread of its own until it is dropped, which also removes the TAP device.
#[derive(Debug)]
pub struct Pump {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Joins `tap` and `socket`.
    ///
    /// # Panics
    /// When the socket cannot be made non-blocking.
    #[must_use]
    pub fn start(tap: File, socket: UnixDatagram) -> Self {
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || carry(tap, &socket, &stopped));
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

fn carry(mut tap: File, socket: &UnixDatagram, stop: &AtomicBool) {
    let mut buffer = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        // A full queue loses frames, as a wire does; a lost peer leaves the other side talking to nobody.
        let mut idle = true;
        if let Ok(length) = tap.read(&mut buffer) {
            idle = false;
            // softnet is woken by the same processor, and a real VM would wait for it as well.
            sys::send_frame_patiently(socket, &buffer[..length]);
        }
        if let Ok(length) = socket.recv(&mut buffer) {
            idle = false;
            let _ = tap.write(&buffer[..length]);
        }
        if idle {
            sys::wait_readable(&[&tap, socket], Duration::from_millis(100));
        }
    }
}
