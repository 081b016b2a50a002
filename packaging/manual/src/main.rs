//! `cargo run -p softnet-manual -- DIRECTORY DATE`: softnet's manual pages and completions, into DIRECTORY.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, date] = &words[..] else {
        eprintln!(
            "softnet-manual: usage: softnet-manual DIRECTORY DATE (what to write to, and the pages' date: 2026-11-24)"
        );
        return ExitCode::from(2);
    };
    match softnet_manual::write(Path::new(directory), date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("softnet-manual: {directory}: {error}");
            ExitCode::FAILURE
        }
    }
}
