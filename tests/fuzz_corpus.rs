//! The kept corpus of each fuzz target, and with it every past finding, in every run of the tests; and that it is worth keeping.

use std::fs;
use std::path::{Path, PathBuf};

use softnet::engine::{Direction, DropReason};
use softnet_fuzz_targets::{TARGETS, Tally, dhcp, program};

/// Reasons of rules that the oracle does not know: entries with ports or about a name, and the pins that they make; of a full
/// table, which no program is long enough for; and of a rate limit, which no target sets.
const NOT_FUZZED: [&str; 4] = ["flow-table-full", "dns-name", "pins-full", "rate-limit"];

fn fuzz(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

/// The files of a target's corpus, in order.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file of the corpus"))).collect()
}

fn run(target: &str) {
    let run = TARGETS.iter().find(|each| each.name == target).expect("a target").run;
    for (path, data) in corpus(target) {
        // What panics shows the frame; this, the file.
        println!("{}", path.display());
        run(&data);
    }
}

#[test]
fn guest_frames() {
    run("guest_frames");
}

#[test]
fn host_frames() {
    run("host_frames");
}

#[test]
fn dhcp_talks() {
    run("dhcp");
}

#[test]
fn dns_answers() {
    run("dns");
}

#[test]
fn policy_entries() {
    run("policy_entries");
}

#[test]
fn command_line() {
    run("command_line");
}

#[test]
fn control() {
    run("control");
}

#[test]
fn capture_files() {
    run("capture");
}

#[test]
fn the_corpus_reaches_every_reason_and_every_way_through() {
    let mut tally = Tally::default();
    for (target, run) in [
        ("guest_frames", program::guest_frames as fn(&[u8]) -> Tally),
        ("host_frames", program::host_frames),
        ("dhcp", dhcp::dhcp),
    ] {
        corpus(target).iter().for_each(|(_, data)| tally.add(&run(data)));
    }
    for direction in [Direction::FromGuest, Direction::FromHost] {
        assert!(tally.forwarded[direction as usize] > 100, "{direction:?}: {tally:?}");
        assert!(tally.answered[direction as usize] > 100, "{direction:?}: {tally:?}");
    }
    assert!(tally.exposed > 100, "{tally:?}");
    for reason in DropReason::ALL.into_iter().filter(|reason| !NOT_FUZZED.contains(&reason.name())) {
        let count: u64 = tally.dropped.iter().map(|dropped| dropped[reason as usize]).sum();
        assert!(count > 0, "nothing in the corpus is dropped for {}", reason.name());
    }
}

#[test]
fn every_target_has_a_program_a_corpus_and_a_test_and_the_corpus_is_small() {
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).expect("fuzz/Cargo.toml");
    let tests = include_str!("fuzz_corpus.rs");
    for target in &TARGETS {
        let name = target.name;
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is in fuzz/Cargo.toml");
        assert!(fuzz("targets").join(name).with_extension("rs").exists(), "{name} has a program");
        assert!(tests.contains(&format!("run(\"{name}\");")), "{name} has a test here");
        let files = corpus(name);
        let bytes: usize = files.iter().map(|(_, data)| data.len()).sum();
        assert!(
            (20..1500).contains(&files.len()) && bytes < 256 * 1024,
            "{name}: {} files, {bytes} bytes",
            files.len()
        );
    }
    let programs = fs::read_dir(fuzz("targets")).expect("fuzz/targets").count();
    assert_eq!(programs, TARGETS.len(), "a program for each target");
}
