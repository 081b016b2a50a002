//! DHCP, both ways: the two paragraphs of [`super`]'s documentation.
#![forbid(unsafe_code)]

use smoltcp::wire::{DhcpMessageType, DhcpOpCode};

use super::super::Instant;
use super::super::dhcp::{Message, Overload};
use super::super::ipv4::{Ipv4, Udp};
use super::super::verdict::DropReason;
use super::{DHCP_CLIENT_PORT, DHCP_SERVER_PORT, Ethernet, Filter};

impl Filter {
    /// Judges whole UDP to port 67, from the guest. Out of line, as is all that is seldom: what a frame of data does not need
    /// takes no room on its stack.
    #[cold]
    #[inline(never)]
    pub(super) fn judge_guest_dhcp(
        &mut self,
        frame: Ethernet<'_>,
        datagram: Ipv4<'_>,
        udp: Udp<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let may_be_source = datagram.source().is_unspecified() || self.leases.is_leased(datagram.source());
        let may_be_destination =
            datagram.destination().is_broadcast() || datagram.destination() == self.network.gateway;
        if udp.ports.source != DHCP_CLIENT_PORT || !may_be_source || !may_be_destination {
            return Err(DropReason::DhcpForbidden);
        }
        self.check_destination_mac(frame.destination(), datagram.destination())?;
        // Bytes behind the UDP length are read by some servers and not by others.
        if !udp.fills_datagram {
            return Err(DropReason::DhcpMalformed);
        }
        let message = Message::parse(udp.payload, Overload::Refused).map_err(|_| DropReason::DhcpMalformed)?;
        if !self.may_guest_send(&message) {
            return Err(DropReason::DhcpForbidden);
        }
        self.budget.spend(message.options.client_identifier, now)?;
        match message.kind {
            DhcpMessageType::Discover | DhcpMessageType::Request => self.troubles.on_dhcp_request(now),
            DhcpMessageType::Decline => {
                if let Some(address) = message.options.requested.filter(|&address| self.leases.is_leased(address)) {
                    self.troubles.on_decline(address, now);
                }
            }
            _ => {}
        }
        self.leases.on_guest_message(&message, now);
        Ok(())
    }

    fn may_guest_send(&self, message: &Message<'_>) -> bool {
        // `yiaddr` and `siaddr` too: a server that answers in the buffer of the request sends them back (RFC 2131, table 5).
        message.op == DhcpOpCode::Request
            && message.is_ethernet
            && message.client == self.guest_mac
            && (message.ciaddr.is_unspecified() || self.leases.is_leased(message.ciaddr))
            && message.yiaddr.is_unspecified()
            && message.siaddr.is_unspecified()
            && message.giaddr.is_unspecified()
            && !message.options.for_another_link
            && matches!(
                message.kind,
                DhcpMessageType::Discover
                    | DhcpMessageType::Request
                    | DhcpMessageType::Decline
                    | DhcpMessageType::Release
                    | DhcpMessageType::Inform
            )
    }

    /// Judges whole UDP to port 68, from the host.
    #[cold]
    #[inline(never)]
    pub(super) fn judge_host_dhcp(
        &mut self,
        frame: Ethernet<'_>,
        datagram: Ipv4<'_>,
        udp: Udp<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        // A learned MAC is not asked for: the reply may come from a gateway that was set up anew, and teach its MAC.
        let may_be_sender = self.network.gateway_mac.is_none_or(|pinned| pinned == frame.source());
        if udp.ports.source != DHCP_SERVER_PORT || datagram.source() != self.network.gateway || !may_be_sender {
            return Err(DropReason::DhcpNotFromGateway);
        }
        let is_for_one_or_all = frame.destination() == self.guest_mac || frame.destination().is_broadcast();
        if !is_for_one_or_all || datagram.destination().is_multicast() {
            return Err(DropReason::EthernetDestination);
        }
        if !udp.fills_datagram {
            return Err(DropReason::DhcpMalformed);
        }
        let message = Message::parse(udp.payload, Overload::Followed).map_err(|_| DropReason::DhcpMalformed)?;
        if message.op != DhcpOpCode::Reply || !message.is_ethernet {
            return Err(DropReason::DhcpForbidden);
        }
        if message.client != self.guest_mac {
            return Err(DropReason::DhcpNotForGuest);
        }
        self.leases.on_reply(&message, frame.source(), now)?;
        self.troubles.on_dhcp_answer();
        Ok(())
    }
}
