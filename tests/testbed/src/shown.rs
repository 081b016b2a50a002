//! What cannot be shown on this machine: said aloud where it happens, and kept for whoever started the tests.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

/// Names a file, to which each such thing is added as a line. `scripts/test.sh` prints them all at its end, and how many.
pub const NOTES: &str = "SOFTNET_TESTBED_NOTES";

/// Says that `what` cannot be shown on this machine, and what is shown `instead`.
pub fn cannot(what: &str, instead: &str) {
    let line = format!("cannot be shown here: {what}; instead: {instead}\n");
    eprint!("{line}");
    if let Some(path) = env::var_os(NOTES)
        && let Ok(mut file) = OpenOptions::new().append(true).open(path)
    {
        // One write a line: tests that run at once must not mix theirs. Standard error has it in any case.
        let _ = file.write_all(line.as_bytes());
    }
}
