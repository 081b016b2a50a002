//! What the harness asks of the kernel, and its only `unsafe`: a socket pair as Tart makes it, frames on it; on Linux a TAP
//! device and a packet socket; on macOS a program started as another user.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
pub use linux::{packet_socket, signal_input, tap, tap_with_header};
#[cfg(target_os = "macos")]
pub use macos::become_user;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

/// How long a full socket is waited for, where a virtual machine would wait as well.
const FULL: Duration = Duration::from_millis(5);

/// The guest's end and softnet's end of a frame socket, with the buffers that Tart gives them.
///
/// # Panics
/// When the kernel refuses.
#[must_use]
pub fn frame_sockets() -> (UnixDatagram, UnixDatagram) {
    let (guest, softnet) = UnixDatagram::pair().expect("a socket pair is made");
    for end in [&guest, &softnet] {
        setsockopt(end, sockopt::RcvBuf, &(4 << 20)).expect("the receive buffer is set");
        setsockopt(end, sockopt::SndBuf, &(1 << 20)).expect("the send buffer is set");
    }
    (guest, softnet)
}

/// Sends `frame`. That the other end is behind, which macOS calls a lack of buffers, is `WouldBlock` on every system.
///
/// # Errors
/// Those of the socket: `ConnectionRefused` when the other end is gone, on macOS also `ConnectionReset`.
pub fn send_frame(socket: &UnixDatagram, frame: &[u8]) -> io::Result<()> {
    match socket.send(frame) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error),
    }
}

/// [`send_frame`], for a sender that waits a moment while the other end is behind. What is not sent then is lost.
pub fn send_frame_patiently(socket: &UnixDatagram, frame: &[u8]) {
    let start = Instant::now();
    while send_frame(socket, frame).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        && start.elapsed() < FULL
    {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// This host's interfaces that are up, each with an IPv4 address of its; those of `lo` left out.
#[must_use]
pub fn addresses() -> Vec<(String, Ipv4Addr)> {
    let useful =
        |flags: InterfaceFlags| flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK);
    let interfaces = getifaddrs().into_iter().flatten().filter(|interface| useful(interface.flags));
    interfaces.filter_map(|found| Some((found.interface_name, found.address?.as_sockaddr_in()?.ip()))).collect()
}

/// Waits until one of `files` is readable or `limit` is over.
pub fn wait_readable(files: &[&dyn AsFd], limit: Duration) {
    let mut polled: Vec<_> = files.iter().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN)).collect();
    // Rounded up, or the last millisecond would be spent turning.
    let timeout = PollTimeout::try_from(limit + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
    // An interruption is like a readable file: the caller looks and comes back.
    let _ = poll(&mut polled, timeout);
}
