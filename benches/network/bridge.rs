//! What softnet is measured against: a bridge without a filter, one frame a system call, both sides read until they are empty.

use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use softnet_testbed::sys;

/// The argument that makes this bench's executable a bridge.
pub(crate) const ARGUMENT: &str = "--bridge";
/// Its port.
pub(crate) const PORT: &str = "filterless";

const FOREVER: Duration = Duration::from_secs(3600);

/// Carries frames between standard input and a TAP device until it is killed.
pub(crate) fn run() {
    // SAFETY: standard input is the frame socket, and nothing else here uses it.
    let socket = UnixDatagram::from(unsafe { OwnedFd::from_raw_fd(0) });
    socket.set_nonblocking(true).expect("a socket can be non-blocking");
    let mut tap = sys::tap(PORT);
    eprintln!("ready");
    let mut buffer = [0; 2048];
    loop {
        sys::wait_readable(&[&socket, &tap], FOREVER);
        while let Ok(length) = socket.recv(&mut buffer) {
            let _ = tap.write(&buffer[..length]);
        }
        while let Ok(length) = tap.read(&mut buffer) {
            let _ = socket.send(&buffer[..length]);
        }
    }
}
