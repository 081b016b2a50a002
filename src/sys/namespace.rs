//! Namespaces of one's own (namespaces(7), user_namespaces(7)): a network that has nothing in it, made without any right.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::unistd::{getegid, geteuid};

/// What it takes to have a network of one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A network namespace: root may make one.
    Network,
    /// A user namespace that it belongs to as well: what anybody else needs.
    NetworkAndUser,
}

impl Kind {
    /// That of this process's user.
    #[must_use]
    pub fn of_this_user() -> Self {
        if geteuid().is_root() { Kind::Network } else { Kind::NetworkAndUser }
    }

    fn flags(self) -> libc::c_int {
        match self {
            Kind::Network => libc::CLONE_NEWNET,
            Kind::NetworkAndUser => libc::CLONE_NEWNET | libc::CLONE_NEWUSER,
        }
    }
}

/// Puts this process, which has one thread, into a network of its own. In the user namespace, its user and its group are who they were,
/// everybody else is nobody, and it has each capability over what belongs to that namespace.
///
/// # Errors
/// What the kernel said: EPERM or ENOSPC where it lets nobody have one.
pub fn enter_own(kind: Kind) -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    // A process that was setuid is root's in /proc until it says otherwise: its own maps would not be its to write.
    prctl::set_dumpable(true)?;
    // SAFETY: the call takes a number.
    if unsafe { libc::unshare(kind.flags()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if kind == Kind::NetworkAndUser {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    Ok(())
}

/// Has the program of `command` start in the namespaces of `kind` that `process` has.
pub fn start_in(command: &mut Command, kind: Kind, process: OwnedFd) {
    let enter = move || {
        // SAFETY: the call takes numbers. The child has one thread.
        let result = unsafe { libc::setns(process.as_raw_fd(), kind.flags()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec `enter` makes one system call; it neither allocates nor locks.
    unsafe { command.pre_exec(enter) };
}

/// No IPv6 on the link `name` of this process's network: no address, no solicitation. A kernel without IPv6 has nothing to turn off.
///
/// # Errors
/// Those of writing under /proc/sys.
pub fn disable_ipv6(name: &str) -> io::Result<()> {
    match fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
