//! What the relay tells of itself: events as they come, counters when they are asked for or due, and at the end.
//!
//! # Theory of operation
//! A question (SIGUSR1) is answered by the next turn; questions that come faster than [`PAUSE`] are answered together, so that a
//! flood of signals costs no more than ten lines a second. An interval is a deadline among the others of the relay's wait: without one,
//! nothing wakes it.

use super::{Relay, events};
use crate::engine::{Direction, Duration, Instant, Traffic};
use crate::forwards::Forwards;
use crate::logging;
use crate::stats::{Losses, Snapshot, State, exposition, line, own_pid};

/// The shortest time between two answers.
const PAUSE: Duration = Duration::from_millis(100);

/// What keeps the latest counters somewhere, in the text format of Prometheus.
pub trait Exporter {
    /// Takes the next version; never blocks.
    fn write(&mut self, text: &str);

    /// There is no next version.
    fn end(self: Box<Self>);
}

/// An exporter, and when it is due.
struct Kept {
    exporter: Box<dyn Exporter>,
    interval: Duration,
    next: Option<Instant>,
}

/// When the counters are told.
pub struct Reports {
    pid: u32,
    /// When the relay began.
    began: Option<Instant>,
    interval: Option<Duration>,
    next_line: Option<Instant>,
    /// No answer before.
    quiet_until: Option<Instant>,
    is_asked: bool,
    kept: Option<Kept>,
}

impl Reports {
    /// Counters that are told whenever they are asked for, and every `interval`.
    #[must_use]
    pub fn new(interval: Option<std::time::Duration>) -> Self {
        Reports {
            pid: own_pid(),
            began: None,
            interval: interval.map(Duration::from),
            next_line: None,
            quiet_until: None,
            is_asked: false,
            kept: None,
        }
    }

    /// The same, kept by `exporter` as well, a version every `interval`.
    #[must_use]
    pub fn kept_by(mut self, exporter: Box<dyn Exporter>, interval: std::time::Duration) -> Self {
        self.kept = Some(Kept { exporter, interval: interval.into(), next: None });
        self
    }

    /// When the next line is due, if ever.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let answer = if self.is_asked { self.quiet_until } else { None };
        let kept = self.kept.as_ref().and_then(|kept| kept.next);
        [self.next_line, answer, kept].into_iter().flatten().min()
    }

    /// The relay begins: times count from here.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
        self.next_line = self.interval.map(|interval| now + interval);
        if let Some(kept) = &mut self.kept {
            kept.next = Some(now);
        }
    }

    /// Whether a line is due; then it is as good as told.
    fn is_due(&mut self, is_asked: bool, now: Instant) -> bool {
        self.is_asked |= is_asked;
        let answers = self.is_asked && self.quiet_until.is_none_or(|until| now >= until);
        let is_time = self.next_line.is_some_and(|next| now >= next);
        if is_time {
            // Those that were missed, while the machine slept, are not made up for.
            self.next_line = self.interval.map(|interval| now + interval);
        }
        if answers {
            self.is_asked = false;
            self.quiet_until = Some(now + PAUSE);
        }
        answers || is_time
    }
}

impl Relay {
    /// Tells what is due.
    pub(super) fn report(&mut self, now: Instant) {
        self.report_events();
        if self.reports.is_due(self.lifeline.asked(), now) {
            let line = line::line(&self.snapshot(now, State::Up));
            logging::say(&line);
        }
        if let Some(Kept { next: Some(next), .. }) = self.reports.kept
            && now >= next
        {
            self.keep(now, State::Up);
        }
    }

    /// Gives the exporter a version.
    fn keep(&mut self, now: Instant, state: State) {
        // Taken out meanwhile: the text is made of all that the relay has.
        if let Some(mut kept) = self.reports.kept.take() {
            kept.exporter.write(&exposition::text(&self.snapshot(now, state)));
            kept.next = Some(now + kept.interval);
            self.reports.kept = Some(kept);
        }
    }

    fn snapshot(&self, now: Instant, state: State) -> Snapshot<'_> {
        Snapshot {
            pid: self.reports.pid,
            guest: self.engine.guest_mac(),
            uptime: self.reports.began.map_or(Duration::ZERO, |began| since(began, now)),
            state,
            counters: self.engine.counters(),
            relay_counters: self.counters,
            unusable: self.host.unusable(),
            lease: self.engine.lease().map(|lease| (lease.address, since(now, lease.expires))),
            flows: self.engine.flow_count(),
            rules: self.engine.rule_count(),
            forwards: self.forwards.as_ref().map_or(&[], Forwards::stats),
        }
    }

    fn report_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            events::report(event, &*self.host);
        }
    }

    pub(super) fn report_at_the_end(&mut self, now: Instant) {
        self.report_events();
        self.keep(now, State::Ended);
        if let Some(kept) = self.reports.kept.take() {
            kept.exporter.end();
        }
        let counters = self.engine.counters();
        for (side, direction) in [("guest", Direction::FromGuest), ("host", Direction::FromHost)] {
            let Traffic { frames, bytes } = counters.forwarded(direction);
            let drops: Vec<String> =
                counters.drops(direction).map(|(reason, count)| format!("{} {count}", reason.name())).collect();
            log::info!("from the {side}: {frames} frames, {bytes} bytes; dropped: [{}]", drops.join(", "));
        }
        let Losses { to_guest, to_host } = self.counters.lost;
        log::info!("lost: {to_guest} frames to a slow guest, {to_host} to a busy host");
        match self.host.unusable() {
            0 => {}
            unusable => {
                log::warn!("{unusable} frames of the host's were not what their headers said, and went nowhere")
            }
        }
    }
}

/// From one moment to a later one; none, if it is not later.
fn since(from: Instant, to: Instant) -> Duration {
    to.max(from) - from
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Instant {
        Instant::from_millis(millis)
    }

    fn reports(interval: Option<u64>) -> Reports {
        let mut reports = Reports::new(interval.map(std::time::Duration::from_secs));
        reports.begin(at(0));
        reports
    }

    #[test]
    fn nobody_who_asks_is_told_nothing_and_nothing_is_waited_for() {
        let mut reports = reports(None);
        assert!(!reports.is_due(false, at(1_000_000)));
        assert_eq!(reports.next_deadline(), None);
    }

    #[test]
    fn questions_are_answered_at_once_and_a_flood_of_them_ten_times_a_second() {
        let mut reports = reports(None);
        let answers = (0..1000).filter(|&millis| reports.is_due(true, at(millis))).count();
        assert_eq!(answers, 10);
        // The last of them is answered, though no other comes.
        assert_eq!(reports.next_deadline(), Some(at(1000)));
        assert!(reports.is_due(false, at(1000)));
        assert_eq!(reports.next_deadline(), None);
    }

    #[test]
    fn an_interval_is_a_deadline_and_what_was_missed_is_not_made_up_for() {
        let mut reports = reports(Some(5));
        assert_eq!(reports.next_deadline(), Some(at(5000)));
        assert!(!reports.is_due(false, at(4999)));
        assert!(reports.is_due(false, at(60_000)));
        assert!(!reports.is_due(false, at(60_001)));
        assert_eq!(reports.next_deadline(), Some(at(65_000)));
    }
}
