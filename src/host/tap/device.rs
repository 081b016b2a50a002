//! The guest's port: a TAP device on a bridge, gone with its descriptor.

use std::os::fd::OwnedFd;
use std::time::Duration;
use std::{fs, io};

use netlink_packet_route::link::InfoBridgePort;

use super::bridge::Bridge;
use super::netlink::{Link, Netlink};
use super::{Error, random_mac, sysctl};
use crate::engine::{EthernetAddress, Isolation};
use crate::host::{Offload, Wait};
use crate::sys::port::Port;
use crate::sys::tun::{self, Header, Left};

/// The kernel numbers it.
const PATTERN: &str = "softnet-%d";
const PASSING_PAUSE: Duration = Duration::from_millis(1);
const PASSING_TRIES: u32 = 300;

/// A TAP device.
#[derive(Debug)]
pub(super) struct Tap {
    pub(super) port: Port,
    pub(super) name: String,
}

/// Makes the guest's port on a bridge; frames pass when this returns.
///
/// The port is a part of the bridge and isolated before it is up, so that no frame passes it otherwise. The bridge is
/// told where the guest's MAC is instead of learning it: no other port can claim it, and no frame for an unknown MAC is
/// flooded to the guest. A bridge gets its carrier with its first port, and until the kernel has seen to that, a little
/// later, it drops what it should send: the answer to the guest's first DISCOVER, when nobody waits for it.
pub(super) fn attach(
    netlink: &mut Netlink,
    bridge: &Bridge,
    guest: EthernetAddress,
    (isolation, offload): (Isolation, Offload),
    wait: &mut Wait<'_>,
) -> Result<Tap, Error> {
    let (port, name) = create(offload).map_err(creation_error)?;
    let what = || format!("attach {name} to {}", bridge.name);
    let failed = |error| Error::os(what())(error);
    let not_found = || failed(io::Error::from(io::ErrorKind::NotFound));
    let index = netlink.link(&name).map_err(failed)?.ok_or_else(not_found)?.index;

    sysctl::disable_ipv6(&name)?;
    netlink.set_mac(index, port_mac(guest).map_err(failed)?).map_err(failed)?;
    netlink.set_mtu(index, bridge.mtu).map_err(failed)?;
    netlink.set_master(index, bridge.index).map_err(failed)?;
    let options = vec![
        InfoBridgePort::Isolated(isolation == Isolation::Isolated),
        InfoBridgePort::Learning(false),
        InfoBridgePort::UnicastFlood(false),
    ];
    netlink.set_port(index, options).map_err(failed)?;
    netlink.pin(index, guest).map_err(failed)?;
    netlink.set_up(index).map_err(failed)?;

    for _ in 0..PASSING_TRIES {
        let mut link = |index| netlink.link_by_index(index).map_err(failed)?.ok_or_else(not_found);
        let (ours, itself): (Link, Link) = (link(index)?, link(bridge.index)?);
        if ours.forwarding && ours.running && itself.running {
            return Ok(Tap { port, name });
        }
        wait(PASSING_PAUSE)?;
    }
    // Only a bridge that is not ours runs a spanning tree; its delay passes, and the guest asks for its address again.
    log::warn!("{} does not pass frames of {name} yet: its spanning tree may hold them back", bridge.name);
    Ok(Tap { port, name })
}

/// The device, with offload where it is wanted and the kernel has it.
fn create(offload: Offload) -> io::Result<(Port, String)> {
    if offload == Offload::Wanted {
        match create_with_offload() {
            Ok((device, name, left)) => return Ok((Port::with_offload(device, left), name)),
            // Only this says that the kernel does not know what is asked for; anything else would fail again.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                log::warn!("this kernel has no offload for TAP devices: each frame goes alone, as with --no-offload");
            }
            Err(error) => return Err(error),
        }
    }
    let (device, name) = tun::create_tap(PATTERN, Header::None)?;
    Ok((Port::plain(device), name))
}

fn create_with_offload() -> io::Result<(OwnedFd, String, Left)> {
    let (device, name) = tun::create_tap(PATTERN, Header::Vnet)?;
    let left = tun::leave_to_us(&device)?;
    Ok((device, name, left))
}

/// So high that no bridge without a MAC of its own takes it, which is that of the lowest port.
fn port_mac(guest: EthernetAddress) -> io::Result<EthernetAddress> {
    loop {
        let mac = random_mac(0xfe)?;
        if mac != guest {
            return Ok(mac);
        }
    }
}

fn creation_error(source: io::Error) -> Error {
    let what = "create a TAP device with /dev/net/tun".to_owned();
    let module_is_missing = matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO));
    if module_is_missing || fs::metadata("/dev/net/tun").is_err() {
        Error::KernelModule { what, module: "tun", source }
    } else {
        Error::Os { what, source }
    }
}
