//! What may pass: docs/filter.md read a second time, by fixed positions and lists, without a line of the engine.
//!
//! It is slow and plain on purpose: no parser but offsets, no trie but a list, no bucket but a look back at all that was sent.
//! Its verdict is exact. An `Err` says which claim of the document failed, for the one who looks at a finding.

mod answers;
mod dhcp;
mod exposed;
mod flows;
mod from_guest;
mod from_host;
mod lease;
mod policy;
mod stateful;

use crate::frames::{ANY, GATEWAY, GUEST_MAC, Mac};
use std::net::Ipv4Addr;

use softnet::engine::Direction;

pub use exposed::Exposed;
pub use policy::{Rules, is_of_the_world};

/// Whether a claim of the document holds, and which.
pub type Claim = Result<(), &'static str>;

pub(crate) fn claim(holds: bool, what: &'static str) -> Claim {
    if holds { Ok(()) } else { Err(what) }
}

/// The facts of a guest and its link. The guest's MAC is [`GUEST_MAC`], the gateway [`GATEWAY`].
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether the world can be reached.
    pub nat: bool,
    /// Whether the guest is kept apart.
    pub isolated: bool,
    /// The gateway's MAC, where the host knows it.
    pub pinned: Option<Mac>,
    /// A prefix and its length.
    pub subnet: (Ipv4Addr, u32),
    /// The largest frame.
    pub max_frame: usize,
}

impl Facts {
    fn in_subnet(&self, address: Ipv4Addr) -> bool {
        policy::same_bits(self.subnet.0, address, self.subnet.1)
    }

    /// The first and the last address of the subnet, which are nobody's; on links of two addresses or one they are somebody's.
    fn is_network_or_broadcast(&self, address: Ipv4Addr) -> bool {
        let hosts = u32::MAX.checked_shr(self.subnet.1).unwrap_or(0);
        let within = u32::from(address) & hosts;
        self.subnet.1 < 31 && self.in_subnet(address) && (within == 0 || within == hosts)
    }

    fn is_subnet_broadcast(&self, address: Ipv4Addr) -> bool {
        self.is_network_or_broadcast(address) && u32::from(address) & 1 == 1
    }
}

/// All that the document says a verdict depends on.
#[derive(Debug)]
pub struct Oracle {
    facts: Facts,
    rules: Rules,
    administrator: Rules,
    state: stateful::State,
    exposed: Exposed,
    /// When frames were answered, by their direction.
    answered: [Vec<i64>; 2],
    now: i64,
    dhcp: lease::Dhcp,
}

impl Oracle {
    /// A guest without a lease.
    #[must_use]
    pub fn new(facts: Facts, rules: Rules, administrator: Rules, exposed: Exposed) -> Self {
        Oracle {
            facts,
            rules,
            administrator,
            state: stateful::State::default(),
            exposed,
            answered: [Vec::new(), Vec::new()],
            now: i64::MIN,
            dhcp: lease::Dhcp::default(),
        }
    }

    /// Other entries; the same ones are no change.
    pub fn set_rules(&mut self, rules: Rules) {
        if rules != self.rules {
            let was_kept = self.keeps_state();
            self.rules = rules;
            self.state.change(was_kept, self.keeps_state());
        }
    }

    /// The leased address, and until when, in microseconds.
    #[must_use]
    pub fn lease(&self) -> Option<(Ipv4Addr, i64)> {
        self.dhcp.lease
    }

    /// Lets time pass. A clock that steps back stands still.
    pub fn advance(&mut self, now: i64) {
        self.now = self.now.max(now);
        if self.dhcp.lease.is_some_and(|(_, expires)| expires <= self.now) {
            self.dhcp.lease = None;
        }
    }

    fn is_leased(&self, address: Ipv4Addr) -> bool {
        self.dhcp.lease.is_some_and(|(leased, _)| leased == address)
    }

    fn gateway_mac(&self) -> Option<Mac> {
        self.facts.pinned.or(self.dhcp.learned_mac)
    }

    /// A MAC that a unicast frame of the guest's may go to.
    fn is_right_unicast(&self, mac: Mac) -> bool {
        if self.facts.isolated { self.gateway_mac() == Some(mac) } else { mac[0] & 1 == 0 }
    }

    /// Whether an entry of the administrator's closes this address, whatever the others say.
    fn is_closed(&self, address: Ipv4Addr, way: Direction) -> bool {
        self.administrator.ruling(address, way) == Some(false)
    }

    /// Whether the guest is isolated from whoever has this address.
    fn is_neighbour(&self, address: Ipv4Addr) -> bool {
        self.facts.isolated && self.facts.in_subnet(address) && address != GATEWAY
    }

    fn check_arp(&self, frame: &[u8]) -> Claim {
        claim(frame.len() >= 42 && frame[14..20] == [0, 1, 8, 0, 6, 4], "ARP for Ethernet and IPv4")?;
        claim(matches!(frame[20..22], [0, 1 | 2]), "ARP request or reply")?;
        claim(frame[22..28] == frame[6..12], "ARP sender hardware")
    }
}

/// A request from 0.0.0.0.
fn is_probe(frame: &[u8]) -> bool {
    frame[20..22] == [0, 1] && address(frame, 28) == ANY
}

/// What is in the field at this place.
pub(crate) fn address(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

/// What is in the field at this place.
pub(crate) fn word(frame: &[u8], at: usize) -> usize {
    usize::from(frame[at]) << 8 | usize::from(frame[at + 1])
}

/// What is in the field at this place.
pub(crate) fn mac(frame: &[u8], at: usize) -> Mac {
    [frame[at], frame[at + 1], frame[at + 2], frame[at + 3], frame[at + 4], frame[at + 5]]
}

pub(crate) fn is_guests(mac: Mac) -> bool {
    mac == GUEST_MAC
}

/// A datagram in a frame, as positions: where its payload starts and ends.
struct Datagram {
    start: usize,
    end: usize,
    is_fragment: bool,
    is_first: bool,
    offset: usize,
}

impl Datagram {
    /// Version 4, lengths that fit, a fragment of sound size.
    fn locate(frame: &[u8]) -> Result<Self, &'static str> {
        claim(frame.len() >= 34 && frame[14] >> 4 == 4, "version 4 and a whole header")?;
        let (header, total) = (usize::from(frame[14] & 15) * 4, word(frame, 16));
        claim(header >= 20 && header <= total && total <= frame.len() - 14, "lengths of the datagram")?;
        let (start, end) = (14 + header, 14 + total);
        let offset = (word(frame, 20) % 0x2000) * 8;
        let more_follow = frame[20] & 0x20 != 0;
        let is_fragment = more_follow || offset != 0;
        if is_fragment {
            claim(end > start && offset + total <= 65535, "size of a fragment")?;
            claim(!more_follow || (end - start) % 8 == 0, "all fragments but the last are of 8 byte units")?;
        }
        Ok(Datagram { start, end, is_fragment, is_first: offset == 0, offset })
    }

    fn length(&self) -> usize {
        self.end - self.start
    }

    /// TCP whose header is whole and ends within the segment, or a first fragment with the fixed part of it.
    fn check_tcp_header(&self, frame: &[u8]) -> Claim {
        claim(self.length() >= 20, "a whole TCP header")?;
        let header = usize::from(frame[self.start + 12] >> 4) * 4;
        claim(self.is_fragment || (20..=self.length()).contains(&header), "TCP data offset")
    }

    /// UDP whose length fits, or a first fragment with the whole header: its ports.
    fn udp_ports(&self, frame: &[u8]) -> Result<(usize, usize), &'static str> {
        claim(self.length() >= 8, "a whole UDP header")?;
        let length = word(frame, self.start + 4);
        claim(self.is_fragment || (8..=self.length()).contains(&length), "length of UDP")?;
        Ok((word(frame, self.start), word(frame, self.start + 2)))
    }
}
