//! What a started interface says of itself, checked.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use log::debug;
use thiserror::Error;

use super::api::parameters::{Parameter, ParameterKind, Parameters};
use crate::engine::Network;

/// The length of an Ethernet header.
const ETHERNET_HEADER: u64 = 14;
/// Frames that a link for IPv4 must carry at least (RFC 791: 68 bytes), and what one with offloads carries at most.
const FRAME: std::ops::RangeInclusive<u64> = 68 + ETHERNET_HEADER..=65_536 + ETHERNET_HEADER;
/// Packets a call where vmnet does not tell how many it takes: macOS before 12 documented 200.
const PACKETS: u64 = 64;

/// What is wrong with what the interface says.
#[derive(Debug, Error)]
pub enum FactsError {
    /// A fact is missing.
    #[error("it does not tell its {0}; is this an older macOS than 13?")]
    Missing(&'static str),
    /// A fact makes no sense.
    #[error("its {0} is {1:?}; was the subnet changed by hand in com.apple.vmnet.plist?")]
    Nonsense(&'static str, String),
}

/// The facts that the link needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) network: Network,
    /// The most packets a read.
    pub(super) read_packets: usize,
    /// The most packets a write.
    pub(super) write_packets: usize,
}

impl Facts {
    /// Reads them. The start address of the DHCP range is the host's own: `vmnet_start_address_key` of vmnet.h. vmnet does
    /// not tell the host's MAC; it is learned from the DHCP reply.
    pub(super) fn of(parameters: &Parameters) -> Result<Self, FactsError> {
        let gateway = address("start address", parameters.get(ParameterKind::StartAddress))?;
        let mask = address("subnet mask", parameters.get(ParameterKind::SubnetMask))?;
        let subnet = Ipv4Net::with_netmask(gateway, mask)
            .map_err(|_| FactsError::Nonsense("subnet mask", mask.to_string()))?
            .trunc();
        if !(1..=30).contains(&subnet.prefix_len()) || gateway == subnet.network() || gateway == subnet.broadcast() {
            return Err(FactsError::Nonsense("subnet", format!("{gateway} in {subnet}")));
        }

        let Some(Parameter::MaxPacketSize(max_frame)) = parameters.get(ParameterKind::MaxPacketSize) else {
            return Err(FactsError::Missing("maximum packet size"));
        };
        if !FRAME.contains(&max_frame) {
            return Err(FactsError::Nonsense("maximum packet size", max_frame.to_string()));
        }
        if let Some(Parameter::MTU(mtu)) = parameters.get(ParameterKind::MTU)
            && max_frame != mtu.saturating_add(ETHERNET_HEADER)
        {
            debug!("vmnet: the maximum packet size is {max_frame}, the MTU {mtu}");
        }

        let read_packets = match parameters.get(ParameterKind::ReadMaxPackets) {
            Some(Parameter::ReadMaxPackets(packets)) => packets,
            _ => PACKETS,
        };
        let write_packets = match parameters.get(ParameterKind::WriteMaxPackets) {
            Some(Parameter::WriteMaxPackets(packets)) => packets,
            _ => PACKETS,
        };
        let at_least_one = |packets: u64| usize::try_from(packets).unwrap_or(usize::MAX).max(1);
        Ok(Facts {
            network: Network { gateway, gateway_mac: None, subnet, max_frame: max_frame as usize },
            read_packets: at_least_one(read_packets),
            write_packets: at_least_one(write_packets),
        })
    }
}

fn address(name: &'static str, parameter: Option<Parameter>) -> Result<Ipv4Addr, FactsError> {
    match parameter {
        Some(Parameter::StartAddress(text) | Parameter::SubnetMask(text)) => {
            text.parse().map_err(|_| FactsError::Nonsense(name, text))
        }
        _ => Err(FactsError::Missing(name)),
    }
}
