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
    let count = |thread: PathBuf| field(thread.join("status"), "voluntary_ctxt_switches")?.parse::<u64>().ok();
    threads(pid).filter_map(count).sum()
}

/// Its resident memory, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = field(format!("/proc/{pid}/status").into(), "VmRSS").expect("the contender runs");
    text.trim_end_matches(" kB").parse().expect("a number of KiB")
}

/// The cores that it may run on, as a list.
pub(crate) fn cores(pid: u32) -> String {
    field(format!("/proc/{pid}/status").into(), "Cpus_allowed_list").expect("the process runs")
}

fn threads(pid: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).expect("the contender runs");
    entries.flatten().map(|entry| entry.path())
}

fn field(path: PathBuf, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
