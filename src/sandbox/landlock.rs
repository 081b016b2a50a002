//! Landlock without a rule: all that it knows to restrict is refused (landlock(7)).
//!
//! Three system calls and one structure; the crate of that name is for rules, of which there are none here.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const CREATE_RULESET_VERSION: libc::c_uint = 1;

/// `struct landlock_ruleset_attr` of linux/landlock.h; older kernels take it shorter, and longer if the rest is zero.
#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// How much Landlock a kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abi(u32);

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ABI {}", self.0)
    }
}

impl Ruleset {
    /// All that a kernel with this ABI can refuse.
    const fn everything(Abi(abi): Abi) -> Self {
        let rights_of_files = match abi {
            0 | 1 => 13, // to LANDLOCK_ACCESS_FS_MAKE_SYM
            2 => 14,     // _REFER
            3 | 4 => 15, // _TRUNCATE
            5..=8 => 16, // _IOCTL_DEV
            9.. => 17,   // _RESOLVE_UNIX
        };
        let rights_of_net = if abi >= 4 { 2 } else { 0 }; // BIND_TCP, CONNECT_TCP
        let scopes = if abi >= 6 { 2 } else { 0 }; // ABSTRACT_UNIX_SOCKET, SIGNAL
        Ruleset {
            handled_access_fs: (1 << rights_of_files) - 1,
            handled_access_net: (1 << rights_of_net) - 1,
            scoped: (1 << scopes) - 1,
        }
    }
}

/// What this kernel has.
pub(super) fn version() -> io::Result<Abi> {
    let none = std::ptr::null::<Ruleset>();
    // SAFETY: asked for the version alone, the kernel takes no structure.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, CREATE_RULESET_VERSION) };
    u32::try_from(version).map(Abi).map_err(|_| io::Error::last_os_error())
}

/// Refuses this thread everything, for good. `no_new_privs` is set already.
pub(super) fn restrict() -> io::Result<Abi> {
    let abi = version()?;
    let ruleset = Ruleset::everything(abi);
    // SAFETY: the pointer is to a structure of the size that is given, alive through the call.
    let raw = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor (close-on-exec by itself) for us.
    let rules = unsafe { OwnedFd::from_raw_fd(i32::try_from(raw).map_err(io::Error::other)?) };
    // SAFETY: the call takes numbers only.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) } {
        0 => Ok(abi),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_abi_is_asked_for_what_it_has() {
        let bits = |abi| {
            let Ruleset { handled_access_fs, handled_access_net, scoped } = Ruleset::everything(Abi(abi));
            [handled_access_fs, handled_access_net, scoped]
        };
        // The numbers of linux/landlock.h, as each release of the kernel had them.
        assert_eq!(bits(1), [0x1fff, 0, 0]);
        assert_eq!(bits(2), [0x3fff, 0, 0]);
        assert_eq!(bits(3), [0x7fff, 0, 0]);
        assert_eq!(bits(4), [0x7fff, 3, 0]);
        assert_eq!(bits(5), [0xffff, 3, 0]);
        assert_eq!(bits(6), [0xffff, 3, 3]);
        assert_eq!(bits(9), [0x1_ffff, 3, 3]);
        assert_eq!(bits(99), bits(9), "what a later kernel knows, this code does not");
    }
}
