//! "From the guest", paragraph by paragraph.

use std::net::Ipv4Addr;

use softnet::engine::Direction;

use super::flows::Step;
use super::{Claim, Datagram, Oracle, address, claim, is_guests, is_probe, mac, word};
use crate::frames::{ALL, ANY, BROADCAST, GATEWAY};

impl Oracle {
    /// Whether a frame of the guest's passes; if so it is taken note of.
    ///
    /// # Errors
    /// What of the document does not hold.
    pub fn guest(&mut self, frame: &[u8], now: i64) -> Claim {
        self.advance(now);
        claim(frame.len() >= 14 && frame.len() <= self.facts.max_frame, "size")?;
        claim(is_guests(mac(frame, 6)), "Ethernet source")?;
        match (frame[12], frame[13]) {
            (8, 6) => {
                self.check_arp(frame)?;
                claim(is_probe(frame) || self.is_leased(address(frame, 28)), "ARP sender")?;
                let destination = mac(frame, 0);
                claim(destination == BROADCAST || self.is_right_unicast(destination), "ARP destination")
            }
            (8, 0) => self.guest_ipv4(frame),
            _ => Err("type"),
        }
    }

    fn guest_ipv4(&mut self, frame: &[u8]) -> Claim {
        let datagram = Datagram::locate(frame)?;
        claim(frame[14] == 0x45, "no options")?;
        let sum: usize = (14..34).step_by(2).map(|at| word(frame, at)).sum();
        claim(sum != 0 && sum.is_multiple_of(0xffff), "checksum")?;
        let (source, destination) = (address(frame, 26), address(frame, 30));
        let mut port = None;
        match frame[23] {
            17 if datagram.is_first => {
                let (from, to) = datagram.udp_ports(frame)?;
                claim(from != 67, "no DHCP server")?;
                claim(to != 67 || !datagram.is_fragment, "no DHCP in fragments")?;
                if to == 67 {
                    claim(from == 68 && (source == ANY || self.is_leased(source)), "DHCP source")?;
                    claim(destination == ALL || destination == GATEWAY, "DHCP destination")?;
                    claim(self.is_mac_for(mac(frame, 0), destination), "DHCP destination MAC")?;
                    claim(word(frame, datagram.start + 4) == datagram.length(), "UDP is all there is")?;
                    return self.guest_dhcp(&frame[datagram.start + 8..datagram.end]);
                }
                port = Some(to);
            }
            6 if datagram.is_first => {
                datagram.check_tcp_header(frame)?;
                port = Some(word(frame, datagram.start + 2));
            }
            6 => claim(datagram.offset != 8, "a second fragment over TCP's flags")?,
            1 if datagram.is_first && datagram.length() > 0 => {
                check_icmp(&frame[datagram.start..datagram.end], datagram.is_fragment, source, destination)?;
            }
            _ => {}
        }
        claim(self.is_leased(source), "source")?;
        claim(self.is_mac_for(mac(frame, 0), destination), "destination MAC")?;
        let is_to_many =
            destination.is_multicast() || destination == ALL || self.facts.is_subnet_broadcast(destination);
        let step = Step::read(Direction::FromGuest, frame, &datagram).filter(|_| !is_to_many);
        if self.is_from_exposed(step) {
            return Ok(());
        }
        let port = port.filter(|_| !datagram.is_fragment);
        if self.keeps_state() {
            self.by_flows(Direction::FromGuest, destination, port, step)?;
        } else {
            self.by_rules(Direction::FromGuest, destination, port)?;
        }
        self.note_own(step);
        Ok(())
    }

    fn is_mac_for(&self, mac: [u8; 6], destination: Ipv4Addr) -> bool {
        let [_, b, c, d] = destination.octets();
        if destination == ALL || self.facts.is_subnet_broadcast(destination) {
            mac == BROADCAST
        } else if destination.is_multicast() {
            mac == [1, 0, 0x5e, b % 128, c, d]
        } else {
            self.is_right_unicast(mac)
        }
    }
}

/// An ICMP error is whole and quotes what came to the guest from where it goes; a redirect is none of its.
fn check_icmp(message: &[u8], is_fragment: bool, source: Ipv4Addr, destination: Ipv4Addr) -> Claim {
    claim(message[0] != 5, "no redirect")?;
    if matches!(message[0], 3 | 4 | 11 | 12) {
        claim(!is_fragment && message.len() >= 28 && message[8] >> 4 == 4, "a whole quote")?;
        claim(address(message, 20) == destination && address(message, 24) == source, "a quote of its own")?;
    }
    Ok(())
}
