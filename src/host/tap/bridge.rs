//! The bridges: those that softnet makes and repairs, and those that others made.

use std::io;

use ipnet::Ipv4Net;

use super::nat::LiveBridge;
use super::netlink::{Link, Netlink};
use super::state::{self, State};
use super::subnet::{self, Used};
use super::{Error, HOST_BRIDGE, NAT_BRIDGE, random_mac, sysctl};
use crate::engine::EthernetAddress;

/// A bridge that guests can be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bridge {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mac: EthernetAddress,
    /// Whether the MAC stays when ports come and go.
    pub(super) mac_is_its_own: bool,
    pub(super) mtu: u32,
    /// The bridge's address, with its prefix.
    pub(super) address: Ipv4Net,
}

/// Makes the bridge `name`, or adopts and repairs what is there; it has its address, but may still be down.
///
/// Every step looks at what is there first, so that a start after a crash at any point between two of them ends the same.
pub(super) fn provision(
    netlink: &mut Netlink,
    locked: &State,
    name: &'static str,
    wanted: Option<Ipv4Net>,
) -> Result<Bridge, Error> {
    if let Some(subnet) = wanted {
        subnet::check(subnet)?;
    }
    let found = find(netlink, name)?;
    if let Some(link) = found.as_ref().filter(|link| link.kind != "bridge") {
        return Err(Error::NotABridge { name: name.to_owned(), kind: link.kind.clone() });
    }
    // Chosen before anything is made, so that a refusal leaves nothing behind.
    let address = choose_address(netlink, name, found.as_ref(), wanted)?;
    let is_new = found.is_none();
    let link = match found {
        Some(link) => adopt(netlink, link)?,
        None => create(netlink, name)?,
    };
    let configured = configure(name).and_then(|()| give_address(netlink, locked, name, &link, address));
    if configured.is_err() && is_new {
        // What may not be set here, no later start may set either: the bridge would stay as it is.
        let _ = netlink.delete_link(link.index);
    }
    let address = configured?;
    Ok(Bridge { name: name.to_owned(), index: link.index, mac: link.mac, mac_is_its_own: true, mtu: link.mtu, address })
}

/// The kernel's settings for a bridge of ours.
fn configure(name: &str) -> Result<(), Error> {
    sysctl::disable_ipv6(name)?;
    // ARP for an address of another interface of the host's is not answered here.
    sysctl::set_ipv4(name, "arp_ignore", "1")?;
    sysctl::set_ipv4(name, "accept_redirects", "0")?;
    sysctl::set_ipv4(name, "forwarding", if name == NAT_BRIDGE { "1" } else { "0" })
}

/// Brings a bridge up.
pub(super) fn bring_up(netlink: &mut Netlink, bridge: &Bridge) -> Result<(), Error> {
    netlink.set_up(bridge.index).map_err(Error::os(format!("bring {} up", bridge.name)))
}

/// The bridge of `--bridge NAME`, which is left as it is.
pub(super) fn existing(netlink: &mut Netlink, name: &str) -> Result<Bridge, Error> {
    let no_such = || Error::NoSuchBridge { name: name.to_owned() };
    // What cannot name an interface (dev_valid_name of the kernel) must not become part of a path either.
    let is_name = (1..16).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if !is_name {
        return Err(no_such());
    }
    let link = find(netlink, name)?.ok_or_else(no_such)?;
    if link.kind != "bridge" {
        return Err(Error::BridgeWrongKind { name: name.to_owned(), kind: link.kind });
    }
    if !link.up {
        return Err(Error::BridgeDown { name: name.to_owned() });
    }
    let addresses = addresses_of(netlink, &link)?;
    let address = *addresses.first().ok_or_else(|| Error::BridgeWithoutAddress { name: name.to_owned() })?;
    if address.prefix_len() > 30 {
        return Err(Error::BridgeTooSmall { name: name.to_owned(), subnet: address.trunc() });
    }
    // A bridge without a MAC of its own has that of a port, and another tomorrow.
    let ports = ports(netlink, &link)?;
    let mac_is_its_own = !ports.is_empty() && ports.iter().all(|port| port.mac != link.mac);
    Ok(Bridge { name: name.to_owned(), index: link.index, mac: link.mac, mac_is_its_own, mtu: link.mtu, address })
}

/// Our bridges, as far as they have an address.
pub(super) fn live(netlink: &mut Netlink) -> Result<Vec<LiveBridge>, Error> {
    let mut bridges = Vec::new();
    for name in [NAT_BRIDGE, HOST_BRIDGE] {
        let Some(link) = find(netlink, name)?.filter(|link| link.kind == "bridge") else { continue };
        let addresses = addresses_of(netlink, &link)?;
        if let Some(address) = own_address(name, &addresses) {
            bridges.push(LiveBridge { name, mac: link.mac, address });
        }
    }
    Ok(bridges)
}

/// A link by its name.
pub(super) fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Link>, Error> {
    netlink.link(name).map_err(Error::os(format!("look up the interface {name}")))
}

/// The ports of a bridge.
pub(super) fn ports(netlink: &mut Netlink, bridge: &Link) -> Result<Vec<Link>, Error> {
    netlink.ports(bridge.index).map_err(Error::os(format!("list the ports of {}", bridge.name)))
}

/// The addresses of a link, oldest first.
pub(super) fn addresses_of(netlink: &mut Netlink, link: &Link) -> Result<Vec<Ipv4Net>, Error> {
    let addresses = netlink.addresses().map_err(Error::os(format!("list the addresses of {}", link.name)))?;
    Ok(addresses.into_iter().filter(|(index, _)| *index == link.index).map(|(_, address)| address).collect())
}

fn create(netlink: &mut Netlink, name: &'static str) -> Result<Link, Error> {
    let what = || format!("create the bridge {name}");
    let mac = random_mac(0x02).map_err(Error::os(what()))?;
    netlink.create_bridge(name, mac).map_err(|source| match source.raw_os_error() {
        Some(libc::EOPNOTSUPP) => Error::KernelModule { what: what(), module: "bridge", source },
        _ => Error::os(what())(source),
    })?;
    find(netlink, name)?.ok_or_else(|| Error::os(what())(io::Error::from(io::ErrorKind::NotFound)))
}

fn adopt(netlink: &mut Netlink, mut link: Link) -> Result<Link, Error> {
    let what = format!("repair the bridge {}", link.name);
    netlink.set_bridge_options(link.index).map_err(Error::os(&what))?;
    let borrowed = ports(netlink, &link)?.iter().any(|port| port.mac == link.mac);
    if borrowed || !link.mac.is_unicast() || link.mac == EthernetAddress([0; 6]) {
        link.mac = random_mac(0x02).map_err(Error::os(&what))?;
    }
    // Setting it, even to what it is, makes it the bridge's own: from then on no port lends the bridge its MAC.
    netlink.set_mac(link.index, link.mac).map_err(Error::os(what))?;
    Ok(link)
}

/// The address that a bridge of ours has, or is to have.
enum Address {
    Present(Ipv4Net),
    Chosen(Ipv4Net),
}

fn choose_address(
    netlink: &mut Netlink,
    name: &'static str,
    found: Option<&Link>,
    wanted: Option<Ipv4Net>,
) -> Result<Address, Error> {
    let present = found.map(|link| addresses_of(netlink, link)).transpose()?.unwrap_or_default();
    if let Some(current) = own_address(name, &present) {
        return match wanted {
            Some(subnet) if subnet.trunc() != current.trunc() => {
                Err(Error::SubnetDiffers { subnet, bridge: name.to_owned(), current: current.trunc() })
            }
            _ => Ok(Address::Present(current)),
        };
    }
    if let Some(current) = present.first() {
        return Err(Error::AddressUnusable { bridge: name.to_owned(), current: *current });
    }
    subnet::choose(wanted, remembered(name), &used(netlink, found)?).map(Address::Chosen)
}

fn give_address(
    netlink: &mut Netlink,
    _locked: &State,
    name: &'static str,
    link: &Link,
    address: Address,
) -> Result<Ipv4Net, Error> {
    let chosen = match address {
        Address::Present(present) => return Ok(present),
        Address::Chosen(chosen) => chosen,
    };
    state::write(&State::path(name, "subnet"), &format!("{chosen}\n"))?;
    netlink.add_address(link.index, chosen).map_err(Error::os(format!("give {name} the address {chosen}")))?;
    Ok(chosen)
}

/// Which of the addresses of a bridge of ours is the guests' gateway.
fn own_address(name: &str, addresses: &[Ipv4Net]) -> Option<Ipv4Net> {
    let usable = || addresses.iter().copied().filter(|address| subnet::check(*address).is_ok());
    let ours = remembered(name);
    usable().find(|address| Some(*address) == ours).or_else(|| usable().next())
}

fn remembered(name: &str) -> Option<Ipv4Net> {
    state::read_line(&State::path(name, "subnet"))?.trim().parse().ok()
}

/// What the host uses on other links than the bridge itself, if there is one.
pub(super) fn used(netlink: &mut Netlink, bridge: Option<&Link>) -> Result<Vec<Used>, Error> {
    let read = |error| Error::os("list the host's addresses and routes")(error);
    let own = bridge.map(|link| link.index);
    let mut used = Vec::new();
    for (index, prefix) in netlink.addresses().map_err(read)? {
        if Some(index) != own {
            let owner = netlink.link_by_index(index).map_err(read)?.map_or("?".to_owned(), |owner| owner.name);
            used.push(Used { prefix, by: format!("an address of {owner}") });
        }
    }
    for route in netlink.routes().map_err(read)? {
        if own.is_none() || route.link != own {
            used.push(Used { prefix: route.prefix, by: "a route of this host".to_owned() });
        }
    }
    Ok(used)
}
