//! What a softnet tells of its guest to others on the host, for `softnet list`: a record of a fixed length in a file.
//!
//! # Theory of operation
//! The file is made and opened in the setup phase, where root keeps who may open it (`host::tap`); the relay rewrites it in
//! place, by one call, at most once a second and only when something has changed. It asks when it is awake anyhow, which it is once
//! a second: a record wakes nobody.
//!
//! After the drop its writer is a user's process, which a guest may have taken over one day. So a reader believes nothing of
//! it: numbers and an address in a line of this form, or no record. The sum is against halves of two writes, not against a
//! liar, who can say of its own guest what it likes, and of nobody else's.
//!
//! May: its one file. Must not: name a path.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;

use crate::engine::{Counters, Direction, Duration, Engine, Instant};
use crate::stats::Losses;

/// The length of a record: each call writes so much, at the start of the file.
pub const LENGTH: usize = 512;
/// How often a record is rewritten at most.
const EVERY: Duration = Duration::from_secs(1);
/// The first word: what form the line has.
const FORM: &str = "softnet-record-1";

/// What there is to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The guest's address, and until when it has it: microseconds of the clock of `sys::clock`.
    pub lease: Option<(Ipv4Addr, u64)>,
    /// How many rules its policy comes to.
    pub rules: u64,
    /// What came from the guest.
    pub from_guest: Totals,
    /// What came from the host for it.
    pub from_host: Totals,
    /// Frames that passed and that the receiver did not take.
    pub lost: Losses,
}

/// What came from one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames that passed.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were dropped.
    pub dropped: u64,
}

impl Totals {
    fn of(counters: &Counters, direction: Direction) -> Self {
        let forwarded = counters.forwarded(direction);
        Totals { frames: forwarded.frames, bytes: forwarded.bytes, dropped: counters.dropped_total(direction) }
    }
}

impl Record {
    /// What there is to tell of an engine, and of what was lost behind it.
    #[must_use]
    pub fn of(engine: &Engine, lost: Losses) -> Self {
        let counters = engine.counters();
        Record {
            lease: engine.lease().map(|lease| (lease.address, micros(lease.expires))),
            rules: engine.rule_count() as u64,
            from_guest: Totals::of(counters, Direction::FromGuest),
            from_host: Totals::of(counters, Direction::FromHost),
            lost,
        }
    }

    /// The bytes of the file: a line, and blanks.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        let (address, expires) = self.lease.unwrap_or((Ipv4Addr::UNSPECIFIED, 0));
        let Losses { to_guest, to_host } = self.lost;
        let side = |Totals { frames, bytes, dropped }: Totals| format!("{frames} {bytes} {dropped}");
        let (guest, host) = (side(self.from_guest), side(self.from_host));
        let text = format!("{FORM} {address} {expires} {} {guest} {host} {to_guest} {to_host}", self.rules);
        let line = format!("{text} {:016x}\n", sum(&text));
        let mut bytes = [b' '; LENGTH];
        // At its longest a line has 17 + 15 + 10 * 21 + 18 bytes.
        let length = line.len().min(LENGTH);
        bytes[..length].copy_from_slice(&line.as_bytes()[..length]);
        bytes
    }

    /// Reads what [`Record::encode`] wrote; nothing else is one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != LENGTH {
            return None;
        }
        let line = std::str::from_utf8(bytes).ok()?.split_once('\n')?.0;
        let (text, expected) = line.rsplit_once(' ')?;
        if expected.len() != 16 || u64::from_str_radix(expected, 16).ok()? != sum(text) {
            return None;
        }
        let mut words = text.split(' ');
        if words.next()? != FORM {
            return None;
        }
        let address: Ipv4Addr = words.next()?.parse().ok()?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let &[expires, rules, a, b, c, d, e, f, to_guest, to_host] = numbers.as_slice() else { return None };
        Some(Record {
            lease: (!address.is_unspecified()).then_some((address, expires)),
            rules,
            from_guest: Totals { frames: a, bytes: b, dropped: c },
            from_host: Totals { frames: d, bytes: e, dropped: f },
            lost: Losses { to_guest, to_host },
        })
    }
}

/// FNV-1a, of 64 bits.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn micros(at: Instant) -> u64 {
    u64::try_from(at.total_micros()).unwrap_or(0)
}

/// The relay's hand on its record.
#[derive(Debug)]
pub struct RecordWriter {
    file: File,
    next: Instant,
    last: Option<Record>,
}

impl RecordWriter {
    /// Keeps a record in `file`, from now on.
    #[must_use]
    pub fn new(file: File) -> Self {
        RecordWriter { file, next: Instant::from_micros_const(i64::MIN), last: None }
    }

    /// Whether it is time to look.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Writes `record` down if it says anything new. A file system that is full or gone keeps the last one.
    pub fn keep(&mut self, record: Record, now: Instant) {
        self.next = now + EVERY;
        if self.last != Some(record) {
            match self.file.write_at(&record.encode(), 0) {
                Ok(_) => self.last = Some(record),
                Err(error) => log::debug!("the record for softnet list: {error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            lease: Some(([192, 168, 64, 7].into(), 1_234_567)),
            rules: 3,
            from_guest: Totals { frames: 1, bytes: 2, dropped: 3 },
            from_host: Totals { frames: 4, bytes: 5, dropped: 6 },
            lost: Losses { to_guest: 7, to_host: 8 },
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let most = Totals { frames: u64::MAX, bytes: u64::MAX, dropped: u64::MAX };
        let longest = Record {
            lease: Some(([255; 4].into(), u64::MAX)),
            rules: u64::MAX,
            from_guest: most,
            from_host: most,
            lost: Losses { to_guest: u64::MAX, to_host: u64::MAX },
        };
        for record in [Record::default(), record(), longest] {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn a_half_of_two_writes_is_no_record() {
        let (old, new) =
            (record().encode(), Record { lost: Losses { to_guest: 9, to_host: 9 }, rules: 4, ..record() }.encode());
        let end = old.iter().position(|&byte| byte == b'\n').expect("a line");
        let differs = |at: usize| old[..at] != new[..at] && old[at..] != new[at..];
        let halves: Vec<usize> = (0..end).filter(|&at| differs(at)).collect();
        assert!(halves.len() > 10);
        for at in halves {
            assert_eq!(Record::decode(&[&new[..at], &old[at..]].concat()), None, "cut at {at}");
        }
    }

    #[test]
    fn what_a_liar_writes_is_numbers_or_nothing() {
        let with_sum = |text: &str| {
            let mut bytes = format!("{text} {:016x}\n", sum(text)).into_bytes();
            bytes.resize(LENGTH, b' ');
            bytes
        };
        assert!(Record::decode(&with_sum("softnet-record-1 10.0.0.1 1 2 3 4 5 6 7 8 9 10")).is_some());
        for text in [
            "softnet-record-2 10.0.0.1 1 2 3 4 5 6 7 8 9 10",
            "softnet-record-1 10.0.0.1 1 2 3 4 5 6 7 8 9",
            "softnet-record-1 10.0.0.1 1 2 3 4 5 6 7 8 9 10 11",
            "softnet-record-1 10.0.0.1 1 2 3 4 5 6 7 8 9 -1",
            "softnet-record-1 10.0.0.1 1 2 3 4 5 6 7 8 9 18446744073709551616",
            "softnet-record-1 10.0.0.1\x1b[2J 1 2 3 4 5 6 7 8 9 10",
            "softnet-record-1  10.0.0.1 1 2 3 4 5 6 7 8 9 10",
        ] {
            assert_eq!(Record::decode(&with_sum(text)), None, "{text}");
        }
        for bytes in
            [vec![], vec![0; LENGTH], vec![0xff; LENGTH], record().encode()[1..].to_vec(), vec![b'\n'; 1 << 20]]
        {
            assert_eq!(Record::decode(&bytes), None);
        }
    }

    #[test]
    fn a_record_is_written_once_a_second_and_when_something_has_changed() {
        let path = std::env::temp_dir().join(format!("softnet-record-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file of its own");
        std::fs::remove_file(&path).expect("removed");
        let read = || {
            let mut bytes = [0; LENGTH];
            let length = file.read_at(&mut bytes, 0).expect("read");
            Record::decode(&bytes[..length])
        };
        let mut writer = RecordWriter::new(file.try_clone().expect("another descriptor"));
        let at = Instant::from_millis;
        assert!(writer.is_due(at(5_000)));
        writer.keep(record(), at(5_000));
        assert_eq!(read(), Some(record()));
        assert!(!writer.is_due(at(5_999)) && writer.is_due(at(6_000)));

        file.set_len(0).expect("cut");
        writer.keep(record(), at(6_000));
        assert_eq!(read(), None, "nothing is new, and nothing is written");
        let new = Record { rules: 4, ..record() };
        writer.keep(new, at(7_000));
        assert_eq!(read(), Some(new));
        assert_eq!(file.metadata().expect("its length").len(), LENGTH as u64);
    }
}
