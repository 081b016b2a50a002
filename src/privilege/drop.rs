//! The drop, and the proof that there is no way back.
//!
//! What [`Unprivileged`] says is read back from the kernel, and what it says cannot be done was tried. The order of the steps is that
//! in docs/privileges.md.

use nix::unistd::{Gid, Uid};

use super::{Identity, PrivilegeError};
#[cfg(target_os = "linux")]
use crate::sandbox::{capabilities, nowhere};
use crate::sys::{ids, process};

/// The proof that this process is not root and cannot become it. Only [`drop_to`] and [`stay`] make one.
#[derive(Debug)]
pub struct Unprivileged(());

/// Becomes `identity` for good, the whole process: supplementary groups, gid, uid, in that order (by the crate privdrop);
/// then all capability sets are emptied, everything is read back, and regaining root is tried and must fail. On Linux,
/// what the sandbox takes away with root's rights goes first: capabilities that could come back, and the root directory.
///
/// # Errors
/// That any step failed or that any trace of root is left: the process must end then.
pub fn drop_to(identity: Identity) -> Result<Unprivileged, PrivilegeError> {
    let failed = |reason: String| PrivilegeError::Drop { identity, reason };
    if identity.uid.is_root() {
        return Err(failed("it is root".into()));
    }
    let drop = privdrop::PrivDrop::default();
    // Looking up the user comes first, changing the root directory second, changing the ids last.
    #[cfg(target_os = "linux")]
    let drop = {
        capabilities::give_up().map_err(failed)?;
        nowhere::go().map_err(|error| failed(format!("the empty root directory: {error}")))?;
        drop.chroot(".")
    };
    drop
        // Numbers, since they were judged; should a user be *named* by this number, the check below ends it.
        .user(identity.uid.to_string())
        .group(identity.gid.to_string())
        .fallback_to_ids_if_names_are_numeric()
        .apply()
        .map_err(|error| failed(error.to_string()))?;
    #[cfg(target_os = "linux")]
    clear_capabilities().map_err(failed)?;
    process::seal().map_err(|error| failed(error.to_string()))?;
    prove(identity).map_err(failed)?;
    Ok(Unprivileged(()))
}

/// The proof for a process that never had root, on a system that opens links without ([`crate::host::root_needed`]). It
/// keeps the ids and groups of its caller.
///
/// # Errors
/// That any trace of root is there.
pub fn stay(identity: Identity) -> Result<Unprivileged, PrivilegeError> {
    let failed = |reason: String| PrivilegeError::Drop { identity, reason };
    process::seal().map_err(|error| failed(error.to_string()))?;
    prove_uids(identity).map_err(failed)?;
    Ok(Unprivileged(()))
}

#[cfg(target_os = "linux")]
const SETS: [caps::CapSet; 4] =
    [caps::CapSet::Ambient, caps::CapSet::Effective, caps::CapSet::Permitted, caps::CapSet::Inheritable];

#[cfg(target_os = "linux")]
fn clear_capabilities() -> Result<(), String> {
    for set in SETS {
        caps::clear(None, set).map_err(|error| format!("capabilities ({set:?}): {error}"))?;
    }
    Ok(())
}

/// Reads back what the drop did, then tries to undo it.
fn prove(identity: Identity) -> Result<(), String> {
    let gids = ids::gids().map_err(|errno| format!("reading the gids: {errno}"))?;
    let groups = ids::groups().map_err(|errno| format!("getgroups: {errno}"))?;
    if gids != [identity.gid; 3] {
        return Err(format!("the gids (real, effective, saved) are {gids:?} afterwards"));
    }
    if groups.iter().any(|&gid| gid != identity.gid) {
        return Err(format!("the supplementary groups are {groups:?} afterwards"));
    }
    #[cfg(target_os = "linux")]
    capabilities::prove()?;
    #[cfg(target_os = "linux")]
    for set in SETS {
        match caps::read(None, set) {
            Ok(left) if left.is_empty() => {}
            left => return Err(format!("capabilities are left ({set:?}): {left:?}")),
        }
    }
    prove_uids(identity)?;
    let wheel = Gid::from_raw(0);
    if identity.gid == wheel {
        return Ok(());
    }
    none_worked(&ids::try_to_enter(wheel))
}

/// Reads back the uids, then tries to become root.
pub(super) fn prove_uids(identity: Identity) -> Result<(), String> {
    let uids = ids::uids().map_err(|errno| format!("reading the uids: {errno}"))?;
    if uids != [identity.uid; 3] || identity.uid.is_root() {
        return Err(format!("the uids (real, effective, saved) are {uids:?} afterwards"));
    }
    none_worked(&ids::try_to_become(Uid::from_raw(0)))
}

pub(super) fn none_worked(attempts: &[ids::Attempt]) -> Result<(), String> {
    match attempts.iter().find(|(_, result)| result.is_ok()) {
        Some((call, _)) => Err(format!("{call}(0) gave root back")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::getgid;

    use super::*;

    #[test]
    fn root_is_no_one_to_stay() {
        // Whoever runs this test: the proof is for the uid that it names, and never for root.
        assert!(prove_uids(Identity { uid: Uid::from_raw(0), gid: getgid() }).is_err());
        assert!(prove_uids(Identity { uid: Uid::from_raw(4711), gid: Gid::from_raw(4712) }).is_err());
    }
}
