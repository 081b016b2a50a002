//! Companions: what needs more of the system than the relay may have runs in a process beside it.
//!
//! # Theory of operation
//! The relay sees a hostile guest's frames and so may hardly call anything. A feature that has to make sockets or files while the
//! guest runs gets a second process: forked in the setup phase, while root's rights and all names are still there, it closes every
//! descriptor but those that it is given, becomes the same user by the same drop with the same proof, and enters a sandbox whose
//! list of calls is its own. It never sees a frame, and holds neither the guest's socket, nor the host's link, nor the lock
//! on the guest's MAC: softnet's end is softnet's end. Relay and companion talk by messages (`line`) that neither waits for.
//!
//! **The companion ends** when the relay does, however that ends: the line ends with it. A terminal's or a service manager's
//! signals are the relay's to hear; the companion ignores them. **Should the companion end first**, killed or by a fault, the relay
//! says so once and goes on without what it did.
//!
//! What an attacker has who runs code in a companion: what its list and its descriptors allow, and the line. The relay
//! takes what comes by it as words to be checked, not as orders.
//!
//! Phase: [`start`] belongs to the setup, as root. May: `privilege`, `sandbox`, `sys`. Must not: see a byte of the guest's.

pub mod line;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use thiserror::Error;

use crate::lifeline::{End, Lifeline, Stop};
use crate::privilege::{self, Identity, PrivilegeError};
use crate::sandbox::{self, Room, SandboxError};
use crate::sys::fork;
use line::{Buffer, Heard, Line, MAX_MESSAGE, Told};

/// What a companion says first, once it is inside.
const INSIDE: &[u8] = b"inside";
/// How long it may take for that, or for a first word of its own, in steps of [`STEP`]: its drop and sandbox, on a machine that is busy.
const STEPS: u32 = 5_000;
const STEP: Duration = Duration::from_millis(1);
/// How long its end in order may take, in milliseconds.
const PATIENCE: u16 = 500;

/// A kind of companion: what it is called, what it gets and what it does.
pub struct Plan<'a, Work> {
    /// As messages call it: "the companion for ...".
    pub purpose: &'static str,
    /// As ps(1) shows it, up to 15 bytes.
    pub name: &'static CStr,
    /// The descriptors that it keeps, besides the line and standard error.
    pub kept: &'a [RawFd],
    /// What it may still do.
    pub room: Room<'a>,
    /// What it does, inside: until the line ends.
    pub work: Work,
}

/// Why there is no companion.
#[derive(Debug, Error)]
pub enum CompanionError {
    /// No process, or no line to it.
    #[error("the companion for {purpose} cannot be started: {source}")]
    Start {
        /// What it was for.
        purpose: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended before it was inside its sandbox, or is not there in time.
    #[error("the companion for {purpose} did not get into its sandbox: {reason}")]
    NotInside {
        /// What it was for.
        purpose: &'static str,
        /// What it said.
        reason: String,
    },
}

/// The relay's side of a companion.
#[derive(Debug)]
pub struct Companion {
    purpose: &'static str,
    /// None once it has ended.
    line: Option<Line>,
}

/// Starts a companion and waits until it is inside its sandbox.
///
/// # Errors
/// What failed on either side, or softnet's own end.
pub fn start<Work>(
    identity: Identity,
    plan: Plan<'_, Work>,
    lifeline: &mut Lifeline,
) -> Result<Companion, Stop<CompanionError>>
where
    Work: FnOnce(Line),
{
    let Plan { purpose, name, kept, room, work } = plan;
    let failed = |source| Stop::Failed(CompanionError::Start { purpose, source });
    let (ours, theirs) = Line::pair().map_err(failed)?;
    let kept: Vec<RawFd> = kept.iter().copied().chain([theirs.as_fd().as_raw_fd()]).collect();
    fork::run_in_child(&kept, || match confine(identity, name, &room) {
        Ok(()) => {
            theirs.tell(INSIDE);
            work(theirs);
            0
        }
        Err(error) => {
            theirs.tell(error.to_string().as_bytes());
            1
        }
    })
    .map_err(failed)?;
    // What the child took along was moved into the closure, and is closed on this side with it.
    match wait_for(&ours, INSIDE, lifeline)? {
        Waited::Expected => Ok(Companion { purpose, line: Some(ours) }),
        Waited::Else(reason) => Err(Stop::Failed(CompanionError::NotInside { purpose, reason })),
    }
}

/// What a companion that is starting says.
pub(crate) enum Waited {
    /// What it should.
    Expected,
    /// What it says instead, or that it says nothing.
    Else(String),
}

fn wait_for(line: &Line, word: &[u8], lifeline: &mut Lifeline) -> Result<Waited, End> {
    let mut buffer = [0; MAX_MESSAGE];
    for _ in 0..STEPS {
        match line.hear(&mut buffer) {
            Heard::Message(length) if &buffer[..length] == word => return Ok(Waited::Expected),
            Heard::Message(length) => {
                return Ok(Waited::Else(String::from_utf8_lossy(&buffer[..length]).into_owned()));
            }
            Heard::End => return Ok(Waited::Else("its process has ended".into())),
            Heard::Nothing => lifeline.pause(STEP)?,
        }
    }
    Ok(Waited::Else(format!("it takes more than {} s", STEPS / 1000)))
}

/// The child's way into its sandbox.
fn confine(identity: Identity, name: &CStr, room: &Room<'_>) -> Result<(), ConfineError> {
    fork::set_name(name).map_err(ConfineError::Name)?;
    let dropped = privilege::drop_to(identity)?;
    fork::die_with_parent().map_err(ConfineError::Name)?;
    Ok(sandbox::enter_as(dropped, room)?)
}

#[derive(Debug, Error)]
enum ConfineError {
    #[error("prctl: {0}")]
    Name(io::Error),
    #[error(transparent)]
    Drop(#[from] PrivilegeError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl Companion {
    /// The line's end, to be polled for messages; None once the companion has ended.
    #[must_use]
    pub fn line(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(AsFd::as_fd)
    }

    /// Waits, in the setup phase, for a first word of its own, besides that it is inside.
    pub(crate) fn wait_for(&self, word: &[u8], lifeline: &mut Lifeline) -> Result<Waited, End> {
        match &self.line {
            Some(line) => wait_for(line, word, lifeline),
            None => Ok(Waited::Else("its process has ended".into())),
        }
    }

    /// Sends it a message of 1 to [`MAX_MESSAGE`] bytes, which is lost if it is behind.
    pub fn tell(&mut self, message: &[u8]) -> Told {
        let told = self.line.as_ref().map_or(Told::End, |line| line.tell(message));
        if told == Told::End {
            self.has_ended();
        }
        told
    }

    /// Takes what it says next into `buffer`.
    pub fn hear(&mut self, buffer: &mut Buffer) -> Heard {
        let heard = self.line.as_ref().map_or(Heard::End, |line| line.hear(buffer));
        if heard == Heard::End {
            self.has_ended();
        }
        heard
    }

    /// Ends it in order and waits for that, a moment at most: what it holds, ports for instance, is free for the next softnet then.
    pub fn end(self) {
        if let Some(line) = self.line {
            line.end(PATIENCE);
        }
    }

    /// Says so, the first time that it is found out.
    fn has_ended(&mut self) {
        if self.line.take().is_some() {
            log::warn!(
                "the companion for {} has ended before its time: the guest's network goes on without it. Start softnet anew to \
                 have it back",
                self.purpose
            );
        }
    }
}
