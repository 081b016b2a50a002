//! What looks at verdicts, besides the counters: the drop log, for whom the operator asked for it.
//!
//! # Theory of operation
//! [`Watch`] is made in the setup phase, with all that it will need, and is the relay's. When somebody looks, the relay tells
//! it each frame with its verdict, and each frame of the engine's own; when nobody does, a frame costs one branch more, which
//! is always predicted. Frames are single ones, as the filter judged them: what came as a run of segments has been cut
//! before. What wants to do something later than with a frame has it done in [`Watch::turn`], which the relay calls once a
//! turn, and at [`Watch::next_deadline`] at the latest.
//!
//! May: the engine's verdicts and its words about frames. Must not: block, change a verdict, hold up a frame.

mod drops;
mod limiter;

pub use drops::DropLog;

use crate::engine::{Direction, Engine, Instant, Verdict};

/// Everything that looks at verdicts.
#[derive(Debug, Default)]
pub struct Watch {
    is_on: bool,
    drops: Option<Box<DropLog>>,
}

impl Watch {
    /// The same, with a drop log.
    #[must_use]
    pub fn with_drop_log(mut self, drops: DropLog) -> Self {
        self.drops = Some(Box::new(drops));
        self.is_on = true;
        self
    }

    /// Whether anybody looks at frames.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// A frame was judged. `engine` is as it is after the verdict.
    pub fn judged(&mut self, direction: Direction, frame: &[u8], verdict: Verdict, engine: &Engine, now: Instant) {
        if let Some(drops) = &mut self.drops {
            drops.judged(direction, frame, verdict, engine, now);
        }
    }

    /// The engine answers the frame that was judged last, which went this way: `frame` goes the other way.
    pub fn replied(&mut self, _direction: Direction, _frame: &[u8], _now: Instant) {}

    /// When [`Watch::turn`] should be called at the latest, if ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.drops.as_ref().and_then(|drops| drops.next_deadline())
    }

    /// What is due is done, in bounded time.
    pub fn turn(&mut self, now: Instant) {
        if let Some(drops) = &mut self.drops {
            drops.turn(now);
        }
    }

    /// The relay ends: what is left is said.
    pub fn end(&mut self, _now: Instant) {
        if let Some(drops) = &mut self.drops {
            drops.end();
        }
    }
}
