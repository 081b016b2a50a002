//! Room for flows: found by their key, and the one whose time is over first found at once. Everything takes constant time, and
//! nothing is allocated after the table is made.
//!
//! *Found by key*: a place for each value of a 16 bit hash has the first of a chain of slots. A chain never grows past
//! [`CHAIN`]: by chance it does not come near, and a guest cannot make it, since it does not know the hash's secret.
//!
//! *Found by time*: each [`Class`] of flows has one length of time, and so one queue in the order in which their times are
//! over. A flow that is renewed goes to the end of its queue, once a second: time is told in whole seconds, rounded down, so that
//! nearly all datagrams of a busy flow change nothing. Nobody walks a queue: whoever needs a slot looks at its head.
//!
//! Memory is taken from the system by the page, as slots come into use: a table that nobody uses costs none.
#![forbid(unsafe_code)]

use super::super::verdict::Direction;
use super::super::{Duration, Instant};
use super::MAX_FLOWS;
use super::key::{Key, Places};
use super::tcp::Progress;

/// The most flows in one place. With 65536 places and half as many flows, chance alone fills a place in 3 of 10^14 tables.
const CHAIN: usize = 16;

/// How many flows are remembered as found lately.
const HINTS: usize = 4096;

/// The lives that flows lead, each with one length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    #[default]
    TcpHalfOpen,
    TcpEstablished,
    TcpClosing,
    Udp,
    Echo,
}

impl Class {
    pub(super) const ALL: [Class; 5] =
        [Class::TcpHalfOpen, Class::TcpEstablished, Class::TcpClosing, Class::Udp, Class::Echo];

    /// How long a flow lives that nothing renews.
    pub(super) const fn life(self) -> Duration {
        Duration::from_secs(match self {
            Class::TcpHalfOpen => 60,
            Class::TcpEstablished => 300,
            Class::TcpClosing => 10,
            Class::Udp | Class::Echo => 30,
        })
    }

    /// When a flow is over that lives from now on: its time begins with the second that has begun.
    #[inline]
    fn deadline(self, now: Instant) -> Instant {
        const SECOND: i64 = 1_000_000;
        let micros = now.total_micros();
        let second = micros.saturating_sub(micros.rem_euclid(SECOND));
        super::super::after(Instant::from_micros_const(second), self.life())
    }

    /// The slot that both ends of the class's queue are linked to.
    fn queue(self) -> Index {
        Index(1 + self as u16)
    }
}

/// A slot's number. Number 0 is none, the next ones are the ends of the queues, and the rest are flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Index(u16);

const NONE: Index = Index(0);

/// The deadline of what is no flow.
const OVER: Instant = Instant::from_micros_const(i64::MIN);

impl Index {
    #[inline]
    fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// A flow and its links.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) key: Key,
    pub(super) initiator: Direction,
    pub(super) progress: Progress,
    class: Class,
    /// When its time is over: from this instant on, it is as if it were not there.
    deadline: Instant,
    /// The policy that it was last judged by.
    pub(super) generation: u64,
    /// The next in its chain; for a slot without a flow, the next such slot.
    chain: Index,
    /// Its neighbours in its queue.
    earlier: Index,
    later: Index,
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    places: Places,
    /// The number of the first slot of each chain. Bare numbers, since the system hands out zeroes for nothing.
    chains: Vec<u16>,
    slots: Vec<Slot>,
    /// Slots that were found lately, by a few bits of their keys. A hint and no more: who finds its flow there need not
    /// compute the hash, and a guest that defeats it pays with that.
    recent: [Index; HINTS],
    /// The first of the slots that have had a flow and have none.
    free: Index,
}

impl Table {
    /// The slots that are no flows.
    const RESERVED: usize = 1 + Class::ALL.len();

    pub(super) fn new(secret: [u64; 2]) -> Self {
        let mut table = Table {
            places: Places::new(secret),
            chains: vec![0; 1 << 16],
            slots: Vec::with_capacity(Self::RESERVED + MAX_FLOWS),
            recent: [NONE; HINTS],
            free: NONE,
        };
        table.add_queues();
        table
    }

    fn add_queues(&mut self) {
        let no_flow = Slot::new(Key::default(), Direction::FromGuest, Progress::default(), 0);
        for index in (0..).map(Index).take(Self::RESERVED) {
            self.slots.push(Slot { earlier: index, later: index, ..no_flow.clone() });
        }
    }

    /// Ends every flow.
    pub(super) fn clear(&mut self) {
        if self.slots.len() > Self::RESERVED {
            self.chains.fill(0);
            self.slots.clear();
            self.free = NONE;
            self.add_queues();
        }
    }

    /// The live flow of this key.
    #[inline]
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Option<Index> {
        let hint = hint(key);
        if let Some(&recent) = self.recent.get(hint)
            // A slot that has no flow any more is over since ever.
            && self.flow(recent).is_some_and(|slot| slot.key == *key && now < slot.deadline)
        {
            return Some(recent);
        }
        let found = self.find_in_chain(key, now)?;
        if let Some(recent) = self.recent.get_mut(hint) {
            *recent = found;
        }
        Some(found)
    }

    /// How many flows are live. Not for every frame: it looks at each slot.
    pub(super) fn count(&self, now: Instant) -> usize {
        // A slot that has no flow is over since ever.
        self.slots.iter().skip(Self::RESERVED).filter(|slot| now < slot.deadline).count()
    }

    fn find_in_chain(&self, key: &Key, now: Instant) -> Option<Index> {
        let mut next = self.first(usize::from(self.places.of(key)));
        while let Some(slot) = self.flow(next) {
            if slot.key == *key {
                return (now < slot.deadline).then_some(next);
            }
            next = slot.chain;
        }
        None
    }

    /// Adds a flow of a key that no live flow has, or says that there is no room.
    pub(super) fn insert(&mut self, flow: Slot, class: Class, now: Instant) -> Option<Index> {
        self.reclaim(now);
        let place = usize::from(self.places.of(&flow.key));
        // One whose time is over may still stand there with the same key.
        if let Some(stale) = self.in_chain(place, &flow.key) {
            self.remove(stale);
        }
        if self.chain_length(place) >= CHAIN {
            return None;
        }
        let flow = Slot { chain: self.first(place), class, deadline: class.deadline(now), ..flow };
        let index = self.take_slot(flow)?;
        *self.chains.get_mut(place)? = index.0;
        self.queue(index, class);
        Some(index)
    }

    /// Takes up to two flows out whose time is over: one more than a frame can add, so that they do not pile up.
    fn reclaim(&mut self, now: Instant) {
        let mut room = 2;
        for class in Class::ALL {
            while room > 0
                && let Some(first) = self.slots.get(class.queue().get()).map(|ends| ends.later)
                && self.flow(first).is_some_and(|flow| flow.deadline <= now)
            {
                self.remove(first);
                room -= 1;
            }
        }
    }

    fn take_slot(&mut self, flow: Slot) -> Option<Index> {
        if let Some(slot) = self.slots.get_mut(self.free.get()).filter(|_| self.free != NONE) {
            let index = self.free;
            self.free = slot.chain;
            *slot = flow;
            return Some(index);
        }
        // Within the capacity, or a push would allocate; said so that the compiler sees it too (scripts/engine-panics.sh).
        if self.slots.len() >= Self::RESERVED + MAX_FLOWS || self.slots.len() == self.slots.capacity() {
            return None;
        }
        let index = Index(u16::try_from(self.slots.len()).ok()?);
        self.slots.push(flow);
        Some(index)
    }

    /// Takes a flow out.
    pub(super) fn remove(&mut self, index: Index) {
        let Some(slot) = self.flow(index) else { return };
        let (key, behind) = (slot.key, slot.chain);
        self.unqueue(index);
        let place = usize::from(self.places.of(&key));
        match self.in_front_of(place, index) {
            Some(front) => {
                if let Some(front) = self.slots.get_mut(front.get()) {
                    front.chain = behind;
                }
            }
            None => {
                if let Some(first) = self.chains.get_mut(place) {
                    *first = behind.0;
                }
            }
        }
        let free = self.free;
        if let Some(slot) = self.slots.get_mut(index.get()) {
            slot.chain = free;
            slot.deadline = OVER;
            self.free = index;
        }
    }

    /// The slot of a flow.
    #[inline]
    pub(super) fn flow(&self, index: Index) -> Option<&Slot> {
        self.slots.get(index.get()).filter(|_| index.get() >= Self::RESERVED)
    }

    /// The slot of a flow, whose key and initiator stay.
    #[inline]
    pub(super) fn flow_mut(&mut self, index: Index) -> Option<&mut Slot> {
        self.slots.get_mut(index.get()).filter(|_| index.get() >= Self::RESERVED)
    }

    /// Gives a flow the whole time of a class from now.
    #[inline]
    pub(super) fn renew(&mut self, index: Index, class: Class, now: Instant) {
        let deadline = class.deadline(now);
        let Some(slot) = self.flow_mut(index) else { return };
        if slot.class == class && slot.deadline == deadline {
            return;
        }
        slot.deadline = deadline;
        slot.class = class;
        self.unqueue(index);
        self.queue(index, class);
    }

    /// Gives a flow the time of a class, if that is less than what it has.
    pub(super) fn shorten(&mut self, index: Index, class: Class, now: Instant) {
        let deadline = class.deadline(now);
        if self.flow(index).is_some_and(|flow| deadline < flow.deadline) {
            self.renew(index, class, now);
        }
    }

    /// Puts a flow at the end of a queue.
    fn queue(&mut self, index: Index, class: Class) {
        let ends = class.queue();
        let last = self.slots.get(ends.get()).map_or(NONE, |ends| ends.earlier);
        self.link(last, index);
        self.link(index, ends);
    }

    fn unqueue(&mut self, index: Index) {
        if let Some(&Slot { earlier, later, .. }) = self.flow(index) {
            self.link(earlier, later);
        }
    }

    #[inline]
    fn link(&mut self, earlier: Index, later: Index) {
        if let Some(slot) = self.slots.get_mut(earlier.get()) {
            slot.later = later;
        }
        if let Some(slot) = self.slots.get_mut(later.get()) {
            slot.earlier = earlier;
        }
    }

    #[inline]
    fn first(&self, place: usize) -> Index {
        Index(self.chains.get(place).copied().unwrap_or_default())
    }

    fn chain(&self, place: usize) -> impl Iterator<Item = (Index, &Slot)> {
        let with_slot = |index| self.flow(index).map(|slot| (index, slot));
        std::iter::successors(with_slot(self.first(place)), move |(_, slot)| with_slot(slot.chain))
    }

    fn chain_length(&self, place: usize) -> usize {
        self.chain(place).count()
    }

    fn in_chain(&self, place: usize, key: &Key) -> Option<Index> {
        self.chain(place).find(|(_, slot)| slot.key == *key).map(|(index, _)| index)
    }

    fn in_front_of(&self, place: usize, index: Index) -> Option<Index> {
        self.chain(place).find(|(_, slot)| slot.chain == index).map(|(front, _)| front)
    }
}

/// Bits that differ between the flows of one guest, mostly.
#[inline]
fn hint(key: &Key) -> usize {
    let [_, _, high, low] = key.far.octets();
    let bits = key.guest_port ^ key.far_port ^ u16::from_be_bytes([high, low]) ^ (key.protocol as u16) << 8;
    usize::from(bits) % HINTS
}

impl Slot {
    /// A flow that is in no table yet.
    pub(super) fn new(key: Key, initiator: Direction, progress: Progress, generation: u64) -> Self {
        Slot {
            key,
            initiator,
            progress,
            class: Class::default(),
            deadline: OVER,
            generation,
            chain: NONE,
            earlier: NONE,
            later: NONE,
        }
    }
}

#[cfg(test)]
mod tests;
