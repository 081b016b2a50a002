//! An end for this process, should it not get on: by the kernel, whether the process runs, is stopped or is frozen.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

/// A timer that kills this process, unless it is dropped before. No child inherits it (timer_create(2)).
#[derive(Debug)]
pub struct Watchdog {
    _timer: Timer,
}

impl Watchdog {
    /// Kills this process after `limit`, not counting the time that the machine sleeps.
    ///
    /// # Errors
    /// Those of timer_create(2): EAGAIN where the limit of pending signals (RLIMIT_SIGPENDING) is reached.
    pub fn arm(limit: Duration) -> io::Result<Self> {
        let kill = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(kill))?;
        timer.set(Expiration::OneShot(limit.into()), TimerSetTimeFlags::empty())?;
        Ok(Watchdog { _timer: timer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_in_time_kills_nobody() {
        let watchdog = Watchdog::arm(Duration::from_millis(20)).expect("armed");
        drop(watchdog);
        std::thread::sleep(Duration::from_millis(60));
    }
}
