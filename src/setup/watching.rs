//! What lets people see what a softnet does: the capture's file, the drop log, the counters.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::SetupError;
use crate::cli::{CaptureOptions, ServeOptions};
#[cfg(target_os = "linux")]
use crate::lifeline::{Lifeline, Stop};
use crate::logging;
#[cfg(target_os = "linux")]
use crate::metrics;
use crate::privilege::{Identity, Standing};
#[cfg(target_os = "linux")]
use crate::relay::Reports;
use crate::watch::{Capture, DropLog, Watch};

/// What looks at verdicts.
pub(super) fn watch(serve: &ServeOptions, capture: Option<Capture>) -> Watch {
    let mut watch = Watch::default();
    // RUST_LOG=softnet=debug asks for all that softnet has to say.
    if serve.watch.log_drops || log::log_enabled!(target: "softnet::drops", log::Level::Debug) {
        watch = watch.with_drop_log(DropLog::new(logging::format()));
    }
    match capture {
        Some(capture) => watch.with_capture(capture),
        None => watch,
    }
}

/// When and where the counters are told.
#[cfg(target_os = "linux")]
pub(super) fn reports(
    serve: &ServeOptions,
    place: Option<metrics::Place>,
    lifeline: &mut Lifeline,
) -> Result<Reports, Stop<SetupError>> {
    let interval = stats_interval(serve);
    let reports = Reports::new(interval);
    let Some(place) = place else { return Ok(reports) };
    let file = metrics::start(place, lifeline).map_err(Stop::widen)?;
    Ok(reports.kept_by(Box::new(file), interval.unwrap_or(metrics::DEFAULT_INTERVAL)))
}

pub(super) fn stats_interval(serve: &ServeOptions) -> Option<Duration> {
    serve.watch.stats_interval.map(|seconds| Duration::from_secs(seconds.into()))
}

/// Opens the file of the capture, if one is wanted, as the user whom softnet becomes could.
pub(super) fn open_capture(
    serve: &ServeOptions,
    identity: Identity,
    standing: Standing,
    directory: Option<BorrowedFd<'_>>,
) -> Result<Option<Capture>, SetupError> {
    let CaptureOptions { pcap, pcap_limit } = &serve.capture;
    let Some(path) = pcap else { return Ok(None) };
    identity
        .act(standing, || Capture::open(directory, path, *pcap_limit, serve.vm_mac_address))?
        .map(Some)
        .map_err(|error| SetupError::Capture(path.display().to_string(), error))
}
