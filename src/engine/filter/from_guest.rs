//! The rules for what the guest sends, in the order of [`super`]'s documentation.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::{EthernetAddress, EthernetProtocol, IpProtocol};

use super::super::exposures::Exposure;
use super::super::flows::{Flags, Header, Step};
use super::super::icmp::check_error;
use super::super::ipv4::{self, Ipv4, Part, Ports, Tcp, Udp};
use super::super::policy::{Carried, Ruling};
use super::super::special::is_global_unicast;
use super::super::verdict::{Direction, DropReason};
use super::super::{Instant, Isolation, NetType};
use super::{Arp, DHCP_SERVER_PORT, DNS_PORT, Ethernet, Filter};

/// What the transport header of a datagram says to the rules.
enum Transport<'a> {
    /// UDP to a DHCP server: another paragraph judges it.
    Dhcp(Udp<'a>),
    /// A whole UDP or TCP datagram.
    Ports(Header),
    /// A fragment.
    Fragment,
    /// Another protocol, without ports.
    NoPorts,
}

impl Filter {
    /// Judges a frame that the guest sent, and takes note of what it asks of the DHCP server.
    #[inline]
    pub(in super::super) fn judge_guest_frame(&mut self, frame: &[u8], now: Instant) -> Result<(), DropReason> {
        self.replies.clear();
        let frame = self.check_size(frame)?;
        if frame.source() != self.guest_mac {
            self.troubles.on_other_source(frame.source(), now);
            return Err(DropReason::EthernetSource);
        }
        match frame.protocol() {
            EthernetProtocol::Ipv4 => self.judge_guest_ipv4(frame, now),
            EthernetProtocol::Arp => self.judge_guest_arp(frame, now),
            _ => Err(DropReason::EtherType),
        }
    }

    #[cold]
    #[inline(never)]
    fn judge_guest_arp(&mut self, frame: Ethernet<'_>, now: Instant) -> Result<(), DropReason> {
        let arp = Arp::parse(frame.payload)?;
        if arp.sender_hardware != self.guest_mac {
            return Err(DropReason::ArpSenderHardware);
        }
        if !arp.is_probe() && !self.leases.is_leased(arp.sender_protocol) {
            return Err(DropReason::ArpSenderProtocol);
        }
        if !frame.destination().is_broadcast() {
            self.check_unicast_mac(frame.destination())?;
        }
        if arp.is_request && arp.target_protocol == self.network.gateway {
            self.troubles.on_question_for_gateway(now);
        }
        Ok(())
    }

    #[inline]
    fn judge_guest_ipv4(&mut self, frame: Ethernet<'_>, now: Instant) -> Result<(), DropReason> {
        let datagram = Ipv4::parse(frame.payload, ipv4::Header::Plain)?;
        let (carried, header) = match Transport::parse(datagram)? {
            Transport::Dhcp(udp) => return self.judge_guest_dhcp(frame, datagram, udp, now),
            Transport::Ports(header) => {
                (Carried::Ports { far: header.ports.destination, guest: header.ports.source }, Some(header))
            }
            Transport::Fragment => (Carried::Fragment, None),
            Transport::NoPorts => (Carried::NoPorts, None),
        };
        self.check_source(datagram.source())?;
        if datagram.protocol() == IpProtocol::Icmp {
            check_error(datagram)?;
        }
        self.check_destination_mac(frame.destination(), datagram.destination())?;
        if self.exposed.is_some() && self.guest_exposure(datagram, header, now) == Exposure::Passes {
            return Ok(());
        }
        if self.policy.is_stateful() {
            let step = self.unicast_step(datagram, header);
            self.judge_stateful(Direction::FromGuest, datagram.destination(), carried, step.as_ref(), now)?;
        } else {
            self.check_destination(datagram.destination(), carried, now)?;
        }
        if self.exposed.is_some() {
            self.note_for_exposures(datagram, header, now)?;
        }
        if let Some(Header { flags: Some(flags), .. }) = header
            && flags.opens()
            && !self.subnet.contains(datagram.destination())
        {
            self.troubles.on_beginning_beyond(now);
        }
        if self.heeds_names() { self.on_guest_datagram(frame, datagram, header, now) } else { Ok(()) }
    }

    #[inline]
    fn check_source(&self, source: Ipv4Addr) -> Result<(), DropReason> {
        match self.leases.lease() {
            None => Err(DropReason::NoLease),
            Some(lease) if lease.address != source => Err(DropReason::SourceAddress),
            Some(_) => Ok(()),
        }
    }

    /// The frame's destination is the one that belongs to the datagram's.
    #[inline]
    pub(super) fn check_destination_mac(&self, mac: EthernetAddress, address: Ipv4Addr) -> Result<(), DropReason> {
        let own_group = if self.is_broadcast(address) {
            EthernetAddress::BROADCAST
        } else if address.is_multicast() {
            let [_, b, c, d] = address.octets();
            EthernetAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        } else {
            return self.check_unicast_mac(mac);
        };
        if mac == own_group { Ok(()) } else { Err(DropReason::EthernetDestination) }
    }

    #[inline]
    fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address.is_broadcast() || self.subnet.broadcast == Some(address)
    }

    /// A datagram of the guest's as a step of a flow: nothing that goes to a group is.
    #[inline]
    pub(super) fn unicast_step(&self, datagram: Ipv4<'_>, header: Option<Header>) -> Option<Step> {
        let is_one = !self.is_group(datagram.destination());
        is_one.then(|| Step::read(Direction::FromGuest, datagram, header)).flatten()
    }

    #[inline]
    fn is_group(&self, address: Ipv4Addr) -> bool {
        address.is_multicast() || self.is_broadcast(address)
    }

    #[inline]
    pub(super) fn check_unicast_mac(&self, mac: EthernetAddress) -> Result<(), DropReason> {
        let is_right = match self.isolation {
            Isolation::Isolated => self.is_gateway_mac(mac),
            Isolation::Open => mac.is_unicast(),
        };
        if is_right { Ok(()) } else { Err(DropReason::EthernetDestination) }
    }

    /// What the rules say of a datagram to `address`, and the default where they say nothing.
    #[inline(always)]
    pub(super) fn check_destination(
        &self,
        address: Ipv4Addr,
        carried: Carried,
        now: Instant,
    ) -> Result<(), DropReason> {
        match self.ruling_outward(address, carried, now) {
            Ruling::Allowed => Ok(()),
            Ruling::Blocked => Err(DropReason::Blocked),
            Ruling::Unmentioned if self.is_reachable_by_default(address, carried) => Ok(()),
            Ruling::Unmentioned => Err(DropReason::NotReachable),
        }
    }

    #[inline(always)]
    fn is_reachable_by_default(&self, address: Ipv4Addr, carried: Carried) -> bool {
        if address == self.network.gateway {
            return true;
        }
        // Where the link's own subnet is of public addresses, its hosts are neighbours all the same, not the world.
        let is_world = is_global_unicast(address) && !self.subnet.contains(address);
        match self.net_type {
            NetType::Host => false,
            NetType::Nat if is_world => true,
            NetType::Nat => {
                matches!(carried, Carried::Ports { far: DNS_PORT, .. }) && self.leases.is_dns_server(address)
            }
        }
    }
}

impl<'a> Transport<'a> {
    #[inline]
    fn parse(datagram: Ipv4<'a>) -> Result<Self, DropReason> {
        match (datagram.protocol(), datagram.part()) {
            (IpProtocol::Udp, Part::Whole) => {
                let udp = Udp::parse_whole(datagram.payload)?;
                match udp.ports {
                    Ports { source: DHCP_SERVER_PORT, .. } => Err(DropReason::DhcpServerPort),
                    Ports { destination: DHCP_SERVER_PORT, .. } => Ok(Transport::Dhcp(udp)),
                    ports => Ok(Transport::Ports(Header { ports, flags: None })),
                }
            }
            (IpProtocol::Udp, Part::First) => {
                let ports = Udp::first_fragment_ports(datagram.payload)?;
                if ports.source == DHCP_SERVER_PORT || ports.destination == DHCP_SERVER_PORT {
                    return Err(DropReason::DhcpFragment);
                }
                Ok(Transport::Fragment)
            }
            (IpProtocol::Tcp, Part::Whole) => {
                let tcp = Tcp::parse_whole(datagram.payload)?;
                Ok(Transport::Ports(Header { ports: tcp.ports, flags: Some(Flags::new(tcp.flags)) }))
            }
            // A first fragment without the flags, and a second one that would write over them.
            (IpProtocol::Tcp, Part::First) if datagram.payload.len() < Tcp::HEADER => {
                Err(DropReason::FragmentMalformed)
            }
            (IpProtocol::Tcp, Part::Later(8)) => Err(DropReason::FragmentMalformed),
            (_, Part::Whole) => Ok(Transport::NoPorts),
            (_, Part::First | Part::Later(_)) => Ok(Transport::Fragment),
        }
    }
}
