//! How often something may be said: a few times a second, and how often it was not.
#![forbid(unsafe_code)]

use crate::engine::{Duration, Instant};

/// The most times in a [`WINDOW`].
pub(super) const MOST: u8 = 5;
const WINDOW: Duration = Duration::from_secs(1);

/// For one subject.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limiter {
    /// When the present window is over.
    until: Option<Instant>,
    said: u8,
    left_out: u64,
}

impl Limiter {
    /// Whether it may be said now, and then how often it was left out since it was last said.
    #[inline]
    pub(super) fn ask(&mut self, now: Instant) -> Option<u64> {
        if self.until.is_none_or(|until| now >= until) {
            self.until = Some(now + WINDOW);
            self.said = 0;
        }
        if self.said == MOST {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.left_out))
    }

    /// When what was left out should be told, if anything was.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until.filter(|_| self.left_out > 0)
    }

    /// How often it was left out, if that is to be told now; it is as good as told.
    pub(super) fn owed(&mut self, now: Instant) -> Option<u64> {
        self.deadline().filter(|&deadline| now >= deadline).map(|_| std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_a_second_pass_and_the_rest_is_counted_once() {
        let mut limiter = Limiter::default();
        let mut said = 0;
        let mut left_out = 0;
        for micros in 0..3_500_000 / 100 {
            if let Some(count) = limiter.ask(Instant::from_micros(micros * 100)) {
                said += 1;
                left_out += count;
            }
        }
        assert_eq!(said, 4 * u64::from(MOST));
        let end = Instant::from_micros(4_000_000);
        assert_eq!(limiter.owed(Instant::from_micros(3_999_999)), None);
        assert_eq!(limiter.deadline(), Some(end));
        left_out += limiter.owed(end).unwrap();
        assert_eq!(said + left_out, 35_000);
        assert_eq!((limiter.owed(end), limiter.deadline()), (None, None));
    }
}
