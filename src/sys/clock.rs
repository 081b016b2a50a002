//! The clock that leases lapse by, monotonic, which counts the time that the machine sleeps; and the one on the wall.

use nix::time::{ClockId, clock_gettime};

use crate::engine::Instant;

/// Linux: CLOCK_MONOTONIC stops in suspend, CLOCK_BOOTTIME does not (clock_gettime(2)). macOS: CLOCK_MONOTONIC counts
/// sleep (clock_gettime(3)); `std::time::Instant` uses the one that does not, so it is no clock for a lease.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// Now, in microseconds since an arbitrary start (the boot of the machine).
///
/// # Panics
/// Never: the clock exists on every system that softnet builds for, and a machine is not up for 292,000 years.
#[must_use]
pub fn now() -> Instant {
    match clock_gettime(CLOCK) {
        Ok(time) => Instant::from_micros(time.tv_sec() * 1_000_000 + time.tv_nsec() / 1_000),
        Err(errno) => unreachable!("the clock {CLOCK:?} is missing: {errno}"),
    }
}

/// The time of day, in nanoseconds since 1970: for people, who may set it.
///
/// # Panics
/// Never: every system has this clock.
#[must_use]
pub fn wall_nanos() -> u64 {
    match clock_gettime(ClockId::CLOCK_REALTIME) {
        Ok(time) => u64::try_from(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())).unwrap_or(0),
        Err(errno) => unreachable!("the clock on the wall is missing: {errno}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_moves_forward_and_only_forward() {
        let start = super::now();
        let later = std::iter::repeat_with(super::now).find(|&now| now != start);
        assert!(later.is_some_and(|later| later > start));
    }
    #[test]
    fn the_clock_on_the_wall_is_that_of_the_standard_library() {
        let before = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let read = u128::from(super::wall_nanos());
        assert!((before..=std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).contains(&read));
    }
}
