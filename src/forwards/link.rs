//! A port that the host's link forwards (macOS).

use std::net::Ipv4Addr;

use super::ports::Port;
use crate::host::{Host, PortForward};

/// A port of the host that is ours, and what the link is told of it.
#[derive(Debug)]
pub struct LinkPort {
    /// Holds the port for as long as the forward lives.
    port: Port,
    /// Whether a refusal was told.
    refused: bool,
}

impl LinkPort {
    /// One that leads nowhere yet.
    #[must_use]
    pub fn new(port: Port) -> Self {
        LinkPort { port, refused: false }
    }

    /// Has the link lead it to `lease`, or nowhere; `text` is what it is called. False if it does not, which is told: by default the first
    /// time, since it is the guest that changes its lease, and at level info from then on.
    pub(super) fn lead(&mut self, text: &str, lease: Option<Ipv4Addr>, host: &mut dyn Host) -> bool {
        let forward = &self.port.forward;
        let Err(error) = host.forward(PortForward { external: forward.external, internal: forward.internal }, lease)
        else {
            return true;
        };
        let level = if self.refused { log::Level::Info } else { log::Level::Warn };
        self.refused = true;
        log::log!(level, "--expose {text}: {error}");
        false
    }
}
