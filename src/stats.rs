//! What a running softnet has done so far, as numbers: gathered by the relay at one moment, and told as a line of JSON
//! ([`mod@line`]) or in the text format of Prometheus ([`exposition`]).
//!
//! The names of both are an interface (docs/operating.md): what is there stays there and keeps its meaning.
#![forbid(unsafe_code)]

pub mod exposition;
pub mod line;

use std::net::Ipv4Addr;

use crate::engine::{Counters, Direction, Duration, EthernetAddress};

/// Both directions, and their names here.
pub(crate) const DIRECTIONS: [(Direction, &str); 2] =
    [(Direction::FromGuest, "from_guest"), (Direction::FromHost, "from_host")];

/// Batches of frames that were read from one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Batches with at least one frame.
    pub batches: u64,
    /// The frames in them, whatever became of each.
    pub frames: u64,
}

/// Frames that passed the filter and were lost all the same, since the receiver did not take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The guest's socket was full, or the frame was too large for it.
    pub to_guest: u64,
    /// The host's queue was full.
    pub to_host: u64,
}

/// What the relay counts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounters {
    /// Batches, by the direction of their frames.
    reads: [Reads; 2],
    /// Losses.
    pub lost: Losses,
    /// Frames of the engine's own to the guest.
    pub replies: u64,
    /// Waits that ended.
    pub wakeups: u64,
}

impl RelayCounters {
    /// A batch was read.
    pub fn note_read(&mut self, direction: Direction, frames: usize) {
        if frames > 0 {
            let reads = &mut self.reads[direction as usize];
            reads.batches += 1;
            reads.frames += frames as u64;
        }
    }

    /// What was read from one side.
    #[must_use]
    pub fn reads(&self, direction: Direction) -> Reads {
        self.reads[direction as usize]
    }
}

/// A port forward, as an operator is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardStats {
    /// As it was asked for.
    pub name: String,
    /// Whether it leads somewhere: the guest has a lease.
    pub is_open: bool,
    /// What goes through it: TCP connections, or clients of UDP that are remembered.
    pub connections: u64,
}

/// All of it, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// Which process this is.
    pub pid: u32,
    /// Its guest.
    pub guest: EthernetAddress,
    /// Since the relay began.
    pub uptime: Duration,
    /// Whether the relay goes on.
    pub state: State,
    /// The filter's counters.
    pub counters: &'a Counters,
    /// The relay's.
    pub relay_counters: RelayCounters,
    /// Frames of the host's that were none.
    pub unusable: u64,
    /// The lease, and how long it lasts.
    pub lease: Option<(Ipv4Addr, Duration)>,
    /// Live flows.
    pub flows: usize,
    /// Rules of the policy.
    pub rules: usize,
    /// Port forwards.
    pub forwards: &'a [ForwardStats],
}

/// The number of this process.
#[must_use]
pub fn own_pid() -> u32 {
    std::process::id()
}

/// Whether the relay goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Up,
    /// These are the last numbers.
    Ended,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::{Config, Engine, Instant, sample};

    pub(crate) const GUEST: [u8; 6] = [0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee];

    /// An engine that has dropped two frames of the guest's, for one reason.
    pub(crate) fn engine() -> Engine {
        let mut engine = Engine::new(Config::new(EthernetAddress(GUEST), sample::network(), [1, 2]));
        for _ in 0..2 {
            let _ = engine.on_guest_frame(&[0; 3], Instant::from_secs(1));
        }
        engine
    }

    pub(crate) fn snapshot(engine: &Engine) -> Snapshot<'_> {
        let mut relay_counters = RelayCounters {
            replies: 3,
            wakeups: 4,
            lost: Losses { to_guest: 5, to_host: 6 },
            ..RelayCounters::default()
        };
        relay_counters.note_read(Direction::FromGuest, 2);
        relay_counters.note_read(Direction::FromGuest, 0);
        Snapshot {
            pid: 4711,
            guest: EthernetAddress(GUEST),
            uptime: Duration::from_millis(90_250),
            state: State::Up,
            counters: engine.counters(),
            relay_counters,
            unusable: 7,
            lease: Some(([192, 168, 64, 2].into(), Duration::from_millis(599_900))),
            flows: 8,
            rules: 9,
            forwards: &[],
        }
    }
}
