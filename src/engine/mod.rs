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
pub mod decider;
mod dhcp;
pub mod digest;
mod entry;
mod exposures;
pub mod filter;
pub mod flows;
mod icmp;
mod ipv4;
pub mod lease;
pub mod names;
pub mod policy;
pub mod rate;
pub mod reply;
#[cfg(test)]
pub(crate) mod sample;
mod special;
mod transactions;
pub mod troubles;
pub mod verdict;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
pub use smoltcp::time::{Duration, Instant};
pub use smoltcp::wire::EthernetAddress;

pub use decider::{Answered, Decider, Decision, Grounds, Silence};
pub use digest::{Contents, Datagram, Digest, Load};
pub use exposures::{Exposed, ExposedPort, Exposures, Peers};
use filter::Filter;
pub use lease::{Event, Lease, LeaseEnd};
pub use names::Pattern;
pub use policy::{
    Compiled, Draft, Entry, EntryError, EntryFault, List, MAX_ENTRIES, PolicyEntries, PortRange, Sorted, Target, Terms,
    Texts, Way,
};
use rate::Pace;
pub use rate::{Allowance, RateLimit};
pub use troubles::Trouble;
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

/// What becomes of what the policy refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusals {
    /// It is dropped in silence.
    #[default]
    Silent,
    /// It is dropped, and whoever sent it is told at once: [`Engine::reply`].
    Answered,
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
    /// The administrator's: what these block stays blocked, whatever the operator's say, now and later. None of them is about a
    /// name.
    pub administrator: PolicyEntries,
    /// What it may ask by DNS.
    pub dns_questions: DnsQuestions,
    /// Whether what the policy refuses is answered.
    pub refusals: Refusals,
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
            administrator: PolicyEntries::default(),
            dns_questions: DnsQuestions::Any,
            refusals: Refusals::Silent,
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
    /// What `policy` comes to.
    rules: usize,
    administrator: PolicyEntries,
    counters: Counters,
    /// How fast frames may come, by direction.
    pace: [Option<Pace>; 2],
    max_frame: usize,
    now: Instant,
}

impl Engine {
    /// An engine for a guest that holds no lease yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Engine {
            filter: Filter::new(&config),
            gateway: config.network.gateway,
            rules: config.policy.rule_count(config.network.gateway),
            policy: config.policy.normalised(),
            administrator: config.administrator.normalised(),
            counters: Counters::default(),
            pace: [None, None],
            max_frame: config.network.max_frame,
            now: Instant::from_micros_const(i64::MIN),
        }
    }

    /// The same, with a limit for what comes a second, each way.
    #[must_use]
    pub fn with_rate_limit(mut self, limit: RateLimit) -> Self {
        if limit != RateLimit::default() {
            let pace = |depth| Some(Pace::new(limit, depth, self.max_frame));
            self.pace = [pace(rate::GUEST_DEPTH), pace(rate::HOST_DEPTH)];
        }
        self
    }

    /// How many frames may be read from the guest now, or when. To be asked before they are read; each is paid for when it is
    /// judged.
    pub fn guest_allowance(&mut self, now: Instant) -> Allowance {
        match &mut self.pace[Direction::FromGuest as usize] {
            None => Allowance::Frames(usize::MAX),
            Some(pace) => pace.allowance(self.now.max(now)),
        }
    }

    /// Judges a frame that the guest sent. A frame that is forwarded has been taken note of: forward it once, unchanged.
    pub fn on_guest_frame(&mut self, frame: &[u8], now: Instant) -> Verdict {
        self.advance(now);
        if let Some(pace) = &mut self.pace[Direction::FromGuest as usize] {
            pace.spend(frame.len(), self.now);
        }
        let verdict = match self.filter.judge_guest_frame(frame, self.now) {
            Ok(()) => Verdict::Forward,
            Err(reason) => self.drop(Direction::FromGuest, frame, reason),
        };
        self.counters.count(Direction::FromGuest, frame.len(), verdict);
        verdict
    }

    /// The frame that answers the latest frame, in the place of whom that was for, if the verdict was [`Verdict::Reply`]: send it
    /// back to the side from which that came, before the next one is judged.
    #[must_use]
    pub fn reply(&self) -> &[u8] {
        self.filter.reply()
    }

    /// Judges a frame that the host sends to the guest.
    pub fn on_host_frame(&mut self, frame: &[u8], now: Instant) -> Verdict {
        self.advance(now);
        let mut verdict = match self.filter.judge_host_frame(frame, self.now) {
            Ok(()) => Verdict::Forward,
            Err(reason) => {
                self.filter.forget_reply();
                self.drop(Direction::FromHost, frame, reason)
            }
        };
        if let (Verdict::Forward, Some(pace)) = (verdict, &mut self.pace[Direction::FromHost as usize]) {
            if rate::is_of_the_link(frame) {
                pace.spend(frame.len(), self.now);
            } else if !pace.admits(frame.len(), self.now) {
                verdict = Verdict::Drop(DropReason::RateLimit);
            }
        }
        self.counters.count(Direction::FromHost, frame.len(), verdict);
        verdict
    }

    /// What becomes of a frame that is to be dropped: it may be answered, if it is not so already.
    #[inline]
    fn drop(&mut self, direction: Direction, frame: &[u8], reason: DropReason) -> Verdict {
        self.filter.refuse(direction, frame, reason, self.now);
        if self.reply().is_empty() { Verdict::Drop(reason) } else { Verdict::Reply(reason) }
    }

    /// Takes note of whose MAC the host has for the leased address: it should be the guest's. Twice in a row it was another's: that
    /// is told. (Once is no trouble: the table may still have who had the address before.)
    pub fn note_owner(&mut self, mac: Option<EthernetAddress>) {
        self.filter.note_owner(mac, self.now);
    }

    /// When [`Engine::advance`] should be called next, if ever: when the lease lapses, or the DHCP server has been silent for
    /// long enough to be told.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.filter.next_deadline()
    }

    /// Lets time pass: what is due by `now` happens. Frames do this too; it is for times without any.
    #[inline]
    pub fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.filter.lapse(self.now);
    }

    /// The oldest event not seen yet, then what goes wrong. At most 16 events and one trouble of each kind wait; then the oldest
    /// are lost.
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
            self.rules = policy.rule_count(self.gateway);
            self.policy = policy;
        }
    }

    /// [`Engine::set_policy`], of a policy that was compiled for [`Engine::terms`] before.
    pub fn set_compiled(&mut self, policy: Compiled) {
        let count = policy.rule_count();
        let (entries, rules) = policy.into_parts();
        if entries != self.policy {
            self.rules = count;
            self.filter.replace_policy(rules);
            self.policy = entries;
        }
    }

    /// What a policy is to be compiled for.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.filter.terms()
    }

    /// The guest's MAC.
    #[must_use]
    pub fn guest_mac(&self) -> EthernetAddress {
        self.filter.guest_mac()
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

    /// The administrator's entries, in normal form.
    #[must_use]
    pub fn administrator(&self) -> &PolicyEntries {
        &self.administrator
    }

    /// How many rules the policy comes to: [`PolicyEntries::rule_count`].
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules
    }

    /// How many flows are live at the latest time that the engine was told. It takes some time, in proportion to
    /// [`flows::MAX_FLOWS`]: not for every frame.
    #[must_use]
    pub fn flow_count(&self) -> usize {
        self.filter.flow_count(self.now)
    }

    /// What was forwarded and what was dropped, and why.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// As if the guest had been granted `address`, for ever, by the gateway at `gateway_mac`: for frames of which the first were
    /// not seen, as in a capture. Never for a running guest's: a lease is the server's to grant.
    pub fn assume_lease(&mut self, address: Ipv4Addr, gateway_mac: EthernetAddress) {
        self.filter.assume_lease(address, gateway_mac);
    }

    /// The lease, live at the latest time that the engine was told.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.filter.lease()
    }
}

/// `at` plus `duration`, or the end of time: smoltcp's `+` panics there.
fn after(at: Instant, duration: Duration) -> Instant {
    let micros = i64::try_from(duration.total_micros()).unwrap_or(i64::MAX);
    Instant::from_micros_const(at.total_micros().saturating_add(micros))
}
