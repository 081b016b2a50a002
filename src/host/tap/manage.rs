//! `softnet network status` and `softnet network down`: what there is, and its removal. How it is shown, `shown` says.

mod shown;

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::Ipv4Net;

use super::netlink::{Link, Netlink};
use super::state::{self, State};
use super::{Error, HOST_BRIDGE, NAT_BRIDGE, bridge, claim, dhcp, nat};
use crate::engine::EthernetAddress;
use crate::host::Wait;

/// What there is of softnet's networks on this host. Its `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether the nftables table is there.
    pub firewall: bool,
    /// The bridges that there are, `softnet0` before `softnet1`.
    pub bridges: Vec<BridgeStatus>,
}

/// What there is of a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeStatus {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Its MAC.
    pub mac: EthernetAddress,
    /// Its address, with its prefix.
    pub address: Option<Ipv4Net>,
    /// The process that serves DHCP on it.
    pub dnsmasq: Option<i32>,
    /// What is attached.
    pub guests: Vec<GuestStatus>,
    /// What the DHCP server has handed out.
    pub leases: Vec<LeaseStatus>,
}

/// A port of a bridge, or a guest that is about to have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestStatus {
    /// The name of the port.
    pub port: Option<String>,
    /// The MAC behind it.
    pub mac: Option<EthernetAddress>,
    /// The softnet that serves it; none for a port that others attached.
    pub process: Option<String>,
}

/// A lease of the DHCP server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Whose it is.
    pub mac: EthernetAddress,
    /// The address.
    pub address: Ipv4Addr,
    /// How long it lasts from now on; `None` without end.
    pub left: Option<Duration>,
}

/// Whether guests that are attached keep `network down` from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// They do.
    No,
    /// They lose their network, and their softnets end.
    Yes,
}

/// What `network down` removed. Its `Display` is for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One thing each.
    pub removed: Vec<String>,
}

/// Looks at softnet's networks; changes nothing.
///
/// # Errors
/// See [`Error`]; needs root.
pub fn status(wait: &mut Wait<'_>) -> Result<Status, Error> {
    let locked = State::lock(wait)?;
    let mut netlink = Netlink::open().map_err(Error::os("open a netlink socket"))?;
    let mut bridges = Vec::new();
    for name in [NAT_BRIDGE, HOST_BRIDGE] {
        if let Some(link) = bridge::find(&mut netlink, name)?.filter(|link| link.kind == "bridge") {
            bridges.push(bridge_status(&mut netlink, &locked, link)?);
        }
    }
    let firewall = match nat::is_present(wait) {
        Err(Error::ProgramMissing { .. }) => false,
        result => result?,
    };
    locked.finish();
    Ok(Status { firewall, bridges })
}

/// Removes both bridges and everything that belongs to them: guests' ports, DHCP servers, firewall, state.
/// `net.ipv4.ip_forward` stays as it is, since others may have come to need it.
///
/// # Errors
/// See [`Error`]; needs root. [`Error::GuestsAttached`] without [`Force::Yes`], with nothing changed.
pub fn down(force: Force, wait: &mut Wait<'_>) -> Result<Report, Error> {
    let locked = State::lock(wait)?;
    let mut netlink = Netlink::open().map_err(Error::os("open a netlink socket"))?;
    let mut links = Vec::new();
    let mut attached = Vec::new();
    for name in [NAT_BRIDGE, HOST_BRIDGE] {
        let link = bridge::find(&mut netlink, name)?.filter(|link| link.kind == "bridge");
        let guests = guests(&mut netlink, &locked, name, link.as_ref())?;
        attached.extend(guests.iter().map(|guest| format!("{guest} on {name}")));
        links.push((name, link));
    }
    if force == Force::No && !attached.is_empty() {
        return Err(Error::GuestsAttached { guests: attached });
    }

    let mut report = Report::default();
    for (name, link) in links {
        if dhcp::stop(name, wait)? {
            report.removed.push(format!("the DHCP server of {name}"));
        }
        if let Some(link) = link {
            remove_bridge(&mut netlink, &link, &mut report)?;
        }
        locked.forget(name)?;
    }
    match nat::is_present(wait) {
        Ok(true) => {
            nat::remove(wait)?;
            report.removed.push("the nftables table inet softnet".to_owned());
        }
        Ok(false) | Err(Error::ProgramMissing { .. }) => {}
        Err(error) => return Err(error),
    }
    claim::sweep_all(&locked)?;
    locked.finish();
    Ok(report)
}

/// Guests' TAPs go with it: their softnets see that and end, instead of serving a link that leads nowhere.
fn remove_bridge(netlink: &mut Netlink, link: &Link, report: &mut Report) -> Result<(), Error> {
    for port in bridge::ports(netlink, link)?.into_iter().filter(|port| port.name.starts_with("softnet-")) {
        netlink.delete_link(port.index).map_err(Error::os(format!("remove {}", port.name)))?;
        report.removed.push(format!("the port {}", port.name));
    }
    netlink.delete_link(link.index).map_err(Error::os(format!("remove {}", link.name)))?;
    report.removed.push(format!("the bridge {}", link.name));
    Ok(())
}

fn bridge_status(netlink: &mut Netlink, locked: &State, link: Link) -> Result<BridgeStatus, Error> {
    let address = bridge::live(netlink)?.into_iter().find(|live| live.name == link.name).map(|live| live.address);
    let guests = guests(netlink, locked, &link.name, Some(&link))?;
    let leases = state::read(&State::path(&link.name, "leases")).map(|text| leases(&text, now())).unwrap_or_default();
    let dnsmasq = dhcp::process(&link.name)?;
    Ok(BridgeStatus { name: link.name, up: link.up, mac: link.mac, address, dnsmasq, guests, leases })
}

/// The ports of a bridge, with the MAC that is pinned to each, and the claims that have no port yet.
fn guests(netlink: &mut Netlink, locked: &State, name: &str, link: Option<&Link>) -> Result<Vec<GuestStatus>, Error> {
    let mut claims = claim::guests(locked, name)?;
    let mut guests = Vec::new();
    if let Some(link) = link {
        let fdb = netlink.fdb(link.index).map_err(Error::os(format!("read the forwarding table of {name}")))?;
        for port in bridge::ports(netlink, link)? {
            let mac = fdb.iter().find(|entry| entry.port == port.index && !entry.local).map(|entry| entry.mac);
            let claim = claims.iter().position(|guest| Some(guest.mac) == mac).map(|at| claims.swap_remove(at));
            guests.push(GuestStatus { port: Some(port.name), mac, process: claim.map(|guest| guest.process) });
        }
    }
    claims.sort_by_key(|guest| guest.mac.0);
    guests.extend(claims.into_iter().map(|guest| GuestStatus {
        port: None,
        mac: Some(guest.mac),
        process: Some(guest.process),
    }));
    Ok(guests)
}

/// The lines of dnsmasq's lease file: expiry, MAC, address, name, client identifier. The last two are the guest's words
/// and are left out.
pub(super) fn leases(text: &str, now: u64) -> Vec<LeaseStatus> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let expiry: u64 = words.next()?.parse().ok()?;
        let mac = words.next()?.parse().ok()?;
        let address = words.next()?.parse().ok()?;
        let left = (expiry != 0).then(|| Duration::from_secs(expiry.saturating_sub(now)));
        Some(LeaseStatus { mac, address, left })
    };
    text.lines().filter_map(line).collect()
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_file_is_read_line_by_line_and_the_guests_words_are_left_out() {
        let text = "1100 02:00:00:00:00:05 192.168.64.7 evil\u{1b}[2J *\nduid 00:01\n0 02:00:00:00:00:06 192.168.64.8 * *\n1 2\n";
        let leases = leases(text, 1000);
        let lines: Vec<String> = leases.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["192.168.64.7 to 02:00:00:00:00:05, 100 s left", "192.168.64.8 to 02:00:00:00:00:06, without end"]
        );
    }
}
