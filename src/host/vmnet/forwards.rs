//! Ports of the Mac that lead to the guest: rules of vmnet's own NAT.
//!
//! vmnet has at most one rule for a port, keeps it as long as the interface lives, and moves none: it is removed and set again. What is
//! set is remembered here, so that a rule that could not be removed, and leads to an address that may be another guest's by now, is
//! tried again with the next change, and once more as the interface stops.
//!
//! A call waits for vmnet's answer in the relay's thread, which takes milliseconds where the sharing service is well. A guest
//! can bring about as many as it changes its lease.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use super::api::Interface;
use super::api::port_forwarding::{AddressFamily, Protocol};
use super::status::Said;
use crate::host::PortForward;

/// What vmnet does not do for a forward.
#[derive(Debug, Error)]
pub(super) enum ForwardError {
    /// There is none.
    #[error("macOS does not set up the forward of port {0}: {1}")]
    Add(u16, Said),
    /// There is one still.
    #[error("macOS does not remove the forward of port {0}, which leads to {1} still: {2}")]
    Remove(u16, Ipv4Addr, Said),
}

/// Where a port leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leads {
    guest: Ipv4Addr,
    port: u16,
}

/// The rules of one interface, by the Mac's port.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<u16, Leads>);

impl Rules {
    /// Makes the port lead to `guest`, or nowhere.
    ///
    /// # Errors
    /// What vmnet says; the port may be another's.
    pub(super) fn lead(
        &mut self,
        interface: &mut Interface,
        forward: PortForward,
        guest: Option<Ipv4Addr>,
    ) -> Result<(), ForwardError> {
        let external = forward.external;
        let wanted = guest.map(|guest| Leads { guest, port: forward.internal });
        if self.0.get(&external).copied() == wanted {
            return Ok(());
        }
        self.remove(interface, external)?;
        if let Some(leads) = wanted {
            interface
                .port_forwarding_rule_add(
                    AddressFamily::Ipv4,
                    Protocol::Tcp,
                    external,
                    IpAddr::V4(leads.guest),
                    leads.port,
                )
                .map_err(|error| ForwardError::Add(external, Said(error)))?;
            self.0.insert(external, leads);
        }
        Ok(())
    }

    fn remove(&mut self, interface: &mut Interface, external: u16) -> Result<(), ForwardError> {
        let Some(leads) = self.0.get(&external) else { return Ok(()) };
        interface
            .port_forwarding_rule_remove(AddressFamily::Ipv4, Protocol::Tcp, external)
            .map_err(|error| ForwardError::Remove(external, leads.guest, Said(error)))?;
        self.0.remove(&external);
        Ok(())
    }

    /// Removes all; says which could not be.
    pub(super) fn clear(&mut self, interface: &mut Interface) -> Vec<ForwardError> {
        let ports: Vec<u16> = self.0.keys().copied().collect();
        ports.into_iter().filter_map(|external| self.remove(interface, external).err()).collect()
    }
}
