//! "From the host", paragraph by paragraph.

use std::net::Ipv4Addr;

use softnet::engine::Direction;

use super::flows::Step;
use super::{Claim, Datagram, Oracle, address, claim, is_guests, is_probe, mac, word};
use crate::frames::{BROADCAST, GATEWAY, Mac};

impl Oracle {
    /// Whether a frame of the host's passes; if so, what it teaches is learned.
    ///
    /// # Errors
    /// What of the document does not hold.
    pub fn host(&mut self, frame: &[u8], now: i64) -> Claim {
        self.advance(now);
        claim(frame.len() >= 14 && frame.len() <= self.facts.max_frame, "size")?;
        claim(!is_guests(mac(frame, 6)) && frame[6] & 1 == 0, "Ethernet source")?;
        claim(is_guests(mac(frame, 0)) || frame[0] & 1 == 1, "Ethernet destination")?;
        match (frame[12], frame[13]) {
            (8, 6) => {
                self.check_arp(frame)?;
                claim(is_probe(frame) || self.may_claim(address(frame, 28), mac(frame, 6)), "neighbour")
            }
            (8, 0) => self.host_ipv4(frame),
            _ => Err("type"),
        }
    }

    fn host_ipv4(&mut self, frame: &[u8]) -> Claim {
        let datagram = Datagram::locate(frame)?;
        if frame[23] == 17 && datagram.is_first {
            let (from, to) = datagram.udp_ports(frame)?;
            claim(to != 67, "the guest is no DHCP server")?;
            claim(to != 68 || !datagram.is_fragment, "no DHCP in fragments")?;
            if to == 68 {
                let source = mac(frame, 6);
                claim(from == 67 && address(frame, 26) == GATEWAY, "DHCP is the gateway's")?;
                claim(self.facts.pinned.is_none_or(|pinned| pinned == source), "DHCP from the gateway's MAC")?;
                claim(is_guests(mac(frame, 0)) || mac(frame, 0) == BROADCAST, "DHCP to the guest or all")?;
                claim(frame[30] & 0xf0 != 0xe0, "DHCP to no group")?;
                claim(word(frame, datagram.start + 4) == datagram.length(), "UDP is all there is")?;
                return self.host_dhcp(&frame[datagram.start + 8..datagram.end], source);
            }
        }
        let source = address(frame, 26);
        claim(self.is_no_false_gateway(source, mac(frame, 6)), "neighbour")?;
        let is_neighbour = self.is_neighbour(source);
        if !is_neighbour && self.is_to_exposed(frame, &datagram) {
            return Ok(());
        }
        if frame[23] == 6 && !datagram.is_fragment && (is_neighbour || self.keeps_state()) {
            datagram.check_tcp_header(frame)?;
        }
        if !self.keeps_state() {
            return claim(!is_neighbour || self.by_rules(Direction::FromHost, source, None).is_ok(), "neighbour");
        }
        // Nobody answers for a group, and a neighbour speaks of its own flows alone.
        let step = if self.is_leased(address(frame, 30)) {
            Step::read(Direction::FromHost, frame, &datagram).filter(|step| !is_neighbour || step.key.far.0 == source)
        } else {
            None
        };
        self.by_flows(Direction::FromHost, source, None, step)
    }

    /// Whether an ARP sender may have this address, at this MAC.
    fn may_claim(&self, claimed: Ipv4Addr, mac: Mac) -> bool {
        let both = [Direction::FromGuest, Direction::FromHost];
        let is_allowed = both.into_iter().any(|way| self.rules.ruling(claimed, way) == Some(true));
        let is_left = both.into_iter().any(|way| !self.is_closed(claimed, way));
        self.is_no_false_gateway(claimed, mac) && (!self.is_neighbour(claimed) || (is_allowed && is_left))
    }

    /// No entry makes a neighbour the gateway.
    fn is_no_false_gateway(&self, claimed: Ipv4Addr, mac: Mac) -> bool {
        !self.facts.isolated || claimed != GATEWAY || self.gateway_mac().is_none_or(|known| known == mac)
    }
}
