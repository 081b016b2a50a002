//! The engine: a verdict for every frame, from bytes and a clock that others read.
//!
//! PURE: no operating system, no clock, no `unsafe`, no logging. Bytes and `now` go in; verdicts and
//! [`Event`]s come out. Nothing is allocated for a frame.
#![forbid(unsafe_code)]

mod filter;
pub mod lease;
pub mod policy;
pub mod verdict;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
pub use smoltcp::time::{Duration, Instant};
pub use smoltcp::wire::EthernetAddress;

pub use lease::{Event, Lease, LeaseEnd};
pub use policy::{Entry, EntryError, PolicyEntries, Target};
pub use verdict::{Counters, Direction, DropReason, Verdict};

/// What the guest may reach when no entry of the policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetType {
    /// The world through the host's NAT, and the gateway.
    Nat,
    /// The gateway alone.
    Host,
}

/// Whether the link keeps this guest apart from the other guests of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Frames go to and come from the gateway alone.
    Isolated,
    /// The operator allowed 0.0.0.0/0 at the start: other guests can be reached.
    Open,
}

/// The facts of the host's link that the filter needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The host's address on the link; the DHCP server and router of the guest.
    pub gateway: Ipv4Addr,
    /// The gateway's MAC where the host knows it; else it is learned from the DHCP reply that grants the lease.
    pub gateway_mac: Option<EthernetAddress>,
    /// The link's subnet.
    pub subnet: Ipv4Net,
    /// The largest frame the link carries, in bytes, Ethernet header included, without FCS.
    pub max_frame: usize,
}

/// What an [`Engine`] is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The guest's MAC, unicast.
    pub guest_mac: EthernetAddress,
    /// What may be reached by default.
    pub net_type: NetType,
    /// Whether the link is isolated.
    pub isolation: Isolation,
    /// The link.
    pub network: Network,
    /// The operator's entries.
    pub policy: PolicyEntries,
}

/// The filter of one guest.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    counters: Counters,
}

impl Engine {
    /// An engine for a guest that holds no lease yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Engine { config, counters: Counters::default() }
    }

    /// Judges a frame that the guest sent.
    pub fn on_guest_frame(&mut self, _frame: &[u8], _now: Instant) -> Verdict {
        Verdict::Forward
    }

    /// Judges a frame that the host sends to the guest.
    pub fn on_host_frame(&mut self, _frame: &[u8], _now: Instant) -> Verdict {
        Verdict::Forward
    }

    /// When [`Engine::advance`] should be called next, if ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Lets time pass: what is due by `now` happens.
    pub fn advance(&mut self, _now: Instant) {}

    /// The oldest event not seen yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Replaces the operator's entries, between two frames.
    pub fn set_policy(&mut self, policy: PolicyEntries) {
        self.config.policy = policy;
    }

    /// What was forwarded and what was dropped, and why.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The live lease.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        None
    }
}
