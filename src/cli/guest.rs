//! One guest among many: what it is called, and how much of what all share it may take.

use clap::Args;

use super::rate::parse_rate;
use super::values::parse_name;
use crate::engine::RateLimit;

/// One guest among many.
#[derive(Clone, Debug, Args)]
pub struct GuestOptions {
    /// What the guest is called, for `softnet list`
    #[arg(long, value_name = "NAME", value_parser = parse_name, help_heading = "The guest", hide_short_help = true)]
    pub name: Option<String>,

    /// What the guest may send and be sent a second, each way: 100mbit/s, 20kpps, or 100mbit/s,20kpps
    #[arg(long, value_name = "RATE", value_parser = parse_rate, help_heading = "The guest", hide_short_help = true)]
    pub rate_limit: Option<RateLimit>,
}
