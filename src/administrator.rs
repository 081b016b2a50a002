//! The administrator's word: what `/etc/softnet.toml` says, and what it makes of what a caller asks for.
//!
//! The file limits whoever starts softnet by way of the setuid bit, or has no right at all: who may do so, how many guests each
//! may have, which bridges and subnets they may name, which ports they may expose, how fast their guests may be. What it says of
//! *guests* (entries that nobody lifts, isolation that nobody switches off) holds for guests that root itself starts as well: the guest is what they are about. Without the file,
//! today's rules hold. A file that is there and is not in order refuses the start: it is never passed over.
//!
//! [`Administrator::read`] is called once, as root, before anything is set up. [`Administrator::effective`] is the one place where
//! a caller's entries and the file become what a guest gets, as [`Administrator::rate_limit`] is for its rate; `softnet explain` asks
//! them too.
//!
//! May: read the file and the user database. Must not: change anything.

mod expose;
mod file;
mod words;

use std::path::Path;

use ipnet::Ipv4Net;
use nix::unistd::{Gid, Group, Uid, User, getgid, getuid};
use thiserror::Error;

use crate::cli::Forward;
use crate::engine::{Isolation, PolicyEntries, RateLimit};
use crate::privilege::Standing;
use crate::sys::ids;

pub use expose::{ExposeRange, in_words};
pub use file::{FILE, FileError};
pub use words::{Fault, WordsError};

/// Why the file is not taken, or what it forbids.
#[derive(Debug, Error)]
pub enum AdministratorError {
    /// It is not in order as a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not say what it may say.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// The ids of this process or the user database cannot be read.
    #[error("{FILE}: who starts softnet cannot be told: {0}")]
    Ids(nix::Error),
    /// The caller is none of those who may.
    #[error("{FILE} does not let {caller} run softnet: ask the administrator for a place in its `users` or `groups`")]
    NotACaller {
        /// The caller, by name and uid.
        caller: String,
    },
}

/// A user or a group as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// By its name.
    Name(String),
    /// By its number.
    Number(u32),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Id::Name(name) => f.write_str(name),
            Id::Number(number) => number.fmt(f),
        }
    }
}

/// Who may run softnet, besides root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// These users,
    pub users: Vec<Id>,
    /// and whoever is in one of these groups.
    pub groups: Vec<Id>,
}

/// Whether a caller may have a guest that is not isolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationRule {
    /// 0.0.0.0/0 in `--allow` switches isolation off.
    #[default]
    CallersChoice,
    /// Nothing does.
    Always,
}

/// What the file says; the default is what holds without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Administrator {
    /// Who may run softnet; none: anyone who may start the program.
    pub callers: Option<Callers>,
    /// How many guests a user may have at a time.
    pub guests_per_user: Option<u32>,
    /// Entries that nobody lifts.
    pub policy: PolicyEntries,
    /// What plain callers may give to `--bridge`.
    pub bridges: Vec<String>,
    /// Within which prefixes plain callers may choose a `--subnet`.
    pub subnets: Vec<Ipv4Net>,
    /// What plain callers may give to `--expose`; none: any port from 1024 on.
    pub expose: Option<Vec<ExposeRange>>,
    /// The most that guests of plain callers may send and be sent.
    pub rate_limit: RateLimit,
    /// Whether guests can be open to each other.
    pub isolation: IsolationRule,
}

/// What a guest gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The caller's entries.
    pub policy: PolicyEntries,
    /// What is asked before them, and whose block is final.
    pub administrator: PolicyEntries,
    /// Whether it is isolated.
    pub isolation: Isolation,
    /// Whether the caller asked for less isolation than that.
    pub is_held: bool,
}

impl Administrator {
    /// Reads the file of this host; none says nothing.
    ///
    /// # Errors
    /// It is there and not in order, or does not say what it may.
    pub fn read() -> Result<Self, AdministratorError> {
        Ok(Self::read_if_there()?.unwrap_or_default())
    }

    /// The same, and whether it is there.
    ///
    /// # Errors
    /// As [`Administrator::read`].
    pub fn read_if_there() -> Result<Option<Self>, AdministratorError> {
        match file::read(Path::new(FILE))? {
            Some(text) => Ok(Some(words::parse(&text)?)),
            None => Ok(None),
        }
    }

    /// What a guest gets whose caller gave these entries.
    #[must_use]
    pub fn effective(&self, policy: PolicyEntries) -> Effective {
        let asks_for_open = policy.allows_everything();
        let is_held = asks_for_open && self.isolation == IsolationRule::Always;
        let isolation = if asks_for_open && !is_held { Isolation::Open } else { Isolation::Isolated };
        Effective { policy, administrator: self.policy.clone(), isolation, is_held }
    }

    /// Whether a process of this standing may serve guests.
    ///
    /// # Errors
    /// It may not.
    pub fn check_caller(&self, standing: Standing) -> Result<(), AdministratorError> {
        let (uid, gid) = match standing {
            Standing::Root => return Ok(()),
            Standing::Setuid { uid, gid } => (uid, gid),
            Standing::Unprivileged => (getuid(), getgid()),
        };
        let Some(callers) = &self.callers else { return Ok(()) };
        let mut groups = ids::groups().map_err(AdministratorError::Ids)?;
        groups.push(gid);
        if callers.have(uid, &groups)? {
            return Ok(());
        }
        let name = User::from_uid(uid).map_err(AdministratorError::Ids)?.map(|user| user.name);
        let caller = name.map_or(format!("uid {uid}"), |name| format!("{name} (uid {uid})"));
        Err(AdministratorError::NotACaller { caller })
    }

    /// Whether a caller of this standing may name this bridge.
    #[must_use]
    pub fn may_name_bridge(&self, standing: Standing, bridge: &str) -> bool {
        standing == Standing::Root || self.bridges.iter().any(|allowed| allowed == bridge)
    }

    /// Whether a caller of this standing may name this subnet.
    #[must_use]
    pub fn may_name_subnet(&self, standing: Standing, subnet: Ipv4Net) -> bool {
        standing == Standing::Root || self.subnets.iter().any(|allowed| allowed.contains(&subnet.trunc()))
    }

    /// Whether a caller of this standing may expose this port, as far as the file goes.
    #[must_use]
    pub fn may_expose(&self, standing: Standing, forward: &Forward) -> bool {
        let allowed = self.expose.as_ref().filter(|_| standing != Standing::Root);
        allowed.is_none_or(|ranges| ranges.iter().any(|range| range.covers(forward)))
    }

    /// What a guest gets whose caller, of this standing, asks for this limit.
    #[must_use]
    pub fn rate_limit(&self, standing: Standing, asked: RateLimit) -> RateLimit {
        if standing == Standing::Root { asked } else { asked.held_to(self.rate_limit) }
    }

    /// How many guests a caller of this standing may have.
    #[must_use]
    pub fn most_guests(&self, standing: Standing) -> Option<u32> {
        self.guests_per_user.filter(|_| standing != Standing::Root)
    }

    /// The users and groups of the file that this host does not know: nobody is let in by these.
    ///
    /// # Errors
    /// The user database cannot be read.
    pub fn unknown_callers(&self) -> Result<Vec<String>, AdministratorError> {
        let mut unknown = Vec::new();
        if let Some(callers) = &self.callers {
            for user in &callers.users {
                if find_user(user)?.is_none() {
                    unknown.push(format!("user {user}"));
                }
            }
            for group in &callers.groups {
                if find_group(group)?.is_none() {
                    unknown.push(format!("group {group}"));
                }
            }
        }
        Ok(unknown)
    }
}

impl Callers {
    fn have(&self, uid: Uid, groups: &[Gid]) -> Result<bool, AdministratorError> {
        for user in &self.users {
            if find_user(user)? == Some(uid) {
                return Ok(true);
            }
        }
        for group in &self.groups {
            if find_group(group)?.is_some_and(|group| groups.contains(&group)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A name that nobody has is nobody.
fn find_user(user: &Id) -> Result<Option<Uid>, AdministratorError> {
    match user {
        Id::Number(number) => Ok(Some(Uid::from_raw(*number))),
        Id::Name(name) => Ok(User::from_name(name).map_err(AdministratorError::Ids)?.map(|user| user.uid)),
    }
}

fn find_group(group: &Id) -> Result<Option<Gid>, AdministratorError> {
    match group {
        Id::Number(number) => Ok(Some(Gid::from_raw(*number))),
        Id::Name(name) => Ok(Group::from_name(name).map_err(AdministratorError::Ids)?.map(|group| group.gid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Standing = Standing::Setuid { uid: Uid::from_raw(4711), gid: Gid::from_raw(4712) };

    fn entries(allow: &[&str], block: &[&str]) -> PolicyEntries {
        PolicyEntries::parse(allow.iter().copied(), block.iter().copied()).expect("entries")
    }

    #[test]
    fn without_a_file_todays_rules_hold() {
        let nothing = Administrator::default();
        assert!(nothing.check_caller(CALLER).is_ok());
        assert_eq!(nothing.most_guests(CALLER), None);
        for standing in [CALLER, Standing::Unprivileged] {
            assert!(!nothing.may_name_bridge(standing, "virbr0"));
            assert!(!nothing.may_name_subnet(standing, "10.0.0.0/24".parse().expect("a subnet")));
        }
        assert!(nothing.may_name_bridge(Standing::Root, "virbr0"));
        let open = nothing.effective(entries(&["0.0.0.0/0"], &[]));
        assert_eq!((open.isolation, open.is_held), (Isolation::Open, false));
        assert_eq!(nothing.effective(entries(&["10.0.0.0/8"], &[])).isolation, Isolation::Isolated);
    }

    #[test]
    fn who_may_run_it_is_one_of_the_users_or_in_one_of_the_groups() {
        let of = |users: &[Id], groups: &[Id]| {
            let callers = Callers { users: users.to_vec(), groups: groups.to_vec() };
            let word = Administrator { callers: Some(callers), ..Administrator::default() };
            (word.check_caller(CALLER).is_ok(), word.check_caller(Standing::Root).is_ok())
        };
        assert_eq!(of(&[Id::Number(4711)], &[]), (true, true));
        assert_eq!(of(&[], &[Id::Number(4712)]), (true, true));
        assert_eq!(of(&[], &[]), (false, true), "an empty list is nobody");
        assert_eq!(of(&[Id::Number(4712), Id::Name("no such user".into())], &[Id::Number(4711)]), (false, true));
    }

    #[test]
    fn isolation_that_is_always_on_is_so_for_root_too() {
        let word = Administrator { isolation: IsolationRule::Always, ..Administrator::default() };
        let effective = word.effective(entries(&["0.0.0.0/0"], &[]));
        assert_eq!((effective.isolation, effective.is_held), (Isolation::Isolated, true));
        assert_eq!(effective.policy, entries(&["0.0.0.0/0"], &[]), "as an entry it stays");
        assert!(!word.effective(entries(&["10.0.0.0/8"], &[])).is_held);
    }

    #[test]
    fn a_subnet_lies_within_one_that_may_be_named_and_a_bridge_is_one_of_them() {
        let subnets = vec!["10.99.0.0/16".parse().expect("a subnet")];
        let word = Administrator { subnets, bridges: vec!["virbr0".into()], ..Administrator::default() };
        for (subnet, may) in
            [("10.99.0.0/16", true), ("10.99.7.1/24", true), ("10.0.0.0/8", false), ("10.98.0.0/24", false)]
        {
            assert_eq!(word.may_name_subnet(CALLER, subnet.parse().expect("a subnet")), may, "{subnet}");
        }
        assert!(word.may_name_bridge(CALLER, "virbr0") && !word.may_name_bridge(CALLER, "virbr"));
    }

    #[test]
    fn ports_and_rates_are_held_for_plain_callers_alone() {
        let forward = |external| Forward { bind: None, external, internal: 22, carrier: crate::cli::Carrier::Tcp };
        let most = RateLimit { bits: Some(100), frames: None };
        let expose = Some(vec!["8000-8099".parse().expect("ports")]);
        let word = Administrator { expose, rate_limit: most, ..Administrator::default() };
        let nothing = Administrator { expose: Some(vec![]), ..Administrator::default() };
        for standing in [CALLER, Standing::Unprivileged] {
            assert!(word.may_expose(standing, &forward(8000)) && !word.may_expose(standing, &forward(8100)));
            assert!(!nothing.may_expose(standing, &forward(8000)), "an empty list is no port");
            assert!(Administrator::default().may_expose(standing, &forward(8000)));
            assert_eq!(word.rate_limit(standing, RateLimit::default()), most);
        }
        for word in [&word, &nothing] {
            assert!(word.may_expose(Standing::Root, &forward(80)));
            assert_eq!(word.rate_limit(Standing::Root, RateLimit::default()), RateLimit::default());
        }
    }

    #[test]
    fn how_many_guests_is_asked_of_plain_callers_alone() {
        let word = Administrator { guests_per_user: Some(2), ..Administrator::default() };
        assert_eq!((word.most_guests(CALLER), word.most_guests(Standing::Root)), (Some(2), None));
    }
}
