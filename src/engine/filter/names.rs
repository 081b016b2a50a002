//! Names: the paragraphs of [`super`]'s documentation about questions and answers, and what pins are to the rules.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use smoltcp::wire::IpProtocol;

use super::super::flows::Header;
use super::super::ipv4::{Ipv4, Part, Ports, Udp};
use super::super::names::{Asked, Question};
use super::super::policy::{Carried, Pinned, Ruling, Way};
use super::super::reply::Ends;
use super::super::verdict::DropReason;
use super::super::{DnsQuestions, Duration, Instant};
use super::{DNS_PORT, Ethernet, Filter};

/// How long what the guest sends keeps the pins of where it goes: as long as it would keep a flow.
const KEPT_BY_TCP: Duration = Duration::from_secs(300);
const KEPT_BY_OTHERS: Duration = Duration::from_secs(30);

impl Filter {
    /// What the rules say of a datagram for `address`, its pins among them.
    #[inline]
    pub(super) fn ruling_outward(&self, address: Ipv4Addr, carried: Carried, now: Instant) -> Ruling {
        if self.ceiling.as_ref().is_some_and(|ceiling| ceiling.blocks_outward(address, carried)) {
            return Ruling::Blocked;
        }
        self.policy.ruling_outward(address, carried, self.pinned(Way::Out, address, carried, now))
    }

    /// What the rules say of a datagram from `address`, its pins among them.
    #[inline]
    pub(super) fn ruling_inward(&self, address: Ipv4Addr, carried: Carried, now: Instant) -> Ruling {
        if self.ceiling.as_ref().is_some_and(|ceiling| {
            // Where no state is kept, what a neighbour may send is what the guest may: see `Policy::ruling_inward`.
            if self.policy.is_stateful() {
                ceiling.blocks_inward(address, carried)
            } else {
                ceiling.blocks_outward(address, carried)
            }
        }) {
            return Ruling::Blocked;
        }
        self.policy.ruling_inward(address, carried, self.pinned(Way::In, address, carried, now))
    }

    #[inline]
    fn pinned(&self, way: Way, address: Ipv4Addr, carried: Carried, now: Instant) -> Option<Pinned> {
        if self.names.has_pins() { self.look_up_pins(way, address, carried, now) } else { None }
    }

    #[inline(never)] // Out of the way of frames without names.
    fn look_up_pins(&self, way: Way, address: Ipv4Addr, carried: Carried, now: Instant) -> Option<Pinned> {
        let rules = self.policy.names();
        let pinned = self.names.pinned(address, now, |name| rules.said(name, way, carried));
        (pinned != Pinned::NOTHING).then_some(pinned)
    }

    /// Whether names are anything to this guest.
    #[inline]
    pub(super) fn heeds_names(&self) -> bool {
        !self.policy.names().is_empty() || self.questions == DnsQuestions::OfAllowedNames
    }

    /// Takes note of a datagram of the guest's that the rules have let pass: it may be a question, which may be one of no name
    /// that the guest may ask for, and it keeps the pins of where it goes.
    #[inline(never)] // Likewise; and views go by value, which need no place in memory then.
    pub(super) fn on_guest_datagram(
        &mut self,
        frame: Ethernet<'_>,
        datagram: Ipv4<'_>,
        header: Option<Header>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let address = datagram.destination();
        if destination_port(datagram, header) == Some(DNS_PORT) {
            let question = match header {
                Some(Header { flags: None, ports }) => {
                    let message = Udp::parse_whole(datagram.payload)?.payload;
                    Question::read(message).map(|question| (ports, message, question))
                }
                _ => None,
            };
            if self.questions == DnsQuestions::OfAllowedNames {
                let (ports, message, question) = question.as_ref().ok_or(DropReason::DnsName)?;
                self.check_question(frame, datagram, *ports, message, question, now)?;
            }
            if let Some((ports, _, question)) = &question
                && self.leases.is_dns_server(address)
            {
                let asked = Asked::new(address, ports.source, question.id);
                self.names.on_question(asked, question, self.policy.names(), now);
            }
        }
        if self.names.has_pins() {
            let is_tcp = header.is_some_and(|header| header.flags.is_some());
            self.names.keep(address, if is_tcp { KEPT_BY_TCP } else { KEPT_BY_OTHERS }, now);
        }
        Ok(())
    }

    /// A question for a name that an entry allows passes; any other is answered here.
    fn check_question(
        &mut self,
        frame: Ethernet<'_>,
        datagram: Ipv4<'_>,
        ports: Ports,
        message: &[u8],
        question: &Question,
        now: Instant,
    ) -> Result<(), DropReason> {
        if question.name.as_ref().is_some_and(|name| self.policy.names().allow_some_of(name.text())) {
            return Ok(());
        }
        if let Some((head, body)) = question.refused(message) {
            let macs = Ends { from: frame.destination(), to: frame.source() };
            let addresses = Ends { from: datagram.destination(), to: datagram.source() };
            let ports = Ends { from: ports.destination, to: ports.source };
            self.replies.udp(macs, addresses, ports, [&head, body], now);
        }
        Err(DropReason::DnsName)
    }

    /// Takes note of a UDP datagram for the guest that the rules have let pass: it may be an answer.
    #[inline(never)]
    pub(super) fn on_host_datagram(
        &mut self,
        frame: Ethernet<'_>,
        datagram: Ipv4<'_>,
        ports: Ports,
        now: Instant,
    ) -> Result<(), DropReason> {
        let server = datagram.source();
        // Whoever else is on an open link may send as the gateway, but for its MAC.
        let is_from_server =
            ports.source == DNS_PORT && self.leases.is_dns_server(server) && self.is_gateway_mac(frame.source());
        if !is_from_server || !self.leases.is_leased(datagram.destination()) || frame.destination() != self.guest_mac {
            return Ok(());
        }
        let message = Udp::parse_whole(datagram.payload)?.payload;
        let &[a, b, ..] = message else { return Ok(()) };
        let asked = Asked::new(server, ports.destination, u16::from_be_bytes([a, b]));
        self.names.on_answer(asked, message, self.policy.names(), now)
    }
}

/// The port that a datagram goes to, be it whole or the first fragment.
fn destination_port(datagram: Ipv4<'_>, header: Option<Header>) -> Option<u16> {
    match (header, datagram.part(), datagram.protocol()) {
        (Some(header), ..) => Some(header.ports.destination),
        (None, Part::First, IpProtocol::Udp | IpProtocol::Tcp) => {
            Udp::first_fragment_ports(datagram.payload).ok().map(|ports| ports.destination)
        }
        _ => None,
    }
}
