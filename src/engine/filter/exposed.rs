//! Exposed ports: where the filter asks [`ExposedFlows`](super::super::exposures::ExposedFlows), which most guests do not have.
#![forbid(unsafe_code)]

use smoltcp::wire::IpProtocol;

use super::super::Instant;
use super::super::exposures::Exposure;
use super::super::flows::{Flags, Header, Step};
use super::super::ipv4::{Ipv4, Part, Ports, Tcp};
use super::super::verdict::{Direction, DropReason};
use super::Filter;

impl Filter {
    /// Whether a datagram of the guest's, whose addresses are in order, passes by an exposure.
    #[inline(never)]
    pub(super) fn guest_exposure(&mut self, datagram: Ipv4<'_>, header: Option<Header>, now: Instant) -> Exposure {
        match (self.unicast_step(datagram, header), &mut self.exposed) {
            (Some(step), Some(exposed)) => exposed.on_guest(&step, now),
            _ => Exposure::None,
        }
    }

    /// Takes note of one that passes by the policy.
    #[inline(never)]
    pub(super) fn note_for_exposures(
        &mut self,
        datagram: Ipv4<'_>,
        header: Option<Header>,
        now: Instant,
    ) -> Result<(), DropReason> {
        match (self.unicast_step(datagram, header), &mut self.exposed) {
            (Some(step), Some(exposed)) => exposed.on_guest_passed(&step, now),
            _ => Ok(()),
        }
    }

    /// Whether a datagram of somebody whom the guest hears passes by an exposure.
    #[inline(never)]
    pub(super) fn host_exposure(&mut self, datagram: Ipv4<'_>, udp_ports: Option<Ports>, now: Instant) -> Exposure {
        if !self.leases.is_leased(datagram.destination()) {
            return Exposure::None;
        }
        let header = match (datagram.protocol(), datagram.part()) {
            // One whose header does not fit is of no flow.
            (IpProtocol::Tcp, Part::Whole) => match Tcp::parse_whole(datagram.payload) {
                Ok(tcp) => Some(Header { ports: tcp.ports, flags: Some(Flags::new(tcp.flags)) }),
                Err(_) => return Exposure::None,
            },
            _ => udp_ports.map(|ports| Header { ports, flags: None }),
        };
        match (&mut self.exposed, Step::read(Direction::FromHost, datagram, header)) {
            (Some(exposed), Some(step)) => {
                let is_closed = self
                    .ceiling
                    .as_ref()
                    .is_some_and(|ceiling| ceiling.blocks_inward(step.key.far, step.key.carried()));
                if is_closed { Exposure::None } else { exposed.on_host(&step, now) }
            }
            _ => Exposure::None,
        }
    }
}
