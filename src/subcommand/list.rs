//! `softnet list`: who runs here.
//!
//! Its reader may be anyone, by way of the setuid bit: of another user's guests such a caller sees what keeps it from starting
//! one (the MAC, and whose process has it), and nothing else. What each softnet says of its own guest is numbers and
//! addresses by the time it comes here ([`crate::record`]).

use std::fmt::{self, Write as _};

use nix::unistd::{Uid, User};

use super::{SubcommandError, print};
use crate::engine::colons;
use crate::host::tap::{self, Running};
use crate::privilege::{self, Identity, Standing};
use crate::record::{Record, Totals};
use crate::stats::Losses;
use crate::sys::clock;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Json,
}

/// Runs `softnet list`.
pub(super) fn list(standing: Standing, form: Form) -> Result<(), SubcommandError> {
    if standing == Standing::Unprivileged {
        return Err(SubcommandError::ListNeedsRoot);
    }
    let mut wait = |duration| {
        std::thread::sleep(duration);
        Ok(())
    };
    let running = tap::running(&mut wait).map_err(SubcommandError::List)?;
    let now = u64::try_from(clock::now().total_micros()).unwrap_or_default();
    let mut list = List { form, now, guests: running.into_iter().map(|guest| Row::of(guest, standing)).collect() };
    if let Standing::Setuid { .. } = standing {
        privilege::drop_to(Identity::choose(standing, None, None)?)?;
    }
    list.guests.sort_by(|a, b| (&a.name, &a.bridge, &a.mac).cmp(&(&b.name, &b.bridge, &b.mac)));
    print(&list)
}

/// What is told of a guest.
struct Row {
    bridge: String,
    mac: String,
    process: String,
    uid: u32,
    user: Option<String>,
    /// The rest is for whose guest it is.
    is_shown: bool,
    name: Option<String>,
    since: u64,
    record: Option<Record>,
}

impl Row {
    fn of(guest: Running, standing: Standing) -> Self {
        let Running { bridge, mac, process, uid, name, since, record } = guest;
        let is_shown = match standing {
            Standing::Root => true,
            Standing::Setuid { uid: caller, .. } => caller.as_raw() == uid,
            Standing::Unprivileged => false,
        };
        // The password file is root's; a name with anything odd in it is told as a number.
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        let user =
            user.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
        let (name, record) = if is_shown { (name, record) } else { (None, None) };
        Row { bridge, mac: colons(mac), process, uid, user, is_shown, name, since, record }
    }
}

/// The whole answer.
struct List {
    form: Form,
    now: u64,
    guests: Vec<Row>,
}

const HEADINGS: [&str; 11] =
    ["NAME", "MAC", "USER", "PID", "NETWORK", "LEASE", "RULES", "FROM GUEST", "FROM HOST", "DROPPED", "UP"];

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Table => self.table(f),
            Form::Json => self.json(f),
        }
    }
}

impl List {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 11]> =
            std::iter::once(HEADINGS.map(str::to_owned)).chain(self.guests.iter().map(|row| self.cells(row))).collect();
        let mut widths = [0; 11];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                write!(line, "{cell:width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn cells(&self, row: &Row) -> [String; 11] {
        let dash = || "-".to_owned();
        let user = row.user.clone().unwrap_or_else(|| row.uid.to_string());
        let head =
            [row.name.clone().unwrap_or_else(dash), row.mac.clone(), user, row.process.clone(), row.bridge.clone()];
        let tail = match row.record {
            None => [dash(), dash(), dash(), dash(), dash()],
            Some(record) => [
                self.live(record).map_or_else(dash, |(address, _)| address),
                record.rules.to_string(),
                traffic(record.from_guest),
                traffic(record.from_host),
                dropped(record).to_string(),
            ],
        };
        let up = if row.is_shown { span(self.now.saturating_sub(row.since) / 1_000_000) } else { dash() };
        let mut cells = head.into_iter().chain(tail).chain([up]);
        std::array::from_fn(|_| cells.next().unwrap_or_default())
    }

    /// The lease and the seconds left, unless it has lapsed since its softnet wrote.
    fn live(&self, record: Record) -> Option<(String, u64)> {
        let (address, expires) = record.lease?;
        (expires > self.now).then(|| (address.to_string(), (expires - self.now) / 1_000_000))
    }

    /// No string in it needs an escape: names and addresses are of few characters.
    fn json(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, row) in self.guests.iter().enumerate() {
            let text = |text: Option<&str>| text.map_or("null".to_owned(), |text| format!("\"{text}\""));
            write!(f, "{}\n  {{\"name\": {}, ", if index == 0 { "" } else { "," }, text(row.name.as_deref()))?;
            write!(f, "\"mac\": \"{}\", \"uid\": {}, \"user\": {}, ", row.mac, row.uid, text(row.user.as_deref()))?;
            let process = row.process.parse().ok().map_or("null".to_owned(), |process: u32| process.to_string());
            write!(f, "\"pid\": {process}, \"network\": \"{}\"", row.bridge)?;
            if row.is_shown {
                write!(f, ", \"up_seconds\": {}", self.now.saturating_sub(row.since) / 1_000_000)?;
            }
            if let Some(record) = row.record {
                match self.live(record) {
                    Some((address, left)) => {
                        write!(f, ", \"lease\": {{\"address\": \"{address}\", \"seconds_left\": {left}}}")?;
                    }
                    None => f.write_str(", \"lease\": null")?,
                }
                write!(f, ", \"rules\": {}", record.rules)?;
                for (side, Totals { frames, bytes, dropped }) in
                    [("from_guest", record.from_guest), ("from_host", record.from_host)]
                {
                    write!(f, ", \"{side}\": {{\"frames\": {frames}, \"bytes\": {bytes}, \"dropped\": {dropped}}}")?;
                }
                let Losses { to_guest, to_host } = record.lost;
                write!(f, ", \"lost\": {{\"to_guest\": {to_guest}, \"to_host\": {to_host}}}")?;
            }
            f.write_str("}")?;
        }
        f.write_str(if self.guests.is_empty() { "]\n" } else { "\n]\n" })
    }
}

/// All that went nowhere, either way. A liar's numbers may not fit together.
fn dropped(Record { from_guest, from_host, lost: Losses { to_guest, to_host }, .. }: Record) -> u64 {
    [from_guest.dropped, from_host.dropped, to_guest, to_host].into_iter().fold(0, u64::saturating_add)
}

fn traffic(Totals { frames, bytes, .. }: Totals) -> String {
    format!("{frames} / {}", size(bytes))
}

/// Bytes in the largest unit of which there are ten.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let unit = (1..units.len()).rev().find(|&unit| bytes >> (10 * unit) >= 10).unwrap_or(0);
    format!("{} {}", bytes >> (10 * unit), units[unit])
}

/// Seconds, as people say them.
fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, hours, ..) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::Gid;

    use super::*;

    fn guest(uid: u32, record: Option<Record>) -> Running {
        let mac = crate::engine::EthernetAddress([2, 0, 0, 0, 0, 1]);
        let (bridge, process) = ("softnet0".to_owned(), "77".to_owned());
        Running { bridge, mac, process, uid, name: Some("web-1".to_owned()), since: 5_000_000, record }
    }

    fn record() -> Record {
        Record {
            lease: Some(([192, 168, 64, 7].into(), 600_000_000)),
            rules: 3,
            from_guest: Totals { frames: 1000, bytes: 20_480, dropped: 1 },
            from_host: Totals { frames: 4, bytes: 500, dropped: 2 },
            lost: Losses { to_guest: 3, to_host: u64::MAX },
        }
    }

    fn shown(guests: Vec<Running>, standing: Standing, form: Form) -> String {
        let guests = guests.into_iter().map(|guest| Row::of(guest, standing)).collect();
        List { form, now: 95_000_000, guests }.to_string()
    }

    const CALLER: Standing = Standing::Setuid { uid: Uid::from_raw(4_000_000_001), gid: Gid::from_raw(1) };

    #[test]
    fn a_table_has_a_line_a_guest() {
        let table =
            shown(vec![guest(4_000_000_001, Some(record())), guest(4_000_000_001, None)], Standing::Root, Form::Table);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            rows[1].join(" "),
            "web-1 02:00:00:00:00:01 4000000001 77 softnet0 192.168.64.7 3 1000 / 20 KiB 4 / 500 B 18446744073709551615 1m30s"
        );
        assert_eq!(rows[2].join(" "), "web-1 02:00:00:00:00:01 4000000001 77 softnet0 - - - - - 1m30s");
    }

    #[test]
    fn a_caller_sees_of_others_guests_what_they_keep_it_from() {
        let both = vec![guest(4_000_000_001, Some(record())), guest(4_000_000_002, Some(record()))];
        for form in [Form::Table, Form::Json] {
            let lines = shown(both.clone(), CALLER, form);
            let of = |uid: &str| lines.lines().find(|line| line.contains(uid)).expect("a line").to_owned();
            assert!(["web-1", "192.168.64.7"].iter().all(|word| of("4000000001").contains(word)), "{lines}");
            let other = of("4000000002");
            assert!(["77", "02:00:00:00:00:01", "softnet0"].iter().all(|word| other.contains(word)), "{lines}");
            assert!(
                ["web-1", "192.168", "1000", "rules", "1m30s", "90"].iter().all(|word| !other.contains(word)),
                "{lines}"
            );
        }
    }

    #[test]
    fn json_is_json() {
        for guests in [vec![], vec![guest(1, None)], vec![guest(1, Some(record())), guest(2, Some(Record::default()))]]
        {
            let count = guests.len();
            let text = shown(guests, Standing::Root, Form::Json);
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value.as_array().expect("an array").len(), count);
            if count == 2 {
                assert_eq!(value[0]["lease"]["seconds_left"], 505);
                assert_eq!(value[0]["from_guest"]["bytes"], 20_480);
                assert_eq!(value[0]["up_seconds"], 90);
                assert!(value[1]["lease"].is_null() && value[1]["rules"] == 0);
            }
        }
    }

    #[test]
    fn a_lease_that_has_lapsed_since_is_none() {
        let lapsed = Record { lease: Some(([192, 168, 64, 7].into(), 94_999_999)), ..record() };
        assert!(!shown(vec![guest(1, Some(lapsed))], Standing::Root, Form::Table).contains("192.168"));
    }
}
