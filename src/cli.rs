//! The command line: what was typed, checked as far as words alone can be. No system calls.
//!
//! The options that Tart uses mean what they meant to it before; everything that needs the system (is the descriptor a
//! socket, does the user exist, may this caller name a bridge) is judged later, in the setup.

mod forwards;
mod serve;
mod values;

use std::fmt::Write as _;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

pub use forwards::{Carrier, Forward, ForwardList, Forwards, MAX_FORWARDS};
pub use serve::{LEASE_SECONDS, NetTypeName, Serve};
pub use values::EntryList;

/// A filtering network helper for virtual machines: one guest, one process, no spoofing.
#[derive(Debug, Parser)]
#[command(
    name = "softnet",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "LIST is comma separated: IPv4 prefixes (10.0.0.0/8), addresses (192.0.2.7), @host (the gateway), names\n\
                  (github.com) and all names below one (*.example.org), each with ports if wanted (:443, :8000-8999), and with\n\
                  `in ` or `out ` in front for one direction. Entries with ports outrank those without, the longest prefix wins, and block wins a tie.\n\
                  Exit codes: 0 ended in order, 1 failure, 2 usage."
)]
pub struct Cli {
    /// What to do instead of serving a guest.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve a guest.
    #[command(flatten)]
    pub serve: Option<Serve>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at, or take down, the bridges that softnet made on this host
    #[cfg(target_os = "linux")]
    Network {
        /// What to do with them.
        #[command(subcommand)]
        action: NetworkAction,
    },
}

/// `softnet network ...`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum NetworkAction {
    /// Show the bridges, their DHCP servers and the guests on them
    Status,
    /// Remove the bridges and all that belongs to them (root only)
    Down {
        /// Even while guests are attached: they lose their network
        #[arg(long)]
        force: bool,
    },
}

impl Cli {
    /// Reads the command line, with what no option can tell by itself.
    ///
    /// # Errors
    /// A usage error, or `--help` and `--version`.
    pub fn read() -> Result<Self, clap::Error> {
        Self::checked(Self::try_parse()?)
    }

    fn checked(self) -> Result<Self, clap::Error> {
        let Some(serve) = &self.serve else { return Ok(self) };
        let policy = serve.policy().map_err(|error| {
            Self::command().error(ErrorKind::ValueValidation, format!("--allow and --block: {error}"))
        })?;
        serve
            .forwards
            .list()
            .map_err(|error| Self::command().error(ErrorKind::ValueValidation, format!("--expose: {error}")))?;
        // Its first answer would have them, and clients that do not know names expect addresses.
        if serve.control_fd.is_some() && policy.has_names() && !serve.policy_names {
            return Err(Self::command().error(
                ErrorKind::MissingRequiredArgument,
                "--allow and --block have names, which clients of --control-fd get to see: add --policy-names if they know \
                 names, or leave the names out",
            ));
        }
        Ok(self)
    }
}

/// A usage error in one line: what is wrong, with flag and value, and where to look.
#[must_use]
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        // The usage, of one line or more, is the last but for where to look.
        if part.starts_with("Usage:") || part.starts_with("For more information") {
            break;
        }
        let _ = write!(line, "{}{part}", if line.is_empty() { "" } else { " " });
    }
    format!("{} (try 'softnet --help')", line.trim_start_matches("error: "))
}

#[cfg(test)]
mod tests;
