//! What the guest has asked of the DHCP server and is still waiting for.
//!
//! A reply counts only against something that the guest asked, and each reply uses up the *earliest* open request of its
//! transaction id. Both matter: a guest may put one id on several requests, and then the engine must end up with what the
//! *server* believes. Were an id closed by its first reply, a guest could ask for A and for B under one id, have the reply
//! for A counted and the one for B dropped, and keep A, which the server has given up.
//!
//! For the same reason a request is *voided*, not forgotten, once the guest has asked for something else or has given its
//! address back: the reply to it may still be on its way, uses up the voided request, and grants nothing.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::budget::{BURST, REFILL_MICROS};
use super::{Duration, Instant, after};

/// How long a reply may take. It is taken for granted that none takes longer: one that did could be counted against a
/// later request of the same id. The server is on this host and answers within milliseconds.
const LIFE: Duration = Duration::from_secs(60);

/// The most transactions that can be open: what the guest's budget allows within [`LIFE`], so that none is ever pushed out.
const CAPACITY: usize = 80;
const _: () = assert!(CAPACITY as i64 > BURST + LIFE.total_micros() as i64 / REFILL_MICROS);

/// What the guest asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// DHCPDISCOVER: an offer.
    Offer,
    /// DHCPREQUEST: this address; 0.0.0.0 if the message named none.
    Address(Ipv4Addr),
    /// DHCPREQUEST for this address, whose answer no longer counts.
    Voided(Ipv4Addr),
    /// DHCPINFORM: parameters without an address.
    Parameters,
}

impl Ask {
    /// Whether a DHCPREQUEST asked it.
    pub(super) fn is_request(self) -> bool {
        matches!(self, Ask::Address(_) | Ask::Voided(_))
    }

    /// Whether a DHCPREQUEST asked it, for this address.
    pub(super) fn is_request_for(self, wanted: Ipv4Addr) -> bool {
        matches!(self, Ask::Address(address) | Ask::Voided(address) if address == wanted)
    }
}

/// One open request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    xid: u32,
    pub(super) ask: Ask,
    /// When the guest's message was seen.
    pub(super) opened: Instant,
}

/// All open requests, earliest first.
#[derive(Debug)]
pub(super) struct Transactions {
    open: Vec<Transaction>,
}

impl Transactions {
    /// None, with room for as many as there can be.
    pub(super) fn new() -> Self {
        Transactions { open: Vec::with_capacity(CAPACITY) }
    }

    /// Opens one. When the table is full, which the budget rules out, nothing is opened, and the reply will be dropped.
    pub(super) fn open(&mut self, xid: u32, ask: Ask, now: Instant) {
        self.lapse(now);
        // The capacity is at least as large. To ask for it leaves no way to an allocation.
        if self.open.len() < CAPACITY.min(self.open.capacity()) {
            self.open.push(Transaction { xid, ask, opened: now });
        }
    }

    /// Voids the requests whose address `gone` tells.
    pub(super) fn void(&mut self, gone: impl Fn(Ipv4Addr) -> bool) {
        for transaction in &mut self.open {
            if let Ask::Address(address) = transaction.ask
                && gone(address)
            {
                transaction.ask = Ask::Voided(address);
            }
        }
    }

    /// The earliest open one of this id that `fits`, as a handle for [`Transactions::close`].
    pub(super) fn find(&mut self, xid: u32, now: Instant, fits: impl Fn(Ask) -> bool) -> Option<(usize, Transaction)> {
        self.lapse(now);
        let index = self.open.iter().position(|transaction| transaction.xid == xid && fits(transaction.ask))?;
        Some((index, *self.open.get(index)?))
    }

    /// Closes the one that [`Transactions::find`] has just found.
    pub(super) fn close(&mut self, index: usize) {
        // Not `remove`, which panics for an index past the end.
        let mut indices = 0..;
        self.open.retain(|_| indices.next() != Some(index));
    }

    fn lapse(&mut self, now: Instant) {
        self.open.retain(|transaction| now < after(transaction.opened, LIFE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn at(seconds: i64) -> Instant {
        Instant::from_secs(seconds)
    }

    fn opened(transactions: &mut Transactions, xid: u32, now: Instant) -> Option<Instant> {
        let (index, found) = transactions.find(xid, now, |_| true)?;
        transactions.close(index);
        Some(found.opened)
    }

    #[test]
    fn replies_use_up_the_requests_of_an_id_in_order() {
        let mut transactions = Transactions::new();
        transactions.open(7, Ask::Address(A), at(1));
        transactions.open(8, Ask::Address(A), at(2));
        transactions.open(7, Ask::Address(A), at(3));
        assert_eq!(opened(&mut transactions, 7, at(4)), Some(at(1)));
        assert_eq!(opened(&mut transactions, 7, at(4)), Some(at(3)));
        assert_eq!(opened(&mut transactions, 7, at(4)), None);
    }

    #[test]
    fn a_request_lapses_after_a_minute() {
        let mut transactions = Transactions::new();
        transactions.open(7, Ask::Offer, at(0));
        assert!(transactions.find(7, at(59), |_| true).is_some());
        assert!(transactions.find(7, at(60), |_| true).is_none());
    }

    #[test]
    fn the_table_does_not_grow_past_its_room() {
        let mut transactions = Transactions::new();
        for xid in 0..1000 {
            transactions.open(xid, Ask::Offer, at(0));
        }
        assert_eq!((transactions.open.len(), transactions.open.capacity()), (CAPACITY, CAPACITY));
        assert!(transactions.find(0, at(0), |_| true).is_some(), "the earliest stays");
    }
}
