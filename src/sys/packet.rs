//! The kernel's end of a link, frame by frame: packet sockets (packet(7)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;

/// SOL_PACKET's options that libc does not name on each system (linux/if_packet.h).
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// A classic program for the kernel: what had a VLAN tag is nothing (the kernel takes the tag off, and shows what is left as if there
/// had been none); all else is taken whole.
const UNTAGGED: [libc::sock_filter; 4] = [
    statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, ANCILLARY + VLAN_TAG_PRESENT),
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k: 0 },
    statement(libc::BPF_RET | libc::BPF_K, u32::MAX),
    statement(libc::BPF_RET | libc::BPF_K, 0),
];
/// SKF_AD_OFF and SKF_AD_VLAN_TAG_PRESENT (linux/filter.h).
const ANCILLARY: u32 = 0xffff_f000;
const VLAN_TAG_PRESENT: u32 = 48;

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// A socket that receives each frame that comes in over the link `name`, untagged, with a `struct virtio_net_hdr` of ten bytes
/// before it. Its queue takes `buffer` bytes, or as many as the system lets anyone have.
///
/// # Errors
/// What the kernel said: EPERM without CAP_NET_RAW.
pub fn receiver(name: &str, buffer: libc::c_int) -> io::Result<OwnedFd> {
    let socket = open()?;
    set(&socket, libc::SOL_PACKET, PACKET_VNET_HDR, &1)?;
    set(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &buffer)?;
    let program = libc::sock_fprog { len: UNTAGGED.len() as u16, filter: UNTAGGED.as_ptr().cast_mut() };
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    bind(&socket, name, libc::ETH_P_ALL)?;
    Ok(socket)
}

/// A socket that sends frames over the link `name`, with such a header before each, and receives none. It never waits: what
/// the link does not take is lost. Not past the link's queueing discipline (PACKET_QDISC_BYPASS): there the kernel
/// drops a run that it has to cut itself.
///
/// # Errors
/// As [`receiver`].
pub fn sender(name: &str) -> io::Result<OwnedFd> {
    let socket = open()?;
    set(&socket, libc::SOL_PACKET, PACKET_VNET_HDR, &1)?;
    bind(&socket, name, 0)?;
    Ok(socket)
}

/// A packet socket that receives nothing yet: without a protocol it hears of no link.
fn open() -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is plain old data that lives through the call, and so does what the program points at.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(socket: &OwnedFd, name: &str, protocol: libc::c_int) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (protocol as u16).to_be();
    address.sll_ifindex = if_nametoindex(name)?.cast_signed();
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a valid sockaddr_ll that lives through the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
