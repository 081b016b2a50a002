//! The command line: what was typed, checked as far as words alone can be. No system calls.
//!
//! The options that Tart uses mean what they meant to it before; everything that needs the system (is the descriptor a
//! socket, does the user exist, may this caller name a bridge) is judged later, in the setup.

mod capture;
mod doctor;
mod explain;
mod forward;
mod guest;
mod help;
mod rate;
mod reject;
mod run;
mod serve;
mod values;
mod watch;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

pub use capture::CaptureOptions;
pub use doctor::DoctorOptions;
pub use explain::{Destination, ExplainOptions, Means};
pub use forward::{Carrier, FREE_FOR_ALL, Forward, ForwardList, ForwardOptions, MAX_FORWARDS};
pub use guest::GuestOptions;
pub use help::{folded, one_line};
pub(crate) use rate::parse_rate;
pub use reject::RejectOptions;
pub use run::{READY_FD, RunOptions};
pub use serve::{LEASE_SECONDS, NetTypeName, ServeOptions};
pub(crate) use values::parse_mac;
pub use values::{EntryList, NAME_LENGTH};
pub use watch::{LogFormat, WatchOptions};

const AFTER_HELP: &str = "\
LIST: 10.0.0.0/8,192.0.2.7,@host,github.com,*.example.org, commas between, each
with ports (:443) and `in ` or `out ` in front if wanted. More: softnet --help";

const AFTER_LONG_HELP: &str = "\
LIST is comma separated: IPv4 prefixes (10.0.0.0/8), addresses (192.0.2.7),
@host (the gateway), names (github.com) and all names below one
(*.example.org), each with ports if wanted (:443, :8000-8999), and with `in ` or
`out ` in front for one direction. Entries with ports outrank those without, the
longest prefix wins, and block wins a tie.

Exit codes: 0 ended in order, 1 failure, 2 usage. Manual: softnet(1).";

/// A filtering network helper for virtual machines: one guest, one process, no spoofing.
#[derive(Debug, Parser)]
#[command(
    name = "softnet",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    // What tells that a guest is to be served: clap's own group of the options has no members once one of them is a group itself.
    mut_group("ServeOptions", |group| group.arg("vm_mac_address")),
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP
)]
pub struct Cli {
    /// What to do instead of serving a guest.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve a guest.
    #[command(flatten)]
    pub serve: Option<ServeOptions>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the guests of this host
    #[cfg(target_os = "linux")]
    List {
        /// As JSON: an array of objects
        #[arg(long)]
        json: bool,
    },
    /// Start a VM, and softnet between it and the network
    Run(RunOptions),
    /// Say what a policy makes of destinations, and why
    Explain(ExplainOptions),
    /// Look at softnet's bridges, or take them down
    #[cfg(target_os = "linux")]
    Network {
        /// What to do with them.
        #[command(subcommand)]
        action: NetworkAction,
    },
    /// Say what is wrong with this host; changes nothing
    Doctor(DoctorOptions),
}

/// Whether `words`, the program's name first, begin what needs no right, `softnet run` and `softnet explain`: that is told apart
/// before anything is read.
#[must_use]
pub fn needs_no_right(words: &[OsString]) -> bool {
    run::is_meant(words) || words.get(1).is_some_and(|word| word == "explain")
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
    /// Reads the command line `words`, the program's name first, with what no option can tell by itself.
    ///
    /// # Errors
    /// A usage error, or `--help` and `--version`.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        if run::is_meant(&words) { run::read(&words) } else { Self::checked(Self::try_parse_from(words)?) }
    }

    fn checked(self) -> Result<Self, clap::Error> {
        let Some(serve) = &self.serve else { return Ok(self) };
        let policy = serve.policy().map_err(|error| {
            Self::command().error(ErrorKind::ValueValidation, format!("--allow and --block: {error}"))
        })?;
        serve
            .forward
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

#[cfg(test)]
mod tests;
