//! Linux: a TAP device and a packet socket.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;

nix::ioctl_write_int!(
    /// Makes the opened /dev/net/tun the device that an `ifreq` describes.
    tunsetiff,
    b'T',
    202
);

/// Has every datagram that comes to `socket`, by whatever descriptor, signal the process `to` with SIGIO.
///
/// # Panics
/// When the kernel refuses.
pub fn signal_input(socket: &UnixDatagram, to: u32) {
    // SAFETY: system calls without pointers, on a descriptor that is open.
    let results = unsafe {
        [
            libc::fcntl(socket.as_raw_fd(), libc::F_SETOWN, to.cast_signed()),
            libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC),
        ]
    };
    assert_eq!(results, [0, 0], "input is signalled: {}", io::Error::last_os_error());
}

/// Creates the TAP device `name` in the calling thread's network namespace; it is gone when the file is closed.
///
/// # Panics
/// When the kernel refuses.
#[must_use]
pub fn tap(name: &str) -> File {
    tap_with(name, 0)
}

/// The same with a `struct virtio_net_hdr` of ten bytes before each frame, as VMMs want it. The device may be there already.
///
/// # Panics
/// When the kernel refuses.
#[must_use]
pub fn tap_with_header(name: &str) -> File {
    tap_with(name, libc::IFF_VNET_HDR)
}

fn tap_with(name: &str, flags: libc::c_int) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .expect("/dev/net/tun is there and may be opened");
    // SAFETY: ifreq is plain data, for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    assert!(name.len() < request.ifr_name.len(), "the interface name {name} is too long");
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | flags) as libc::c_short;
    // SAFETY: the kernel reads one ifreq from the pointer, which outlives the call.
    unsafe { tunsetiff(file.as_raw_fd(), (&raw const request) as u64) }.expect("a TAP device is created");
    file
}

/// A socket that sees every frame of interface `index`, those that the host only passes on included.
///
/// # Panics
/// When the kernel refuses.
#[must_use]
pub fn packet_socket(index: u32) -> OwnedFd {
    let every_type = (libc::ETH_P_ALL as u16).to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a system call without pointers; the descriptor is checked before it is owned.
    let raw = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(every_type)) };
    assert!(raw >= 0, "a packet socket is made: {}", io::Error::last_os_error());
    // SAFETY: a fresh descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: plain data, for which all zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = every_type;
    address.sll_ifindex = index.cast_signed();
    let length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: pointer and length describe `address`, which outlives the call.
    let bound = unsafe { libc::bind(raw, (&raw const address).cast(), length) };
    assert_eq!(bound, 0, "a packet socket is bound: {}", io::Error::last_os_error());
    // SAFETY: plain data, for which all zeroes are valid.
    let mut member: libc::packet_mreq = unsafe { mem::zeroed() };
    member.mr_ifindex = index.cast_signed();
    member.mr_type = libc::PACKET_MR_PROMISC as u16;
    let length = mem::size_of_val(&member) as libc::socklen_t;
    let option = libc::PACKET_ADD_MEMBERSHIP;
    // SAFETY: pointer and length describe `member`, which outlives the call.
    let joined = unsafe { libc::setsockopt(raw, libc::SOL_PACKET, option, (&raw const member).cast(), length) };
    assert_eq!(joined, 0, "a packet socket sees all frames: {}", io::Error::last_os_error());
    socket
}
