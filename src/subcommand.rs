//! The subcommands: the only place that writes to standard output, which for every other softnet may be a control socket.

mod doctor;
#[cfg(target_os = "linux")]
mod list;
#[cfg(target_os = "linux")]
mod network;

use std::fmt::Display;
use std::io::{self, Write};

use thiserror::Error;

use crate::cli::Command;
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
    /// There is no right to look.
    #[error("softnet list: needs root, or the setuid bit: run it by sudo")]
    ListNeedsRoot,
    /// The setuid right could not be dropped before the answer is printed.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[cfg(target_os = "linux")]
    /// The network could not be read or taken down.
    #[error("softnet network: {0}")]
    Network(#[from] tap::Error),
    /// The doctor found something. What, it has said.
    #[error("softnet doctor: {failed} of {of} checks failed")]
    Unwell {
        /// How many failed.
        failed: usize,
        /// How many there were.
        of: usize,
    },
    #[cfg(target_os = "linux")]
    /// The guests could not be read.
    #[error("softnet list: {0}")]
    List(tap::Error),
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
        #[cfg(target_os = "linux")]
        Command::List { json } => list::list(standing, if json { list::Form::Json } else { list::Form::Table }),
        #[cfg(target_os = "linux")]
        Command::Network { action } => network::network(standing, action),
        Command::Doctor(args) => doctor::doctor(standing, &args),
    }
}

fn print(answer: &impl Display) -> Result<(), SubcommandError> {
    let mut out = io::stdout().lock();
    write!(out, "{answer}")?;
    Ok(out.flush()?)
}
