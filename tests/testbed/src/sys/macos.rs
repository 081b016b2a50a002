//! macOS: a program started as another user. There is no setpriv(1), and the standard library's way leaves group 0 behind: to
//! this kernel an empty list of groups means that one.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has root start `command` as the user `uid` in the group `gid` and no other.
pub fn become_user(command: &mut Command, uid: libc::uid_t, gid: libc::gid_t) {
    let drop = move || {
        let groups = [gid];
        // SAFETY: system calls that are safe between fork and exec; the pointer is to one group, as the count says.
        let dropped =
            unsafe { libc::setgroups(1, groups.as_ptr()) == 0 && libc::setgid(gid) == 0 && libc::setuid(uid) == 0 };
        if dropped { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(drop) };
}
