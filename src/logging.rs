//! Messages: what is said on standard error, how much of it, and in which form.
//!
//! # Theory of operation
//! A message is one line, whole or not at all: of text, or with `--log-format json` an object (`object`). All lines go
//! through one `Output`, the log's own and those that are no part of it (the counters, the drop log), so that whatever is
//! lost since nobody reads is counted in one place and told, as a line of its own, once somebody reads again.

mod object;
mod output;

use std::env;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

pub use object::{Object, Quoted};
use output::Output;

use crate::sys::stderr::Patience;

/// The variable that says how much: `LEVEL` or `MODULE=LEVEL`, with commas between.
pub const VARIABLE: &str = "RUST_LOG";

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object of JSON a line, with `level` and `message`.
    Json,
}

static OUTPUT: Mutex<Output> = Mutex::new(Output::new());

fn output() -> MutexGuard<'static, Output> {
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the log: warnings and errors, and what `RUST_LOG` asks for. A part of it that cannot be read is left out, and
/// said. (env_logger's own reader of the variable panics where standard error is broken.)
pub fn start(format: Format) {
    output().set_format(format);
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Warn);
    let wanted = env::var_os(VARIABLE).unwrap_or_default();
    let wanted = wanted.to_string_lossy();
    let parts: Vec<_> = wanted.split(',').map(str::trim).filter(|part| !part.is_empty()).map(read).collect();
    for (module, level) in parts.iter().flatten() {
        builder.filter(*module, *level);
    }
    builder
        .format(move |out, record| out.write_all(line(format, record.level(), &record.args().to_string()).as_bytes()))
        .target(Target::Pipe(Box::new(LogTarget)))
        .init();
    if parts.contains(&None) {
        log::warn!("{VARIABLE} is LEVEL or MODULE=LEVEL, as in softnet=info: what is not was left out");
    }
}

/// The form that was asked for; text before [`start`].
#[must_use]
pub fn format() -> Format {
    output().format()
}

/// Says one line that is no part of the log, without waiting for anybody; whether somebody took it.
pub fn say(line: &str) -> bool {
    output().write_line(line.as_bytes(), Patience::None).is_ok()
}

/// The last words: why softnet fails. Whoever reads standard error may be gone or asleep.
pub fn say_failure(message: &str) {
    let mut output = output();
    let line = line(output.format(), Level::Error, message);
    // Text has no level before it here: it is the last line, and the exit code says the rest.
    let line = line.replacen("softnet: error: ", "softnet: ", 1);
    let _ = output.write_line(line.as_bytes(), Patience::AMoment);
}

/// A message as a line.
fn line(format: Format, level: Level, message: &str) -> String {
    let name = level.as_str().to_lowercase();
    match (format, level) {
        (Format::Json, _) => Object::message(&name, message).line(),
        (Format::Text, Level::Warn | Level::Info) => format!("softnet: {message}\n"),
        (Format::Text, _) => format!("softnet: {name}: {message}\n"),
    }
}

/// Where env_logger writes: a whole line a call.
struct LogTarget;

impl Write for LogTarget {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        output().write_line(line, Patience::AMoment)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

    #[test]
    fn a_message_of_either_form_is_one_line() {
        assert_eq!(line(Format::Text, Level::Info, "ready"), "softnet: ready\n");
        assert_eq!(line(Format::Text, Level::Debug, "why"), "softnet: debug: why\n");
        let json = line(Format::Json, Level::Warn, "two\nlines");
        assert_eq!(json, "{\"level\":\"warn\",\"message\":\"two\\u000alines\"}\n");
    }
}
