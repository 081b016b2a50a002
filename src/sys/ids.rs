//! The ids of this process, read from the kernel, and the ways to change them: what each system calls them.

use nix::unistd::{Gid, Uid};

/// Real, effective and saved.
pub type Three<T> = [T; 3];

/// A call that would change ids, and what came of it.
pub type Attempt = (&'static str, nix::Result<()>);

#[cfg(target_os = "linux")]
mod system {
    use nix::unistd::{getresgid, getresuid, setresgid, setresuid};

    use super::{Attempt, Gid, Three, Uid};

    pub use nix::unistd::{getgroups as groups, setgroups as set_groups};

    /// getresuid(2).
    pub fn uids() -> nix::Result<Three<Uid>> {
        getresuid().map(|user| [user.real, user.effective, user.saved])
    }

    /// getresgid(2).
    pub fn gids() -> nix::Result<Three<Gid>> {
        getresgid().map(|group| [group.real, group.effective, group.saved])
    }

    pub(super) fn set_all(uid: Uid) -> Attempt {
        ("setresuid", setresuid(uid, uid, uid))
    }

    pub(super) fn set_all_groups(gid: Gid) -> Attempt {
        ("setresgid", setresgid(gid, gid, gid))
    }
}

#[cfg(target_os = "macos")]
mod system {
    use std::mem;

    use nix::errno::Errno;
    use nix::unistd::getpid;

    use super::{Attempt, Gid, Three, Uid};

    /// What the kernel says of this process: `PROC_PIDTBSDINFO` of proc_pidinfo(3), the only call that tells saved ids.
    fn process() -> nix::Result<libc::proc_bsdinfo> {
        // SAFETY: all-zero bytes are a valid proc_bsdinfo, which holds numbers alone.
        let mut info: libc::proc_bsdinfo = unsafe { mem::zeroed() };
        let size = size_of::<libc::proc_bsdinfo>() as libc::c_int;
        // SAFETY: the buffer is of the size that is told.
        let length =
            unsafe { libc::proc_pidinfo(getpid().as_raw(), libc::PROC_PIDTBSDINFO, 0, (&raw mut info).cast(), size) };
        match length {
            length if length == size => Ok(info),
            0 => Err(Errno::last()),
            _ => Err(Errno::EIO),
        }
    }

    /// From proc_pidinfo(3).
    pub fn uids() -> nix::Result<Three<Uid>> {
        process().map(|info| [info.pbi_ruid, info.pbi_uid, info.pbi_svuid].map(Uid::from_raw))
    }

    /// From proc_pidinfo(3).
    pub fn gids() -> nix::Result<Three<Gid>> {
        process().map(|info| [info.pbi_rgid, info.pbi_gid, info.pbi_svgid].map(Gid::from_raw))
    }

    /// getgroups(2): the groups of the process, which nix leaves out since they are not those of the user database.
    pub fn groups() -> nix::Result<Vec<Gid>> {
        // As many as the kernel keeps: NGROUPS_MAX.
        let mut groups: [libc::gid_t; 16] = [0; 16];
        // SAFETY: the array has room for as many as is told.
        let count = unsafe { libc::getgroups(groups.len() as libc::c_int, groups.as_mut_ptr()) };
        let count = usize::try_from(count).map_err(|_| Errno::last())?;
        Ok(groups.iter().take(count).copied().map(Gid::from_raw).collect())
    }

    /// setgroups(2).
    pub fn set_groups(groups: &[Gid]) -> nix::Result<()> {
        let groups: Vec<libc::gid_t> = groups.iter().map(|gid| gid.as_raw()).collect();
        let count = libc::c_int::try_from(groups.len()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the array has as many as is told.
        Errno::result(unsafe { libc::setgroups(count, groups.as_ptr()) }).map(drop)
    }

    pub(super) fn set_all(uid: Uid) -> Attempt {
        // SAFETY: takes plain numbers.
        ("setreuid", Errno::result(unsafe { libc::setreuid(uid.as_raw(), uid.as_raw()) }).map(drop))
    }

    pub(super) fn set_all_groups(gid: Gid) -> Attempt {
        // SAFETY: takes plain numbers.
        ("setregid", Errno::result(unsafe { libc::setregid(gid.as_raw(), gid.as_raw()) }).map(drop))
    }
}

pub use system::{gids, groups, set_groups, uids};

/// Tries all ways to become `uid`, and says what came of each.
pub fn try_to_become(uid: Uid) -> [Attempt; 3] {
    [("setuid", nix::unistd::setuid(uid)), ("seteuid", nix::unistd::seteuid(uid)), system::set_all(uid)]
}

/// Tries all ways into the group `gid`, and says what came of each.
pub fn try_to_enter(gid: Gid) -> [Attempt; 3] {
    [("setgid", nix::unistd::setgid(gid)), ("setegid", nix::unistd::setegid(gid)), system::set_all_groups(gid)]
}
