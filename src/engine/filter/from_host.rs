//! The rules for what the host sends, in the order of [`super`]'s documentation.
#![forbid(unsafe_code)]

use smoltcp::wire::{EthernetProtocol, IpProtocol};

use super::super::Instant;
use super::super::ipv4::{Header, Ipv4, Part, Udp};
use super::super::verdict::DropReason;
use super::{Arp, DHCP_CLIENT_PORT, DHCP_SERVER_PORT, Ethernet, Filter};

impl Filter {
    /// Judges a frame for the guest, and learns from the DHCP server's replies.
    #[inline]
    pub(in super::super) fn judge_host_frame(&mut self, frame: &[u8], now: Instant) -> Result<(), DropReason> {
        let frame = self.check_size(frame)?;
        if frame.source == self.guest_mac || !frame.source.is_unicast() {
            return Err(DropReason::EthernetSource);
        }
        if frame.destination != self.guest_mac && frame.destination.is_unicast() {
            return Err(DropReason::EthernetDestination);
        }
        match frame.protocol {
            EthernetProtocol::Ipv4 => self.judge_host_ipv4(&frame, now),
            EthernetProtocol::Arp => self.judge_host_arp(&frame),
            _ => Err(DropReason::EtherType),
        }
    }

    fn judge_host_arp(&self, frame: &Ethernet<'_>) -> Result<(), DropReason> {
        let arp = Arp::parse(frame.payload)?;
        if arp.sender_hardware != frame.source {
            return Err(DropReason::ArpSenderHardware);
        }
        if !arp.is_probe() && !self.may_be_heard(arp.sender_protocol, frame.source) {
            return Err(DropReason::Neighbour);
        }
        Ok(())
    }

    #[inline]
    fn judge_host_ipv4(&mut self, frame: &Ethernet<'_>, now: Instant) -> Result<(), DropReason> {
        let datagram = Ipv4::parse(frame.payload, Header::Any)?;
        match (datagram.protocol, datagram.part) {
            (IpProtocol::Udp, Part::Whole) => {
                let udp = Udp::parse_whole(datagram.payload)?;
                match udp.ports.destination {
                    DHCP_SERVER_PORT => return Err(DropReason::DhcpClientPort),
                    DHCP_CLIENT_PORT => return self.judge_host_dhcp(frame, &datagram, &udp, now),
                    _ => {}
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
        if !self.may_be_heard(datagram.source, frame.source) {
            return Err(DropReason::Neighbour);
        }
        Ok(())
    }
}
