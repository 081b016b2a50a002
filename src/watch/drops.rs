//! The drop log: which frames are dropped and why, a few of each kind a second.
//!
//! # Theory of operation
//! A [`Limiter`] for each reason in each direction: a frame beyond it costs a comparison and a count. One within it becomes a line,
//! with how many were left out before it; and if none follows, a line says so when the second is over. So there are at most
//! [`MOST`](super::limiter::MOST) + 1 lines a second of a reason, however fast a guest sends.
//!
//! Nobody is waited for: a line that standard error does not take at once is lost, counted and told later (`logging`). All that a line
//! has of a frame is numbers; the entry that decided is the operator's.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::limiter::Limiter;
use crate::engine::digest::{Contents, Datagram, Digest, Load};
use crate::engine::{Direction, DropReason, Engine, Instant, Verdict, colons, decider::Decider};
use crate::logging::{self, Format, Object};

const REASONS: usize = DropReason::ALL.len();

/// Says what is dropped.
#[derive(Debug)]
pub struct DropLog {
    format: Format,
    limiters: [[Limiter; REASONS]; 2],
    /// When a limiter has something to tell, at the earliest.
    next: Option<Instant>,
    say: fn(&str) -> bool,
}

impl DropLog {
    /// A drop log on standard error.
    #[must_use]
    pub fn new(format: Format) -> Self {
        DropLog { format, limiters: [[Limiter::default(); REASONS]; 2], next: None, say: logging::say }
    }

    /// A frame was judged.
    #[inline]
    pub(super) fn judged(
        &mut self,
        direction: Direction,
        frame: &[u8],
        verdict: Verdict,
        engine: &Engine,
        now: Instant,
    ) {
        let (Verdict::Drop(reason) | Verdict::Reply(reason)) = verdict else { return };
        let limiter = &mut self.limiters[direction as usize][reason as usize];
        match limiter.ask(now) {
            Some(left_out) => self.tell(direction, reason, Some((frame, verdict, engine)), left_out),
            None if self.next.is_none() => self.next = limiter.deadline(),
            None => {}
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Tells what was left out and is due.
    pub(super) fn turn(&mut self, now: Instant) {
        if self.next.is_some_and(|next| now >= next) {
            self.tell_owed(|limiter| limiter.owed(now));
        }
    }

    /// Tells what was left out, due or not.
    pub(super) fn end(&mut self) {
        self.tell_owed(|limiter| limiter.deadline().and_then(|deadline| limiter.owed(deadline)));
    }

    fn tell_owed(&mut self, mut owed: impl FnMut(&mut Limiter) -> Option<u64>) {
        for direction in [Direction::FromGuest, Direction::FromHost] {
            for reason in DropReason::ALL {
                if let Some(left_out) = owed(&mut self.limiters[direction as usize][reason as usize]) {
                    self.tell(direction, reason, None, left_out);
                }
            }
        }
        self.next = self.limiters.iter().flatten().filter_map(Limiter::deadline).min();
    }

    #[cold]
    fn tell(&self, direction: Direction, reason: DropReason, frame: Option<(&[u8], Verdict, &Engine)>, left_out: u64) {
        let digest = frame.and_then(|(frame, ..)| Digest::read(frame));
        let decider = frame.and_then(|(frame, verdict, engine)| engine.decider(direction, frame, verdict));
        let line = match self.format {
            Format::Text => text(direction, reason, frame.is_some(), digest.as_ref(), decider.as_ref(), left_out),
            Format::Json => {
                let length = frame.map(|(frame, ..)| frame.len());
                json(direction, reason, length, digest.as_ref(), decider.as_ref(), left_out)
            }
        };
        (self.say)(&line);
    }
}

/// `softnet: dropped from the guest, blocked: TCP 10.0.0.2:4000 > 1.1.1.1:443 (--block '1.1.1.1/32'); 12 more were left out`
fn text(
    direction: Direction,
    reason: DropReason,
    has_frame: bool,
    digest: Option<&Digest>,
    decider: Option<&Decider<'_>>,
    left_out: u64,
) -> String {
    let side = match direction {
        Direction::FromGuest => "guest",
        Direction::FromHost => "host",
    };
    let mut line = format!("softnet: dropped from the {side}, {}:", reason.name());
    if has_frame {
        let _ = match digest {
            Some(digest) => write!(line, " {digest}"),
            None => write!(line, " a frame without a header"),
        };
        if let Some(decider) = decider {
            let _ = write!(line, " ({decider})");
        }
    }
    if left_out > 0 {
        let _ = write!(line, "{} {left_out} more", if has_frame { "; before it," } else { "" });
    }
    line.push('\n');
    line
}

fn json(
    direction: Direction,
    reason: DropReason,
    length: Option<usize>,
    digest: Option<&Digest>,
    decider: Option<&Decider<'_>>,
    left_out: u64,
) -> String {
    let side = match direction {
        Direction::FromGuest => "from_guest",
        Direction::FromHost => "from_host",
    };
    let mut object = Object::message("info", "dropped").text("direction", side).text("reason", reason.name());
    if let Some(length) = length {
        object = object.value("bytes", length);
    }
    if let Some(digest) = digest {
        object = object.text("source_mac", &colons(digest.source_mac));
        object = object.text("destination_mac", &colons(digest.destination_mac));
        object = contents(object, &digest.contents);
    }
    if let Some(decider) = decider {
        object = object.text("decider", decider.name());
        if let Decider::Entry(_, entry) | Decider::Administrator(entry) = decider {
            object = object.text("entry", &entry.to_string());
        }
    }
    object.value("left_out", left_out).line()
}

fn contents(object: Object, contents: &Contents) -> Object {
    match *contents {
        Contents::Arp { sender, target } => {
            let object = object.text("protocol", "arp").text("source", &sender.to_string());
            object.text("destination", &target.to_string())
        }
        Contents::Ipv4(Datagram { source, destination, protocol, load }) => {
            let object = match protocol {
                1 => object.text("protocol", "icmp"),
                6 => object.text("protocol", "tcp"),
                17 => object.text("protocol", "udp"),
                other => object.text("protocol", &other.to_string()),
            };
            let object = object.text("source", &source.to_string()).text("destination", &destination.to_string());
            match load {
                Load::Ports { source, destination } => {
                    object.value("source_port", source).value("destination_port", destination)
                }
                Load::Fragment => object.value("fragment", true),
                Load::Plain => object,
            }
        }
        Contents::Other(ether_type) => object.text("ether_type", &format!("0x{ether_type:04x}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::limiter::MOST;
    use super::*;
    use crate::stats::tests::engine;

    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

    fn keep(line: &str) -> bool {
        SAID.lock().unwrap().push(line.into());
        true
    }

    #[test]
    fn a_flood_of_one_reason_does_not_hide_another_and_no_drop_is_lost_from_the_count() {
        let mut engine = engine();
        let mut log = DropLog { say: keep, ..DropLog::new(Format::Json) };
        let at = Instant::from_secs(10);
        let mut judge = |log: &mut DropLog, frame: &[u8]| {
            let verdict = engine.on_guest_frame(frame, at);
            log.judged(Direction::FromGuest, frame, verdict, &engine, at);
        };
        for _ in 0..10_000 {
            judge(&mut log, b"\x1b[2J short");
        }
        judge(&mut log, &[0x1b; 60]);
        assert_eq!(log.next_deadline(), Some(Instant::from_secs(11)));
        log.turn(Instant::from_secs(11));
        assert_eq!(log.next_deadline(), None);
        log.end();
        let lines = std::mem::take(&mut *SAID.lock().unwrap());
        let read: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |reason: &str| read.iter().filter(|line| line["reason"] == reason).collect::<Vec<_>>();
        let short = of("frame-too-short");
        assert_eq!(short.len(), usize::from(MOST) + 1);
        assert_eq!(short.last().unwrap()["left_out"], 10_000 - u64::from(MOST));
        let source = of("ethernet-source");
        assert_eq!(source.len(), 1, "{lines:?}");
        assert_eq!(source[0]["source_mac"], "1b:1b:1b:1b:1b:1b");
        assert!(!lines.iter().any(|line| line.trim_end().contains(char::is_control)));
    }

    #[test]
    fn the_entry_that_decided_is_told_whosever_it_is() {
        let entry = &crate::engine::Entry::parse_list("1.1.1.1").unwrap()[0];
        for decider in [Decider::Entry(crate::engine::List::Block, entry), Decider::Administrator(entry)] {
            let line = json(Direction::FromGuest, DropReason::Blocked, Some(60), None, Some(&decider), 0);
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&line["decider"], &line["entry"]), (&decider.name().into(), &"1.1.1.1/32".into()));
        }
    }
}
