//! One guest among many: what it is called.

use clap::Args;

use super::values::parse_name;

/// One guest among many.
#[derive(Clone, Debug, Args)]
pub struct GuestArgs {
    /// What the guest is called, for `softnet list`
    #[arg(long, value_name = "NAME", value_parser = parse_name, help_heading = "Many guests")]
    pub name: Option<String>,
}
