//! Giving back what the setuid bit gave, before anything is done with it: for what needs no right, as `softnet run` does not.
//!
//! Unlike the drop it leaves everything else as the caller has it, environment, limits and groups: afterwards this is a process like
//! any of the caller's, which may start programs, also such as gain rights (no `no_new_privs`).

use nix::unistd::{setgid, setuid};

use super::drop::{none_worked, prove_uids};
use super::{Identity, PrivilegeError, Standing};
use crate::sys::ids;

/// Makes a process that the setuid bit made root its caller's, for good. Any other stays what it is.
///
/// # Errors
/// That it failed or that any trace of root is left: the process must end then.
pub fn renounce(standing: Standing) -> Result<Standing, PrivilegeError> {
    let Standing::Setuid { uid, gid } = standing else { return Ok(standing) };
    let identity = Identity { uid, gid };
    let failed = |reason: String| PrivilegeError::Drop { identity, reason };
    // As root, each sets all three: real, effective and saved.
    setgid(gid).map_err(|errno| failed(format!("setgid: {errno}")))?;
    setuid(uid).map_err(|errno| failed(format!("setuid: {errno}")))?;
    let gids = ids::gids().map_err(|errno| failed(format!("reading the gids: {errno}")))?;
    if gids != [gid; 3] {
        return Err(failed(format!("the gids (real, effective, saved) are {gids:?} afterwards")));
    }
    prove_uids(identity).map_err(failed)?;
    // The caller may be in root's group by itself: then there is nothing to try.
    if gid.as_raw() != 0 && !ids::groups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == 0)) {
        none_worked(&ids::try_to_enter(nix::unistd::Gid::from_raw(0))).map_err(failed)?;
    }
    #[cfg(target_os = "linux")]
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        match caps::read(None, set) {
            Ok(left) if left.is_empty() => {}
            left => return Err(failed(format!("capabilities are left ({set:?}): {left:?}"))),
        }
    }
    Ok(Standing::Unprivileged)
}
