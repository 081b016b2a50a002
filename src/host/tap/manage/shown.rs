//! What there is of softnet's networks and what was removed, for people.

use std::fmt;
use std::time::Duration;

use super::{BridgeStatus, GuestStatus, LeaseStatus, Report, Status};
use crate::engine::colons;

impl fmt::Display for GuestStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.port.as_deref().unwrap_or("a guest that is starting"))?;
        let mac = self.mac.map_or("no MAC seen".to_owned(), colons);
        match &self.process {
            Some(process) => write!(f, " ({mac}, process {process})"),
            None => write!(f, " ({mac}, not softnet's)"),
        }
    }
}

impl fmt::Display for LeaseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.address, colons(self.mac))?;
        match self.left {
            Some(Duration::ZERO) => f.write_str(", lapsed"),
            Some(left) => write!(f, ", {} s left", left.as_secs()),
            None => f.write_str(", without end"),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bridges.is_empty() {
            writeln!(f, "no network of softnet's is up; the first guest brings it up")?;
        }
        for bridge in &self.bridges {
            write!(f, "{bridge}")?;
        }
        let expected = !self.bridges.is_empty();
        match (self.firewall, expected) {
            (true, _) => writeln!(f, "firewall: the nftables table inet softnet is in place"),
            (false, true) => writeln!(f, "firewall: MISSING, the next guest's start puts it back"),
            (false, false) => Ok(()),
        }
    }
}

impl fmt::Display for BridgeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = if self.up { "up" } else { "DOWN" };
        writeln!(f, "{}: {up}, MAC {}", self.name, colons(self.mac))?;
        match self.address {
            Some(address) => writeln!(f, "  subnet: {}, gateway {}", address.trunc(), address.addr())?,
            None => writeln!(f, "  subnet: MISSING, the next guest's start puts it back")?,
        }
        match self.dnsmasq {
            Some(process) => writeln!(f, "  DHCP: dnsmasq, process {process}")?,
            None => writeln!(f, "  DHCP: NOT RUNNING, the next guest's start brings it up")?,
        }
        list(f, "guests", &self.guests)?;
        list(f, "leases", &self.leases)
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, items: &[impl fmt::Display]) -> fmt::Result {
    if items.is_empty() {
        return writeln!(f, "  {title}: none");
    }
    writeln!(f, "  {title}:")?;
    items.iter().try_for_each(|item| writeln!(f, "    {item}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.removed.is_empty() {
            return writeln!(f, "nothing to remove");
        }
        self.removed.iter().try_for_each(|what| writeln!(f, "removed {what}"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::engine::EthernetAddress;

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 5]);

    #[test]
    fn status_says_what_is_there_and_what_is_missing() {
        let healthy = BridgeStatus {
            name: "softnet0".to_owned(),
            up: true,
            mac: EthernetAddress([2, 1, 2, 3, 4, 5]),
            address: Some("192.168.64.1/24".parse().expect("an address")),
            dnsmasq: Some(42),
            guests: vec![GuestStatus {
                port: Some("softnet-0".to_owned()),
                mac: Some(MAC),
                process: Some("77".to_owned()),
            }],
            leases: vec![LeaseStatus { mac: MAC, address: Ipv4Addr::new(192, 168, 64, 7), left: None }],
        };
        let broken = BridgeStatus {
            name: "softnet1".to_owned(),
            up: false,
            address: None,
            dnsmasq: None,
            guests: Vec::new(),
            leases: Vec::new(),
            ..healthy.clone()
        };
        let text = Status { firewall: false, bridges: vec![healthy, broken] }.to_string();
        assert_eq!(
            text,
            "softnet0: up, MAC 02:01:02:03:04:05
  subnet: 192.168.64.0/24, gateway 192.168.64.1
  DHCP: dnsmasq, process 42
  guests:
    softnet-0 (02:00:00:00:00:05, process 77)
  leases:
    192.168.64.7 to 02:00:00:00:00:05, without end
softnet1: DOWN, MAC 02:01:02:03:04:05
  subnet: MISSING, the next guest's start puts it back
  DHCP: NOT RUNNING, the next guest's start brings it up
  guests: none
  leases: none
firewall: MISSING, the next guest's start puts it back
"
        );
    }

    #[test]
    fn nothing_to_show_and_nothing_to_remove_are_said() {
        let status = Status { firewall: false, bridges: Vec::new() };
        assert_eq!(status.to_string(), "no network of softnet's is up; the first guest brings it up\n");
        assert_eq!(Report::default().to_string(), "nothing to remove\n");
    }
}
