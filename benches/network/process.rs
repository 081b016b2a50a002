//! What a contender's process spends: processor time, memory, wake-ups; all of its threads, and nobody else's.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The time that process `pid` has spent on a processor (proc_pid_schedstat(5), first field).
pub(crate) fn on_cpu(pid: u32) -> Duration {
    let nanos = |path: PathBuf| fs::read_to_string(path).ok()?.split_whitespace().next()?.parse::<u64>().ok();
    Duration::from_nanos(threads(pid).filter_map(|thread| nanos(thread.join("schedstat"))).sum())
}

/// How often its threads have gone to sleep, and therefore woken up.
pub(crate) fn wakeups(pid: u32) -> u64 {
    threads(pid).filter_map(|thread| field(thread.join("status"), "voluntary_ctxt_switches")).sum()
}

/// Its resident memory, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    field(format!("/proc/{pid}/status").into(), "VmRSS").expect("the contender runs")
}

fn threads(pid: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).expect("the contender runs");
    entries.flatten().map(|entry| entry.path())
}

fn field(path: PathBuf, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}
