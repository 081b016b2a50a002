//! Landlock: all that it knows to restrict is refused, but for the few [`Leave`]s that a companion has (landlock(7)).
//!
//! Three system calls and as many structures.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

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

/// What is left to a process, as an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// TCP connections to this port, wherever (ABI 4).
    ConnectTcp(u16),
    /// To make, write, replace and remove files in this directory.
    WriteIn(RawFd),
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct NetPort {
    allowed_access: u64,
    port: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

impl Leave {
    const CONNECT_TCP: u64 = 1 << 1;
    /// `_WRITE_FILE`, `_REMOVE_FILE`, `_MAKE_REG`, `_TRUNCATE`.
    const WRITE: u64 = 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14;

    /// Adds it to the rules, as far as they handle it at all: what they do not handle, nothing refuses.
    fn add_to(self, rules: &OwnedFd, ruleset: &Ruleset) -> io::Result<()> {
        const PATH_BENEATH: libc::c_int = 1;
        const NET_PORT: libc::c_int = 2;
        let add = |kind: libc::c_int, rule: *const libc::c_void| {
            // SAFETY: the pointer is to the structure that this kind of rule has, alive through the call.
            match unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), kind, rule, 0) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        match self {
            Leave::ConnectTcp(port) => {
                let allowed_access = Self::CONNECT_TCP & ruleset.handled_access_net;
                let rule = NetPort { allowed_access, port: port.into() };
                if allowed_access == 0 { Ok(()) } else { add(NET_PORT, (&raw const rule).cast()) }
            }
            Leave::WriteIn(parent_fd) => {
                let allowed_access = Self::WRITE & ruleset.handled_access_fs;
                let rule = PathBeneath { allowed_access, parent_fd };
                add(PATH_BENEATH, (&raw const rule).cast())
            }
        }
    }
}

/// Refuses this thread everything but what is left, for good. `no_new_privs` is set already.
pub(super) fn restrict(left: &[Leave]) -> io::Result<Abi> {
    let none = std::ptr::null::<Ruleset>();
    // SAFETY: asked for the version alone, the kernel takes no structure.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, CREATE_RULESET_VERSION) };
    let abi = Abi(u32::try_from(version).map_err(|_| io::Error::last_os_error())?);

    let ruleset = Ruleset::everything(abi);
    // SAFETY: the pointer is to a structure of the size that is given, alive through the call.
    let raw = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor (close-on-exec by itself) for us.
    let rules = unsafe { OwnedFd::from_raw_fd(i32::try_from(raw).map_err(io::Error::other)?) };
    for leave in left {
        leave.add_to(&rules, &ruleset)?;
    }
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
