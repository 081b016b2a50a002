//! Who we are, whom to become, the drop (`drop`), and the proof that there is no way back.
//!
//! Three standings matter. **Root itself** (real and effective uid 0, by login or by sudo) may choose whom softnet
//! becomes, any user but root. **The setuid bit** (effective uid 0, another real uid) means that the caller may be an
//! attacker: softnet becomes the caller and nobody else, whatever the arguments say. **No privilege** leaves one way,
//! [`escalate`], or, on a system that needs none, to go on as the caller and nobody else.
//!
//! Phase: setup, as root. [`Identity::choose`] reads the user database; [`drop_to`] ends the phase. What runs later asks
//! for an [`Unprivileged`], which only [`drop_to`] and [`stay`] make.

mod acting;
mod drop;
pub mod escalate;
mod renounce;

use std::fmt;

use nix::unistd::{Gid, Group, Uid, User, getgid, getuid};
use thiserror::Error;

use crate::sys::ids;

pub use drop::{Unprivileged, drop_to, stay};
pub use renounce::renounce;

/// What right the process was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Real and effective uid are 0.
    Root,
    /// The setuid bit made us root for this caller.
    Setuid {
        /// Who started softnet.
        uid: Uid,
        /// Their group.
        gid: Gid,
    },
    /// The effective uid is not 0.
    Unprivileged,
}

impl Standing {
    /// That of this process.
    ///
    /// # Errors
    /// That the kernel does not tell this process's ids, which is not expected.
    pub fn of_this_process() -> nix::Result<Self> {
        let ([real, effective, _], [gid, ..]) = (ids::uids()?, ids::gids()?);
        Ok(match (effective.is_root(), real.is_root()) {
            (true, true) => Standing::Root,
            (true, false) => Standing::Setuid { uid: real, gid },
            (false, _) => Standing::Unprivileged,
        })
    }
}

/// A user that is not root, and a group: whom softnet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}, gid {}", self.uid, self.gid)
    }
}

/// Why nobody can be become, or why the drop failed.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// No such user.
    #[error("--user {0}: no such user: name one that exists, or a uid together with --group")]
    NoSuchUser(String),
    /// No such group.
    #[error("--group {0}: no such group: name one that exists, or a gid")]
    NoSuchGroup(String),
    /// A bare uid says nothing of a group.
    #[error("--user {0}: this uid has no entry in the user database: name its group too, with --group")]
    NoGroupFor(String),
    /// Root would keep what the drop is for.
    #[error("--user {0}: softnet does not stay root: name a user that is not root, as 'nobody'")]
    RootUser(String),
    /// Root's group likewise.
    #[error("--group {0}: softnet does not stay in root's group: name another group")]
    RootGroup(String),
    /// Other callers than root become themselves.
    #[error(
        "--user {0}: started otherwise than by root itself, softnet becomes its caller (uid {1}) only: leave --user out"
    )]
    NotTheCaller(String, Uid),
    /// And stay in their own groups.
    #[error(
        "--group {0}: started otherwise than by root itself, softnet takes a group of its caller only: leave --group out"
    )]
    NotTheCallersGroup(String),
    /// The user database cannot be read.
    #[error("the user database: {0}")]
    Database(nix::Error),
    /// The drop itself failed.
    #[error("root cannot be dropped for {identity}: {reason}")]
    Drop {
        /// Whom softnet was to become.
        identity: Identity,
        /// What failed.
        reason: String,
    },
}

impl Identity {
    /// Whom a process of this standing becomes, given `--user` and `--group`.
    ///
    /// # Errors
    /// The flag, its value, and what to write instead. Uid 0 is never a result.
    pub fn choose(standing: Standing, user: Option<&str>, group: Option<&str>) -> Result<Self, PrivilegeError> {
        match standing {
            Standing::Root => Self::chosen_by_root(user, group),
            Standing::Setuid { uid, gid } => {
                let own = ids::groups().map_err(PrivilegeError::Database)?;
                Self::of_the_caller(uid, gid, &own, user, group)
            }
            Standing::Unprivileged => {
                let own = ids::groups().map_err(PrivilegeError::Database)?;
                Self::of_the_caller(getuid(), getgid(), &own, user, group)
            }
        }
    }

    /// The user.
    #[must_use]
    pub fn uid(self) -> Uid {
        self.uid
    }

    fn chosen_by_root(user: Option<&str>, group: Option<&str>) -> Result<Self, PrivilegeError> {
        let name = user.unwrap_or("nobody");
        let (uid, own_group) = find_user(name)?;
        let gid = match group {
            Some(group) => find_group(group)?,
            None => own_group.ok_or_else(|| PrivilegeError::NoGroupFor(name.into()))?,
        };
        if uid.is_root() {
            return Err(PrivilegeError::RootUser(name.into()));
        }
        if gid.as_raw() == 0 {
            return Err(PrivilegeError::RootGroup(group.unwrap_or(name).into()));
        }
        Ok(Identity { uid, gid })
    }

    fn of_the_caller(
        uid: Uid,
        gid: Gid,
        own_groups: &[Gid],
        user: Option<&str>,
        group: Option<&str>,
    ) -> Result<Self, PrivilegeError> {
        if let Some(name) = user
            && find_user(name)?.0 != uid
        {
            return Err(PrivilegeError::NotTheCaller(name.into(), uid));
        }
        let gid = match group {
            Some(name) => {
                let wanted = find_group(name)?;
                if wanted != gid && !own_groups.contains(&wanted) {
                    return Err(PrivilegeError::NotTheCallersGroup(name.into()));
                }
                wanted
            }
            None => gid,
        };
        Ok(Identity { uid, gid })
    }
}

/// A user by name or number, and the group that the user database gives it.
fn find_user(name: &str) -> Result<(Uid, Option<Gid>), PrivilegeError> {
    if let Some(user) = User::from_name(name).map_err(PrivilegeError::Database)? {
        return Ok((user.uid, Some(user.gid)));
    }
    let uid = parse_id(name).map(Uid::from_raw).ok_or_else(|| PrivilegeError::NoSuchUser(name.into()))?;
    let user = User::from_uid(uid).map_err(PrivilegeError::Database)?;
    Ok((uid, user.map(|user| user.gid)))
}

fn find_group(name: &str) -> Result<Gid, PrivilegeError> {
    if let Some(group) = Group::from_name(name).map_err(PrivilegeError::Database)? {
        return Ok(group.gid);
    }
    parse_id(name).map(Gid::from_raw).ok_or_else(|| PrivilegeError::NoSuchGroup(name.into()))
}

/// A uid or gid in decimal digits; -1, which means "leave it" to setresuid(2), is none.
fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&id| digits && id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Uid = Uid::from_raw(4711);
    const GROUP: Gid = Gid::from_raw(4712);

    fn caller(user: Option<&str>, group: Option<&str>) -> Result<Identity, PrivilegeError> {
        Identity::of_the_caller(CALLER, GROUP, &[Gid::from_raw(4713)], user, group)
    }

    #[test]
    fn a_setuid_caller_becomes_itself() {
        let itself = Identity { uid: CALLER, gid: GROUP };
        assert_eq!(caller(None, None).unwrap(), itself);
        assert_eq!(caller(Some("4711"), Some("4712")).unwrap(), itself);
        assert_eq!(caller(None, Some("4713")).unwrap(), Identity { uid: CALLER, gid: Gid::from_raw(4713) });
    }

    #[test]
    fn a_setuid_caller_becomes_nobody_else() {
        for user in ["root", "0", "nobody", "4710"] {
            assert!(matches!(caller(Some(user), None), Err(PrivilegeError::NotTheCaller(..))), "{user}");
        }
        // Its name is not the same on all systems.
        let root = Group::from_gid(Gid::from_raw(0)).unwrap().expect("root has a group").name;
        for group in [root.as_str(), "0", "4711"] {
            assert!(matches!(caller(None, Some(group)), Err(PrivilegeError::NotTheCallersGroup(_))), "{group}");
        }
    }

    #[test]
    fn root_chooses_anyone_but_root() {
        let chosen = Identity::chosen_by_root(Some("4711"), Some("4712")).unwrap();
        assert_eq!(chosen, Identity { uid: CALLER, gid: GROUP });
        for user in ["root", "0", "00"] {
            assert!(matches!(Identity::chosen_by_root(Some(user), None), Err(PrivilegeError::RootUser(_))), "{user}");
        }
        let wheel = Identity::chosen_by_root(Some("4711"), Some("0"));
        assert!(matches!(wheel, Err(PrivilegeError::RootGroup(_))));
    }

    #[test]
    fn root_that_names_nobody_becomes_nobody() {
        let nobody = User::from_name("nobody").unwrap().expect("every system has the user nobody");
        let chosen = Identity::chosen_by_root(None, None).unwrap();
        assert_eq!(chosen, Identity { uid: nobody.uid, gid: nobody.gid });
    }

    #[test]
    fn names_that_are_none_are_told() {
        let chosen = |user, group| Identity::chosen_by_root(Some(user), group);
        assert!(matches!(chosen("no such user", None), Err(PrivilegeError::NoSuchUser(_))));
        for id in ["-1", "4294967295", "+4711", ""] {
            assert!(matches!(chosen(id, Some("4712")), Err(PrivilegeError::NoSuchUser(_))), "{id}");
        }
        assert!(matches!(chosen("4711", None), Err(PrivilegeError::NoGroupFor(_))));
        assert!(matches!(chosen("4711", Some("no such group")), Err(PrivilegeError::NoSuchGroup(_))));
    }

    #[test]
    fn without_root_a_caller_stays_itself_and_becomes_nobody_else() {
        let chosen = |user, group| Identity::choose(Standing::Unprivileged, user, group);
        assert_eq!(chosen(None, None).unwrap(), Identity { uid: getuid(), gid: getgid() });
        assert!(matches!(chosen(Some("4711"), None), Err(PrivilegeError::NotTheCaller(..))));
        assert!(matches!(chosen(None, Some("4712")), Err(PrivilegeError::NotTheCallersGroup(_))));
    }
}
