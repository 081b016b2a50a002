//! Room for pins: addresses that an entry's name has, each until its time is over.
//!
//! Found by address: a place for each value of a hash has the first of a chain, which never grows past [`CHAIN`]. Whoever's names
//! are asked for chooses the addresses, but does not know the hash's secret; an address that so many entries' names have
//! comes to that end too.
//!
//! Nobody looks for what has lapsed: a lapsed pin is as if it were not there, and stays until its slot is wanted. Once all slots have
//! been used, each new pin looks at the next [`LOOKS`] of them, in a circle, and takes the first that has lapsed. If none has, there is
//! no room: a live pin is never taken for another.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use siphasher::sip::SipHasher13;

use super::super::Instant;
use super::super::policy::NameIndex;
use super::super::verdict::DropReason;

/// The most pins at a time.
pub const MAX_PINS: usize = 4096;

/// As many places as pins, so that most chains have one or none.
const PLACES: usize = MAX_PINS;
/// The most pins in one place.
const CHAIN: usize = 64;
/// How many slots are looked at for one pin.
const LOOKS: usize = 32;

/// The number of a slot and 1; 0 is none.
type Link = u16;

/// An address of a name.
#[derive(Clone, Copy, Debug)]
struct Pin {
    address: Ipv4Addr,
    name: NameIndex,
    /// The next in its chain.
    next: Link,
    /// From this instant on, it is as if it were not there.
    lapses: Instant,
}

/// The pins.
#[derive(Debug)]
pub(super) struct Pins {
    hasher: SipHasher13,
    /// The first of each chain.
    chains: Vec<Link>,
    slots: Vec<Pin>,
    /// The slot that is looked at next when one is wanted.
    hand: usize,
    /// Addresses that the guest sent to lately, and their places: a hint and no more, that saves the hash.
    recent: Box<[(Ipv4Addr, u16); RECENT]>,
}

const RECENT: usize = 1024;

impl Pins {
    pub(super) fn new([first, second]: [u64; 2]) -> Self {
        Pins {
            hasher: SipHasher13::new_with_keys(first, second),
            chains: vec![0; PLACES],
            slots: Vec::with_capacity(MAX_PINS),
            hand: 0,
            recent: Box::new([(Ipv4Addr::UNSPECIFIED, 0); RECENT]),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The names whose live pin an address is.
    #[inline]
    pub(super) fn of(&self, address: Ipv4Addr, now: Instant) -> impl Iterator<Item = NameIndex> {
        let pins = self.chain(self.place(address)).map(|(_, pin)| pin);
        pins.filter(move |pin| pin.address == address && now < pin.lapses).map(|pin| pin.name)
    }

    /// Keeps the live pins of an address until then at the least.
    #[inline]
    pub(super) fn keep(&mut self, address: Ipv4Addr, until: Instant, now: Instant) {
        let place = self.place(address);
        if let (Some(recent), Ok(place)) = (self.recent.get_mut(hint(address)), u16::try_from(place)) {
            *recent = (address, place);
        }
        let mut next = self.first(place);
        while let Some(pin) = self.slots.get_mut(slot(next)) {
            if pin.address == address && now < pin.lapses {
                pin.lapses = pin.lapses.max(until);
            }
            next = pin.next;
        }
    }

    /// Pins an address to a name until then, or for longer if it is so already.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn add(
        &mut self,
        address: Ipv4Addr,
        name: NameIndex,
        lapses: Instant,
        now: Instant,
    ) -> Result<(), DropReason> {
        let place = self.place(address);
        let (mut count, mut lapsed) = (0, None);
        let mut next = self.first(place);
        while let Some(pin) = self.slots.get_mut(slot(next)) {
            if pin.address == address && pin.name == name {
                // What has lapsed in the meantime lives again.
                pin.lapses = pin.lapses.max(lapses);
                return Ok(());
            }
            if pin.lapses <= now {
                lapsed = Some(next);
            }
            count += 1;
            next = pin.next;
        }
        let room = match lapsed {
            _ if self.slots.len() < MAX_PINS && count < CHAIN => None,
            Some(lapsed) => Some(lapsed),
            None if count < CHAIN => Some(self.find_lapsed(now).ok_or(DropReason::PinsFull)?),
            None => return Err(DropReason::PinsFull),
        };
        if let Some(room) = room {
            self.unlink(room);
        }
        let pin = Pin { address, name, next: self.first(place), lapses };
        let link = match room {
            Some(link) => link,
            // Within the capacity, as it always is: a push would allocate.
            None if self.slots.len() < self.slots.capacity() => {
                let link = Link::try_from(self.slots.len() + 1).map_err(|_| DropReason::PinsFull)?;
                self.slots.push(pin);
                link
            }
            None => return Err(DropReason::PinsFull),
        };
        if let Some(slot) = self.slots.get_mut(slot(link)) {
            *slot = pin;
        }
        if let Some(first) = self.chains.get_mut(place) {
            *first = link;
        }
        Ok(())
    }

    /// Gives each pin the number that its name has now; ends those whose name has none.
    pub(super) fn rename(&mut self, number: impl Fn(NameIndex) -> Option<NameIndex>) {
        self.slots.retain_mut(|pin| match number(pin.name) {
            Some(name) => {
                pin.name = name;
                true
            }
            None => false,
        });
        self.chains.fill(0);
        self.hand = 0;
        for index in 0..self.slots.len() {
            let Some(&Pin { address, .. }) = self.slots.get(index) else { return };
            let Ok(link) = Link::try_from(index + 1) else { return };
            let place = self.place(address);
            let Some(first) = self.chains.get_mut(place) else { return };
            let next = std::mem::replace(first, link);
            if let Some(pin) = self.slots.get_mut(index) {
                pin.next = next;
            }
        }
    }

    /// A lapsed pin among the next few slots.
    fn find_lapsed(&mut self, now: Instant) -> Option<Link> {
        for _ in 0..LOOKS {
            let index = self.hand;
            self.hand = (index + 1) % MAX_PINS;
            if self.slots.get(index).is_some_and(|pin| pin.lapses <= now) {
                return Link::try_from(index + 1).ok();
            }
        }
        None
    }

    /// Takes a pin out of its chain.
    fn unlink(&mut self, link: Link) {
        let Some(&Pin { address, next: behind, .. }) = self.slots.get(slot(link)) else { return };
        let place = self.place(address);
        let front = self.chain(place).find(|(_, pin)| pin.next == link).map(|(front, _)| front);
        match front {
            Some(front) => {
                if let Some(front) = self.slots.get_mut(slot(front)) {
                    front.next = behind;
                }
            }
            None => {
                if let Some(first) = self.chains.get_mut(place) {
                    *first = behind;
                }
            }
        }
    }

    #[inline]
    fn place(&self, address: Ipv4Addr) -> usize {
        match self.recent.get(hint(address)) {
            Some(&(recent, place)) if recent == address && !address.is_unspecified() => usize::from(place),
            // The cut is meant.
            _ => self.hasher.hash(&address.octets()) as usize % PLACES,
        }
    }

    #[inline]
    fn first(&self, place: usize) -> Link {
        self.chains.get(place).copied().unwrap_or_default()
    }

    #[inline]
    fn chain(&self, place: usize) -> impl Iterator<Item = (Link, &Pin)> {
        let with_pin = |link: Link| self.slots.get(slot(link)).map(|pin| (link, pin));
        std::iter::successors(with_pin(self.first(place)), move |(_, pin)| with_pin(pin.next))
    }
}

/// Where an address is among the recent ones, if it is.
#[inline]
fn hint(address: Ipv4Addr) -> usize {
    // Knuth's multiplier, whose highest bits depend on all of the address: 10 of them.
    usize::try_from(address.to_bits().wrapping_mul(0x9e37_79b1) >> 22).unwrap_or_default()
}

/// Where the slot of a link is; nowhere, if it is none.
#[inline]
fn slot(link: Link) -> usize {
    usize::from(link).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: NameIndex = NameIndex::of_test(3);

    fn at(seconds: i64) -> Instant {
        Instant::from_secs(seconds)
    }

    fn address(number: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0800_0000 + u32::try_from(number).unwrap())
    }

    fn has(pins: &Pins, number: usize, now: i64) -> bool {
        pins.of(address(number), at(now)).next().is_some()
    }

    fn full() -> Pins {
        let mut pins = Pins::new([1, 2]);
        for number in 0..MAX_PINS {
            pins.add(address(number), NAME, at(100), at(0)).unwrap();
        }
        pins
    }

    #[test]
    fn a_pin_lives_to_its_time_and_longer_if_it_is_kept_while_it_lives() {
        let mut pins = Pins::new([1, 2]);
        pins.add(address(1), NAME, at(60), at(0)).unwrap();
        pins.add(address(1), NAME, at(50), at(0)).unwrap();
        assert!(has(&pins, 1, 59) && !has(&pins, 1, 60) && !has(&pins, 2, 59));
        pins.keep(address(1), at(300), at(60));
        assert!(!has(&pins, 1, 60), "over is over");
        pins.add(address(1), NAME, at(120), at(60)).unwrap();
        pins.keep(address(2), at(300), at(60));
        pins.keep(address(1), at(90), at(60));
        assert!(has(&pins, 1, 119) && !has(&pins, 1, 120), "never shorter");
        pins.keep(address(1), at(300), at(119));
        assert!(has(&pins, 1, 299) && !has(&pins, 1, 300));
    }

    #[test]
    fn a_full_table_takes_the_place_of_the_lapsed_alone() {
        let mut pins = full();
        assert_eq!(pins.add(address(MAX_PINS), NAME, at(200), at(99)), Err(DropReason::PinsFull));
        assert_eq!(pins.add(address(7), NAME, at(200), at(99)), Ok(()), "that is no new one");
        for number in 0..MAX_PINS {
            assert!(has(&pins, number, 99), "{number}");
        }
        // Number 7 lives on: all others make room.
        for number in 0..MAX_PINS - 1 {
            assert_eq!(pins.add(address(MAX_PINS + number), NAME, at(200), at(100)), Ok(()), "{number}");
        }
        assert!((0..MAX_PINS - 1).all(|number| has(&pins, MAX_PINS + number, 100)) && has(&pins, 7, 100));
        assert_eq!(pins.add(address(3 * MAX_PINS), NAME, at(200), at(100)), Err(DropReason::PinsFull));
    }

    #[test]
    fn one_address_has_so_many_names_and_no_more_before_one_lapses() {
        let mut pins = Pins::new([1, 2]);
        for number in 0..CHAIN {
            pins.add(address(1), NameIndex::of_test(number), at(100), at(0)).unwrap();
        }
        let more = NameIndex::of_test(CHAIN);
        assert_eq!(pins.add(address(1), more, at(200), at(0)), Err(DropReason::PinsFull));
        assert_eq!(pins.of(address(1), at(0)).count(), CHAIN);
        assert_eq!(pins.add(address(1), more, at(200), at(100)), Ok(()));
        assert_eq!(pins.of(address(1), at(100)).collect::<Vec<_>>(), [more]);
    }

    #[test]
    fn the_pins_of_a_name_that_is_gone_go_and_the_others_are_found_as_before() {
        let mut pins = full();
        let other = NameIndex::of_test(4);
        for number in (0..MAX_PINS).step_by(2) {
            pins.add(address(number), other, at(100), at(0)).unwrap_err();
        }
        let mut pins = Pins::new([1, 2]);
        for number in 0..MAX_PINS {
            pins.add(address(number), if number % 2 == 0 { NAME } else { other }, at(100), at(0)).unwrap();
        }
        pins.rename(|name| (name == other).then(|| NameIndex::of_test(9)));
        for number in 0..MAX_PINS {
            let names: Vec<_> = pins.of(address(number), at(0)).collect();
            assert_eq!(names, if number % 2 == 0 { vec![] } else { vec![NameIndex::of_test(9)] });
        }
        for number in (0..MAX_PINS).step_by(2) {
            pins.add(address(number), NAME, at(100), at(0)).unwrap();
        }
        assert_eq!(pins.add(address(MAX_PINS), NAME, at(100), at(0)), Err(DropReason::PinsFull));
    }
}
