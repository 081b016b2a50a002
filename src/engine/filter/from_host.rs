//! The rules for what the host sends, in the order of [`super`]'s documentation.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::{EthernetAddress, EthernetProtocol, IpProtocol};

use super::super::exposures::Exposure;
use super::super::flows::{Flags, Header, Step};
use super::super::ipv4::{self, Ipv4, Part, Ports, Tcp, Udp};
use super::super::policy::{Carried, Ruling};
use super::super::verdict::{Direction, DropReason};
use super::super::{Instant, Isolation};
use super::{Arp, DHCP_CLIENT_PORT, DHCP_SERVER_PORT, Ethernet, Filter};

/// How a sender stands to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody that the guest is isolated from.
    Heard,
    /// Somebody that the guest is isolated from, and hears only where an entry allows it.
    Neighbour,
}

impl Filter {
    /// Judges a frame for the guest, and learns from the DHCP server's replies.
    #[inline]
    pub(in super::super) fn judge_host_frame(&mut self, frame: &[u8], now: Instant) -> Result<(), DropReason> {
        let frame = self.check_size(frame)?;
        if frame.source() == self.guest_mac || !frame.source().is_unicast() {
            return Err(DropReason::EthernetSource);
        }
        if frame.destination() != self.guest_mac && frame.destination().is_unicast() {
            return Err(DropReason::EthernetDestination);
        }
        match frame.protocol() {
            EthernetProtocol::Ipv4 => self.judge_host_ipv4(frame, now),
            EthernetProtocol::Arp => self.judge_host_arp(frame, now),
            _ => Err(DropReason::EtherType),
        }
    }

    #[cold]
    #[inline(never)]
    fn judge_host_arp(&mut self, frame: Ethernet<'_>, now: Instant) -> Result<(), DropReason> {
        let arp = Arp::parse(frame.payload)?;
        if arp.sender_hardware != frame.source() {
            return Err(DropReason::ArpSenderHardware);
        }
        if arp.is_probe() {
            return Ok(());
        }
        // Its own MAC is no source on this side.
        if self.leases.is_leased(arp.sender_protocol) {
            self.troubles.on_claim(arp.sender_protocol, frame.source(), now);
        }
        match self.standing(arp.sender_protocol, frame.source())? {
            Standing::Heard => {
                if arp.sender_protocol == self.network.gateway {
                    self.troubles.on_gateway();
                }
                Ok(())
            }
            Standing::Neighbour
                if self.policy.allows_some_of(arp.sender_protocol)
                    && self.ceiling.as_ref().is_none_or(|ceiling| ceiling.leaves_some_of(arp.sender_protocol)) =>
            {
                Ok(())
            }
            Standing::Neighbour => Err(DropReason::Neighbour),
        }
    }

    #[inline]
    fn judge_host_ipv4(&mut self, frame: Ethernet<'_>, now: Instant) -> Result<(), DropReason> {
        let datagram = Ipv4::parse(frame.payload, ipv4::Header::Any)?;
        let mut udp_ports = None;
        match (datagram.protocol(), datagram.part()) {
            (IpProtocol::Udp, Part::Whole) => {
                let udp = Udp::parse_whole(datagram.payload)?;
                match udp.ports.destination {
                    DHCP_SERVER_PORT => return Err(DropReason::DhcpClientPort),
                    DHCP_CLIENT_PORT => return self.judge_host_dhcp(frame, datagram, udp, now),
                    _ => udp_ports = Some(udp.ports),
                }
            }
            (IpProtocol::Udp, Part::First) => {
                let ports = Udp::first_fragment_ports(datagram.payload)?;
                if matches!(ports.destination, DHCP_SERVER_PORT | DHCP_CLIENT_PORT) {
                    return Err(DropReason::DhcpFragment);
                }
            }
            _ => {}
        }
        let standing = self.standing(datagram.source(), frame.source())?;
        if self.troubles.wait_for_beyond() && !self.subnet.contains(datagram.source()) {
            self.troubles.on_beyond();
        }
        if self.exposed.is_some() && standing == Standing::Heard {
            match self.host_exposure(datagram, udp_ports, now) {
                Exposure::Passes => return Ok(()),
                Exposure::Full => return Err(DropReason::FlowTableFull),
                Exposure::None => {}
            }
        }
        if self.policy.is_stateful() || standing != Standing::Heard {
            self.judge_host_by_policy(datagram, udp_ports, standing, now)?;
        }
        match udp_ports {
            Some(ports) if self.heeds_names() => self.on_host_datagram(frame, datagram, ports, now),
            _ => Ok(()),
        }
    }

    /// What the policy makes of a datagram for the guest, whose sender is a neighbour or whose policy is stateful.
    fn judge_host_by_policy(
        &mut self,
        datagram: Ipv4<'_>,
        udp_ports: Option<Ports>,
        standing: Standing,
        now: Instant,
    ) -> Result<(), DropReason> {
        let header = match (datagram.protocol(), datagram.part()) {
            (IpProtocol::Tcp, Part::Whole) => {
                let tcp = Tcp::parse_whole(datagram.payload)?;
                Some(Header { ports: tcp.ports, flags: Some(Flags::new(tcp.flags)) })
            }
            _ => udp_ports.map(|ports| Header { ports, flags: None }),
        };
        let carried = match (datagram.part(), header) {
            (Part::First | Part::Later(_), _) => Carried::Fragment,
            (Part::Whole, Some(Header { ports, .. })) => Carried::Ports { far: ports.source, guest: ports.destination },
            (Part::Whole, None) => Carried::NoPorts,
        };
        if !self.policy.is_stateful() {
            return self.check_origin(datagram.source(), carried, now);
        }
        let step = if self.leases.is_leased(datagram.destination()) {
            // A neighbour is on the way to nobody else, and has nothing to say of others' flows.
            Step::read(Direction::FromHost, datagram, header)
                .filter(|step| standing == Standing::Heard || step.key.far == datagram.source())
        } else {
            None
        };
        self.judge_stateful(Direction::FromHost, datagram.source(), carried, step.as_ref(), now)
    }

    /// What the rules say of a datagram from `address`: everybody but a neighbour may begin where they say nothing.
    pub(super) fn check_origin(&self, address: Ipv4Addr, carried: Carried, now: Instant) -> Result<(), DropReason> {
        match self.ruling_inward(address, carried, now) {
            Ruling::Allowed => Ok(()),
            Ruling::Blocked | Ruling::Unmentioned if self.is_neighbour(address) => Err(DropReason::Neighbour),
            Ruling::Blocked => Err(DropReason::Blocked),
            Ruling::Unmentioned => Ok(()),
        }
    }

    /// How somebody with this address and this MAC stands to the guest.
    ///
    /// # Errors
    /// While isolated, the gateway's address from another MAC than the gateway's, as far as that is known.
    #[inline]
    fn standing(&self, address: Ipv4Addr, mac: EthernetAddress) -> Result<Standing, DropReason> {
        if self.is_neighbour(address) {
            return Ok(Standing::Neighbour);
        }
        let is_other_mac = || self.leases.gateway_mac().is_some_and(|gateway_mac| gateway_mac != mac);
        if address == self.network.gateway && self.isolation == Isolation::Isolated && is_other_mac() {
            return Err(DropReason::Neighbour);
        }
        Ok(Standing::Heard)
    }

    /// Whether `address` is one of the subnet other than the gateway's, from which the guest is isolated.
    #[inline]
    fn is_neighbour(&self, address: Ipv4Addr) -> bool {
        self.isolation == Isolation::Isolated && self.subnet.contains(address) && address != self.network.gateway
    }
}
