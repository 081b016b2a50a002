//! Names: what the answers of the guest's DNS servers say of the names that the operator's entries are about.
//!
//! An entry about a name says nothing until the guest has asked a DNS server of its lease for that name and has the answer.
//! The addresses in it are then *pinned*: each is an entry of its own in the name's list, with the name's ports, as if it were
//! written with a prefix length of 32. So rules with ports outrank those without, and block wins a tie, as ever.
//!
//! * **Question.** A whole UDP datagram of the guest's, let pass by the rules, to port 53 of a server that the lease
//!   names: one question, for the addresses (type A, class IN) of a name that an entry is about. [`QUESTIONS`] are open at a time,
//!   for 10 s each; a later one takes the place of the oldest (`question.rs`).
//! * **Answer.** A whole UDP datagram by way of the gateway's MAC, from that server's port 53 to the port that asked: the
//!   same identifier, the same name in whatever letter case, not truncated, without an error, sound to the end of its answers. Its
//!   answers are read once, in order: a CNAME of the name asked for, or of what that led to, leads on; and an A record of what that
//!   has led to by then is an address of the name (`answer.rs`). An answer to nothing that is open passes as the rules say, and
//!   teaches nothing; so does any answer over TCP.
//! * **Address.** Only globally reachable ones outside of the link's subnet are pinned: a name that points at the host's own
//!   network reaches nothing there (rebinding).
//! * **Time.** The shortest time to live on the way to the address, from 60 s to an hour. What the guest sends to it keeps the pin:
//!   for 300 s of TCP, 30 s of anything else, which is what a flow has.
//! * **Room.** There are at most [`MAX_PINS`], one for each entry and address. When one more finds none that has lapsed, the answer is
//!   dropped: better no address than one whose block nobody keeps (`pins.rs`).
//! * **A new policy** keeps the pins of the names that it has as well, and ends the others.
//!
//! # What it does not do
//! An address belongs to everybody who is served from it: who allows a name at a content network allows its other names there,
//! to a guest that asks for the one and speaks of another. A server that may be reached may be asked for other names by
//! encrypted DNS. And whoever's name is asked for gets the question: DNS carries what the guest writes into it. docs/cli.md
//! says so to operators.
#![forbid(unsafe_code)]

mod answer;
mod pattern;
mod pins;
mod question;
mod wire;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

pub use pattern::Pattern;
pub(super) use pattern::Reach;
pub use pins::MAX_PINS;
pub(super) use question::Asked;
pub use question::QUESTIONS;
pub(super) use wire::Question;

use super::policy::{MATCHES, NameIndex, NameRules, Pinned};
use super::special::is_global_unicast;
use super::verdict::DropReason;
use super::{Duration, Instant, after};
use answer::Answer;
use pins::Pins;
use question::Questions;

/// The shortest and the longest time of a pin.
const SHORTEST: u32 = 60;
const LONGEST: u32 = 3600;

/// The type of a question for addresses, and the class of all of them (RFC 1035, section 3.2).
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// What one guest has asked for and learned.
#[derive(Debug)]
pub(super) struct Names {
    questions: Questions,
    pins: Pins,
    /// The link's, none of whose addresses is pinned.
    subnet: Ipv4Net,
}

impl Names {
    /// Nothing asked, nothing learned. `secret` is what nobody must know who can choose addresses.
    pub(super) fn new(subnet: Ipv4Net, secret: [u64; 2]) -> Self {
        Names { questions: Questions::new(), pins: Pins::new(secret), subnet }
    }

    /// Whether there is any pin, lapsed or not.
    #[inline]
    pub(super) fn has_pins(&self) -> bool {
        !self.pins.is_empty()
    }

    /// What the pins of an address come to, if `said` is what a name's entries say.
    #[inline]
    pub(super) fn pinned(&self, address: Ipv4Addr, now: Instant, said: impl Fn(NameIndex) -> Pinned) -> Pinned {
        self.pins.of(address, now).fold(Pinned::NOTHING, |all, name| all.and(said(name)))
    }

    /// Whether an address is pinned to a name.
    pub(super) fn is_pinned(&self, address: Ipv4Addr, name: NameIndex, now: Instant) -> bool {
        self.pins.of(address, now).any(|of| of == name)
    }

    /// Keeps the live pins of an address, which is in use, for so long at the least.
    #[inline]
    pub(super) fn keep(&mut self, address: Ipv4Addr, time: Duration, now: Instant) {
        self.pins.keep(address, after(now, time), now);
    }

    /// Takes note of a question that the guest may ask.
    pub(super) fn on_question(&mut self, asked: Asked, question: &Question, rules: &NameRules, now: Instant) {
        let asks_for_addresses = question.kind == TYPE_A && question.class == CLASS_IN;
        if let Some(name) = &question.name
            && asks_for_addresses
            && rules.matching(name.text()).next().is_some()
        {
            self.questions.open(asked, name, now);
        }
    }

    /// Learns from what came from where `asked` went to: a message that the guest may get.
    ///
    /// # Errors
    /// There is no room for what it teaches.
    pub(super) fn on_answer(
        &mut self,
        asked: Asked,
        message: &[u8],
        rules: &NameRules,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some((answer, name)) = Answer::read(message) else { return Ok(()) };
        if !self.questions.close(asked, &name, now) {
            return Ok(());
        }
        let mut matching = [NameIndex::default(); MATCHES];
        let count = matching.iter_mut().zip(rules.matching(name.text())).map(|(slot, index)| *slot = index).count();
        for (address, seconds) in answer.addresses() {
            if !is_global_unicast(address) || self.subnet.contains(&address) {
                continue;
            }
            let lapses = after(now, Duration::from_secs(seconds.clamp(SHORTEST, LONGEST).into()));
            for &name in matching.iter().take(count) {
                self.pins.add(address, name, lapses, now)?;
            }
        }
        Ok(())
    }

    /// Another policy: keeps the pins of the names that it has as well.
    pub(super) fn on_policy(&mut self, old: &NameRules, new: &NameRules) {
        if self.has_pins() {
            let places = old.places_in(new);
            self.pins.rename(|name| places.get(name.get()).copied().flatten());
        }
    }
}
