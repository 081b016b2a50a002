//! Exposed ports: what somebody outside has begun with one of them goes both ways, whatever the policy says of who that is.
//!
//! The operator has exposed the port, so the answers are to get out; what the *guest* begins is the policy's business as ever, from
//! whichever port. So an exposure is a flow ([`super::flows`], the same rules and the same bounds, in a table of its own) whose
//! initiator is outside:
//!
//! * A **TCP** connection is one of an exposed port if its first segment, a SYN alone, came from outside. A SYN of the guest's never
//!   passes by an exposure.
//! * A **UDP** exchange is one if its first datagram for 30 s came from outside. Where the guest sends from an exposed port of its own
//!   accord, and the policy lets it, that is a flow of the guest's: the answer to it opens nothing, and the policy goes on to judge each
//!   datagram. (Else the answer of the gateway's DNS service would open that service to a guest that may not ask it.)
//! * What the **administrator** blocks is not begun: its entries are lifted by nobody, and a block of `@host` closes exposed ports.
//! * An ICMP error that quotes a datagram of the flow passes with it. **Fragments** belong to no flow.
//!
//! On Linux the far side is the gateway, from which the companion connects, by a port that the kernel has chosen; never one below
//! 1024 ([`SERVICES`]), which is a service's: what comes from there is an answer, however late (a DNS server that the guest has a hand in
//! may have the gateway's answer come when the guest's own question is forgotten). On macOS, where the link hands connections through, it is
//! anybody but a neighbour from whom the guest is isolated.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::flows::{Flows, Protocol, Step};
use super::verdict::{Direction, DropReason};
use super::{Config, Instant};

/// Ports below this are the gateway's services', which begin nothing.
const SERVICES: u16 = 1024;

/// What the exposed port is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExposedPort {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the guest's that somebody outside may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The guest's port.
    pub port: u16,
    /// Of what.
    pub protocol: ExposedPort,
}

/// Who may begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peers {
    /// The gateway alone.
    #[default]
    Gateway,
    /// Whoever is no neighbour that the guest is isolated from.
    Anyone,
}

/// All exposed ports of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposures {
    /// The ports; usually few.
    pub ports: Vec<Exposed>,
    /// Who may begin with them.
    pub peers: Peers,
}

impl Exposures {
    /// Whether this is an exposed port, and this far side one who may begin with it, as far as its address goes.
    #[inline]
    pub(super) fn have(&self, exposed: &Exposed, far: Ipv4Addr, gateway: Ipv4Addr) -> bool {
        (self.peers == Peers::Anyone || far == gateway) && self.ports.contains(exposed)
    }

    /// Whether a far side with this port is a service of the gateway's, and not the companion.
    pub(super) fn is_of_a_service(&self, far_port: u16) -> bool {
        self.peers == Peers::Gateway && far_port < SERVICES
    }
}

/// What an exposure makes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposure {
    /// It passes, whatever the policy says.
    Passes,
    /// The policy is to judge it.
    None,
    /// It would begin a flow, and there is no room.
    Full,
}

/// The exposed ports and what is going on with them.
#[derive(Debug)]
pub(super) struct ExposedFlows {
    exposures: Exposures,
    gateway: Ipv4Addr,
    flows: Flows,
}

impl ExposedFlows {
    /// None where nothing is exposed, so that it costs nothing.
    pub(super) fn new(config: &Config) -> Option<Box<Self>> {
        let exposures = config.exposed.clone();
        let [first, second] = config.flow_keys;
        (!exposures.ports.is_empty()).then(|| {
            // Another place for a flow than in the policy's table, whose secret is the same.
            let flows = Flows::new([second, first]);
            Box::new(ExposedFlows { exposures, gateway: config.network.gateway, flows })
        })
    }

    /// Whether datagrams of this key can be of an exposure.
    #[inline]
    fn covers(&self, step: &Step) -> bool {
        let protocol = match step.key.protocol {
            Protocol::Tcp => ExposedPort::Tcp,
            Protocol::Udp => ExposedPort::Udp,
            Protocol::EchoOfGuest | Protocol::EchoOfFar => return false,
        };
        self.exposures.have(&Exposed { port: step.key.guest_port, protocol }, step.key.far, self.gateway)
    }

    /// The ports, and who may begin with them.
    pub(super) fn exposures(&self) -> &Exposures {
        &self.exposures
    }

    /// A datagram from outside, to the lease, of somebody whom the guest hears.
    pub(super) fn on_host(&mut self, step: &Step, now: Instant) -> Exposure {
        if !self.covers(step) {
            return Exposure::None;
        }
        let found = self.flows.find(step, now);
        if let Some(found) = found {
            if found.initiator == Direction::FromHost && self.flows.pass(found, Direction::FromHost, step, now) {
                return Exposure::Passes;
            }
            // A flow of the guest's own.
            if found.initiator == Direction::FromGuest {
                return Exposure::None;
            }
        }
        if !step.begins() || self.exposures.is_of_a_service(step.key.far_port) {
            return Exposure::None;
        }
        match self.flows.admit(Direction::FromHost, step, found, now) {
            Ok(()) => Exposure::Passes,
            Err(_) => Exposure::Full,
        }
    }

    /// A datagram of the guest's, from the lease.
    pub(super) fn on_guest(&mut self, step: &Step, now: Instant) -> Exposure {
        if self.covers(step)
            && let Some(found) = self.flows.find(step, now)
            && found.initiator == Direction::FromHost
            && self.flows.pass(found, Direction::FromGuest, step, now)
        {
            return Exposure::Passes;
        }
        Exposure::None
    }

    /// Takes note of a datagram of the guest's that the policy has let pass: its answers are no beginning.
    ///
    /// # Errors
    /// There is no room for the note.
    pub(super) fn on_guest_passed(&mut self, step: &Step, now: Instant) -> Result<(), DropReason> {
        if !self.covers(step) || step.key.protocol != Protocol::Udp || !step.begins() {
            return Ok(());
        }
        match self.flows.find(step, now) {
            Some(found) => {
                self.flows.pass(found, Direction::FromGuest, step, now);
                Ok(())
            }
            None => self.flows.admit(Direction::FromGuest, step, None, now),
        }
    }
}
