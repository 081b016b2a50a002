//! While the command runs: what comes for it is passed on, and whichever of the two ends, the other one does.

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::server::Server;
use super::tap::Tap;
use super::{ENDED_BY_SIGNAL, RunError};
use crate::sys::passing::{Passing, Sender};

/// How long a command may take to end by itself after softnet did: one that is just ending has closed its end of the socket already.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a command may take to end once it is told to.
const GRACE: Duration = Duration::from_secs(10);

/// What has been done about a command that outlives what served its VM, and when there is more to be done.
#[derive(Clone, Copy, Debug)]
struct Lost {
    served: Served,
    status: ExitStatus,
    next: Instant,
    step: Step,
}

/// What has ended before the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    BySoftnet,
    ByTap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Waited,
    Told,
    Killed,
}

/// Waits until all have ended; the command's exit code.
pub(super) fn until_the_end(
    mut command: Child,
    server: Server,
    tap: Option<Tap>,
    signals: &Passing,
) -> Result<u8, RunError> {
    let result = wait_for_all(&mut command, server, tap, signals);
    if matches!(result, Err(RunError::Wait(_))) {
        // Nobody would see to it any more.
        let _ = command.kill();
    }
    result
}

fn wait_for_all(
    command: &mut Child,
    mut server: Server,
    mut tap: Option<Tap>,
    signals: &Passing,
) -> Result<u8, RunError> {
    let pid = Pid::from_raw(command.id().cast_signed());
    let mut asked_to_end = false;
    let mut lost: Option<Lost> = None;
    loop {
        while let Some((signal, sender)) = signals.next() {
            if signal == Signal::SIGCHLD {
                continue;
            }
            asked_to_end |= matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT);
            // The terminal has sent its own to the command, too: it is in the same process group.
            if sender == Sender::Process {
                let _ = kill(pid, signal);
            }
        }
        // Not waited for before, so that the number was still the command's.
        if let Some(status) = command.try_wait().map_err(RunError::Wait)? {
            // First, so that nobody has the guest's end of the socket.
            if let Some(tap) = tap {
                tap.end();
            }
            server.end();
            return match lost {
                Some(Lost { served, status, step: Step::Told | Step::Killed, .. }) => Err(match served {
                    Served::BySoftnet => RunError::ServerEnded(status),
                    Served::ByTap => RunError::TapEnded(status),
                }),
                _ => Ok(code(status)),
            };
        }
        // A command that was asked to end takes the time that it takes, also where a service manager asked all three.
        if lost.is_none() && !asked_to_end {
            let pump = tap.as_mut().map_or(Ok(None), Tap::ended).map_err(RunError::Wait)?;
            let ended = match pump {
                Some(status) => Some((Served::ByTap, status)),
                None => server.ended().map_err(RunError::Wait)?.map(|status| (Served::BySoftnet, status)),
            };
            lost = ended.map(|(served, status)| Lost {
                served,
                status,
                next: Instant::now() + MOMENT,
                step: Step::Waited,
            });
        }
        if let Some(lost) = &mut lost {
            lost.go_on(pid);
        }
        wait(signals, lost)?;
    }
}

impl Lost {
    fn go_on(&mut self, command: Pid) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let (signal, step) = match self.step {
            Step::Waited => (Signal::SIGTERM, Step::Told),
            Step::Told | Step::Killed => (Signal::SIGKILL, Step::Killed),
        };
        let _ = kill(command, signal);
        (self.step, self.next) = (step, now + GRACE);
    }
}

/// Until a signal comes, the end of a child among them, or there is more to be done.
fn wait(signals: &Passing, lost: Option<Lost>) -> Result<(), RunError> {
    let timeout = lost.map_or(PollTimeout::NONE, |lost| {
        let left = lost.next.saturating_duration_since(Instant::now()).as_millis() + 1;
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    let mut polled = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(RunError::Wait(errno.into())),
    }
}

/// What a shell would say.
fn code(status: ExitStatus) -> u8 {
    let by_signal = || status.signal().map(|signal| i32::from(ENDED_BY_SIGNAL) + signal);
    status.code().or_else(by_signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
