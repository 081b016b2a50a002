//! The engine: a verdict for every frame, from bytes and a clock that others read.
//!
//! PURE: no operating system, no clock, no `unsafe`, no logging. Bytes and `now` go in; verdicts and
//! [`Event`]s come out. Nothing is allocated for a frame.
//!
//! [`filter`] is the policy, in headed paragraphs in the order of the code. What it consults: [`lease`] (whose address the
//! guest has), [`policy`] (what the operator allows and blocks), and a table of the world's special addresses. What it says
//! is a [`Verdict`], and each is counted ([`Counters`]).
//!
//! The caller owns the clock: any clock that counts sleep, in microseconds, from any origin. One that steps back is taken to
//! stand still.
#![forbid(unsafe_code)]

mod budget;
mod dhcp;
mod entry;
mod exposures;
pub mod filter;
pub mod flows;
mod icmp;
mod ipv4;
pub mod lease;
pub mod names;
pub mod policy;
pub mod reply;
mod special;
mod transactions;
pub mod verdict;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
pub use smoltcp::time::{Duration, Instant};
pub use smoltcp::wire::EthernetAddress;

pub use exposures::{Exposed, ExposedPort, Exposures, Peers};
use filter::Filter;
pub use lease::{Event, Lease, LeaseEnd};
pub use policy::{
    Compiled, Draft, Entry, EntryError, EntryFault, List, MAX_ENTRIES, PolicyEntries, PortRange, Sorted, Target, Texts,
    Way,
};
pub use verdict::{Counters, Direction, DropReason, Traffic, Verdict};

/// A MAC as people and programs write it, with colons (IEEE 802 writes hyphens, and so does `Display`).
#[must_use]
pub fn colons(mac: EthernetAddress) -> String {
    mac.to_string().replace('-', ":")
}

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

/// What the guest may ask by DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsQuestions {
    /// Whatever the rules let pass.
    #[default]
    Any,
    /// Of that, only questions for names that an entry allows; the rest is answered REFUSED.
    OfAllowedNames,
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
    /// What it may ask by DNS.
    pub dns_questions: DnsQuestions,
    /// Random bits that nobody else knows: they decide where a flow stands in the table of flows, so that no guest can choose
    /// flows that stand in each other's way; and so for the pins of names.
    pub flow_keys: [u64; 2],
    /// Ports of its that are exposed.
    pub exposed: Exposures,
}

impl Config {
    /// The plainest guest: isolated, in nat mode, without entries, free to ask what it likes.
    #[must_use]
    pub fn new(guest_mac: EthernetAddress, network: Network, flow_keys: [u64; 2]) -> Self {
        Config {
            guest_mac,
            net_type: NetType::Nat,
            isolation: Isolation::Isolated,
            network,
            policy: PolicyEntries::default(),
            dns_questions: DnsQuestions::Any,
            flow_keys,
            exposed: Exposures::default(),
        }
    }
}

/// The filter of one guest, its clock and its counters.
#[derive(Debug)]
pub struct Engine {
    filter: Filter,
    gateway: Ipv4Addr,
    policy: PolicyEntries,
    counters: Counters,
    now: Instant,
}

impl Engine {
    /// An engine for a guest that holds no lease yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Engine {
            filter: Filter::new(&config),
            gateway: config.network.gateway,
            policy: config.policy.normalised(),
            counters: Counters::default(),
            now: Instant::from_micros_const(i64::MIN),
        }
    }

    /// Judges a frame that the guest sent. A frame that is forwarded has been taken note of: forward it once, unchanged.
    pub fn on_guest_frame(&mut self, frame: &[u8], now: Instant) -> Verdict {
        self.advance(now);
        let verdict = match verdict(self.filter.judge_guest_frame(frame, self.now)) {
            Verdict::Drop(reason) if !self.reply().is_empty() => Verdict::Reply(reason),
            verdict => verdict,
        };
        self.counters.count(Direction::FromGuest, frame.len(), verdict);
        verdict
    }

    /// The frame that answers the latest frame of the guest's, in the place of whom it was for, if the verdict was
    /// [`Verdict::Reply`]: send it to the guest before the next one is judged.
    #[must_use]
    pub fn reply(&self) -> &[u8] {
        self.filter.reply()
    }

    /// Judges a frame that the host sends to the guest.
    pub fn on_host_frame(&mut self, frame: &[u8], now: Instant) -> Verdict {
        self.advance(now);
        let verdict = verdict(self.filter.judge_host_frame(frame, self.now));
        self.counters.count(Direction::FromHost, frame.len(), verdict);
        verdict
    }

    /// When [`Engine::advance`] should be called next, if ever: when the lease lapses.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.lease().map(|lease| lease.expires)
    }

    /// Lets time pass: what is due by `now` happens. Frames do this too; it is for times without any.
    #[inline]
    pub fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.filter.lapse(self.now);
    }

    /// The oldest event not seen yet. At most 16 wait; then the oldest are lost.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.filter.poll_event()
    }

    /// Replaces the operator's entries, between two frames. Isolation, the lease and DHCP stay as they are. The same policy in
    /// another order, or with duplicates, is no change: flows live on as they are. After a change each is judged anew when
    /// its next frame comes.
    pub fn set_policy(&mut self, policy: PolicyEntries) {
        let policy = policy.normalised();
        if policy != self.policy {
            self.filter.set_policy(&policy);
            self.policy = policy;
        }
    }

    /// [`Engine::set_policy`], of a policy that was compiled for [`Engine::gateway`] before.
    pub fn set_compiled(&mut self, policy: Compiled) {
        let (entries, rules) = policy.into_parts();
        if entries != self.policy {
            self.filter.replace_policy(rules);
            self.policy = entries;
        }
    }

    /// The gateway's address.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// The operator's entries, in normal form.
    #[must_use]
    pub fn policy(&self) -> &PolicyEntries {
        &self.policy
    }

    /// How many rules the policy comes to: [`PolicyEntries::rule_count`].
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rule_count_of(&self.policy)
    }

    /// How many rules another policy would come to with this gateway.
    #[must_use]
    pub fn rule_count_of(&self, policy: &PolicyEntries) -> usize {
        policy.rule_count(self.gateway)
    }

    /// What was forwarded and what was dropped, and why.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The lease, live at the latest time that the engine was told.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.filter.lease()
    }
}

fn verdict(judgement: Result<(), DropReason>) -> Verdict {
    match judgement {
        Ok(()) => Verdict::Forward,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// `at` plus `duration`, or the end of time: smoltcp's `+` panics there.
fn after(at: Instant, duration: Duration) -> Instant {
    let micros = i64::try_from(duration.total_micros()).unwrap_or(i64::MAX);
    Instant::from_micros_const(at.total_micros().saturating_add(micros))
}
