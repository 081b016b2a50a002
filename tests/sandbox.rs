//! The sandbox on Linux: what is forbidden ends the process, what is legal goes on, and a running softnet is inside.
//!
//! | module | what |
//! | --- | --- |
//! | `channel` | what only the control channel may |
//! | `child` | a process that enters the sandbox for real and then does one thing |
//! | `companion` | a process beside the relay: its own sandbox, and its end with the relay |
//! | `engine` | an engine, for those who need one |
//! | `forbidden` | each class of call that nothing of softnet's makes |
//! | `legal` | memory, time, messages and each way to end |
//! | `metrics` | what the companion for the metrics' file may |
//! | `messages` | what the filter cannot see: names and descriptors in messages |
//! | `record` | what only the record for `softnet list` may |
//! | `running` | the real softnet, and a start that cannot be confined |
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

#[path = "sandbox/channel.rs"]
mod channel;
#[path = "sandbox/child.rs"]
mod child;
#[path = "sandbox/companion.rs"]
mod companion;
#[path = "support/engine.rs"]
mod engine;
#[path = "sandbox/forbidden.rs"]
mod forbidden;
#[path = "sandbox/leases.rs"]
mod leases;
#[path = "sandbox/legal.rs"]
mod legal;
#[path = "sandbox/messages.rs"]
mod messages;
#[path = "sandbox/metrics.rs"]
mod metrics;
#[path = "segments/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "sandbox/record.rs"]
mod record;
#[path = "sandbox/running.rs"]
mod running;

use softnet::sandbox::calls;

#[test]
fn the_documentation_has_the_lists_of_the_code() {
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/privileges.md")).unwrap();
    let mut tables = documented.split("| call | only | for |\n| --- | --- | --- |\n").skip(1);
    let lists = [
        ("EVERY", calls::EVERY),
        ("RELAY", calls::RELAY),
        ("REMOVER", calls::REMOVER),
        ("METRICS", calls::METRICS),
        ("FORWARDER", calls::FORWARDER),
        ("PUMP", calls::PUMP),
    ];
    for (name, list) in lists {
        let table = tables.next().expect("the table is there");
        let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
        let code: Vec<String> = list.iter().map(|call| call.row()).collect();
        assert_eq!(rows, code, "docs/privileges.md is to have these rows of {name}:\n{}\n", code.join("\n"));
    }
    assert_eq!(tables.next(), None, "no table more");
}
