//! "DHCP" both ways, and "The lease": what was asked, what was answered, and what the server must believe.

use std::net::Ipv4Addr;

use super::dhcp::Message;
use super::{Claim, Oracle, claim, is_guests};
use crate::frames::{ACK, ANY, DECLINE, DISCOVER, GATEWAY, INFORM, Mac, NAK, OFFER, RELEASE, REQUEST};

const SECOND: i128 = 1_000_000;

/// One thing that the guest asked and that has no answer yet.
#[derive(Clone, Copy, Debug)]
struct Ask {
    xid: [u8; 4],
    kind: u8,
    /// Of a REQUEST.
    address: Ipv4Addr,
    /// A REQUEST that the guest has taken back since: it is answered and grants nothing.
    is_void: bool,
    at: i64,
}

/// All that is known of a guest's DHCP.
#[derive(Debug, Default)]
pub(super) struct Dhcp {
    pub(super) lease: Option<(Ipv4Addr, i64)>,
    pub(super) learned_mac: Option<Mac>,
    pub(super) dns: Vec<Ipv4Addr>,
    asks: Vec<Ask>,
    /// Every message that passed: when, and under which client identifier.
    sent: Vec<(i64, Option<Vec<u8>>)>,
}

impl Dhcp {
    /// 16 messages at once, then one a second: in no stretch of time more than that.
    fn is_within_rate(&self, now: i64) -> bool {
        let backwards = self.sent.iter().rev().zip(2..);
        backwards.into_iter().all(|((then, _), count)| (count - 16) * SECOND <= i128::from(now) - i128::from(*then))
    }

    /// At most three identifiers in ten minutes, none counting as one.
    fn is_within_identifiers(&self, identifier: Option<&[u8]>, now: i64) -> bool {
        let mut used = vec![identifier];
        for (then, each) in &self.sent {
            if i128::from(now) - i128::from(*then) <= 600 * SECOND && !used.contains(&each.as_deref()) {
                used.push(each.as_deref());
            }
        }
        used.len() <= 3
            || self.sent.iter().any(|(then, each)| {
                each.as_deref() == identifier && i128::from(now) - i128::from(*then) <= 600 * SECOND
            })
    }

    fn forget_the_late(&mut self, now: i64) {
        // The end of time comes to all.
        self.asks.retain(|ask| i128::from(now) < (i128::from(ask.at) + 60 * SECOND).min(i64::MAX.into()));
    }

    fn end_if(&mut self, gone: impl Fn(Ipv4Addr) -> bool) {
        if self.lease.is_some_and(|(address, _)| gone(address)) {
            self.lease = None;
        }
    }

    fn earliest(&self, xid: [u8; 4], fits: impl Fn(&Ask) -> bool) -> Option<usize> {
        self.asks.iter().position(|ask| ask.xid == xid && fits(ask))
    }
}

impl Oracle {
    /// A message of the guest's to the server.
    pub(super) fn guest_dhcp(&mut self, bytes: &[u8]) -> Claim {
        let message = Message::read(bytes, false).ok_or("DHCP options")?;
        claim(message.is_of_ethernet(1) && is_guests(message.chaddr()), "BOOTREQUEST of the guest's")?;
        claim(message.ciaddr() == ANY || self.is_leased(message.ciaddr()), "ciaddr")?;
        claim(message.is_plain_request(), "yiaddr, siaddr, giaddr")?;
        claim(message.option(82).is_none() && message.option(118).is_none(), "for its own link")?;
        let kind = message.kind();
        claim([DISCOVER, REQUEST, DECLINE, RELEASE, INFORM].contains(&kind), "a type that clients send")?;
        let identifier = message.option(61);
        claim(self.dhcp.is_within_rate(self.now), "rate")?;
        claim(self.dhcp.is_within_identifiers(identifier, self.now), "identifiers")?;
        self.dhcp.sent.push((self.now, identifier.map(<[u8]>::to_vec)));

        let requested = message.requested();
        let asked = requested.unwrap_or(message.ciaddr());
        let takes_back = |ask: &Ask| match kind {
            REQUEST => ask.address != asked,
            RELEASE | DECLINE => true,
            _ => false,
        };
        for ask in self.dhcp.asks.iter_mut().filter(|ask| ask.kind == REQUEST) {
            ask.is_void |= takes_back(ask);
        }
        match kind {
            REQUEST => self.dhcp.end_if(|leased| leased != asked),
            RELEASE => self.dhcp.end_if(|leased| leased == message.ciaddr()),
            DECLINE => self.dhcp.end_if(|leased| Some(leased) == requested),
            _ => {}
        }
        if matches!(kind, DISCOVER | REQUEST | INFORM) {
            self.dhcp.forget_the_late(self.now);
            self.dhcp.asks.push(Ask { xid: message.xid(), kind, address: asked, is_void: false, at: self.now });
        }
        Ok(())
    }

    /// A reply of the gateway's.
    pub(super) fn host_dhcp(&mut self, bytes: &[u8], source: Mac) -> Claim {
        let message = Message::read(bytes, true).ok_or("DHCP options")?;
        claim(message.is_of_ethernet(2) && is_guests(message.chaddr()), "BOOTREPLY for the guest")?;
        self.dhcp.forget_the_late(self.now);
        let xid = message.xid();
        match message.kind() {
            OFFER => {
                let index = self.dhcp.earliest(xid, |ask| ask.kind == DISCOVER).ok_or("an offer of nothing asked")?;
                self.dhcp.asks.remove(index);
                Ok(())
            }
            NAK => {
                let index = self.dhcp.earliest(xid, |ask| ask.kind == REQUEST).ok_or("a refusal of nothing asked")?;
                self.dhcp.asks.remove(index);
                self.dhcp.lease = None;
                Ok(())
            }
            ACK => self.host_ack(&message, source),
            _ => Err("a type that servers send"),
        }
    }

    fn host_ack(&mut self, message: &Message<'_>, source: Mac) -> Claim {
        let address = message.yiaddr();
        let inform = self.dhcp.earliest(message.xid(), |ask| ask.kind == INFORM);
        let exact = self.dhcp.earliest(message.xid(), |ask| ask.kind == REQUEST && ask.address == address);
        let request = exact.or_else(|| self.dhcp.earliest(message.xid(), |ask| ask.kind == REQUEST));
        // Without an address it answers an INFORM, if there is one; with one, whichever came first of both, if there are both.
        match (inform, request) {
            (Some(inform), request) if address == ANY || request.is_some_and(|request| inform < request) => {
                self.dhcp.asks.remove(inform);
                Ok(())
            }
            (_, Some(request)) => {
                let is_of_a_host = self.facts.in_subnet(address) && !self.facts.is_network_or_broadcast(address);
                claim(is_of_a_host && address != GATEWAY && message.seconds() > 0, "a grant")?;
                let ask = self.dhcp.asks.remove(request);
                claim(!ask.is_void, "an answer to what was taken back")?;
                let expires = (i128::from(ask.at) + i128::from(message.seconds()) * SECOND).min(i64::MAX.into());
                self.dhcp.lease = Some((address, i64::try_from(expires).unwrap_or(i64::MAX)));
                self.dhcp.learned_mac = Some(source);
                let named = message.option(6).unwrap_or_default().chunks(4).map(|octets| super::address(octets, 0));
                self.dhcp.dns = named.filter(|address| self.is_a_host(*address)).take(4).collect();
                Ok(())
            }
            _ => Err("a grant of nothing asked"),
        }
    }

    /// Whether a datagram to this address is one to a host, as far as the address says.
    fn is_a_host(&self, address: Ipv4Addr) -> bool {
        address.octets()[0] < 224
            && !address.is_loopback()
            && address != ANY
            && !self.facts.is_subnet_broadcast(address)
    }
}
