//! Messages: what is said on standard error, and how much of it.

use std::env;
use std::io::Write as _;

use env_logger::{Builder, Target};
use log::LevelFilter;

use crate::sys::stderr::Stderr;

/// The variable that says how much: `LEVEL` or `MODULE=LEVEL`, with commas between.
pub const VARIABLE: &str = "RUST_LOG";

/// Starts the log: warnings and errors, and what `RUST_LOG` asks for. A part of it that cannot be read is left out, and
/// said. (env_logger's own reader of the variable panics where standard error is broken.)
pub fn start() {
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Warn);
    let wanted = env::var_os(VARIABLE).unwrap_or_default();
    let wanted = wanted.to_string_lossy();
    let parts: Vec<_> = wanted.split(',').map(str::trim).filter(|part| !part.is_empty()).map(read).collect();
    for (module, level) in parts.iter().flatten() {
        builder.filter(*module, *level);
    }
    builder
        .format(|out, record| match record.level() {
            log::Level::Warn | log::Level::Info => writeln!(out, "softnet: {}", record.args()),
            level => writeln!(out, "softnet: {}: {}", level.as_str().to_lowercase(), record.args()),
        })
        .target(Target::Pipe(Box::new(Stderr::default())))
        .init();
    if parts.contains(&None) {
        log::warn!("{VARIABLE} is LEVEL or MODULE=LEVEL, as in softnet=info: what is not was left out");
    }
}

/// A module, none for all, and how much it may say.
fn read(part: &str) -> Option<(Option<&str>, LevelFilter)> {
    match part.split_once('=') {
        Some((module, level)) => Some((Some(module), level.parse().ok()?)),
        None => Some(part.parse().map_or((Some(part), LevelFilter::Trace), |level| (None, level))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_level_a_module_or_both() {
        assert_eq!(read("info"), Some((None, LevelFilter::Info)));
        assert_eq!(read("softnet=debug"), Some((Some("softnet"), LevelFilter::Debug)));
        assert_eq!(read("softnet::relay"), Some((Some("softnet::relay"), LevelFilter::Trace)));
        for wrong in ["softnet=loud", "a=b=c", "="] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
