//! `softnet doctor`.

use clap::Args;

/// The options of `softnet doctor`.
#[derive(Clone, Copy, Debug, Args)]
pub struct DoctorOptions {
    /// Print an array of objects: id, level (ok, skip, warn, fail), what, mend
    #[arg(long)]
    pub json: bool,
}
