//! DNS messages as far as they are read: the header, one question, names and records (RFC 1035, section 4.1). Bounded work, whatever
//! the bytes are, and no memory but for one name.
#![forbid(unsafe_code)]

use super::pattern::LONGEST_NAME;

/// The length of the header, and so where the question is.
pub(super) const HEADER: usize = 12;

const REFUSED: u8 = 5;

/// The most labels of a name and jumps in it that anyone follows.
const LABELS: usize = 127;
const JUMPS: usize = 32;

/// A host's name: lower case, without the dot at its end.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Name {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Name {
    /// No name at all.
    pub(super) const EMPTY: Name = Name { bytes: [0; LONGEST_NAME], length: 0 };

    /// The text.
    pub(in super::super) fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Adds a label, if it is of a host's name: letters, digits, hyphens, and the underscore that some have all the same. Others
    /// might hold a dot, and be taken for two.
    fn push(&mut self, label: &[u8]) -> Option<()> {
        if self.length > 0 {
            self.push_byte(b'.')?;
        }
        for &byte in label {
            if !byte.is_ascii_alphanumeric() && byte != b'-' && byte != b'_' {
                return None;
            }
            self.push_byte(byte.to_ascii_lowercase())?;
        }
        Some(())
    }

    fn push_byte(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.length)? = byte;
        self.length += 1;
        Some(())
    }
}

/// A message's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) questions: u16,
    pub(super) answers: u16,
}

impl Head {
    /// This is an answer.
    pub(super) const RESPONSE: u16 = 0x8000;
    /// What kind of question: 0 is the usual one.
    pub(super) const OPCODE: u16 = 0x7800;
    /// Cut short.
    pub(super) const TRUNCATED: u16 = 0x0200;
    /// What went wrong: 0 is nothing.
    pub(super) const RCODE: u16 = 0x000f;

    pub(super) fn read(message: &[u8]) -> Option<Self> {
        Some(Head {
            id: word(message, 0)?,
            flags: word(message, 2)?,
            questions: word(message, 4)?,
            answers: word(message, 6)?,
        })
    }
}

/// The one question of a message.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Question {
    /// The identifier.
    pub(in super::super) id: u16,
    /// The name, if it is one of a host.
    pub(in super::super) name: Option<Name>,
    /// The type.
    pub(in super::super) kind: u16,
    /// The class.
    pub(in super::super) class: u16,
    /// Where it ends in the message.
    pub(in super::super) end: usize,
}

impl Question {
    /// The question that a guest asks: a usual query with one question.
    pub(in super::super) fn read(message: &[u8]) -> Option<Self> {
        let head = Head::read(message)?;
        let is_query = head.flags & (Head::RESPONSE | Head::OPCODE | Head::TRUNCATED | Head::RCODE) == 0;
        if is_query && head.questions == 1 && head.answers == 0 { Question::read_body(message, head.id) } else { None }
    }

    /// The answer that says no (RFC 1035, section 4.1.1: REFUSED): its header, and the question, of the message that it was
    /// read from.
    pub(in super::super) fn refused<'a>(&self, message: &'a [u8]) -> Option<([u8; HEADER], &'a [u8])> {
        let &[id_high, id_low, flags, ..] = message else { return None };
        // The identifier, and that recursion is desired, are the question's.
        let head = [id_high, id_low, 0x80 | flags & 1, REFUSED, 0, 1, 0, 0, 0, 0, 0, 0];
        Some((head, message.get(HEADER..self.end)?))
    }

    /// What is behind the header, in a question and in its answer.
    pub(super) fn read_body(message: &[u8], id: u16) -> Option<Self> {
        // There is nothing in front of it that a pointer could be to, but the header.
        let mut labels = Labels::new(message, HEADER, 0);
        let (mut name, mut is_of_host) = (Name::EMPTY, true);
        while let Some(label) = labels.next()? {
            is_of_host = is_of_host && name.push(label).is_some();
        }
        let end = labels.at + 1;
        let name = (is_of_host && name.length > 0).then_some(name);
        Some(Question { id, name, kind: word(message, end)?, class: word(message, end + 2)?, end: end + 4 })
    }
}

/// The labels of a name.
#[derive(Clone, Debug)]
struct Labels<'a> {
    message: &'a [u8],
    at: usize,
    /// What a pointer is to be below: only that way does it never come back to where it was (RFC 1035, section 4.1.4: "a prior
    /// occurrence").
    below: usize,
    labels: usize,
    jumps: usize,
    length: usize,
}

impl<'a> Labels<'a> {
    fn new(message: &'a [u8], at: usize, below: usize) -> Self {
        Labels { message, at, below, labels: 0, jumps: 0, length: 0 }
    }

    /// The next label, or none at the name's end. None of either kind: it is not sound.
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        loop {
            let &length = self.message.get(self.at)?;
            match length {
                0 => return Some(None),
                1..=63 => {
                    let label = self.message.get(self.at + 1..)?.get(..usize::from(length))?;
                    self.at += 1 + label.len();
                    self.length += 1 + label.len();
                    self.labels += 1;
                    // With the dots but one: 253 as text.
                    let is_too_long = self.length > LONGEST_NAME + 1 || self.labels > LABELS;
                    return if is_too_long { None } else { Some(Some(label)) };
                }
                0xc0.. => {
                    let target = usize::from(word(self.message, self.at)? & 0x3fff);
                    self.jumps += 1;
                    if target >= self.below || self.jumps > JUMPS {
                        return None;
                    }
                    (self.at, self.below) = (target, target);
                }
                _ => return None,
            }
        }
    }
}

/// Whether the names at two places of a message are the same one, in whatever letter case. One that is not sound is none.
pub(super) fn are_same_name(message: &[u8], one: usize, other: usize) -> bool {
    let (mut one, mut other) = (Labels::new(message, one, one), Labels::new(message, other, other));
    loop {
        match (one.next(), other.next()) {
            (Some(None), Some(None)) => return true,
            (Some(Some(a)), Some(Some(b))) if a.eq_ignore_ascii_case(b) => {}
            _ => return false,
        }
    }
}

/// A record of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Where the name is whose record it is.
    pub(super) owner: usize,
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) seconds: u32,
    /// Where the data are.
    pub(super) at: usize,
    pub(super) data: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at `at`, if it is sound as far as its shape goes. The next one is behind its data.
    pub(super) fn read(message: &'a [u8], at: usize) -> Option<Self> {
        let head = end_of_name(message, at)?;
        let seconds = u32::from(word(message, head + 4)?) << 16 | u32::from(word(message, head + 6)?);
        let length = usize::from(word(message, head + 8)?);
        let data = message.get(head + 10..)?.get(..length)?;
        Some(Record {
            owner: at,
            kind: word(message, head)?,
            class: word(message, head + 2)?,
            // RFC 2181, section 8: with the highest bit set, it is as if it were 0.
            seconds: if seconds > u32::MAX >> 1 { 0 } else { seconds },
            at: head + 10,
            data,
        })
    }
}

/// Where the name at `at` ends, without its jumps: behind its last label or its pointer.
pub(super) fn end_of_name(message: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..=LABELS {
        match message.get(at)? {
            0 => return Some(at + 1),
            &length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
    None
}

/// Two bytes, high one first.
pub(super) fn word(message: &[u8], at: usize) -> Option<u16> {
    let &[high, low] = message.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes([high, low]))
}
