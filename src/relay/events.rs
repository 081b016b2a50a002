//! What the engine has found out, in words.

use log::{info, warn};

use crate::engine::{Event, Trouble, colons};
use crate::host::Host;

/// Says what happened, and of what goes wrong also how to mend it.
pub(super) fn report(event: Event, host: &dyn Host) {
    match event {
        Event::LeaseGranted { address, seconds } => info!("the guest has {address} for {seconds} s"),
        Event::LeaseEnded { address, cause } => info!("the guest has lost {address}: {cause}"),
        Event::Trouble(trouble) => warn!("{}", words(trouble, host)),
    }
}

fn words(trouble: Trouble, host: &dyn Host) -> String {
    let gateway = host.network().gateway;
    match trouble {
        Trouble::NoDhcpAnswer => match host.pool() {
            Some(pool) if pool.is_full() => format!(
                "the guest asks for an address and gets none: all {} of {} are leased: shut guests down and wait for their \
                 leases to end, give shorter ones (--bootpd-lease-time), or a larger --subnet",
                pool.size,
                host.network().subnet
            ),
            _ => format!(
                "the guest has asked for an address and got no answer for 10 s: is the DHCP server of {gateway} running? \
                 {SERVER}"
            ),
        },
        Trouble::GatewaySilent => format!(
            "the gateway {gateway} does not answer the guest's ARP requests: has the host's interface lost this address, or \
             does a firewall drop ARP?"
        ),
        Trouble::BeyondSilent => {
            format!(
                "the guest has begun connections beyond this host for 10 s, and nothing has come from there: {BEYOND}"
            )
        }
        Trouble::AddressClaimed { address, by } => format!(
            "{} uses {address}, the address that the guest has leased: whatever has that MAC must have another address",
            colons(by)
        ),
        Trouble::AddressDeclined { address } => format!(
            "the guest has found {address}, which it was leased, in use by another: look for a machine of this network that \
             has this address without a lease"
        ),
        Trouble::OtherSource { mac } => format!(
            "the guest sends from {}, and its frames are dropped: start softnet with the MAC of the VM's network card \
             (--vm-mac-address); a guest has one MAC, and bridges inside it need NAT",
            colons(mac)
        ),
    }
}

/// What may be wrong between the guest and the world.
const BEYOND: &str = if cfg!(target_os = "linux") {
    "is this host online, and does a firewall drop what it forwards? 'softnet doctor' tells"
} else {
    "is this Mac online?"
};

/// Who would know, and what mends it.
const SERVER: &str = if cfg!(target_os = "linux") {
    "'softnet doctor' tells, and whether a firewall drops the answers"
} else {
    "it is macOS's bootpd"
};
