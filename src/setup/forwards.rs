//! `--expose` in the setup: who may, the host's ports, and who forwards.

use std::time::Duration;

use thiserror::Error;

use super::SetupError;
use crate::administrator::{Administrator, ExposeRange, FILE, in_words};
use crate::cli::{self, Carrier, FREE_FOR_ALL, Forward};
#[cfg(target_os = "linux")]
use crate::companion::{self, Plan};
use crate::engine::{Exposed, ExposedPort, Exposures, Peers};
#[cfg(not(target_os = "linux"))]
use crate::forwards::LinkPort;
#[cfg(target_os = "linux")]
use crate::forwards::forwarder::{DESCRIPTORS, Forwarder};
use crate::forwards::ports::{self, Port, PortError};
use crate::forwards::{By, Forwards};
use crate::lifeline::{Lifeline, Stop};
use crate::privilege::{Identity, Standing};
#[cfg(target_os = "linux")]
use crate::sandbox::{Leave, Room, calls};

/// How long a softnet that is ending may hold a port, in steps of [`STEP`].
const STEPS: u32 = 20;
const STEP: Duration = Duration::from_millis(50);

/// Why ports cannot be exposed.
#[derive(Debug, Error)]
pub enum ForwardsError {
    /// Two of one port, or too many.
    #[error("--expose: {0}")]
    List(String),
    /// A port that only root itself may give away.
    #[error(
        "--expose {0}: ports below 1024 are for root itself, not by way of the setuid bit: choose one from 1024 on"
    )]
    RootOnly(Forward),
    /// A port that the administrator does not let callers expose.
    #[error(
        "--expose {forward}: {FILE} lets callers expose {}: {} it out, or ask the administrator for more",
        in_words(.allowed),
        if .allowed.is_empty() { "leave" } else { "choose one of these, leave" }
    )]
    NotAllowed {
        /// It.
        forward: Forward,
        /// What callers may have.
        allowed: Vec<ExposeRange>,
    },
    /// A port that is not to be had.
    #[error(transparent)]
    Port(PortError),
    /// What forwards could not be made.
    #[cfg(target_os = "linux")]
    #[error("--expose: {0}")]
    Make(std::io::Error),
}

/// What is asked for, and may be.
pub(super) struct Asked(Vec<Forward>);

/// Whether this caller may ask for these.
pub(super) fn check(
    standing: Standing,
    forwards: &cli::ForwardOptions,
    administrator: &Administrator,
) -> Result<Asked, ForwardsError> {
    let list = forwards.list().map_err(ForwardsError::List)?;
    check_list(standing, &list, administrator)?;
    Ok(Asked(list))
}

/// The same, of a list.
pub(crate) fn check_list(
    standing: Standing,
    list: &[Forward],
    administrator: &Administrator,
) -> Result<(), ForwardsError> {
    match list.iter().find(|forward| forward.external < FREE_FOR_ALL) {
        Some(&forward) if standing != Standing::Root => return Err(ForwardsError::RootOnly(forward)),
        _ => {}
    }
    match list.iter().find(|forward| !administrator.may_expose(standing, forward)) {
        Some(&forward) => {
            Err(ForwardsError::NotAllowed { forward, allowed: administrator.expose.clone().unwrap_or_default() })
        }
        None => Ok(()),
    }
}

impl Asked {
    /// Binds the host's ports: by the rights of the caller, unless that is root itself. One that is taken is tried for a second,
    /// since its softnet may be ending.
    pub(super) fn bind(
        self,
        standing: Standing,
        identity: Identity,
        lifeline: &mut Lifeline,
    ) -> Result<Bound, Stop<SetupError>> {
        let bind = || ports::bind(&self.0);
        let mut tries = 0;
        loop {
            let bound = if standing == Standing::Root { bind() } else { identity.act(standing, bind)? };
            match bound {
                Ok(ports) => return Ok(Bound { list: self.0, ports }),
                Err(error) if error.is_taken() && tries < STEPS => {
                    tries += 1;
                    lifeline.pause(STEP)?;
                }
                Err(error) => return Err(ForwardsError::Port(error).into()),
            }
        }
    }
}

/// What the filter is to know of forwards. On Linux the companion connects, as the gateway; elsewhere the link hands through who
/// does.
pub(crate) fn exposures(list: &[Forward]) -> Exposures {
    let exposed = |forward: &Forward| Exposed {
        port: forward.internal,
        protocol: match forward.carrier {
            Carrier::Tcp => ExposedPort::Tcp,
            Carrier::Udp => ExposedPort::Udp,
        },
    };
    let peers = if cfg!(target_os = "linux") { Peers::Gateway } else { Peers::Anyone };
    Exposures { ports: list.iter().map(exposed).collect(), peers }
}

/// Ports that are ours.
pub(super) struct Bound {
    list: Vec<Forward>,
    ports: Vec<Port>,
}

impl Bound {
    /// What the filter is to know.
    pub(super) fn for_the_engine(&self) -> Exposures {
        exposures(&self.list)
    }

    /// Starts who forwards, if there is anything to.
    #[cfg(target_os = "linux")]
    pub(super) fn start(
        self,
        identity: Identity,
        lifeline: &mut Lifeline,
    ) -> Result<Option<Forwards>, Stop<SetupError>> {
        if self.list.is_empty() {
            return Ok(None);
        }
        let tcp = self.list.iter().filter(|forward| forward.carrier == Carrier::Tcp);
        let left: Vec<Leave> = tcp.map(|forward| Leave::ConnectTcp(forward.internal)).collect();
        let forwarder = Forwarder::new(self.ports).map_err(ForwardsError::Make)?;
        let plan = Plan {
            purpose: "port forwards (--expose)",
            name: c"softnet-expose",
            kept: &forwarder.descriptors(),
            room: Room { calls: calls::FORWARDER, left: &left, descriptors: DESCRIPTORS },
            work: |line| forwarder.run(line),
        };
        let companion = companion::start(identity, plan, lifeline).map_err(Stop::widen)?;
        let texts = self.list.iter().map(Forward::to_string).collect();
        Ok(Some(Forwards::new(texts, By::Companion(companion))))
    }

    /// The link forwards, if there is anything to.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn start(self, _: Identity, _: &mut Lifeline) -> Result<Option<Forwards>, Stop<SetupError>> {
        let texts: Vec<String> = self.list.iter().map(Forward::to_string).collect();
        let ports: Vec<LinkPort> = self.ports.into_iter().map(LinkPort::new).collect();
        Ok((!texts.is_empty()).then(|| Forwards::new(texts, By::Link(ports))))
    }
}
