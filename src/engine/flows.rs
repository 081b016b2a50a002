//! Flows: what the rules of a stateful policy have admitted, so that the answers pass.
//!
//! A flow is made by its first datagram, once the rules of that datagram's direction let it pass, and has an *initiator*: the side
//! that sent it. From then on it stands for the rules. What the initiator sends and what comes back pass, and so does an ICMP
//! error that quotes a datagram of it, from wherever but a neighbour that the guest is isolated from and that is no end of it.
//!
//! * **TCP** begins with a SYN alone. Until the handshake is whole the connection has 60 s, then 300 s, and 10 s once both sides have
//!   sent FIN or one has sent RST (`tcp.rs`). A SYN is always judged by the rules, flow or no flow; it keeps nothing, and begins
//!   anew only what is ending. Segments out of the middle of a connection make no flow: where none is, the rules alone judge
//!   each. But *after* a policy without state, whose connections nobody has kept, whoever may begin one may also go on with one: for the
//!   first 300 s, until the next change of policy, a segment with ACK and without SYN and RST makes a flow whose initiator is
//!   its sender.
//! * **UDP** and **ICMP echo** have 30 s. An echo's flow is the identifier, from the side that asks.
//! * **Time** counts from the whole second in which the initiator sent last, so that a flow may be gone up to a second early and
//!   never late; its own handshakes and RSTs do not count. At its deadline a flow is gone.
//! * **Fragments, groups, other protocols** make no flow and match none (`step.rs`).
//! * **Room.** There are at most [`MAX_FLOWS`]. When there is no room, what would make one more is dropped, whatever the rules say:
//!   better no connection than one whose answers nobody expects. The guest can fill the table, and so keep itself from the network.
//! * **A new policy** is a new *generation*. A flow of an older one is judged by the new rules, in its initiator's direction, when its
//!   next datagram comes, whichever side sends it: allowed, it stays as it is; else it ends, and the datagram is judged as one
//!   without flow. A policy without state ends all.
//!
//! The table is in `table.rs`: constant work for a frame, and no allocation after the start.
#![forbid(unsafe_code)]

mod key;
mod step;
mod table;
mod tcp;

pub(super) use key::Protocol;
pub(super) use step::{Header, Step};
pub(super) use tcp::Flags;

use super::verdict::{Direction, DropReason};
use super::{Instant, after};
use step::Kind;
use table::{Class, Index, Slot, Table};
use tcp::{Progress, Renewal, Sender};

/// The most flows at a time.
pub const MAX_FLOWS: usize = 32_768;

/// The flows of one guest.
#[derive(Debug)]
pub(super) struct Flows {
    table: Table,
    /// Of the present policy.
    generation: u64,
    pick_up: PickUp,
}

/// Whether the middle of a TCP connection can make a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PickUp {
    Never,
    /// From the next frame on, whose time is not known yet.
    FromNextFrame,
    Before(Instant),
}

/// What was before a new policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// No state was kept: connections may be alive that no flow knows of.
    Stateless,
    /// State was kept.
    Stateful,
}

/// A live flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    index: Index,
    /// The side that began it.
    pub(super) initiator: Direction,
    /// Whether the present policy has allowed it.
    pub(super) is_current: bool,
}

impl Flows {
    /// No flows. `secret` is what a guest must not know.
    pub(super) fn new(secret: [u64; 2]) -> Self {
        Flows { table: Table::new(secret), generation: 0, pick_up: PickUp::Never }
    }

    /// Another stateful policy: each flow is to be judged anew.
    pub(super) fn begin_generation(&mut self, before: Before) {
        self.generation = self.generation.wrapping_add(1);
        self.pick_up = match before {
            Before::Stateless => PickUp::FromNextFrame,
            Before::Stateful => PickUp::Never,
        };
    }

    /// A policy without state.
    pub(super) fn clear(&mut self) {
        self.table.clear();
    }

    /// How many are live.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.table.count(now)
    }

    /// The live flow that a datagram would be of.
    #[inline]
    pub(super) fn find(&mut self, step: &Step, now: Instant) -> Option<Found> {
        let index = self.table.find(&step.key, now)?;
        let flow = self.table.flow(index)?;
        Some(Found { index, initiator: flow.initiator, is_current: flow.generation == self.generation })
    }

    /// The present policy allows a flow of an older one.
    pub(super) fn allow(&mut self, found: Found) {
        if let Some(flow) = self.table.flow_mut(found.index) {
            flow.generation = self.generation;
        }
    }

    /// It does not.
    pub(super) fn end(&mut self, found: Found) {
        self.table.remove(found.index);
    }

    /// Lets a datagram pass as one of the flow, if it is: what it does to the flow is done. Else the rules are to judge it.
    #[inline]
    pub(super) fn pass(&mut self, found: Found, direction: Direction, step: &Step, now: Instant) -> bool {
        let sender = if found.initiator == direction { Sender::Initiator } else { Sender::Responder };
        match (step.kind, sender) {
            (Kind::Error, _) => true,
            (Kind::Tcp(flags), _) => self.pass_tcp(found, sender, flags, now),
            (Kind::Udp, Sender::Initiator) => self.renewed(found, Class::Udp, now),
            (Kind::EchoRequest, Sender::Initiator) => self.renewed(found, Class::Echo, now),
            (Kind::Udp | Kind::EchoReply, Sender::Responder) => true,
            // Not among flows that are found by their keys: an echo's key names the side that asks.
            (Kind::EchoRequest, Sender::Responder) | (Kind::EchoReply, Sender::Initiator) => false,
        }
    }

    #[inline]
    fn pass_tcp(&mut self, found: Found, sender: Sender, flags: Flags, now: Instant) -> bool {
        if flags.opens() || (sender == Sender::Responder && !flags.can_come_back()) {
            return false;
        }
        let Some(flow) = self.table.flow_mut(found.index) else { return false };
        let renewal = flow.progress.note(sender, flags);
        let class = flow.progress.class();
        match (renewal, class) {
            (Renewal::Renews, _) => self.table.renew(found.index, class, now),
            (Renewal::RenewsNothing, Class::TcpClosing) => self.table.shorten(found.index, class, now),
            (Renewal::RenewsNothing, _) => {}
        }
        true
    }

    #[inline]
    fn renewed(&mut self, found: Found, class: Class, now: Instant) -> bool {
        self.table.renew(found.index, class, now);
        true
    }

    /// Takes note of a datagram that the rules have let pass, and of the flow that was found for it, if one was: it makes a flow,
    /// or need not.
    ///
    /// # Errors
    /// It would have to make one, and there is no room.
    pub(super) fn admit(
        &mut self,
        direction: Direction,
        step: &Step,
        found: Option<Found>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (progress, class) = match step.kind {
            Kind::Tcp(flags) if flags.opens() || (flags.goes_on() && self.picks_up(now)) => {
                (Progress::begin(flags), Class::TcpHalfOpen)
            }
            Kind::Udp => (Progress::default(), Class::Udp),
            Kind::EchoRequest => (Progress::default(), Class::Echo),
            Kind::Tcp(_) | Kind::EchoReply | Kind::Error => return Ok(()),
        };
        if let Some(found) = found {
            if !self.is_ending(found) {
                return Ok(());
            }
            self.table.remove(found.index);
        }
        let flow = Slot::new(step.key, direction, progress, self.generation);
        self.table.insert(flow, class, now).map(|_| ()).ok_or(DropReason::FlowTableFull)
    }

    fn is_ending(&self, found: Found) -> bool {
        self.table.flow(found.index).is_some_and(|flow| flow.progress.class() == Class::TcpClosing)
    }

    /// Tells the time of a frame of a stateful policy.
    #[inline]
    pub(super) fn tell(&mut self, now: Instant) {
        if self.pick_up == PickUp::FromNextFrame {
            self.pick_up = PickUp::Before(after(now, Class::TcpEstablished.life()));
        }
    }

    fn picks_up(&self, now: Instant) -> bool {
        matches!(self.pick_up, PickUp::Before(end) if now < end)
    }
}
