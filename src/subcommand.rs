//! The subcommands: the only place that writes to standard output, which for every other softnet may be a control socket.

mod explain;
#[cfg(target_os = "linux")]
mod network;

use std::fmt::Display;
use std::io::{self, Write};

use thiserror::Error;

use crate::cli::Command;
use crate::engine::EntryError;
#[cfg(target_os = "linux")]
use crate::host::tap;
use crate::privilege::{PrivilegeError, Standing};

/// Why a subcommand failed.
#[derive(Debug, Error)]
pub enum SubcommandError {
    /// It is for root itself.
    #[error("softnet network down: only for root itself, not by way of the setuid bit: run it by sudo")]
    RootOnly,
    /// There is no right to look.
    #[error("softnet network status: needs root, or the setuid bit: run it by sudo")]
    NeedsRoot,
    /// The setuid right could not be dropped before the answer is printed.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[cfg(target_os = "linux")]
    /// The network could not be read or taken down.
    #[error("softnet network: {0}")]
    Network(#[from] tap::Error),
    /// The entries of a policy.
    #[error("--allow and --block: {0}")]
    Policy(#[from] EntryError),
    /// Nobody reads the answer.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// Does what `command` says.
///
/// # Errors
/// What failed, and how to mend it.
pub fn run(standing: Standing, command: Command) -> Result<(), SubcommandError> {
    match command {
        Command::Explain(asked) => explain::explain(standing, &asked),
        #[cfg(target_os = "linux")]
        Command::Network { action } => network::network(standing, action),
    }
}

fn print(answer: &impl Display) -> Result<(), SubcommandError> {
    let mut out = io::stdout().lock();
    write!(out, "{answer}")?;
    Ok(out.flush()?)
}
