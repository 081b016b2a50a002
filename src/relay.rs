//! The run phase: moves frames between the guest and the host, in batches, and asks the engine about each.
//!
//! # Theory of operation
//! One thread, one wait. poll(2) tells which side has frames, that a signal came, or that it is time to look whether the
//! guest is still there. Each turn reads at most `BATCHES_A_TURN` batches from each side, one side after the other, so
//! that a flood one way starves neither the other way nor the signals; what is left makes the next poll return at once.
//! Nothing here blocks on one peer: a guest that does not read, or a host whose queue is full, loses frames, counted. The
//! control channel has a turn of bounded length before the frames have theirs.
//!
//! May: the engine, the `Host`, `sys`. Must not: look into frames, decide, need root.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use thiserror::Error;

use crate::channel::Channel;
use crate::control::ChannelNames;
use crate::engine::reply::MAX_REPLY;
use crate::engine::{Direction, Engine, Event, Instant, Traffic, Verdict};
use crate::forwards::Forwards;
use crate::host::Host;
use crate::lifeline::{End, Lifeline, timeout_until};
use crate::sandbox::Confined;
use crate::sys::batch::{Batch, FRAMES};
use crate::sys::clock;
use crate::sys::datagram::{DatagramIo, Sent};

/// Batches from one side before the other side and the signals have their turn.
const BATCHES_A_TURN: usize = 2;

/// Why the relay cannot go on.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The guest's socket fails otherwise than by being closed.
    #[error("the guest's socket (--vm-fd) fails: {0}")]
    Guest(io::Error),
    /// The host's link is lost.
    #[error("the host's network link is lost: {0}")]
    Host(io::Error),
    /// poll(2) fails.
    #[error("waiting for frames fails: {0}")]
    Poll(Errno),
}

/// Frames that passed the filter and were lost all the same, since the receiver did not take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The guest's socket was full, or the frame was too large for it.
    pub to_guest: u64,
    /// The host's queue was full.
    pub to_host: u64,
}

/// One guest's relay. Made in the setup phase, so that all memory is there before the first frame.
pub struct Relay {
    guest: OwnedFd,
    host: Box<dyn Host>,
    engine: Engine,
    lifeline: Lifeline,
    channel: Option<Channel>,
    forwards: Option<Forwards>,
    io: DatagramIo,
    batch: Batch,
    /// Frames of the engine's own for the guest, in answer to some of the batch.
    replies: Batch,
    losses: Losses,
}

/// What the wait found out.
#[derive(Default)]
struct Ready {
    guest: bool,
    host: bool,
    signal: bool,
    channel: bool,
    forwards: bool,
}

impl Relay {
    /// A relay between `guest`, a connected datagram socket, and `host`.
    #[must_use]
    pub fn new(guest: OwnedFd, host: Box<dyn Host>, engine: Engine, lifeline: Lifeline) -> Self {
        let max_frame = host.network().max_frame;
        Relay {
            guest,
            host,
            engine,
            lifeline,
            channel: None,
            forwards: None,
            io: DatagramIo::new(FRAMES),
            batch: Batch::new(FRAMES, max_frame),
            replies: Batch::new(FRAMES, MAX_REPLY),
            losses: Losses::default(),
        }
    }

    /// The same, with a control channel on `socket`, a connected stream.
    #[must_use]
    pub fn with_channel(mut self, socket: OwnedFd, names: ChannelNames) -> Self {
        self.channel = Some(Channel::new(socket, &self.engine, names));
        self
    }

    /// The same, with port forwards.
    #[must_use]
    pub fn with_forwards(mut self, forwards: Forwards) -> Self {
        self.forwards = Some(forwards);
        self
    }

    /// Moves frames until a signal comes or the guest is gone. The proof says that root was dropped and the
    /// sandbox entered.
    ///
    /// # Errors
    /// That one of the two sides failed for good.
    pub fn run(mut self, _proof: &Confined) -> Result<End, RelayError> {
        let result = self.turns();
        if let Some(channel) = &mut self.channel {
            channel.shut_down();
        }
        self.report_at_the_end();
        if let Some(forwards) = self.forwards.take() {
            forwards.end();
        }
        if let Err(error) = self.host.stop() {
            log::warn!("closing the host's link: {error}");
        }
        result
    }

    fn turns(&mut self) -> Result<End, RelayError> {
        loop {
            let ready = self.wait()?;
            let now = clock::now();
            if ready.signal && self.lifeline.signalled() {
                return Ok(End::Signal);
            }
            if self.lifeline.guest_gone(now) {
                return Ok(End::GuestGone);
            }
            self.engine.advance(now);
            if ready.channel
                && let Some(channel) = &mut self.channel
            {
                channel.turn(&mut self.engine);
            }
            if ready.guest {
                self.relay_guest_frames(now)?;
            }
            if ready.host
                && let Some(end) = self.relay_host_frames(now)?
            {
                return Ok(end);
            }
            self.report_events();
            self.tell_forwards(ready.forwards);
        }
    }

    /// What leads to the guest is to know its lease.
    fn tell_forwards(&mut self, are_heard: bool) {
        let Some(forwards) = &mut self.forwards else { return };
        if are_heard {
            forwards.listen();
        }
        forwards.turn(self.engine.lease().map(|lease| lease.address), &mut *self.host);
    }

    /// Sleeps until a frame or a signal comes, the guest should be looked at, or the engine's time has come.
    fn wait(&mut self) -> Result<Ready, RelayError> {
        let now = clock::now();
        let look = self.lifeline.next_look();
        let deadline = self.engine.next_deadline().map_or(look, |deadline| deadline.min(look));
        let (signals, maker) = self.lifeline.descriptors();
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [self.guest.as_fd(), self.host.readiness(), signals, maker.unwrap_or(signals), signals, signals]
            .map(readable);
        let channel = self.channel.as_ref().and_then(Channel::poll_fd);
        let channel_waits = channel.is_some();
        if let Some(channel) = channel {
            fds[4] = channel;
        }
        let forwards = self.forwards.as_ref().and_then(Forwards::poll_fd);
        let forwards_speak = forwards.is_some();
        if let Some(forwards) = forwards {
            fds[5] = readable(forwards);
        }
        // What is at hand waits for nobody.
        let held = self.host.holds_frames();
        let channel_has_work = self.channel.as_ref().is_some_and(Channel::has_work);
        let deadline = if held || channel_has_work { now } else { deadline };
        match poll(&mut fds, timeout_until(deadline, now)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(RelayError::Poll(errno)),
        }
        // An error or a hang-up is found out by the read or the look that follows.
        let [guest, host, signal, maker_ended, channel, forwards] = fds.map(|fd| fd.any().unwrap_or(true));
        if maker.is_some() && maker_ended {
            self.lifeline.maker_ended(now);
        }
        let channel = channel_has_work || (channel_waits && channel);
        Ok(Ready { guest, host: host || held, signal, channel, forwards: forwards_speak && forwards })
    }

    fn relay_guest_frames(&mut self, now: Instant) -> Result<(), RelayError> {
        for _ in 0..BATCHES_A_TURN {
            self.batch.clear();
            self.io.receive(self.guest.as_fd(), &mut self.batch).map_err(RelayError::Guest)?;
            let more = self.batch.room() == 0;
            self.judge(Direction::FromGuest, now);
            self.send_replies()?;
            if !self.batch.is_empty() {
                let taken = self.host.send(&self.batch).map_err(RelayError::Host)?;
                self.losses.to_host += (self.batch.len() - taken) as u64;
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn relay_host_frames(&mut self, now: Instant) -> Result<Option<End>, RelayError> {
        for _ in 0..BATCHES_A_TURN {
            self.batch.clear();
            self.host.receive(&mut self.batch).map_err(RelayError::Host)?;
            let more = self.batch.room() == 0;
            self.judge(Direction::FromHost, now);
            if !self.batch.is_empty() {
                match self.io.send(self.guest.as_fd(), &self.batch).map_err(RelayError::Guest)? {
                    Sent::Taken(taken) => self.losses.to_guest += (self.batch.len() - taken) as u64,
                    Sent::PeerGone => return Ok(Some(End::GuestGone)),
                }
            }
            if !more {
                break;
            }
        }
        Ok(None)
    }

    /// A guest that is gone is found out by the next read.
    fn send_replies(&mut self) -> Result<(), RelayError> {
        if !self.replies.is_empty()
            && let Sent::Taken(taken) = self.io.send(self.guest.as_fd(), &self.replies).map_err(RelayError::Guest)?
        {
            self.losses.to_guest += (self.replies.len() - taken) as u64;
        }
        Ok(())
    }

    fn judge(&mut self, direction: Direction, now: Instant) {
        let (engine, replies) = (&mut self.engine, &mut self.replies);
        replies.clear();
        match direction {
            Direction::FromGuest => self.batch.retain(|frame| match engine.on_guest_frame(frame, now) {
                Verdict::Forward => true,
                Verdict::Drop(_) => false,
                Verdict::Reply(_) => {
                    replies.push(engine.reply());
                    false
                }
            }),
            Direction::FromHost => self.batch.retain(|frame| engine.on_host_frame(frame, now) == Verdict::Forward),
        }
    }

    fn report_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::LeaseGranted { address, seconds } => log::info!("the guest has {address} for {seconds} s"),
                Event::LeaseEnded { address, cause } => log::info!("the guest has lost {address}: {cause}"),
            }
        }
    }

    fn report_at_the_end(&mut self) {
        self.report_events();
        let counters = self.engine.counters();
        for (side, direction) in [("guest", Direction::FromGuest), ("host", Direction::FromHost)] {
            let Traffic { frames, bytes } = counters.forwarded(direction);
            let drops: Vec<String> =
                counters.drops(direction).map(|(reason, count)| format!("{} {count}", reason.name())).collect();
            log::info!("from the {side}: {frames} frames, {bytes} bytes; dropped: [{}]", drops.join(", "));
        }
        let Losses { to_guest, to_host } = self.losses;
        log::info!("lost: {to_guest} frames to a slow guest, {to_host} to a busy host");
        match self.host.unusable() {
            0 => {}
            unusable => {
                log::warn!("{unusable} frames of the host's were not what their headers said, and went nowhere")
            }
        }
    }
}

#[cfg(test)]
mod held;
#[cfg(test)]
mod tests;
