//! Making a TAP device (Documentation/networking/tuntap.rst of the kernel).

use std::fs::OpenOptions;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::request_code_write;

nix::ioctl_readwrite_bad!(
    /// TUNSETIFF: the request is encoded as a write of an `int`, but takes and gives back an `ifreq`.
    tunsetiff,
    request_code_write!(b'T', 202, mem::size_of::<libc::c_int>()),
    libc::ifreq
);

/// Makes a TAP device that lives as long as the returned descriptor, and says what the kernel named it.
///
/// `pattern` is the name, at most 15 bytes; a `%d` in it is numbered by the kernel. The descriptor does not block and is
/// not inherited; each read and write is one Ethernet frame without any header before it.
///
/// # Errors
/// What the kernel said: ENOENT or ENODEV without the `tun` module, EPERM without CAP_NET_ADMIN, EINVAL for a bad name.
pub fn create_tap(pattern: &str) -> io::Result<(OwnedFd, String)> {
    if pattern.len() >= libc::IFNAMSIZ || pattern.contains('\0') {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;

    // SAFETY: `ifreq` is plain old data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(pattern.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;

    // SAFETY: the descriptor is open and `request` is a valid `ifreq` that lives through the call.
    unsafe { tunsetiff(device.as_raw_fd(), &raw mut request) }?;

    let name = request.ifr_name.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    let name = String::from_utf8(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((device.into(), name))
}
