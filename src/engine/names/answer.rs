//! What an answer says: the addresses at the end of the way that starts at the name asked for.
//!
//! One pass over the records in their order, which is the order of the way (RFC 1034, section 4.3.2: a CNAME is put into the
//! answer, and then the search goes on with what it names), and which resolvers in programs count on as well. An address in
//! front of the CNAME that leads to it is not learned.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::wire::{HEADER, Head, Name, Question, Record, are_same_name, end_of_name};
use super::{CLASS_IN, TYPE_A};

const TYPE_CNAME: u16 = 5;

/// An answer that is sound: it says what the addresses of a name are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    message: &'a [u8],
    /// Where its records begin, and how many they are.
    records: usize,
    count: u16,
}

impl<'a> Answer<'a> {
    /// Reads an answer without error, not cut short, to one question for addresses; and the name that was asked for.
    pub(super) fn read(message: &'a [u8]) -> Option<(Self, Name)> {
        let head = Head::read(message)?;
        let flags = head.flags & (Head::RESPONSE | Head::OPCODE | Head::TRUNCATED | Head::RCODE);
        if flags != Head::RESPONSE || head.questions != 1 {
            return None;
        }
        let question = Question::read_body(message, head.id)?;
        if question.kind != TYPE_A || question.class != CLASS_IN {
            return None;
        }
        let answer = Answer { message, records: question.end, count: head.answers };
        let is_sound = answer.records().all(|record| record.is_some_and(is_sound));
        if is_sound { question.name.map(|name| (answer, name)) } else { None }
    }

    /// The addresses, each with the shortest time to live on the way to it.
    pub(super) fn addresses(self) -> impl Iterator<Item = (Ipv4Addr, u32)> + use<'a> {
        let (mut current, mut shortest) = (HEADER, u32::MAX);
        self.records().flatten().filter_map(move |record| {
            if record.class != CLASS_IN || !are_same_name(self.message, record.owner, current) {
                return None;
            }
            match record.kind {
                TYPE_A => {
                    let &octets = record.data.first_chunk::<4>()?;
                    return Some((Ipv4Addr::from(octets), record.seconds.min(shortest)));
                }
                TYPE_CNAME => (current, shortest) = (record.at, record.seconds.min(shortest)),
                _ => {}
            }
            None
        })
    }

    /// The records of the answer section; nothing behind the first one that is cut short.
    fn records(self) -> impl Iterator<Item = Option<Record<'a>>> {
        let mut next = Some(self.records);
        (0..self.count).map_while(move |_| {
            let record = Record::read(self.message, next?);
            next = record.map(|record| record.at + record.data.len());
            Some(record)
        })
    }
}

/// Whether the data of the records that count are of the right length.
fn is_sound(record: Record<'_>) -> bool {
    match (record.class, record.kind) {
        (CLASS_IN, TYPE_A) => record.data.len() == 4,
        (CLASS_IN, TYPE_CNAME) => end_of_name(record.data, 0) == Some(record.data.len()),
        _ => true,
    }
}
