//! A wire between a TAP device and a guest's socket: every frame, both ways, unfiltered.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sys;

/// What happens to frames on the way, either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Nothing.
    Clean,
    /// One in so many is lost, and as often one is overtaken by the next.
    Rough(u32),
}

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
        Self::along(Path::Clean, tap, socket)
    }

    /// [`Pump::start`] along a path on which things happen.
    ///
    /// # Panics
    /// When the socket cannot be made non-blocking.
    #[must_use]
    pub fn along(path: Path, tap: File, socket: UnixDatagram) -> Self {
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || carry(path, tap, &socket, &stopped));
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

/// One way of a path.
struct Lane {
    path: Path,
    count: u32,
    held: Option<Vec<u8>>,
}

impl Lane {
    fn of(path: Path) -> Self {
        Lane { path, count: 0, held: None }
    }

    /// What goes on when `frame` comes: it, nothing, or it and then one that was held back.
    fn pass(&mut self, frame: &[u8], mut go: impl FnMut(&[u8])) {
        self.count += 1;
        if let Path::Rough(every) = self.path {
            match self.count % every {
                0 => return,
                half if half == every / 2 => {
                    self.held = Some(frame.to_vec());
                    return;
                }
                _ => {}
            }
        }
        go(frame);
        if let Some(held) = self.held.take() {
            go(&held);
        }
    }
}

fn carry(path: Path, mut tap: File, socket: &UnixDatagram, stop: &AtomicBool) {
    let mut buffer = vec![0; 65536];
    let (mut to_softnet, mut to_guest) = (Lane::of(path), Lane::of(path));
    while !stop.load(Ordering::Relaxed) {
        // A full queue loses frames, as a wire does; a lost peer leaves the other side talking to nobody.
        let mut idle = true;
        if let Ok(length) = tap.read(&mut buffer) {
            idle = false;
            // softnet is woken by the same processor, and a real VM would wait for it as well.
            to_softnet.pass(&buffer[..length], |frame| sys::send_frame_patiently(socket, frame));
        }
        if let Ok(length) = socket.recv(&mut buffer) {
            idle = false;
            to_guest.pass(&buffer[..length], |frame| {
                let _ = tap.write(frame);
            });
        }
        if idle {
            sys::wait_readable(&[&tap, socket], Duration::from_millis(100));
        }
    }
}
