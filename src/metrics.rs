//! The counters in a file (`--metrics-file`), for the textfile collector of Prometheus' node_exporter.
//!
//! # Theory of operation
//! The relay can open nothing. The directory is opened in the setup phase, by the rights of whom softnet becomes, and goes to a
//! companion (`writer`) that may make, replace and remove files in it. The relay writes the text and sends it in parts
//! (`part`); a companion that is behind, since its disk is, loses a version and the frames wait for nothing.
//!
//! *Whole or not at all*: each version is a new file beside the old one, and takes its name once it is whole. A symbolic link of
//! that name is replaced, and not followed. The mode is 0644 whatever the caller's umask is: the collector is another user.
//!
//! Phase: [`open`] and [`start`] belong to the setup. May: `companion`. Must not: wait for the companion while frames come.

mod part;
mod writer;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use thiserror::Error;

use crate::companion::line::Told;
use crate::companion::{self, Companion, CompanionError, Plan, Waited};
use crate::lifeline::{Lifeline, Stop};
use crate::privilege::{Identity, PrivilegeError, Standing};
use crate::relay::Exporter;
use crate::sandbox::{Leave, Room, calls};

pub use writer::MetricsWriter;

/// Every how many seconds the file is written, unless the operator says otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

/// The longest name of a file.
const NAME_MAX: usize = 255;

/// Why there will be no file.
#[derive(Debug, Error)]
pub enum MetricsError {
    /// The directory cannot be opened, or not be written.
    #[error(
        "--metrics-file {path}: {reason}; softnet writes it as the user whom it becomes ({identity}): name a file in a directory that this user may write"
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// Whom softnet becomes.
        identity: Identity,
        /// What the system said.
        reason: String,
    },
    /// Acting for the caller.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// The companion.
    #[error(transparent)]
    Companion(#[from] CompanionError),
}

/// The relay's side.
#[derive(Debug)]
pub struct MetricsFile {
    companion: Companion,
    is_behind: bool,
}

/// A directory that was opened for the caller, and in which a file could be made by its rights.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    identity: Identity,
    directory: RawFd,
    writer: MetricsWriter,
}

impl Place {
    /// The directory's.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.directory
    }
}

/// Opens the directory of `path`, which is relative to `beside` unless it is absolute, for the caller, and tries it.
///
/// # Errors
/// What the caller may not do.
pub fn open(
    beside: Option<BorrowedFd<'_>>,
    path: &Path,
    identity: Identity,
    standing: Standing,
) -> Result<Place, MetricsError> {
    let (directory, writer) =
        identity.act(standing, || find(beside, path))?.map_err(|error| refused(path, identity, error.to_string()))?;
    Ok(Place { path: path.to_owned(), identity, directory, writer })
}

fn refused(path: &Path, identity: Identity, reason: String) -> MetricsError {
    MetricsError::Refused { path: path.to_owned(), identity, reason }
}

/// Starts the companion, after the setup's last program was run, and has it try as well: it is confined, and a caller's further groups
/// are gone.
///
/// # Errors
/// What failed, or softnet's own end.
pub fn start(place: Place, lifeline: &mut Lifeline) -> Result<MetricsFile, Stop<MetricsError>> {
    let Place { path, identity, directory, writer } = place;
    let refused = |reason: String| refused(&path, identity, reason);
    let left = [Leave::WriteIn(directory)];
    // The directory, the line, the standard streams, and a file.
    let room = Room { calls: calls::METRICS, left: &left, descriptors: 64 };
    let work = move |line| writer.keep(line);
    let plan = Plan { purpose: "--metrics-file", name: c"softnet-metrics", kept: &[directory], room, work };
    let companion = companion::start(identity, plan, lifeline).map_err(Stop::widen)?;
    match companion.wait_for(writer::READY, lifeline)? {
        Waited::Expected => Ok(MetricsFile { companion, is_behind: false }),
        Waited::Else(reason) => Err(Stop::Failed(refused(reason))),
    }
}

/// The directory's number, and who keeps a file in it, tried.
fn find(beside: Option<BorrowedFd<'_>>, path: &Path) -> io::Result<(RawFd, MetricsWriter)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if writer::temporary(name.as_bytes(), u32::MAX).len() > NAME_MAX {
        return Err(io::Error::other("the file's name is too long"));
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // Beside the caller's directory, which is not this process's any more.
    let parent = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let directory = match beside {
        Some(beside) => openat(beside, parent, flags, Mode::empty())?,
        None if path.is_absolute() => nix::fcntl::open(parent, flags, Mode::empty())?,
        None => return Err(io::Error::other("the working directory cannot be opened: name a whole path")),
    };
    let number = directory.as_raw_fd();
    let writer = MetricsWriter::new(directory, name, std::process::id());
    writer.try_out()?;
    Ok((number, writer))
}

impl Exporter for MetricsFile {
    /// Sends a version. One that the companion has no room for is lost, and said once.
    fn write(&mut self, text: &str) {
        let told =
            part::parts(text.as_bytes()).map(|message| self.companion.tell(&message)).find(|&told| told != Told::Sent);
        match told {
            None => self.is_behind = false,
            Some(Told::Full) if !self.is_behind => {
                self.is_behind = true;
                log::warn!("--metrics-file: its disk is slow, and versions of it are left out");
            }
            Some(_) => {}
        }
    }

    /// The last version has been sent: waits a moment for it to be written.
    fn end(self: Box<Self>) {
        self.companion.end();
    }
}

/// Writes `text` to a new file.
fn write_all(file: OwnedFd, text: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut File::from(file), text)
}
