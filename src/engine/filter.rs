//! The policy of a frame, in the order of the code. What no paragraph lets pass is dropped, and each drop has its reason.
//!
//! # Both ways
//!
//! **Size.** An Ethernet header at least, and no more than the link carries. Nothing is ever cut and forwarded.
//!
//! **Addresses of the frame.** From the guest, the Ethernet source is the guest's MAC. From the host it is a unicast address
//! other than the guest's, and the destination is the guest's MAC or a group: what a switch floods is not for this guest.
//!
//! **Type.** ARP or IPv4, right after the MACs. VLAN tags, IEEE 802.3 lengths, IPv6 and the rest are dropped, tag or no tag:
//! a filter that looks for the type behind a tag will disagree with somebody about where it is (CVE-2021-27853).
//!
//! # From the guest: ARP
//!
//! Ethernet and IPv4, lengths 6 and 4, request or reply, not cut short (RFC 826). The sender hardware address is the
//! guest's MAC. The sender protocol address is the live lease, or 0.0.0.0 in a request, a probe (RFC 5227). The frame goes to
//! broadcast or, while isolated, to the gateway's MAC if that is known; on an open link, to any unicast address.
//!
//! # From the guest: IPv4
//!
//! **Header.** Version 4, exactly 20 bytes (no options), a total length within the frame, a valid checksum. What follows the
//! total length is padding.
//!
//! **Fragments** have the sizes that RFC 791 asks for and end within a datagram. A first TCP fragment has the whole fixed
//! header, and no TCP fragment starts at offset 8 (RFC 1858, RFC 3128). A first UDP fragment has the whole header, and
//! neither of its ports is 67. The unit of fragmentation is 8 bytes, just the UDP header, so no later fragment can change a
//! port: with this, no datagram that anyone reassembles reaches a DHCP server or comes from one.
//!
//! **Transport.** The lengths in a UDP or TCP header fit the datagram.
//!
//! **DHCP server.** UDP from port 67 is dropped: the guest is none.
//!
//! **DHCP client.** UDP to port 67, wherever to, is judged by this paragraph alone. It is from port 68; from 0.0.0.0 or the
//! live lease; to 255.255.255.255 or the gateway; one whole datagram. It is a BOOTREQUEST of Ethernet with the guest's MAC in
//! `chaddr`, nothing in `yiaddr`, `siaddr` and `giaddr`, 0.0.0.0 or the live lease in `ciaddr`, no option that speaks for
//! another link, and of type DISCOVER, REQUEST, DECLINE, RELEASE or INFORM; its options are sound. It is within the
//! guest's budget.
//!
//! **Source.** The live lease.
//!
//! **ICMP errors** are whole, and quote a datagram that came to the live lease from where the error goes; a redirect is
//! none of a guest's: see `icmp.rs`.
//!
//! **Destination of the frame.** 255.255.255.255 and the subnet's broadcast address go to the broadcast MAC; a multicast
//! group goes to its own MAC (RFC 1112, section 6.4); everything else to a unicast MAC, which is the gateway's while isolated.
//!
//! **Exposed ports.** What belongs to a connection that somebody outside has begun with an exposed port of the guest's passes here, and
//! skips the paragraphs that follow: see `super::exposures`.
//!
//! **Flows.** While any entry of the operator's has a direction, a datagram that belongs to a flow passes here, and one that
//! would begin a flow passes the next paragraph first: see [`super::flows`].
//!
//! **Names.** An address of a name that an entry is about, as learned, has that entry as a rule of the very address in the next
//! paragraph: see [`super::names`].
//!
//! **The administrator's entries**, if there are any, are asked first wherever the operator's are, and in the same way: what they
//! block is blocked. What they allow, or do not mention, is the operator's to say.
//!
//! **Destination.** Among the operator's entries for what the guest begins, those with ports outrank those without; among each
//! kind the longest prefix decides, and block wins a tie. An entry with ports is about whole UDP and TCP datagrams to these
//! ports; a fragment is covered by no allow entry with ports, and by every block entry with ports that covers its address.
//! If no entry covers the datagram: the gateway passes. In nat mode, so does the world (globally reachable unicast, outside the link's own subnet),
//! and port 53, UDP and TCP, of the DNS servers that the lease named, fragments excepted. Everything else is dropped.
//!
//! **DNS questions.** What has passed so far is looked at once more if it goes to port 53: a whole UDP datagram to a DNS server of
//! the lease may be a question to take note of. Where only the names that entries allow may be asked for, whatever goes to port 53,
//! fragments included, is a sound question for one, over UDP; another sound question is answered with a refusal.
//!
//! # From the host: ARP
//!
//! Of sound shape, and the sender hardware address is the frame's source. While isolated, a sender protocol address in the
//! subnet is the gateway's, from the gateway's MAC if that is known, or a neighbour's of whom the operator's entries allow
//! anything, in whichever direction and at whichever port; 0.0.0.0 in a request is a probe and passes.
//!
//! # From the host: IPv4
//!
//! **Header.** Version 4, lengths that fit. Options pass; the guest's own stack is to judge them.
//!
//! **DHCP.** UDP to port 67 is dropped: it is a neighbour's. UDP to port 68 is judged by this paragraph alone. It is
//! unfragmented, from the gateway's address and port 67 and, where the gateway's MAC is pinned, from that; a BOOTREPLY of
//! Ethernet for the guest's MAC; an answer to something that the guest asked and that is still open. What it teaches:
//! [`super::lease`].
//!
//! **Source.** While isolated, the gateway's address comes from the gateway's MAC, if that is known. Any other address of the
//! subnet is a neighbour's, and the datagram is one of a flow with this neighbour or one that an entry allows: a guest whose
//! isolation is off can send to isolated ports of a Linux bridge. While every entry is bare, that is an entry for what the guest
//! may send to where this comes from. Entries ask for ports, so the TCP header of a neighbour's is whole and its lengths fit.
//!
//! **Exposed ports.** What somebody who is no neighbour begins with an exposed port, and what goes on of it, passes here.
//!
//! **Transport, flows, origin.** While every entry is bare, the rest passes: inbound is open, and no state is kept. With a
//! direction in any of them, a TCP header is whole and its lengths fit; a datagram that belongs to a flow passes; any other one
//! is judged by the entries for what others begin, as above for the destination, with the guest's port for an `in` entry and the
//! far side's for a bare one. If none covers it, it passes.
//!
//! **DNS answers.** A whole UDP datagram that has passed so far, from port 53 of a DNS server of the lease by way of the gateway's MAC,
//! to the live lease, teaches the addresses of names. If there is no room for them, it is dropped.
//!
//! # Refusals
//!
//! Where the operator wants what the policy refuses to be answered, that is a datagram of the guest's that the paragraphs
//! *Destination* and *DNS questions* drop, and one for the guest that the paragraph on the origin drops and that is no
//! neighbour's. It is whole, without options and of a right checksum; from a host's address to a host's, which are not those of
//! networks, loopback, groups, and broadcast. TCP is answered by a reset in the name of whom it was for, but for
//! resets, and towards the host but for what is no SYN alone. Anything else is answered by ICMP, from the gateway, or from
//! the guest's lease towards the host; but for DHCP's ports, and ICMP that is an error or unknown or, towards the host, no request. Towards the host, the
//! datagram came to the guest's MAC and lease, from a MAC to which the guest may send. What is answered each way has a bound of
//! its own: [`super::reply`].
#![forbid(unsafe_code)]

mod dhcp;
mod exposed;
mod from_guest;
mod from_host;
mod names;
mod refuse;
mod stateful;

pub(super) use refuse::is_refusal;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use smoltcp::wire::{EthernetAddress, EthernetProtocol};

use super::budget::Budget;
use super::exposures::{ExposedFlows, Exposures};
use super::flows::Flows;
use super::lease::Leases;
use super::names::Names;
use super::policy::{Ceiling, Policy, PolicyEntries, Terms};
use super::reply::Replies;
use super::troubles::Troubles;
use super::verdict::DropReason;
use super::{Config, DnsQuestions, Event, Grounds, Instant, Isolation, Lease, NetType, Network, Refusals};

const DHCP_SERVER_PORT: u16 = 67;
const DHCP_CLIENT_PORT: u16 = 68;
const DNS_PORT: u16 = 53;

/// The rules of one guest and all that they consult.
#[derive(Debug)]
pub(super) struct Filter {
    guest_mac: EthernetAddress,
    net_type: NetType,
    isolation: Isolation,
    network: Network,
    subnet: Subnet,
    ceiling: Option<Box<Ceiling>>,
    terms: Terms,
    policy: Policy,
    flows: Flows,
    /// None where nothing is exposed.
    exposed: Option<Box<ExposedFlows>>,
    names: Names,
    questions: DnsQuestions,
    refusals: Refusals,
    replies: Replies,
    leases: Leases,
    budget: Budget,
    troubles: Troubles,
}

impl Filter {
    pub(super) fn new(config: &Config) -> Self {
        let network = config.network;
        let ceiling = Ceiling::compile(&config.administrator, network.gateway);
        let terms = Ceiling::terms(ceiling.as_deref(), network.gateway);
        Filter {
            guest_mac: config.guest_mac,
            net_type: config.net_type,
            isolation: config.isolation,
            network,
            subnet: Subnet::new(network.subnet),
            ceiling,
            terms,
            policy: Policy::compile(&config.policy, terms),
            flows: Flows::new(config.flow_keys),
            exposed: ExposedFlows::new(config),
            names: Names::new(network.subnet, config.flow_keys),
            questions: config.dns_questions,
            refusals: config.refusals,
            replies: Replies::new(),
            leases: Leases::new(network),
            budget: Budget::new(),
            troubles: Troubles::new(),
        }
    }

    pub(super) fn set_policy(&mut self, entries: &PolicyEntries) {
        self.replace_policy(Policy::compile(entries, self.terms));
    }

    /// What a policy is to be compiled for.
    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    /// The reply to the latest frame; empty if there is none.
    #[inline]
    pub(super) fn reply(&self) -> &[u8] {
        self.replies.frame()
    }

    /// From now on there is none.
    #[inline]
    pub(super) fn forget_reply(&mut self) {
        self.replies.clear();
    }

    #[inline]
    pub(super) fn lapse(&mut self, now: Instant) {
        self.leases.lapse(now);
        self.troubles.lapse(now);
    }

    pub(super) fn note_owner(&mut self, mac: Option<EthernetAddress>, now: Instant) {
        let other = mac.filter(|&mac| mac != self.guest_mac);
        let claim = self.leases.lease().zip(other).map(|(lease, mac)| (lease.address, mac));
        self.troubles.on_owner(claim, now);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let lapse = self.lease().map(|lease| lease.expires);
        [lapse, self.troubles.deadline()].into_iter().flatten().min()
    }

    pub(super) fn guest_mac(&self) -> EthernetAddress {
        self.guest_mac
    }

    pub(super) fn assume_lease(&mut self, address: Ipv4Addr, gateway_mac: EthernetAddress) {
        self.leases.assume(address, gateway_mac);
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.leases.lease()
    }

    pub(super) fn flow_count(&self, now: Instant) -> usize {
        self.flows.count(now)
    }

    /// What decides over a datagram by `policy` and `administrator`, which are the present ones.
    pub(super) fn grounds<'a>(&'a self, policy: &'a PolicyEntries, administrator: &'a PolicyEntries) -> Grounds<'a> {
        Grounds {
            policy,
            administrator,
            net_type: self.net_type,
            isolation: self.isolation,
            gateway: self.network.gateway,
            subnet: self.network.subnet,
            dns_servers: self.leases.dns_servers(),
        }
    }

    /// The exposed ports, if there are any.
    pub(super) fn exposures(&self) -> Option<&Exposures> {
        self.exposed.as_ref().map(|exposed| exposed.exposures())
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.leases.poll_event().or_else(|| self.troubles.poll().map(Event::Trouble))
    }

    /// Size, for both ways.
    #[inline]
    fn check_size<'a>(&self, frame: &'a [u8]) -> Result<Ethernet<'a>, DropReason> {
        if frame.len() > self.network.max_frame {
            return Err(DropReason::FrameTooLong);
        }
        Ethernet::parse(frame).ok_or(DropReason::FrameTooShort)
    }

    /// Whether a MAC is the gateway's, as far as is known.
    #[inline]
    fn is_gateway_mac(&self, mac: EthernetAddress) -> bool {
        self.leases.gateway_mac().is_some_and(|known| known == mac)
    }
}

/// The link's subnet, in the words in which each frame asks for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subnet {
    network: u32,
    mask: u32,
    /// Its own broadcast address, which links of two addresses or one do not have (RFC 3021).
    broadcast: Option<Ipv4Addr>,
}

impl Subnet {
    pub(super) fn new(subnet: Ipv4Net) -> Self {
        Subnet {
            network: subnet.network().to_bits(),
            mask: subnet.netmask().to_bits(),
            broadcast: (subnet.prefix_len() < 31).then(|| subnet.broadcast()),
        }
    }

    #[inline]
    fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.network
    }

    /// Whether it is the address of the subnet itself, which is no host's where there is a broadcast address.
    fn is_network(&self, address: Ipv4Addr) -> bool {
        self.broadcast.is_some() && address.to_bits() == self.network
    }

    /// Whether an address is one that a host can have: neither of many nor of nobody (RFC 1122, section 3.2.1.3).
    pub(super) fn has_host(&self, address: Ipv4Addr) -> bool {
        let [first, ..] = address.octets();
        !matches!(first, 0 | 127 | 224..) && self.broadcast != Some(address) && !self.is_network(address)
    }
}

/// A frame of sound size: a view, as [`Ipv4`](super::ipv4::Ipv4) is.
#[derive(Clone, Copy, Debug)]
struct Ethernet<'a> {
    destination: &'a [u8; 6],
    source: &'a [u8; 6],
    protocol: &'a [u8; 2],
    payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    #[inline]
    fn parse(frame: &'a [u8]) -> Option<Self> {
        let (header, payload) = frame.split_first_chunk::<14>()?;
        let (destination, rest) = header.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        Some(Ethernet { destination, source, protocol: rest.first_chunk()?, payload })
    }

    #[inline]
    fn destination(&self) -> EthernetAddress {
        EthernetAddress(*self.destination)
    }

    #[inline]
    fn source(&self) -> EthernetAddress {
        EthernetAddress(*self.source)
    }

    #[inline]
    fn protocol(&self) -> EthernetProtocol {
        EthernetProtocol::from(u16::from_be_bytes(*self.protocol))
    }
}

/// An ARP packet of sound shape (RFC 826).
#[derive(Clone, Copy, Debug)]
struct Arp {
    is_request: bool,
    sender_hardware: EthernetAddress,
    sender_protocol: Ipv4Addr,
    target_protocol: Ipv4Addr,
}

impl Arp {
    /// Ethernet and IPv4, lengths 6 and 4, request (1) or reply (2): the packet has one shape, and its fields one place.
    fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some(&[0, 1, 8, 0, 6, 4, 0, operation @ 1..=2, a, b, c, d, e, f, g, h, i, j, _, _, _, _, _, _, k, l, m, n]) =
            bytes.first_chunk::<28>()
        else {
            return Err(DropReason::ArpMalformed);
        };
        Ok(Arp {
            is_request: operation == 1,
            sender_hardware: EthernetAddress([a, b, c, d, e, f]),
            sender_protocol: Ipv4Addr::new(g, h, i, j),
            target_protocol: Ipv4Addr::new(k, l, m, n),
        })
    }

    /// A request from 0.0.0.0 claims nothing (RFC 5227, section 1.1).
    fn is_probe(&self) -> bool {
        self.is_request && self.sender_protocol.is_unspecified()
    }
}
