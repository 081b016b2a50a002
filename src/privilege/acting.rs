//! Acting for the caller, in the setup phase: what the caller names, a path above all, is reached by the caller's own rights,
//! however many this process has.

use nix::unistd::{Uid, setegid, seteuid};

use super::{Identity, PrivilegeError, Standing};
use crate::sys::{ids, process};

impl Identity {
    /// Does `work` with the rights of this identity: its uid and its group decide what may be opened. By way of the setuid bit
    /// the caller's supplementary groups are there already and stay; for root itself they are not this identity's, and go
    /// meanwhile. Whoever has no privilege simply does it.
    ///
    /// The real uid stays: whom the caller may signal, and whose limits count, is as it was.
    ///
    /// # Errors
    /// That the rights cannot be changed, or cannot be had back: the process must end then.
    pub fn act<T>(self, standing: Standing, work: impl FnOnce() -> T) -> Result<T, PrivilegeError> {
        if standing == Standing::Unprivileged {
            return Ok(work());
        }
        let failed = |step: &'static str| {
            move |errno| PrivilegeError::Drop { identity: self, reason: format!("acting for it, {step}: {errno}") }
        };
        // Where fs.suid_dumpable is not 0, the kernel forgets with each change of ids that nobody may look into this process.
        let hide = || {
            process::hide().map_err(|error| PrivilegeError::Drop {
                identity: self,
                reason: format!("acting for it, prctl: {error}"),
            })
        };
        let groups = ids::groups().map_err(failed("getgroups"))?;
        let [_, own_group, _] = ids::gids().map_err(failed("reading the gids"))?;
        if standing == Standing::Root {
            ids::set_groups(&[self.gid]).map_err(failed("setgroups"))?;
        }
        setegid(self.gid).map_err(failed("setegid"))?;
        seteuid(self.uid).map_err(failed("seteuid"))?;
        hide()?;
        let result = work();
        seteuid(Uid::from_raw(0)).map_err(failed("seteuid back"))?;
        setegid(own_group).map_err(failed("setegid back"))?;
        hide()?;
        if standing == Standing::Root {
            ids::set_groups(&groups).map_err(failed("setgroups back"))?;
        }
        Ok(result)
    }
}
