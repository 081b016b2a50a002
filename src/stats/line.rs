//! The counters as a line of JSON. Reasons for which nothing was dropped are left out, so that the line is short.
#![forbid(unsafe_code)]

use super::{DIRECTIONS, ForwardStats, Snapshot};
use crate::engine::{Direction, colons, flows};
use crate::logging::{Object, Quoted};

/// The line, with its line feed.
#[must_use]
pub fn line(snapshot: &Snapshot<'_>) -> String {
    let head = Object::message("info", "counters")
        .text("version", env!("CARGO_PKG_VERSION"))
        .value("pid", snapshot.pid)
        .text("mac", &colons(snapshot.guest))
        .value("uptime_seconds", snapshot.uptime.secs());
    let both = DIRECTIONS.into_iter().fold(head, |object, (direction, name)| {
        let reads = snapshot.relay_counters.reads(direction);
        let traffic = snapshot.counters.forwarded(direction);
        let side = Object::default()
            .value("frames", traffic.frames)
            .value("bytes", traffic.bytes)
            .value("dropped", dropped(snapshot, direction))
            .value("batches", reads.batches)
            .value("frames_in_batches", reads.frames);
        object.value(name, side)
    });
    let lost = snapshot.relay_counters.lost;
    both.value("replies", snapshot.relay_counters.replies)
        .value("lost", Object::default().value("to_guest", lost.to_guest).value("to_host", lost.to_host))
        .value("unusable", snapshot.unusable)
        .value("lease", lease(snapshot))
        .value("flows", Object::default().value("live", snapshot.flows).value("limit", flows::MAX_FLOWS))
        .value("policy", Object::default().value("rules", snapshot.rules))
        .value("forwards", list(snapshot.forwards))
        .value("wakeups", snapshot.relay_counters.wakeups)
        .line()
}

fn dropped(snapshot: &Snapshot<'_>, direction: Direction) -> Object {
    let drops = snapshot.counters.drops(direction);
    drops.fold(Object::default(), |object, (reason, count)| object.value(reason.name(), count))
}

fn lease(snapshot: &Snapshot<'_>) -> String {
    snapshot.lease.map_or("null".into(), |(address, left)| {
        Object::default().text("address", &address.to_string()).value("seconds_left", left.secs()).to_string()
    })
}

fn list(forwards: &[ForwardStats]) -> String {
    let objects = forwards.iter().map(|forward| {
        let object = Object::default().value("forward", Quoted(&forward.name)).value("open", forward.is_open);
        object.value("connections", forward.connections).to_string()
    });
    format!("[{}]", objects.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{engine, snapshot};
    use super::*;

    #[test]
    fn every_number_stands_under_its_key() {
        let engine = engine();
        let forwards = [ForwardStats { name: "2222:22/tcp".into(), is_open: true, connections: 1 }];
        let line = line(&Snapshot { forwards: &forwards, ..snapshot(&engine) });
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "level": "info", "message": "counters", "version": env!("CARGO_PKG_VERSION"), "pid": 4711,
            "mac": "5a:94:ef:e4:0c:ee", "uptime_seconds": 90,
            "from_guest": {"frames": 0, "bytes": 0, "dropped": {"frame-too-short": 2}, "batches": 1, "frames_in_batches": 2},
            "from_host": {"frames": 0, "bytes": 0, "dropped": {}, "batches": 0, "frames_in_batches": 0},
            "replies": 3, "lost": {"to_guest": 5, "to_host": 6}, "unusable": 7,
            "lease": {"address": "192.168.64.2", "seconds_left": 599},
            "flows": {"live": 8, "limit": 32768}, "policy": {"rules": 9},
            "forwards": [{"forward": "2222:22/tcp", "open": true, "connections": 1}],
            "wakeups": 4
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn without_a_lease_there_is_null() {
        let engine = engine();
        let line = line(&Snapshot { lease: None, ..snapshot(&engine) });
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(read["lease"].is_null());
    }
}
