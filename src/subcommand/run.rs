//! `softnet run`: its exit code is the command's.

use std::io::Write as _;
use std::process::ExitCode;

use super::SubcommandError;
use crate::cli::RunOptions;
use crate::privilege::Standing;
use crate::run;
use crate::sys::stderr::Stderr;

/// Runs `softnet run`.
pub(super) fn run(standing: Standing, options: &RunOptions) -> Result<ExitCode, SubcommandError> {
    // main gives it back before it reads the command line.
    if let Standing::Setuid { .. } = standing {
        return Err(SubcommandError::RightLeft);
    }
    Ok(ExitCode::from(run::run(options).unwrap_or_else(|error| {
        // Here, since its exit codes are its own.
        let _ = Stderr::default().write_all(format!("softnet: {error}\n").as_bytes());
        error.code()
    })))
}
