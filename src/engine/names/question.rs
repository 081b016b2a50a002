//! The questions that the guest has asked and that nobody has answered yet.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::super::{Duration, Instant, after};
use super::wire::Name;

/// The most open questions. One more takes the place of the oldest, whose answer then teaches nothing.
pub const QUESTIONS: usize = 256;

/// How long a question is open.
const OPEN: Duration = Duration::from_secs(10);

/// Whom a question went to, from where, and its identifier: what its answer must have as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Asked(u64);

impl Asked {
    pub(in super::super) fn new(server: Ipv4Addr, port: u16, id: u16) -> Self {
        Asked(u64::from(server.to_bits()) << 32 | u64::from(port) << 16 | u64::from(id))
    }
}

/// The open questions, in a ring.
#[derive(Debug)]
pub(super) struct Questions {
    /// Whom each went to; 0 is none, since no server is 0.0.0.0.
    asked: [Asked; QUESTIONS],
    /// Until when each is open, and its name.
    rest: Vec<(Instant, Name)>,
    next: usize,
}

impl Questions {
    pub(super) fn new() -> Self {
        let nothing = (Instant::from_micros_const(i64::MIN), Name::EMPTY);
        Questions { asked: [Asked::default(); QUESTIONS], rest: vec![nothing; QUESTIONS], next: 0 }
    }

    /// Opens a question. The same one again, as when the guest asks once more, is open anew.
    pub(super) fn open(&mut self, asked: Asked, name: &Name, now: Instant) {
        let index = self.asked.iter().position(|&other| other == asked).unwrap_or_else(|| {
            let next = self.next;
            self.next = (next + 1) % QUESTIONS;
            next
        });
        if let (Some(key), Some(rest)) = (self.asked.get_mut(index), self.rest.get_mut(index)) {
            *key = asked;
            *rest = (after(now, OPEN), *name);
        }
    }

    /// Closes the open question for this name, if there is one: says whether there was.
    pub(super) fn close(&mut self, asked: Asked, name: &Name, now: Instant) -> bool {
        let Some(index) = self.asked.iter().position(|&other| other == asked) else { return false };
        let is_open = self.rest.get(index).is_some_and(|(end, of)| now < *end && of.text() == name.text());
        if is_open && let (Some(key), Some((end, _))) = (self.asked.get_mut(index), self.rest.get_mut(index)) {
            (*key, *end) = (Asked::default(), now);
        }
        is_open
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Question;
    use super::*;

    fn name(label: &str) -> Name {
        let message = [&[0; 12][..], &[label.len() as u8], label.as_bytes(), &[0, 0, 1, 0, 1]].concat();
        Question::read_body(&message, 0).unwrap().name.unwrap()
    }

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);

    #[test]
    fn a_question_is_answered_once_within_10_s_by_whom_it_went_to() {
        let at = Instant::from_millis;
        let mut questions = Questions::new();
        let asked = Asked::new(SERVER, 5000, 7);
        questions.open(asked, &name("a"), at(0));
        for other in
            [Asked::new(SERVER, 5000, 8), Asked::new(SERVER, 5001, 7), Asked::new([192, 168, 64, 2].into(), 5000, 7)]
        {
            assert!(!questions.close(other, &name("a"), at(1)));
        }
        assert!(!questions.close(asked, &name("b"), at(1)), "and does not close it");
        assert!(questions.close(asked, &name("A"), at(9999)));
        assert!(!questions.close(asked, &name("a"), at(9999)), "once");
        questions.open(asked, &name("a"), at(10_000));
        assert!(!questions.close(asked, &name("a"), at(20_000)));
    }

    #[test]
    fn one_more_takes_the_place_of_the_oldest_and_the_same_one_takes_its_own() {
        let mut questions = Questions::new();
        let at = Instant::from_secs(1);
        let asked = |id| Asked::new(SERVER, 5000, id);
        let all = u16::try_from(QUESTIONS).unwrap();
        for id in (0..all).chain(0..all) {
            questions.open(asked(id), &name("a"), at);
        }
        questions.open(asked(all), &name("a"), at);
        assert!(!questions.close(asked(0), &name("a"), at));
        for id in 1..=all {
            assert!(questions.close(asked(id), &name("a"), at), "{id}");
        }
        assert!(!questions.close(Asked::default(), &name("a"), at), "a closed one is none");
    }
}
