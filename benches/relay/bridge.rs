//! What softnet is measured against: a bridge without a filter, one frame a system call.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use softnet_testbed::sys;

/// The argument that makes this bench's executable a bridge.
pub(crate) const ARGUMENT: &str = "--filterless-bridge";

/// Carries frames between standard input and a TAP device, `port`, until it is killed.
pub(crate) fn run(port: &str) {
    // SAFETY: standard input is the frame socket, and nothing else here uses it.
    let socket = UnixDatagram::from(unsafe { OwnedFd::from_raw_fd(0) });
    socket.set_nonblocking(true).expect("a socket can be non-blocking");
    let mut tap: File = sys::tap(port);
    eprintln!("ready");
    let mut buffer = [0; 2048];
    loop {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).expect("frames can be waited for");
        let [from_guest, from_host] = fds.map(|fd| fd.any().unwrap_or(false));
        if from_guest {
            while let Ok(length) = socket.recv(&mut buffer) {
                let _ = tap.write(&buffer[..length]);
            }
        }
        if from_host {
            while let Ok(length) = tap.read(&mut buffer) {
                let _ = socket.send(&buffer[..length]);
            }
        }
    }
}
