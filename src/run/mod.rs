//! `softnet run`: a program that runs a VM, and softnet between that VM and the network, as one command.
//!
//! # Theory of operation
//! Three processes. This one is the caller's in every respect: what the setuid bit gave was given back before the command line was
//! read ([`crate::privilege::renounce`]), so it has no right that its caller has not, and there is nothing in it to attack. It makes
//! the socket pair, and starts **softnet** anew for the guest (`server`), which gets its root in the way that any start
//! does: by the setuid bit or by sudo. Once that says that it is ready, it starts **the command** (`command`) with the other end.
//!
//! Then it waits (`supervise`) and never leaves either behind: when the command ends, so does softnet, and the exit code is
//! the command's; when softnet ends, the command is told to, and killed if it does not. Killed itself, the kernel
//! kills the command (on Linux), and softnet ends since nobody has the guest's end of the socket any more.
//!
//! softnet is in a process group of its own: what the terminal sends (Ctrl-C) is for the command, whose guest still needs its
//! network while it shuts down.
//!
//! With `--tap` there is a fourth: the pump, between a TAP device that the command has instead of the socket's end, and that end (`tap`).
//!
//! May: start programs, as the caller; move frames. Must not: have a right; decide what passes.

mod command;
pub mod mac;
#[cfg(target_os = "linux")]
mod pump;
mod server;
mod supervise;
#[cfg_attr(not(target_os = "linux"), path = "no_tap.rs")]
mod tap;

use std::io;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use thiserror::Error;

use crate::cli::RunOptions;
use crate::engine::colons;
use crate::sys::offspring;
use crate::sys::passing::Passing;
use command::Link;
use server::{Server, Start};
use tap::Tap;

/// What a shell adds to the number of the signal that ended a program.
const ENDED_BY_SIGNAL: u8 = 128;

/// Why it fails.
#[derive(Debug, Error)]
pub enum RunError {
    /// Sockets, pipes, signals.
    #[error("run: {0}")]
    Start(io::Error),
    /// The other softnet cannot be started.
    #[error("run: softnet cannot be started: {0}")]
    NoServer(io::Error),
    /// The other softnet ended, with a message of its own, before it was ready.
    #[error("run: softnet did not get ready ({0}): the command was not started")]
    NotReady(ExitStatus),
    /// There is no TAP device.
    #[error("run: --tap {name}: {reason}")]
    NoTap {
        /// Its name.
        name: String,
        /// What went wrong, and the mend.
        reason: String,
    },
    /// The command cannot be started.
    #[error("run: {command}: {source}")]
    NoCommand {
        /// Its name.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The other softnet ended while the command ran.
    #[error("run: softnet has ended before the command ({0}): the command was ended, since its VM has no network")]
    ServerEnded(ExitStatus),
    /// What moves the frames of the TAP device ended while the command ran.
    #[error(
        "run: --tap: what moves its frames has ended before the command ({0}): the command was ended, since its VM has no network"
    )]
    TapEnded(ExitStatus),
    /// The children cannot be waited for.
    #[error("run: waiting: {0}")]
    Wait(io::Error),
}

impl RunError {
    /// The exit code: 127 and 126 for a command that is not there or cannot be run, as shells have it; that of the other softnet
    /// if it did not get ready.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            RunError::NoCommand { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            RunError::NoCommand { .. } => 126,
            RunError::NotReady(status) => {
                status.code().and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0).unwrap_or(1)
            }
            _ => 1,
        }
    }
}

/// Runs the command behind softnet, and returns the exit code.
///
/// # Errors
/// What failed. Nothing that was started is left behind.
pub fn run(run: &RunOptions) -> Result<u8, RunError> {
    let mac = run.vm_mac_address.unwrap_or_else(|| run.name.as_deref().map_or_else(mac::random, mac::of_name));
    let mac = colons(mac);
    let signals = Passing::catch().map_err(RunError::Start)?;
    let (guest, wire) = offspring::frame_sockets().map_err(RunError::Start)?;
    // Before softnet, so that what cannot be had is told before anything of the host's is touched.
    let link = match &run.tap {
        None => Link::Socket(guest.into()),
        Some(name) => {
            let failed = |reason| RunError::NoTap { name: name.clone(), reason };
            Link::Tap(Tap::start(name, guest.into()).map_err(failed)?, name.clone())
        }
    };

    let mut server = Server::start(&run.serve_words(&mac), wire.into()).map_err(RunError::NoServer)?;
    match server.wait_ready(&signals).map_err(RunError::Wait)? {
        Start::Ready => {}
        Start::Ended(status) => return Err(RunError::NotReady(status)),
        Start::Interrupted(signal) => {
            drop(link);
            server.end();
            return Ok(code_of(signal));
        }
    }
    if let Some(fd) = run.control_fd {
        // The channel is softnet's, and who holds it decides what the guest may reach.
        offspring::keep_from_children(fd).map_err(RunError::Start)?;
    }
    let command = match command::start(&run.command, &link, &mac) {
        Ok(command) => command,
        Err(source) => {
            drop(link);
            server.end();
            let command = run.command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
            return Err(RunError::NoCommand { command, source });
        }
    };
    let tap = match link {
        // From here on it is the command's alone: softnet sees when it is closed.
        Link::Socket(_) => None,
        Link::Tap(tap, _) => Some(tap),
    };
    supervise::until_the_end(command, server, tap, &signals)
}

/// The exit code of a program that `signal` ended, as a shell has it.
fn code_of(signal: Signal) -> u8 {
    u8::try_from(signal as i32).map_or(u8::MAX, |number| ENDED_BY_SIGNAL + number)
}
