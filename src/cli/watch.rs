//! The options by which an operator sees what happens: counters, the drop log, the form of messages.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::logging::Format;

/// The shortest and the longest interval of reports, in seconds.
const INTERVAL: std::ops::RangeInclusive<i64> = 1..=86_400;

/// What may be seen while a guest is served.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Seeing what happens")]
pub struct WatchOptions {
    /// Tell the counters every so often
    ///
    /// On standard error, a line of JSON, 1 to 86400. SIGUSR1 asks for them at any time.
    #[arg(long, hide_short_help = true, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(INTERVAL))]
    pub stats_interval: Option<u32>,

    /// Keep the counters in this file, for Prometheus
    ///
    /// Rewritten at --stats-interval or every 15 s.
    #[arg(long, hide_short_help = true, value_name = "PATH", hide = cfg!(not(target_os = "linux")), value_parser = parse_metrics_file)]
    pub metrics_file: Option<PathBuf>,

    /// Say what is dropped and why
    ///
    /// For each reason a few times a second at most.
    #[arg(long)]
    pub log_drops: bool,

    /// How messages are written
    #[arg(long, hide_short_help = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object of JSON a line.
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }
}

/// A path whose last part is a file's name.
fn parse_metrics_file(text: &str) -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("not on this system: --stats-interval says the same on standard error".into());
    }
    let path = PathBuf::from(text);
    match path.file_name() {
        Some(_) if !text.ends_with('/') => Ok(path),
        _ => Err("it is the path of a file, as in /var/lib/node_exporter/guest.prom".into()),
    }
}
