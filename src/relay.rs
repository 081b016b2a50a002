//! The run phase: moves frames between the guest and the host, in batches, and asks the engine about each.
//!
//! # Theory of operation
//! One thread, one wait (`relay/wait.rs`). It tells which side has frames, that a signal came, or that it is time to look whether
//! the guest is still there. Each turn reads at most `BATCHES_A_TURN` batches from each side, one side after the other, so
//! that a flood one way starves neither the other way nor the signals; what is left makes the next poll return at once.
//! Nothing here blocks on one peer: a guest that does not read, or a host whose queue is full, loses frames, counted. The
//! control channel has a turn of bounded length before the frames have theirs.
//!
//! May: the engine, the `Host`, `sys`. Must not: look into frames, decide, need root.

mod events;
mod report;
mod wait;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use thiserror::Error;

use crate::channel::Channel;
#[cfg(target_os = "linux")]
use crate::companion::Companion;
#[cfg(target_os = "linux")]
use crate::companion::line::MAX_MESSAGE;
use crate::control::ChannelNames;
use crate::engine::reply::MAX_REPLY;
use crate::engine::{Allowance, Direction, Duration, Engine, Instant, Verdict};
use crate::forwards::Forwards;
use crate::host::Host;
use crate::lifeline::{End, Lifeline};
use crate::record::{Record, RecordWriter};
use crate::sandbox::Confined;
use crate::stats::RelayCounters;
use crate::sys::batch::{Batch, FRAMES};
use crate::sys::clock;
use crate::sys::datagram::{DatagramIo, Sent};
use crate::watch::Watch;

pub use report::{Exporter, Reports};

/// Batches from one side before the other side and the signals have their turn.
const BATCHES_A_TURN: usize = 2;

/// How often the host is asked whose the guest's address is: at the turn after that time. The relay wakes up once a second
/// anyhow.
const CENSUS: Duration = Duration::from_secs(3);

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
    /// Frames of the engine's own, in answer to some of the batch.
    replies: Batch,
    counters: RelayCounters,
    watch: Watch,
    reports: Reports,
    next_census: Instant,
    /// What others on the host may know.
    record: Option<RecordWriter>,
    /// One that is only to be told of the end.
    #[cfg(target_os = "linux")]
    companion: Option<Companion>,
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
            counters: RelayCounters::default(),
            watch: Watch::default(),
            reports: Reports::new(None),
            next_census: Instant::ZERO,
            record: None,
            #[cfg(target_os = "linux")]
            companion: None,
        }
    }

    /// The same, with a control channel on `socket`, a connected stream.
    #[must_use]
    pub fn with_channel(mut self, socket: OwnedFd, names: ChannelNames) -> Self {
        self.channel = Some(Channel::new(socket, &self.engine, names));
        self
    }

    /// The same, with counters that are told every so often.
    #[must_use]
    pub fn with_reports(mut self, reports: Reports) -> Self {
        self.reports = reports;
        self
    }

    /// The same, with what looks at verdicts.
    #[must_use]
    pub fn with_watch(mut self, watch: Watch) -> Self {
        self.watch = watch;
        self
    }

    /// The same, with a record of what it does, for others on the host.
    #[must_use]
    pub fn with_record(mut self, record: Option<RecordWriter>) -> Self {
        self.record = record;
        self
    }

    /// The same, with a companion that is told when softnet ends, and has nothing to say itself.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn with_companion(mut self, companion: Option<Companion>) -> Self {
        self.companion = companion;
        self
    }

    /// The same, with port forwards.
    #[must_use]
    pub fn with_forwards(mut self, forwards: Option<Forwards>) -> Self {
        self.forwards = forwards;
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
        self.watch.end(clock::now());
        self.report_at_the_end(clock::now());
        if let Some(forwards) = self.forwards.take() {
            forwards.end();
        }
        if let Err(error) = self.host.stop() {
            log::warn!("closing the host's link: {error}");
        }
        #[cfg(target_os = "linux")]
        if let Some(companion) = self.companion.take() {
            companion.end();
        }
        result
    }

    fn turns(&mut self) -> Result<End, RelayError> {
        self.reports.begin(clock::now());
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
            self.look_for_owner(now);
            self.report(now);
            self.tell_forwards(ready.forwards);
            self.hear_companion(ready.companion);
            self.watch.turn(now);
            self.keep_record(now);
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

    /// It has nothing to say but that it has ended, and to hear that is to tell it.
    fn hear_companion(&mut self, is_heard: bool) {
        #[cfg(target_os = "linux")]
        if is_heard && let Some(companion) = &mut self.companion {
            companion.hear(&mut [0; MAX_MESSAGE]);
        }
        // Elsewhere there is none.
        #[cfg(not(target_os = "linux"))]
        let _ = is_heard;
    }

    fn relay_guest_frames(&mut self, now: Instant) -> Result<(), RelayError> {
        for _ in 0..BATCHES_A_TURN {
            let Allowance::Frames(count) = self.engine.guest_allowance(now) else { break };
            self.batch.clear_for(count);
            self.io.receive(self.guest.as_fd(), &mut self.batch).map_err(RelayError::Guest)?;
            let more = self.batch.room() == 0;
            self.counters.note_read(Direction::FromGuest, self.batch.len());
            self.judge(Direction::FromGuest, now);
            self.send_replies_to_guest()?;
            if !self.batch.is_empty() {
                let taken = self.host.send(&self.batch).map_err(RelayError::Host)?;
                self.counters.lost.to_host += (self.batch.len() - taken) as u64;
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
            self.counters.note_read(Direction::FromHost, self.batch.len());
            self.judge(Direction::FromHost, now);
            self.send_replies_to_host()?;
            if !self.batch.is_empty() {
                match self.io.send(self.guest.as_fd(), &self.batch).map_err(RelayError::Guest)? {
                    Sent::Taken(taken) => self.counters.lost.to_guest += (self.batch.len() - taken) as u64,
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
    fn send_replies_to_guest(&mut self) -> Result<(), RelayError> {
        self.counters.replies += self.replies.len() as u64;
        if !self.replies.is_empty()
            && let Sent::Taken(taken) = self.io.send(self.guest.as_fd(), &self.replies).map_err(RelayError::Guest)?
        {
            self.counters.lost.to_guest += (self.replies.len() - taken) as u64;
        }
        Ok(())
    }

    fn send_replies_to_host(&mut self) -> Result<(), RelayError> {
        self.counters.replies += self.replies.len() as u64;
        if !self.replies.is_empty() {
            let taken = self.host.send(&self.replies).map_err(RelayError::Host)?;
            self.counters.lost.to_host += (self.replies.len() - taken) as u64;
        }
        Ok(())
    }

    fn judge(&mut self, direction: Direction, now: Instant) {
        let (engine, replies, watch) = (&mut self.engine, &mut self.replies, &mut self.watch);
        replies.clear();
        self.batch.retain(|frame| {
            let verdict = match direction {
                Direction::FromGuest => engine.on_guest_frame(frame, now),
                Direction::FromHost => engine.on_host_frame(frame, now),
            };
            if watch.is_on() {
                watch.judged(direction, frame, verdict, engine, now);
            }
            if let Verdict::Reply(_) = verdict {
                let reply = engine.reply();
                replies.push(reply);
                if watch.is_on() {
                    watch.replied(direction, reply);
                }
            }
            verdict == Verdict::Forward
        });
    }

    /// Asks the host, now and then, whose the guest's address is.
    fn look_for_owner(&mut self, now: Instant) {
        if now >= self.next_census {
            self.next_census = now + CENSUS;
            if let Some(address) = self.engine.lease().map(|lease| lease.address) {
                let owner = self.host.mac_of(address);
                self.engine.note_owner(owner);
            }
        }
    }

    /// Has no wake-up of its own: the lifeline looks once a second.
    fn keep_record(&mut self, now: Instant) {
        if let Some(writer) = &mut self.record
            && writer.is_due(now)
        {
            writer.keep(Record::of(&self.engine, self.counters.lost), now);
        }
    }
}

#[cfg(test)]
mod held;
#[cfg(test)]
mod tests;
