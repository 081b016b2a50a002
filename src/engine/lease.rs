//! The guest's lease: how it is learned, renewed and lost.
//!
//! Only what the *server* is known to believe makes a lease, and doubt ends it:
//!
//! * It is granted by a DHCPACK to an open DHCPREQUEST of the guest's, and counts from the moment the *request* was seen:
//!   the server's own clock cannot have started earlier, so the address is never ours longer than it is the server's.
//! * A DHCPREQUEST for another address gives the held one up at once, before any reply: the server may move the client, and
//!   the reply that tells so may be lost.
//! * DHCPRELEASE and DHCPDECLINE give it up, and void what was asked before them (see `transactions.rs`).
//! * A DHCPNAK ends it; time ends it. An infinite lease (0xffffffff, RFC 2131, section 3.3) is one of 136 years.
//!
//! The gateway's MAC is either pinned by the host, or that of the frame that brought the last grant.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpMessageType, EthernetAddress};

use super::dhcp::Message;
use super::transactions::{Ask, Transactions};
use super::troubles::Trouble;
use super::verdict::DropReason;
use super::{Duration, Instant, Network, after};

/// The address that the guest may speak from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The leased address.
    pub address: Ipv4Addr,
    /// When it lapses.
    pub expires: Instant,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Its time was over.
    Lapsed,
    /// The server took it back (DHCPNAK).
    Refused,
    /// The guest gave it back (DHCPRELEASE or DHCPDECLINE), or asked for another address instead.
    Released,
    /// The server granted another address instead.
    Replaced,
}

impl fmt::Display for LeaseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeaseEnd::Lapsed => "its time is over",
            LeaseEnd::Refused => "the DHCP server took it back",
            LeaseEnd::Released => "the guest gave it up",
            LeaseEnd::Replaced => "the DHCP server granted another",
        })
    }
}

/// What the operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest has a lease, new or with another address than before.
    LeaseGranted {
        /// The leased address.
        address: Ipv4Addr,
        /// How long, in seconds, as the server said.
        seconds: u32,
    },
    /// The guest has lost its lease.
    LeaseEnded {
        /// The address that was leased.
        address: Ipv4Addr,
        /// Why.
        cause: LeaseEnd,
    },
    /// Something goes wrong.
    Trouble(Trouble),
}

/// The most events that wait to be seen; then the oldest are lost.
const EVENTS: usize = 16;

/// The most DNS servers of a lease that count.
const DNS_SERVERS: usize = 4;

/// The lease, and all that is needed to know it.
#[derive(Debug)]
pub(super) struct Leases {
    network: Network,
    lease: Option<Lease>,
    /// What the latest grant named, 0.0.0.0 in what is left over. Without a lease nobody asks for it.
    dns_servers: [Ipv4Addr; DNS_SERVERS],
    gateway_mac: Option<EthernetAddress>,
    transactions: Transactions,
    /// Oldest first, and then nothing.
    events: [Option<Event>; EVENTS],
}

impl Leases {
    /// No lease.
    pub(super) fn new(network: Network) -> Self {
        Leases {
            network,
            lease: None,
            dns_servers: [Ipv4Addr::UNSPECIFIED; DNS_SERVERS],
            gateway_mac: network.gateway_mac,
            transactions: Transactions::new(),
            events: [None; EVENTS],
        }
    }

    /// Takes a lease for granted, for ever, from the gateway at `gateway_mac`.
    pub(super) fn assume(&mut self, address: Ipv4Addr, gateway_mac: EthernetAddress) {
        self.lease = Some(Lease { address, expires: Instant::from_micros_const(i64::MAX) });
        self.gateway_mac = Some(gateway_mac);
    }

    /// The lease. It is live if [`Leases::lapse`] was called with the present time.
    #[inline]
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether the guest may speak from `address`.
    #[inline]
    pub(super) fn is_leased(&self, address: Ipv4Addr) -> bool {
        self.lease.is_some_and(|lease| lease.address == address)
    }

    /// Whether the latest grant named `address` as a DNS server.
    #[inline]
    pub(super) fn is_dns_server(&self, address: Ipv4Addr) -> bool {
        !address.is_unspecified() && self.dns_servers.contains(&address)
    }

    /// The DNS servers that the latest grant named, 0.0.0.0 in what is left over.
    pub(super) fn dns_servers(&self) -> &[Ipv4Addr] {
        &self.dns_servers
    }

    /// The gateway's MAC, pinned or learned.
    #[inline]
    pub(super) fn gateway_mac(&self) -> Option<EthernetAddress> {
        self.gateway_mac
    }

    /// Ends the lease if its time is over.
    #[inline]
    pub(super) fn lapse(&mut self, now: Instant) {
        if self.lease.is_some_and(|lease| lease.expires <= now) {
            self.end(LeaseEnd::Lapsed);
        }
    }

    /// The oldest event not seen yet.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let [oldest, ..] = self.events;
        if oldest.is_some() {
            let [first, ..] = &mut self.events;
            *first = None;
            self.events.rotate_left(1);
        }
        oldest
    }

    /// Takes note of a message that the guest may send and that goes to the server.
    pub(super) fn on_guest_message(&mut self, message: &Message<'_>, now: Instant) {
        match message.kind {
            DhcpMessageType::Discover => self.transactions.open(message.xid, Ask::Offer, now),
            DhcpMessageType::Request => {
                // The option goes first: it says SELECTING or INIT-REBOOT, `ciaddr` alone says RENEWING or REBINDING (RFC
                // 2131, section 4.3.2).
                let asked = message.options.requested.unwrap_or(message.ciaddr);
                self.transactions.void(|address| address != asked);
                if !self.is_leased(asked) {
                    self.end(LeaseEnd::Released);
                }
                self.transactions.open(message.xid, Ask::Address(asked), now);
            }
            DhcpMessageType::Inform => self.transactions.open(message.xid, Ask::Parameters, now),
            DhcpMessageType::Release => self.give_back(message.ciaddr),
            DhcpMessageType::Decline => self.give_back(message.options.requested.unwrap_or(Ipv4Addr::UNSPECIFIED)),
            _ => {}
        }
    }

    fn give_back(&mut self, address: Ipv4Addr) {
        self.transactions.void(|_| true);
        if self.is_leased(address) {
            self.end(LeaseEnd::Released);
        }
    }

    /// Learns from a reply of the gateway's for this guest, which came from `sender`, or says why it does not count.
    pub(super) fn on_reply(
        &mut self,
        message: &Message<'_>,
        sender: EthernetAddress,
        now: Instant,
    ) -> Result<(), DropReason> {
        let xid = message.xid;
        match message.kind {
            DhcpMessageType::Offer => {
                let (index, _) =
                    self.transactions.find(xid, now, |ask| ask == Ask::Offer).ok_or(DropReason::DhcpNoTransaction)?;
                self.transactions.close(index);
            }
            DhcpMessageType::Nak => {
                let (index, _) =
                    self.transactions.find(xid, now, Ask::is_request).ok_or(DropReason::DhcpNoTransaction)?;
                self.transactions.close(index);
                // Even if it answers a voided request: to lose an address too much is harmless.
                self.end(LeaseEnd::Refused);
            }
            DhcpMessageType::Ack => self.on_ack(message, sender, now)?,
            _ => return Err(DropReason::DhcpForbidden),
        }
        Ok(())
    }

    fn on_ack(&mut self, message: &Message<'_>, sender: EthernetAddress, now: Instant) -> Result<(), DropReason> {
        // The answer to a DHCPINFORM has no `yiaddr` (RFC 2131, section 4.3.5), and one without teaches nothing.
        let grants = !message.yiaddr.is_unspecified();
        let parameters = self.transactions.find(message.xid, now, |ask| ask == Ask::Parameters);
        // The request for this very address first: a voided one for another does not use up its answer.
        let request = self
            .transactions
            .find(message.xid, now, |ask| ask.is_request_for(message.yiaddr))
            .or_else(|| self.transactions.find(message.xid, now, Ask::is_request));
        match (parameters, request) {
            (Some((index, _)), _) if !grants => self.transactions.close(index),
            (Some((index, _)), Some((later, _))) if index < later => self.transactions.close(index),
            (_, Some((index, transaction))) => {
                let seconds = message.options.lease_seconds.unwrap_or(0);
                if !self.is_grantable(message.yiaddr) || seconds == 0 {
                    return Err(DropReason::DhcpGrant);
                }
                self.transactions.close(index);
                if matches!(transaction.ask, Ask::Voided(_)) {
                    return Err(DropReason::DhcpNoTransaction);
                }
                let expires = after(transaction.opened, Duration::from_secs(seconds.into()));
                self.grant(Lease { address: message.yiaddr, expires }, seconds);
                self.learn_dns_servers(message.options.dns_servers.unwrap_or_default());
                self.gateway_mac = self.network.gateway_mac.or(Some(sender));
            }
            _ => return Err(DropReason::DhcpNoTransaction),
        }
        Ok(())
    }

    /// Whether an address is one that a server may give to a guest of this link.
    fn is_grantable(&self, address: Ipv4Addr) -> bool {
        let subnet = self.network.subnet;
        let is_reserved = subnet.prefix_len() < 31 && (address == subnet.network() || address == subnet.broadcast());
        subnet.contains(&address) && address != self.network.gateway && !is_reserved
    }

    fn grant(&mut self, lease: Lease, seconds: u32) {
        if !self.is_leased(lease.address) {
            self.end(LeaseEnd::Replaced);
            self.emit(Event::LeaseGranted { address: lease.address, seconds });
        }
        self.lease = Some(lease);
    }

    #[cold]
    #[inline(never)]
    fn end(&mut self, cause: LeaseEnd) {
        if let Some(lease) = self.lease.take() {
            self.emit(Event::LeaseEnded { address: lease.address, cause });
        }
    }

    /// Keeps the first addresses of option 6 that a datagram can be sent to as to one host.
    fn learn_dns_servers(&mut self, option: &[u8]) {
        let subnet = self.network.subnet;
        let hosts = option.as_chunks::<4>().0.iter().map(|&octets| Ipv4Addr::from(octets)).filter(|address| {
            address.octets()[0] < 224
                && !address.is_loopback()
                && !address.is_unspecified()
                && *address != subnet.broadcast()
        });
        self.dns_servers = [Ipv4Addr::UNSPECIFIED; DNS_SERVERS];
        for (slot, address) in self.dns_servers.iter_mut().zip(hosts) {
            *slot = address;
        }
    }

    fn emit(&mut self, event: Event) {
        if let Some(free) = self.events.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(event);
        } else {
            self.events.rotate_left(1);
            let [.., last] = &mut self.events;
            *last = Some(event);
        }
    }
}
