//! Waiting for a condition, with a deadline: never a sleep that hopes.

use std::fmt;
use std::time::{Duration, Instant};

/// How long a step may take that is expected to work. Generous: two cores are shared by many tests, and a Mac's sharing
/// service takes its time over the first guest.
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(target_os = "macos") { 30 } else { 10 });

/// How long an answer may take before it counts as "there is none". On Linux everything is on one machine: an answer that
/// comes at all comes within milliseconds. On a Mac it comes from the real Internet. Each silence is paired with a control
/// that did answer.
pub const SILENCE: Duration = Duration::from_millis(if cfg!(target_os = "macos") { 3000 } else { 1200 });

/// What did not happen in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub after: Duration,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: nothing within {:.1} s", self.what, self.after.as_secs_f32())
    }
}

impl std::error::Error for Timeout {}

/// Asks `condition` until it has an answer.
///
/// # Errors
/// [`Timeout`] when `limit` is over.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T, Timeout> {
    let start = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return Ok(answer);
        }
        if start.elapsed() >= limit {
            return Err(Timeout { what: what.to_owned(), after: limit });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
