//! What becomes of what the policy refuses.

use clap::Args;

use crate::engine::Refusals;

/// The options about refusals.
#[derive(Clone, Debug, Args)]
pub struct RejectOptions {
    /// Answer what the policy refuses, instead of silence
    ///
    /// At once: TCP by a reset, the rest by ICMP "administratively prohibited".
    #[arg(long, help_heading = "What it may reach")]
    pub reject: bool,
}

impl RejectOptions {
    /// The same to the engine.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        if self.reject { Refusals::Answered } else { Refusals::Silent }
    }
}
