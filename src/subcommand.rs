//! The subcommands: the only place that writes to standard output, which for every other softnet may be a control socket.

mod doctor;
mod explain;
#[cfg(target_os = "linux")]
mod list;
#[cfg(target_os = "linux")]
mod network;
mod run;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use thiserror::Error;

use crate::administrator::AdministratorError;
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
    /// It needs no right itself.
    #[error("softnet run and explain: must not have the setuid bit's right: this is a mistake of softnet's")]
    RightLeft,
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
    /// The administrator's file.
    #[error(transparent)]
    Administrator(#[from] AdministratorError),
    /// The entries of a policy.
    #[error("--allow and --block: {0}")]
    Policy(#[from] EntryError),
    /// Ports that are to be explained.
    #[error("--expose: {0}")]
    Expose(String),
    /// A capture that is to be explained.
    #[error("--read {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// What is wrong, and how far it got.
        reason: String,
    },
    /// Nobody reads the answer.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// Does what `command` says, and returns the exit code.
///
/// # Errors
/// What failed, and how to mend it.
pub fn run(standing: Standing, command: Command) -> Result<ExitCode, SubcommandError> {
    match command {
        Command::Explain(asked) => explain::explain(standing, &asked).map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Command::List { json } => {
            list::list(standing, if json { list::Form::Json } else { list::Form::Table }).map(|()| ExitCode::SUCCESS)
        }
        #[cfg(target_os = "linux")]
        Command::Network { action } => network::network(standing, action).map(|()| ExitCode::SUCCESS),
        Command::Doctor(args) => doctor::doctor(standing, &args).map(|()| ExitCode::SUCCESS),
        Command::Run(options) => run::run(standing, &options),
    }
}

fn print(answer: &impl Display) -> Result<(), SubcommandError> {
    let mut out = io::stdout().lock();
    write!(out, "{answer}")?;
    Ok(out.flush()?)
}
