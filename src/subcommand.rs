//! `softnet network status` and `softnet network down`: the only module that writes to standard output, which for every
//! other softnet may be a control socket.

use std::fmt::Display;
use std::io::{self, Write};

use thiserror::Error;

use crate::cli::NetworkAction;
use crate::host::tap::{self, Force};
use crate::privilege::{self, Identity, PrivilegeError, Standing};

/// Why a subcommand failed.
#[derive(Debug, Error)]
pub enum SubcommandError {
    /// It is for root itself.
    #[error("softnet network down: only for root itself, not by way of the setuid bit: run it by sudo")]
    RootOnly,
    /// The setuid right could not be dropped before an answer for the caller.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// The network could not be read or taken down.
    #[error("softnet network: {0}")]
    Network(#[from] tap::Error),
    /// Nobody reads the answer.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs `softnet network ACTION`.
///
/// # Errors
/// What failed, and how to mend it.
pub fn network(standing: Standing, action: NetworkAction) -> Result<(), SubcommandError> {
    // A person waits at a terminal and ends this with Ctrl-C, like any command.
    let mut wait = |duration| {
        std::thread::sleep(duration);
        Ok(())
    };
    match action {
        NetworkAction::Status => {
            // An answer for anyone, read with nobody's rights but the caller's.
            if let Standing::Setuid { .. } = standing {
                privilege::drop_to(Identity::choose(standing, None, None)?)?;
            }
            print(&tap::status(&mut wait)?)
        }
        NetworkAction::Down { force } if standing == Standing::Root => {
            print(&tap::down(if force { Force::Yes } else { Force::No }, &mut wait)?)
        }
        NetworkAction::Down { .. } => Err(SubcommandError::RootOnly),
    }
}

fn print(answer: &impl Display) -> Result<(), SubcommandError> {
    let mut out = io::stdout().lock();
    write!(out, "{answer}")?;
    Ok(out.flush()?)
}
