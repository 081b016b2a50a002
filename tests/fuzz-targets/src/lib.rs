//! The fuzz targets: bytes go in, and nothing may panic. What panics is a finding.
//!
//! # Theory of operation
//! A target is a plain function of bytes, so that three callers share it: libFuzzer, which looks for bytes that reach new code
//! (`fuzz/`, `make fuzz`); the tests, which run the kept corpus and all past findings (`tests/fuzz_corpus.rs`); and the
//! generator of random bytes, which goes for numbers (`src/bin/frames.rs`).
//!
//! Bytes are read as a *program*: an engine in a state that the first ones choose, then steps: a frame this way or that, a while
//! without, another policy. Frames start from valid ones, since random bytes never come past the first rule. Any bytes are a
//! program, and a short change of one is a short change of the other, which is what a mutating fuzzer needs.
//!
//! "No panic" would be a weak property. Each verdict is compared with that of the [`oracle`], a second reading of
//! docs/filter.md by fixed positions and lists, which shares no code with the engine: a frame that passes and should not is a
//! finding, and so is one that should and does not, or a lease that one of the two does not know.
//!
//! Whatever panics here is for the fuzzer to see: assertions are how a target speaks.

#[cfg(fuzzing)]
compile_error!(
    "smoltcp takes every checksum for right under cfg(fuzzing), so what is fuzzed is not softnet: cargo fuzz run --no-cfg-fuzzing"
);

pub mod capture;
pub mod control;
pub mod dhcp;
pub mod dns;
#[path = "../../support/engine.rs"]
mod engine;
pub mod exchange;
#[allow(missing_docs)]
#[path = "../../support/frames.rs"]
pub mod frames;
pub mod input;
pub mod mutation;
pub mod oracle;
pub mod program;
pub mod session;
pub mod templates;
pub mod text;

pub use session::Tally;

/// A target: its name, which is that of its folder in `fuzz/corpus` and of its program in `fuzz/targets`.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// What it does with bytes.
    pub run: fn(&[u8]),
}

/// All targets. Another one needs a line here, and its program and a folder for its corpus in `fuzz/`.
pub const TARGETS: [Target; 8] = [
    Target { name: "guest_frames", run: |data| drop(program::guest_frames(data)) },
    Target { name: "host_frames", run: |data| drop(program::host_frames(data)) },
    Target { name: "dhcp", run: |data| drop(dhcp::dhcp(data)) },
    Target { name: "dns", run: |data| _ = dns::dns(data) },
    Target { name: "policy_entries", run: text::policy_entries },
    Target { name: "command_line", run: text::command_line },
    Target { name: "control", run: control::control },
    Target { name: "capture", run: capture::capture },
];

/// Runs the target of this name.
///
/// # Panics
/// If there is none, or if it finds something.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.run)(data);
}
