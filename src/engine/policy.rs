//! Allow and block entries.

use std::str::FromStr;

use ipnet::Ipv4Net;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A prefix, host bits cleared.
    Prefix(Ipv4Net),
    /// `@host`: the gateway.
    Host,
}

/// One entry of `--allow` or `--block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Whom it is about.
    pub target: Target,
}

/// Why a text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entry")]
pub struct EntryError {}

impl FromStr for Entry {
    type Err = EntryError;
    fn from_str(_text: &str) -> Result<Self, EntryError> {
        Err(EntryError {})
    }
}

/// The operator's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyEntries {
    /// What the guest may reach besides the default.
    pub allow: Vec<Entry>,
    /// What the guest may not reach.
    pub block: Vec<Entry>,
}
