//! What there is on this host, for `softnet doctor`: looked at without the lock and without changing anything, so that what is
//! just being set up may be seen half done.
//!
//! Most of it anyone may see. What root alone may is asked for apart: [`foreign_rules`], [`Guests`].

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ipnet::Ipv4Net;

use super::manage::{LeaseStatus, leases, now};
use super::netlink::Netlink;
use super::programs::{Program, run};
use super::state::{self, State};
use super::subnet::Used;
use super::{Error, HOST_BRIDGE, NAT_BRIDGE, bridge, dhcp, nat, subnet};
use crate::engine::EthernetAddress;
use crate::host::Wait;
use crate::sys::listeners::{self, Listener};

const DHCP_PORT: u16 = 67;
const DNS_PORT: u16 = 53;

/// The host, as far as softnet's network goes.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Those of softnet's bridges that there are.
    pub bridges: Vec<BridgeSurvey>,
    /// What has the name of one and is none: name and kind.
    pub impostors: Vec<(String, String)>,
    /// The subnet that the NAT bridge would get, if it had to be made; none is free.
    pub next_subnet: Option<Ipv4Net>,
    /// Whether there is a default route, or the halves of one.
    pub has_default_route: bool,
    /// Who keeps softnet's own services from their ports: the port, and the process if it can be told.
    pub taken_ports: Vec<(u16, String)>,
    /// Files in the state directory of a bridge that is not there.
    pub leftovers: Vec<String>,
    /// What is wrong with the state directory itself.
    pub state_fault: Option<String>,
}

/// One of softnet's bridges.
#[derive(Clone, Debug)]
pub struct BridgeSurvey {
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Its address, with its prefix.
    pub address: Option<Ipv4Net>,
    /// What else of the host has addresses of its subnet: the prefix, and whose it is.
    pub clashes: Vec<(Ipv4Net, String)>,
    /// The process that serves DHCP.
    pub dnsmasq: Option<i32>,
    /// The names of its ports.
    pub ports: Vec<String>,
    /// What the DHCP server has handed out and has not lapsed.
    pub leases: Vec<LeaseStatus>,
    /// How many addresses it has.
    pub pool: usize,
}

/// The claims of guests, which root alone may list.
#[derive(Clone, Debug, Default)]
pub struct Guests {
    /// Of guests that run: MAC and owner.
    pub running: Vec<(EthernetAddress, u32)>,
    /// Of guests that have ended; the next start removes these.
    pub ended: Vec<EthernetAddress>,
}

/// Looks at this host.
///
/// # Errors
/// What the kernel would not tell.
pub fn survey() -> Result<Survey, Error> {
    let mut netlink = Netlink::open().map_err(Error::os("open a netlink socket"))?;
    let (mut bridges, mut impostors) = (Vec::new(), Vec::new());
    for name in [NAT_BRIDGE, HOST_BRIDGE] {
        match bridge::find(&mut netlink, name)? {
            Some(link) if link.kind == "bridge" => bridges.push(bridge_survey(&mut netlink, &link)?),
            Some(link) => impostors.push((link.name, link.kind)),
            None => {}
        }
    }
    let used = bridge::used(&mut netlink, None)?;
    let next_subnet = subnet::choose(None, None, &used).ok().map(|address| address.trunc());
    let has_default_route = used.iter().any(|used| used.prefix.prefix_len() <= 1);
    let gateways = bridges.iter().filter_map(|bridge| Some(bridge.address?.addr())).collect::<Vec<_>>();
    let taken_ports = taken_ports(&gateways, &bridges);
    let (leftovers, state_fault) = state_directory(&bridges);
    Ok(Survey { bridges, impostors, next_subnet, has_default_route, taken_ports, leftovers, state_fault })
}

fn bridge_survey(netlink: &mut Netlink, link: &super::netlink::Link) -> Result<BridgeSurvey, Error> {
    let name = link.name.clone();
    let address = bridge::live(netlink)?.into_iter().find(|live| live.name == name).map(|live| live.address);
    let overlaps = |used: &Used| {
        let Some(own) = address.map(|address| address.trunc()) else { return false };
        used.prefix.prefix_len() > 1 && (own.contains(&used.prefix) || used.prefix.contains(&own))
    };
    let clashes = bridge::used(netlink, Some(link))?.into_iter().filter(overlaps);
    let clashes = clashes.map(|used| (used.prefix, used.by)).collect();
    let leases = state::read(&State::path(&name, "leases")).map(|text| leases(&text, now())).unwrap_or_default();
    let pool = address.map_or(0, |address| {
        let (first, last) = subnet::pool(address);
        (u32::from(last) - u32::from(first) + 1) as usize
    });
    Ok(BridgeSurvey {
        up: link.up,
        address,
        clashes,
        dnsmasq: dhcp::process(&name)?,
        ports: bridge::ports(netlink, link)?.into_iter().map(|port| port.name).collect(),
        leases: leases.into_iter().filter(|lease| lease.left.is_none_or(|left| !left.is_zero())).collect(),
        pool,
        name,
    })
}

/// A DHCP or DNS server that serves every interface leaves none to softnet's, and so does one at the gateway's address. One that
/// is bound to an interface of its own, as libvirt's is, is in nobody's way.
fn taken_ports(gateways: &[Ipv4Addr], bridges: &[BridgeSurvey]) -> Vec<(u16, String)> {
    let Ok(listeners) = listeners::udp() else { return Vec::new() };
    let ours: Vec<i32> = bridges.iter().filter_map(|bridge| bridge.dnsmasq).collect();
    let is_in_the_way = |one: &Listener| {
        let everywhere = one.address.is_unspecified() && one.interface == 0;
        matches!(one.port, DHCP_PORT | DNS_PORT) && (everywhere || gateways.contains(&one.address))
    };
    let in_the_way: Vec<Listener> = listeners.into_iter().filter(is_in_the_way).collect();
    if in_the_way.is_empty() {
        return Vec::new();
    }
    let owners = owners();
    let mut taken: Vec<(u16, String)> = in_the_way
        .into_iter()
        .filter_map(|one| match owners.get(&one.inode) {
            Some((pid, _)) if ours.contains(pid) => None,
            Some((pid, name)) => Some((one.port, format!("{name} (process {pid})"))),
            // Of a socket at the gateway's address nobody can say more than that; ours is there too.
            None if gateways.contains(&one.address) => None,
            None => Some((one.port, "a process that only root may see".to_owned())),
        })
        .collect();
    taken.sort();
    taken.dedup();
    taken
}

/// The processes by their sockets' numbers, as far as this process may see them (proc_pid_fd(5)).
fn owners() -> HashMap<u32, (i32, String)> {
    let mut owners = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for target in descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok()) {
            let inode = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                // Anybody may call a process anything.
                let name = name.trim().chars().flat_map(char::escape_debug).collect();
                owners.insert(inode, (pid, name));
            }
        }
    }
    owners
}

fn state_directory(bridges: &[BridgeSurvey]) -> (Vec<String>, Option<String>) {
    let directory = Path::new(state::DIRECTORY);
    let metadata = match fs::symlink_metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), None),
        Err(error) => return (Vec::new(), Some(format!("cannot be read: {error}"))),
    };
    if !metadata.is_dir() || metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return (Vec::new(), Some("is not a directory of root's that only root writes to".to_owned()));
    }
    let is_there = |file: &str| bridges.iter().any(|bridge| file.starts_with(&format!("{}.", bridge.name)));
    let is_ours = |file: &str| [NAT_BRIDGE, HOST_BRIDGE].iter().any(|name| file.starts_with(&format!("{name}.")));
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut leftovers: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|file| is_ours(file) && !is_there(file))
        .collect();
    leftovers.sort();
    (leftovers, None)
}

impl Guests {
    /// The claims on every bridge; none if this process may not list them. Which are held is read from /proc/locks: to try a
    /// lock would be to take it.
    #[must_use]
    pub fn list() -> Option<Self> {
        let locks = fs::read_to_string("/proc/locks").ok()?;
        let mut guests = Guests::default();
        for bridge in State::bridges("guests") {
            for entry in fs::read_dir(State::path(&bridge, "guests")).ok()?.flatten() {
                let Some(mac) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                let Ok(metadata) = entry.metadata() else { continue };
                // "... FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF" (proc_locks(5))
                let device = metadata.dev();
                let file = format!(" {:02x}:{:02x}:{} ", libc::major(device), libc::minor(device), metadata.ino());
                match locks.contains(&file) {
                    true => guests.running.push((mac, metadata.uid())),
                    false => guests.ended.push(mac),
                }
            }
        }
        Some(guests)
    }
}

/// Whether softnet's own table is there. Needs root.
///
/// # Errors
/// nft cannot be run.
pub fn has_own_table(wait: &mut Wait<'_>) -> Result<bool, Error> {
    nat::is_present(wait)
}

/// The rules of all nftables tables, as text: iptables' too, but for those of iptables-legacy. Needs root.
///
/// # Errors
/// nft cannot be run.
pub fn foreign_rules(wait: &mut Wait<'_>) -> Result<String, Error> {
    run(nat::NFT, ["list", "ruleset"], "", "the tables of this host", wait)
}

/// Where a program that softnet runs is; never by way of PATH.
///
/// # Errors
/// It is missing, or others may replace it.
pub fn find_program(name: &'static str) -> Result<std::path::PathBuf, Error> {
    let package = if name == "nft" { "nftables" } else { "dnsmasq-base" };
    Program { name, package }.find()
}
