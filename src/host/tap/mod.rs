//! Linux: a TAP device on a bridge.
//!
//! # Theory of operation
//!
//! All guests of a host share one bridge: `softnet0` with NAT to the world, `softnet1` for guests that reach the host
//! alone, or one that someone else made (`--bridge`). The first softnet that needs one of ours provisions it, later ones
//! adopt it and mend what is amiss; it stays when the last one ends. Everything is done under one lock, in an order in
//! which a crash between any two steps leaves what the next start mends:
//!
//! 1. the guest's MAC is claimed (`claim`), so that no two guests share one;
//! 2. the bridge, its settings and its address are there (`bridge`, `subnet`);
//! 3. the firewall is there before the bridge is up and before the host forwards (`nat`);
//! 4. dnsmasq serves the bridge and knows the guest's lease time (`dhcp`);
//! 5. nothing else on the bridge has the MAC;
//! 6. the guest's TAP is a port of the bridge (`device`).
//!
//! All of it needs root. What is left for the run phase is one descriptor, which needs no privilege, and with which the
//! kernel removes the TAP; and the lock of the claim, which ends with the process as well.

mod bridge;
mod claim;
mod device;
mod dhcp;
mod error;
mod list;
mod manage;
mod nat;
mod neighbours;
mod netlink;
mod pool;
mod programs;
mod state;
mod subnet;
pub mod survey;
mod sysctl;

use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use self::bridge::Bridge;
use self::claim::Claim;
use self::device::Tap;
use self::neighbours::Neighbours;
use self::netlink::Netlink;
use self::pool::Records;
use self::state::State;
use crate::engine::{EthernetAddress, NetType, Network, colons};
use crate::host::{Host, LinkRequest, Pool, Wait};
use crate::sys::batch::Batch;

pub use self::error::Error;
pub use self::list::{Running, running};
pub use self::manage::{BridgeStatus, Force, GuestStatus, LeaseStatus, Report, Status, down, status};

/// The bridge of guests that reach the world.
pub const NAT_BRIDGE: &str = "softnet0";
/// The bridge of guests that reach the host alone.
pub const HOST_BRIDGE: &str = "softnet1";

/// How long a predecessor with the same MAC may take to end.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(3);
const PREDECESSOR_PAUSE: Duration = Duration::from_millis(50);
/// The length of an Ethernet header.
const ETHERNET_HEADER: usize = 14;

/// Which bridge a guest is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BridgeChoice<'a> {
    /// [`NAT_BRIDGE`], which is provisioned.
    Nat,
    /// [`HOST_BRIDGE`], which is provisioned.
    Host,
    /// One that is there, with a DHCP server of its own; nothing is provisioned.
    Existing(&'a str),
}

/// The host's end of a guest's link.
#[derive(Debug)]
pub struct TapHost {
    network: Network,
    bridge: String,
    tap: Tap,
    /// None on somebody else's bridge, whose DHCP server is somebody else's too.
    records: Option<Records>,
    neighbours: Option<Neighbours>,
    claim: Claim,
}

/// Opens a guest's link; frames pass when this returns.
///
/// `wait` sleeps for about the duration it is given, and says when the setup is to end instead. It is called for every
/// wait, at most 50 ms at a time.
///
/// # Errors
/// See [`Error`]; what was provisioned stays, the guest's own traces do not.
pub fn open(request: &LinkRequest, wait: &mut Wait<'_>) -> Result<TapHost, Error> {
    let start = Instant::now();
    let mut locked = State::lock(wait)?;
    let mut netlink = Netlink::open().map_err(Error::os("open a netlink socket"))?;

    // A --bridge that is not there must not leave files of its name behind.
    let choice = BridgeChoice::of(request);
    if let BridgeChoice::Existing(name) = choice {
        bridge::existing(&mut netlink, name)?;
    }
    let name = choice.name();
    let claim = loop {
        match claim::claim(&locked, name, request)? {
            Some(claim) => break claim,
            None if start.elapsed() < PREDECESSOR_LIMIT => locked = yield_lock(locked, wait)?,
            None => {
                let (mac, holder) = (colons(request.guest_mac), claim::holder(name, request.guest_mac));
                return Err(Error::MacInUse { mac, bridge: name.to_owned(), holder });
            }
        }
    };

    let claim = within_number(&locked, name, request, claim)?;

    let (bridge, tap) = loop {
        let bridge = ready_bridge(&mut netlink, &locked, request, wait)?;
        match occupant(&mut netlink, &bridge, request.guest_mac)? {
            None => {
                let how = (request.isolation, request.offload);
                let tap = device::attach(&mut netlink, &bridge, request.guest_mac, how, wait)?;
                break (bridge, tap);
            }
            Some(Occupant::Guest(port)) if start.elapsed() >= PREDECESSOR_LIMIT => {
                return Err(Error::MacSeen { mac: colons(request.guest_mac), port, bridge: bridge.name });
            }
            Some(Occupant::Guest(_)) => locked = yield_lock(locked, wait)?,
            Some(Occupant::Host(owner)) => {
                return Err(Error::MacIsHosts { mac: colons(request.guest_mac), owner, bridge: bridge.name });
            }
        }
    };
    log::debug!("{} is a port of {} after {:?}", tap.name, bridge.name, start.elapsed());

    let network = Network {
        gateway: bridge.address.addr(),
        gateway_mac: bridge.mac_is_its_own.then_some(bridge.mac),
        subnet: bridge.address.trunc(),
        max_frame: bridge.mtu as usize + ETHERNET_HEADER,
    };
    let records = match choice {
        BridgeChoice::Existing(_) => None,
        BridgeChoice::Nat | BridgeChoice::Host => Records::open(&bridge.name, bridge.address),
    };
    let neighbours = Neighbours::open(bridge.index).map_err(Error::os("open a netlink socket"))?;
    Ok(TapHost { network, bridge: bridge.name, tap, records, neighbours: Some(neighbours), claim })
}

/// The claim, if with it the owner has no more guests than may be. Under the lock, two that start at once count one another.
fn within_number(locked: &State, name: &str, request: &LinkRequest, claim: Claim) -> Result<Claim, Error> {
    let Some(most) = request.owner.most_guests else { return Ok(claim) };
    if claim::count_of(locked, request.owner.uid)? <= most {
        return Ok(claim);
    }
    claim::withdraw(locked, name, request.guest_mac, claim)?;
    Err(Error::TooManyGuests { uid: request.owner.uid, most })
}

/// Lets others have the lock for a while.
fn yield_lock(locked: State, wait: &mut Wait<'_>) -> Result<State, Error> {
    drop(locked);
    wait(PREDECESSOR_PAUSE)?;
    State::lock(wait)
}

/// Steps 2 to 4: the bridge is up, behind its firewall, and served.
fn ready_bridge(
    netlink: &mut Netlink,
    locked: &State,
    request: &LinkRequest,
    wait: &mut Wait<'_>,
) -> Result<Bridge, Error> {
    let choice = BridgeChoice::of(request);
    let name = match choice {
        BridgeChoice::Existing(name) => {
            claim::sweep(locked, name)?;
            return bridge::existing(netlink, name);
        }
        BridgeChoice::Nat => NAT_BRIDGE,
        BridgeChoice::Host => HOST_BRIDGE,
    };
    let bridge = bridge::provision(netlink, locked, name, request.subnet)?;
    nat::apply(&bridge::live(netlink)?, wait)?;
    bridge::bring_up(netlink, &bridge)?;
    if choice == BridgeChoice::Nat {
        sysctl::enable_forwarding()?;
    }

    let ended = claim::sweep(locked, name)?;
    let service = dhcp::Service { bridge: name, index: bridge.index, address: bridge.address };
    service.ensure(locked, (request.guest_mac, request.lease_seconds), &ended, wait)?;
    Ok(bridge)
}

/// Who has a MAC on a bridge already.
enum Occupant {
    /// The bridge, or an interface of the host's that is its port.
    Host(String),
    /// Something behind a port.
    Guest(String),
}

fn occupant(netlink: &mut Netlink, bridge: &Bridge, mac: EthernetAddress) -> Result<Option<Occupant>, Error> {
    if mac == bridge.mac {
        return Ok(Some(Occupant::Host("the bridge".to_owned())));
    }
    let read = |error| Error::os(format!("read the forwarding table of {}", bridge.name))(error);
    let Some(entry) = netlink.fdb(bridge.index).map_err(read)?.into_iter().find(|entry| entry.mac == mac) else {
        return Ok(None);
    };
    // A port that went away between the two calls took its entries along.
    let Some(port) = netlink.link_by_index(entry.port).map_err(read)? else { return Ok(None) };
    Ok(Some(if entry.local { Occupant::Host(port.name) } else { Occupant::Guest(port.name) }))
}

impl<'a> BridgeChoice<'a> {
    fn of(request: &'a LinkRequest) -> Self {
        match (&request.bridge, request.net_type) {
            (Some(name), _) => BridgeChoice::Existing(name),
            (None, NetType::Nat) => BridgeChoice::Nat,
            (None, NetType::Host) => BridgeChoice::Host,
        }
    }

    fn name(self) -> &'a str {
        match self {
            BridgeChoice::Nat => NAT_BRIDGE,
            BridgeChoice::Host => HOST_BRIDGE,
            BridgeChoice::Existing(name) => name,
        }
    }
}

impl TapHost {
    /// The name of the guest's TAP device.
    #[must_use]
    pub fn tap_name(&self) -> &str {
        &self.tap.name
    }

    /// The TAP or its bridge was removed under us; everything else passes.
    fn lost(&self) -> io::Error {
        io::Error::other(format!("{} was removed from {} by someone else", self.tap.name, self.bridge))
    }
}

impl Host for TapHost {
    fn network(&self) -> &Network {
        &self.network
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.tap.port.as_fd()
    }

    fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        self.tap.port.receive(batch).map_err(|errno| if is_lost(errno) { self.lost() } else { errno.into() })
    }

    fn holds_frames(&self) -> bool {
        self.tap.port.holds_frames()
    }

    fn take_record(&mut self) -> Option<File> {
        self.claim.record.take()
    }

    fn unusable(&self) -> u64 {
        self.tap.port.unusable()
    }

    fn pool(&self) -> Option<Pool> {
        self.records.as_ref()?.pool()
    }

    fn lease_file(&self) -> Option<BorrowedFd<'_>> {
        self.records.as_ref().map(AsFd::as_fd)
    }

    fn mac_of(&mut self, address: Ipv4Addr) -> Option<EthernetAddress> {
        match self.neighbours.as_ref()?.mac_of(address) {
            Ok(mac) => mac,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            Err(error) => {
                log::debug!("the host's neighbour table cannot be asked: {error}");
                self.neighbours = None;
                None
            }
        }
    }

    fn send(&mut self, batch: &Batch) -> io::Result<usize> {
        self.tap.port.send(batch, is_lost).map_err(|_| self.lost())
    }

    /// The kernel removes the TAP with its last descriptor.
    fn stop(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// The TAP was removed. Of the others, EIO says that an administrator has set it down, which may pass; EINVAL that the frame
/// is shorter than its header.
fn is_lost(errno: Errno) -> bool {
    matches!(errno, Errno::EBADFD | Errno::EBADF)
}

/// A random MAC with the given first octet.
fn random_mac(first: u8) -> io::Result<EthernetAddress> {
    let mut octets = [first; 6];
    File::open("/dev/urandom")?.read_exact(&mut octets[1..])?;
    Ok(EthernetAddress(octets))
}
