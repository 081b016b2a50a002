//! The counters in the text format of Prometheus (its documentation: "Text-based format", version 0.0.4).
//!
//! Every sample bears the guest's MAC, since the files of several guests are read together. Each reason has a sample in each
//! direction from the start, so that a rate sees the first drop too.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write as _};

use super::{DIRECTIONS, Snapshot, State};
use crate::engine::{Direction, DropReason, colons, flows};

/// The whole text. All of its labels are ours: numbers, names of reasons, the operator's forwards.
#[must_use]
pub fn text(snapshot: &Snapshot<'_>) -> String {
    let mut page = Page { text: String::with_capacity(16 << 10), guest: colons(snapshot.guest) };
    let relay = snapshot.relay_counters;
    page.family("softnet_info", "gauge", "Which softnet serves this guest.");
    page.sample("softnet_info", &[("version", env!("CARGO_PKG_VERSION")), ("pid", &snapshot.pid.to_string())], 1);
    page.gauge(
        "softnet_up",
        "Whether it runs; 0 in the last file that it writes.",
        u8::from(snapshot.state == State::Up),
    );
    page.gauge("softnet_uptime_seconds", "Since the first frame could come.", snapshot.uptime.secs());

    page.by_direction("softnet_forwarded_frames_total", "Frames that passed.", |direction| {
        snapshot.counters.forwarded(direction).frames
    });
    page.by_direction("softnet_forwarded_bytes_total", "Bytes of the frames that passed.", |direction| {
        snapshot.counters.forwarded(direction).bytes
    });
    let name = "softnet_dropped_frames_total";
    page.family(name, "counter", "Frames that the filter dropped, by reason.");
    for (direction, of) in DIRECTIONS {
        for reason in DropReason::ALL {
            let count = snapshot.counters.dropped(direction, reason);
            page.sample(name, &[("direction", of), ("reason", reason.name())], count);
        }
    }
    page.by_direction(
        "softnet_lost_frames_total",
        "Frames that passed and were not taken by a slow receiver.",
        |direction| match direction {
            Direction::FromGuest => relay.lost.to_host,
            Direction::FromHost => relay.lost.to_guest,
        },
    );
    page.by_direction("softnet_read_batches_total", "Batches of frames that were read.", |direction| {
        relay.reads(direction).batches
    });
    page.by_direction("softnet_read_frames_total", "Frames in the batches that were read.", |direction| {
        relay.reads(direction).frames
    });
    page.counter("softnet_replies_total", "Frames of softnet's own to the guest.", relay.replies);
    page.counter(
        "softnet_unusable_frames_total",
        "Frames of the host's that were not what their headers said.",
        snapshot.unusable,
    );
    page.counter("softnet_wakeups_total", "How often it woke up.", relay.wakeups);

    let left = snapshot.lease.map_or(0, |(_, left)| left.secs());
    page.gauge("softnet_lease_remaining_seconds", "How long the guest's lease lasts; 0 without one.", left);
    page.family("softnet_lease_info", "gauge", "The address that the guest has.");
    if let Some((address, _)) = snapshot.lease {
        page.sample("softnet_lease_info", &[("address", &address.to_string())], 1);
    }
    page.gauge("softnet_flows", "Flows that are kept.", snapshot.flows);
    page.gauge("softnet_flows_limit", "The most flows that are kept.", flows::MAX_FLOWS);
    page.gauge("softnet_policy_rules", "Rules of the policy.", snapshot.rules);
    page.family("softnet_forward_open", "gauge", "Whether a port forward leads to the guest.");
    for forward in snapshot.forwards {
        page.sample("softnet_forward_open", &[("forward", &forward.name)], u8::from(forward.is_open));
    }
    page.family("softnet_forward_connections", "gauge", "Connections through a port forward.");
    for forward in snapshot.forwards {
        page.sample("softnet_forward_connections", &[("forward", &forward.name)], forward.connections);
    }
    page.text
}

struct Page {
    text: String,
    guest: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{name}{{guest=\"{}\"", self.guest);
        for (label, text) in labels {
            let _ = write!(self.text, ",{label}=\"{}\"", escaped(text));
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn by_direction(&mut self, name: &str, help: &str, value: impl Fn(Direction) -> u64) {
        self.family(name, "counter", help);
        for (direction, of) in DIRECTIONS {
            self.sample(name, &[("direction", of)], value(direction));
        }
    }
}

/// A label's value: backslash, quote and line feed are escaped, and nothing else is.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::super::ForwardStats;
    use super::super::tests::{engine, snapshot};
    use super::*;

    /// Reads the format as strictly as it is written down: each family has its HELP and TYPE once, before its samples, which
    /// stand together; names and labels are of the letters that they may have; no sample comes twice.
    fn read(text: &str) -> BTreeMap<String, f64> {
        let is_name = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        assert!(text.ends_with('\n'));
        let (mut samples, mut families) = (BTreeMap::new(), HashSet::new());
        let (mut helped, mut family, mut kind) = (String::new(), String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(is_name(name) && !help.is_empty() && families.insert(name.to_owned()), "{line}");
                helped = name.into();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, of) = rest.split_once(' ').expect("a type");
                assert!(name == helped && ["counter", "gauge"].contains(&of), "{line}");
                assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
                (family, kind) = (name.into(), of.into());
            } else {
                let (name, rest) = line.split_once('{').expect("labels");
                assert!(name == family && !kind.is_empty(), "{line}");
                let (labels, value) = rest.rsplit_once("} ").expect("a value");
                let mut rest = labels;
                let mut names = HashSet::new();
                while !rest.is_empty() {
                    let (label, value) = rest.split_once("=\"").expect("a label");
                    assert!(is_name(label) && names.insert(label), "{line}");
                    let mut end = None;
                    let mut escaped = false;
                    for (at, letter) in value.char_indices() {
                        match letter {
                            '\\' | 'n' | '"' if escaped => escaped = false,
                            _ if escaped => panic!("{line}"),
                            '\\' => escaped = true,
                            '"' => {
                                end = Some(at);
                                break;
                            }
                            _ => {}
                        }
                    }
                    rest = &value[end.expect("the end of a value") + 1..];
                    rest = rest.strip_prefix(',').unwrap_or(rest);
                }
                assert!(names.contains("guest"), "{line}");
                let value: f64 = value.parse().expect("a number");
                assert!(samples.insert(format!("{name}{{{labels}}}"), value).is_none(), "{line}");
            }
        }
        samples
    }

    #[test]
    fn it_is_well_formed_and_every_number_is_there() {
        let engine = engine();
        let forwards = [ForwardStats { name: "a\\\"\nb".into(), is_open: true, connections: 2 }];
        let samples = read(&text(&Snapshot { forwards: &forwards, ..snapshot(&engine) }));
        let of = |name: &str, labels: &str| {
            let comma = if labels.is_empty() { "" } else { "," };
            samples.get(&format!("{name}{{guest=\"5a:94:ef:e4:0c:ee\"{comma}{labels}}}")).copied()
        };
        let (guest, host) = ("direction=\"from_guest\"", "direction=\"from_host\"");
        let expected = [
            ("softnet_up", "", 1.0),
            ("softnet_uptime_seconds", "", 90.0),
            ("softnet_forwarded_frames_total", guest, 0.0),
            ("softnet_dropped_frames_total", "direction=\"from_guest\",reason=\"frame-too-short\"", 2.0),
            ("softnet_dropped_frames_total", "direction=\"from_host\",reason=\"blocked\"", 0.0),
            ("softnet_lost_frames_total", guest, 6.0),
            ("softnet_lost_frames_total", host, 5.0),
            ("softnet_read_batches_total", guest, 1.0),
            ("softnet_read_frames_total", guest, 2.0),
            ("softnet_replies_total", "", 3.0),
            ("softnet_unusable_frames_total", "", 7.0),
            ("softnet_wakeups_total", "", 4.0),
            ("softnet_lease_remaining_seconds", "", 599.0),
            ("softnet_lease_info", "address=\"192.168.64.2\"", 1.0),
            ("softnet_flows", "", 8.0),
            ("softnet_policy_rules", "", 9.0),
            ("softnet_forward_open", "forward=\"a\\\\\\\"\\nb\"", 1.0),
            ("softnet_forward_connections", "forward=\"a\\\\\\\"\\nb\"", 2.0),
        ];
        for (name, labels, value) in expected {
            assert_eq!(of(name, labels), Some(value), "{name} {labels}");
        }
        let drops = samples.keys().filter(|key| key.starts_with("softnet_dropped_frames_total")).count();
        assert_eq!(drops, 2 * DropReason::ALL.len());
    }

    #[test]
    fn the_last_file_says_that_it_is_the_last_and_one_without_lease_names_none() {
        let engine = engine();
        let samples = read(&text(&Snapshot { state: State::Ended, lease: None, ..snapshot(&engine) }));
        assert_eq!(samples["softnet_up{guest=\"5a:94:ef:e4:0c:ee\"}"], 0.0);
        assert!(!samples.keys().any(|key| key.starts_with("softnet_lease_info")));
    }
}
