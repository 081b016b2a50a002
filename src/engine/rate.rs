//! How much a guest may send and be sent: a token bucket for each direction, of bits and of frames a second.
//!
//! # Theory of operation
//! A bucket holds what may pass at once, its *depth*, and fills by its rate. What passes is taken from it, whole: the level
//! may go below nothing by one frame, and what was overdrawn is waited for. So no more than the depth, one frame and the
//! rate times the time passes in any time, and rounding never adds up: a level is counted in millionths of a bit, or of a frame,
//! which is what a rate a second brings in a microsecond.
//!
//! The two directions are held differently, since their queues are different ones:
//!
//! - **From the guest** nothing is dropped. The relay asks before it reads (`Pace::allowance`), and while the bucket is
//!   empty it leaves the guest's socket alone: its queue fills, and the guest's own sends wait, as behind a slow wire.
//!   A frame that nobody reads costs nobody anything, which is what neighbours gain; a dropped one costs its reading and its
//!   verdict. All that is read is paid for, whatever becomes of it. Nothing overtakes: the guest's DHCP and ARP wait behind
//!   its own frames and get through, for the same reason that all others do.
//! - **From the host** what comes too fast is dropped (`Pace::admits`), after all other rules, so that only what would pass
//!   spends. Not to read would leave the drop to the TAP device, whose queue holds runs of up to 64 KiB: seconds at a
//!   moderate rate, and DHCP would be lost in it like anything. So the link's own, ARP and DHCP's answers, is paid
//!   for and never refused: a guest that is flooded keeps its lease. TCP has no gentler sign here than a loss, and comes back
//!   from one after up to a round trip or a retransmission timeout: the bucket is deep enough to make up for that.
#![forbid(unsafe_code)]

use std::fmt;

use super::{Duration, Instant, after};

/// How long a bucket for frames from the guest takes to fill.
pub const GUEST_DEPTH: Duration = Duration::from_millis(20);
/// How long a bucket for frames from the host takes to fill.
pub const HOST_DEPTH: Duration = Duration::from_millis(250);
/// The least depth: a run of TCP segments, and as many small frames.
const LEAST_BITS: i64 = 64 * 1024 * 8;
const LEAST_FRAMES: i64 = 64;
/// A pause lasts as long as this takes to fill, so that a limit does not mean a wake-up for each frame.
const PAUSE: Duration = Duration::from_millis(5);
/// A level is counted in millionths.
const UNIT: i64 = 1_000_000;
/// The highest rate of each kind, so that no product below overflows: a second of it is an eighth of what an `i64` holds.
pub const MAX_RATE: u64 = 1_000_000_000_000;

/// What may pass a second, each way. Nothing given is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Bits of frames, Ethernet headers included; from 1 to [`MAX_RATE`].
    pub bits: Option<u64>,
    /// Frames; from 1 to [`MAX_RATE`].
    pub frames: Option<u64>,
}

impl RateLimit {
    /// Whichever is less of each kind.
    #[must_use]
    pub fn held_to(self, most: Self) -> Self {
        let lesser = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        RateLimit { bits: lesser(self.bits, most.bits), frames: lesser(self.frames, most.frames) }
    }

    /// Whether less of something is left than was asked for; of what was not asked for there is no less.
    #[must_use]
    pub fn is_stricter_than_asked(self, asked: Self) -> bool {
        let is_less = |given: Option<u64>, asked: Option<u64>| asked.is_some() && given != asked;
        is_less(self.bits, asked.bits) || is_less(self.frames, asked.frames)
    }
}

/// As it is typed, in the largest unit that is whole.
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = |value: u64, units: &[&'static str]| {
            let mut units = units.iter().copied();
            let (mut value, mut unit) = (value, units.next().unwrap_or_default());
            for larger in units {
                if value == 0 || !value.is_multiple_of(1000) {
                    break;
                }
                (value, unit) = (value / 1000, larger);
            }
            format!("{value}{unit}")
        };
        let bits = self.bits.map(|bits| limit(bits, &["bit/s", "kbit/s", "mbit/s", "gbit/s"]));
        let frames = self.frames.map(|frames| limit(frames, &["pps", "kpps", "mpps"]));
        match (bits, frames) {
            (Some(bits), Some(frames)) => write!(f, "{bits},{frames}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(&one),
            (None, None) => f.write_str("none"),
        }
    }
}

/// What the relay may read from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Up to so many frames, at least one.
    Frames(usize),
    /// None before that time.
    From(Instant),
}

/// What fills by a rate and is spent.
#[derive(Debug)]
struct Bucket {
    /// What a microsecond brings, in millionths.
    rate: i64,
    depth: i64,
    level: i64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: u64, least: i64, depth: Duration) -> Self {
        let rate = i64::try_from(rate.min(MAX_RATE)).unwrap_or(i64::MAX);
        let depth = rate.saturating_mul(micros(depth)).max(least.saturating_mul(UNIT));
        Bucket { rate, depth, level: depth, filled: Instant::from_micros_const(i64::MIN) }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.total_micros().saturating_sub(self.filled.total_micros());
        if elapsed > 0 {
            self.level = self.level.saturating_add(self.rate.saturating_mul(elapsed)).min(self.depth);
            self.filled = now;
        }
    }

    /// Takes `amount` millionths. The debt ends at a whole depth: only what is never refused can get there.
    fn spend(&mut self, amount: i64) {
        self.level = self.level.saturating_sub(amount).max(-self.depth);
    }

    /// How long until the level is `wanted`, in microseconds, rounded up.
    fn until(&self, wanted: i64) -> i64 {
        let missing = wanted.saturating_sub(self.level).max(0);
        missing.saturating_add(self.rate - 1).checked_div(self.rate).unwrap_or(i64::MAX)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.total_micros()).unwrap_or(i64::MAX)
}

/// The bits of a frame, in millionths.
fn bits(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX).saturating_mul(8 * UNIT)
}

/// The buckets of one direction.
#[derive(Debug)]
pub(super) struct Pace {
    bits: Option<Bucket>,
    frames: Option<Bucket>,
    /// The largest frame, in millionths of a bit.
    largest: i64,
    /// Until then nothing is read from the guest.
    pause: Instant,
}

impl Pace {
    /// Full buckets, for frames of up to `max_frame` bytes.
    pub(super) fn new(limit: RateLimit, depth: Duration, max_frame: usize) -> Self {
        let largest = bits(max_frame.max(1));
        let least_bits = LEAST_BITS.max(largest / UNIT);
        Pace {
            bits: limit.bits.map(|rate| Bucket::new(rate, least_bits, depth)),
            frames: limit.frames.map(|rate| Bucket::new(rate, LEAST_FRAMES, depth)),
            largest,
            pause: Instant::from_micros_const(i64::MIN),
        }
    }

    /// What may be read now.
    pub(super) fn allowance(&mut self, now: Instant) -> Allowance {
        if now < self.pause {
            return Allowance::From(self.pause);
        }
        let mut frames = i64::MAX;
        let mut wait = 0;
        for (bucket, one, least) in [(&mut self.bits, self.largest, 1), (&mut self.frames, UNIT, UNIT)] {
            let Some(bucket) = bucket else { continue };
            bucket.fill(now);
            if bucket.level < least {
                let enough = bucket.rate.saturating_mul(micros(PAUSE)).max(one).min(bucket.depth);
                wait = wait.max(bucket.until(enough));
            } else {
                frames = frames.min((bucket.level / one).max(1));
            }
        }
        if wait == 0 {
            return Allowance::Frames(usize::try_from(frames).unwrap_or(usize::MAX));
        }
        self.pause = after(now, Duration::from_micros(wait.unsigned_abs()));
        Allowance::From(self.pause)
    }

    /// Pays for a frame that is there.
    pub(super) fn spend(&mut self, length: usize, now: Instant) {
        for (bucket, amount) in [(&mut self.bits, bits(length)), (&mut self.frames, UNIT)] {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                bucket.spend(amount);
            }
        }
    }

    /// Pays for a frame, unless it comes too fast: then nothing is paid.
    pub(super) fn admits(&mut self, length: usize, now: Instant) -> bool {
        for (bucket, least) in [(&mut self.bits, 1), (&mut self.frames, UNIT)] {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                if bucket.level < least {
                    return false;
                }
            }
        }
        self.spend(length, now);
        true
    }
}

/// Whether a frame that may pass to the guest is what the link itself needs: ARP, or DHCP, which is all that passes to
/// UDP port 68.
pub(super) fn is_of_the_link(frame: &[u8]) -> bool {
    let at = |index: usize| frame.get(index).copied().unwrap_or_default();
    match [at(12), at(13)] {
        [0x08, 0x06] => true,
        [0x08, 0x00] => {
            let header = usize::from(at(14) & 0x0f) * 4;
            let is_first = at(20) & 0x1f == 0 && at(21) == 0;
            at(23) == 17 && is_first && [at(14 + header + 2), at(14 + header + 3)] == [0, 68]
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
