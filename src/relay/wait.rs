//! The relay's one wait: for whom, how long, and what it found out.
//!
//! # Theory of operation
//! poll(2) of a set that is made anew for each wait: there may be no control channel, no companion that speaks, no wish to hear the
//! guest now. Only who is waited for is in it: poll(2) takes no more entries than a process may have descriptors (RLIMIT_NOFILE),
//! and the sandbox leaves no more than there are. The wait ends with the first deadline at the latest, and at once where something is
//! at hand that no descriptor tells of.

use std::os::fd::AsFd;
#[cfg(not(target_os = "linux"))]
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::{Relay, RelayError};
use crate::channel::Channel;
#[cfg(target_os = "linux")]
use crate::companion::Companion;
use crate::engine::{Allowance, Instant};
use crate::forwards::Forwards;
use crate::lifeline::timeout_until;
use crate::sys::clock;

/// What the wait found out.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) guest: bool,
    pub(super) host: bool,
    pub(super) signal: bool,
    pub(super) channel: bool,
    pub(super) forwards: bool,
    pub(super) companion: bool,
}

impl Relay {
    /// Sleeps until a frame or a signal comes, the guest should be looked at, or the engine's time has come.
    pub(super) fn wait(&mut self) -> Result<Ready, RelayError> {
        let now = clock::now();
        // A guest that has sent all that it may is not listened to until it may again: its sends wait meanwhile.
        let pause = match self.engine.guest_allowance(now) {
            Allowance::Frames(_) => None,
            Allowance::From(later) => Some(later),
        };
        // What is at hand waits for nobody.
        let held = self.host.holds_frames();
        let channel_has_work = self.channel.as_ref().is_some_and(Channel::has_work);
        let deadline = if held || channel_has_work { now } else { self.next_deadline(pause) };

        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let (signals, maker) = self.lifeline.descriptors();
        // One that has nothing to say would be heard to end.
        #[cfg(target_os = "linux")]
        let companion = self.companion.as_ref().and_then(Companion::line);
        #[cfg(not(target_os = "linux"))]
        let companion: Option<BorrowedFd<'_>> = None;
        let waited_for = [
            pause.is_none().then(|| readable(self.guest.as_fd())),
            Some(readable(self.host.readiness())),
            Some(readable(signals)),
            maker.map(readable),
            self.channel.as_ref().and_then(Channel::poll_fd),
            self.forwards.as_ref().and_then(Forwards::poll_fd).map(readable),
            companion.map(readable),
        ];
        let mut set: [_; 7] = std::array::from_fn(|_| readable(signals));
        let mut places = [usize::MAX; 7];
        let mut count = 0;
        for (place, fd) in places.iter_mut().zip(waited_for) {
            if let Some(fd) = fd {
                set[count] = fd;
                *place = count;
                count += 1;
            }
        }
        let woken = poll(&mut set[..count], timeout_until(deadline, now));
        self.counters.wakeups += 1;
        match woken {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(RelayError::Poll(errno)),
        }
        // An error or a hang-up is found out by the read or the look that follows.
        let is_ready = |place: usize| set[..count].get(place).is_some_and(|fd| fd.any().unwrap_or(true));
        let [guest, host, signal, maker_ended, channel, forwards, companion] = places.map(is_ready);
        if maker_ended {
            self.lifeline.maker_ended(now);
        }
        Ok(Ready { guest, host: host || held, signal, channel: channel || channel_has_work, forwards, companion })
    }

    /// When the first of those whose time comes has to be called, a guest that pauses among them.
    fn next_deadline(&self, pause: Option<Instant>) -> Instant {
        let due = [self.engine.next_deadline(), self.watch.next_deadline(), self.reports.next_deadline(), pause];
        due.into_iter().flatten().fold(self.lifeline.next_look(), Instant::min)
    }
}
