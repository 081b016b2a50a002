//! Making a TAP device (Documentation/networking/tuntap.rst of the kernel), with what it may leave to us.

use std::fs::OpenOptions;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::request_code_write;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The kernel may leave checksums to us (TUN_F_CSUM of linux/if_tun.h), and give us TCP over IPv4 uncut, also where it
/// says that congestion was met (TUN_F_TSO4, TUN_F_TSO_ECN).
const TCP: libc::c_int = 0x01 | 0x02 | 0x08;
/// And UDP: TUN_F_USO4 and TUN_F_USO6, which the kernel takes together or not at all.
const UDP: libc::c_int = 0x20 | 0x40;

nix::ioctl_write_int_bad!(
    /// TUNSETOFFLOAD.
    tunsetoffload,
    request_code_write!(b'T', 208, mem::size_of::<libc::c_uint>())
);

nix::ioctl_readwrite_bad!(
    /// TUNSETIFF: the request is encoded as a write of an `int`, but takes and gives back an `ifreq`.
    tunsetiff,
    request_code_write!(b'T', 202, mem::size_of::<libc::c_int>()),
    libc::ifreq
);

nix::ioctl_write_int_bad!(
    /// TUNSETPERSIST.
    tunsetpersist,
    request_code_write!(b'T', 203, mem::size_of::<libc::c_int>())
);

nix::ioctl_write_ptr_bad!(
    /// SIOCSIFFLAGS.
    siocsifflags,
    libc::SIOCSIFFLAGS,
    libc::ifreq
);

/// What comes before each frame that is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Nothing.
    None,
    /// A `struct virtio_net_hdr` of ten bytes.
    Vnet,
}

/// What the kernel leaves to the reader of a device with a [`Header::Vnet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Checksums, and cutting TCP.
    Tcp,
    /// UDP as well (Linux 6.2, which also takes UDP uncut).
    TcpAndUdp,
}

/// Makes a TAP device that lives as long as the returned descriptor, and says what the kernel named it.
///
/// `pattern` is the name, at most 15 bytes; a `%d` in it is numbered by the kernel. The descriptor does not block and is
/// not inherited; each read and write is one Ethernet frame, with `header` before it.
///
/// # Errors
/// What the kernel said: ENOENT or ENODEV without the `tun` module, EPERM without CAP_NET_ADMIN, EINVAL for a bad name.
pub fn create_tap(pattern: &str, header: Header) -> io::Result<(OwnedFd, String)> {
    if pattern.len() >= libc::IFNAMSIZ || pattern.contains('\0') {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;

    let mut request = request_about(pattern);
    let vnet = match header {
        Header::None => 0,
        Header::Vnet => libc::IFF_VNET_HDR,
    };
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | vnet) as libc::c_short;

    // SAFETY: the descriptor is open and `request` is a valid `ifreq` that lives through the call.
    unsafe { tunsetiff(device.as_raw_fd(), &raw mut request) }?;

    let name = request.ifr_name.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    let name = String::from_utf8(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((device.into(), name))
}

/// A request about the link of that name (netdevice(7)).
fn request_about(name: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is plain old data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request
}

/// Lets a device outlive its descriptor, as long as its network namespace does, and any program there open it, one at a time.
///
/// # Errors
/// What the kernel said.
pub fn outlive(device: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call takes a number.
    unsafe { tunsetpersist(device.as_raw_fd(), 1) }?;
    Ok(())
}

/// Makes the link `name` go up, without ARP, broadcast groups or anything else of its own.
///
/// # Errors
/// What the kernel said.
pub fn set_up_silently(name: &str) -> io::Result<()> {
    let any = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = request_about(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_NOARP) as libc::c_short;
    // SAFETY: the descriptor is open and `request` is a valid `ifreq` that lives through the call.
    unsafe { siocsifflags(any.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// Has the kernel leave to us as much as it can of a device that was made with [`Header::Vnet`].
///
/// # Errors
/// What the kernel said to the least that can be asked for: EINVAL where it does not know it.
pub fn leave_to_us(device: &OwnedFd) -> io::Result<Left> {
    let ask = |what| {
        // SAFETY: the descriptor is open, and the call takes a number.
        unsafe { tunsetoffload(device.as_raw_fd(), what) }
    };
    match ask(TCP | UDP) {
        Ok(_) => Ok(Left::TcpAndUdp),
        Err(Errno::EINVAL) => Ok(ask(TCP).map(|_| Left::Tcp)?),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes that back.
///
/// # Errors
/// What the kernel said.
pub fn leave_nothing(device: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call takes a number.
    unsafe { tunsetoffload(device.as_raw_fd(), 0) }?;
    Ok(())
}
