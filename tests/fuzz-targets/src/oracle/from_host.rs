//! "From the host", paragraph by paragraph.

use super::{Claim, Datagram, Oracle, address, claim, is_guests, is_probe, mac, word};
use crate::frames::{BROADCAST, GATEWAY};

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
                claim(is_probe(frame) || self.may_be_heard(address(frame, 28), mac(frame, 6)), "neighbour")
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
        if frame[23] == 6 && !datagram.is_fragment && self.is_neighbour(source) {
            datagram.check_tcp_header(frame)?;
        }
        claim(self.may_be_heard(source, mac(frame, 6)), "neighbour")
    }
}
