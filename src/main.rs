//! argv -> cli -> setup -> relay; error -> exit code; nothing else.

#![deny(clippy::print_stdout)]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use softnet::cli::{self, Cli};
use softnet::lifeline::Stop;
use softnet::logging;
use softnet::setup;
use softnet::subcommand;

/// A failure; 2 is a usage error.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            logging::say_failure(&error.to_string());
            let usage = error.downcast_ref::<Usage>().map(|usage| usage.code);
            ExitCode::from(usage.unwrap_or(FAILURE))
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let started = if cli::needs_no_right(&words) { setup::renounce()? } else { setup::secure_process()? };
    let cli = match Cli::read(words) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let code = u8::try_from(error.exit_code()).unwrap_or(FAILURE);
            return Err(Usage { line: cli::one_line(&error), code }.into());
        }
        // --help and --version, for anyone. Nobody may be listening.
        Err(error) => {
            let _ = io::stdout().write_all(cli::folded(&error.render().to_string()).as_bytes());
            return Ok(ExitCode::SUCCESS);
        }
    };
    logging::start(cli.serve.as_ref().map(|serve| serve.watch.log_format.into()).unwrap_or_default());
    if let Some(command) = cli.command {
        return Ok(subcommand::run(started.standing, command)?);
    }
    let serve = cli.serve.context("neither a guest nor a subcommand was given")?;
    if serve.sudo_escalation_probing {
        return Ok(ExitCode::SUCCESS);
    }
    match setup::run(started, &serve) {
        Ok((relay, proof)) => {
            let end = relay.run(&proof)?;
            log::info!("ended: {end}");
        }
        Err(Stop::Ended(end)) => log::info!("ended before the guest's first frame: {end}"),
        Err(Stop::Failed(error)) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// A command line that does not say what to do.
#[derive(Debug)]
struct Usage {
    line: String,
    code: u8,
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Usage {}
