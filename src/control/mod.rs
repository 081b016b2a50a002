//! The control channel's session: requests in, replies out, the policy of an [`Engine`] between them.
//!
//! PURE: no operating system, no clock, no `unsafe`, no logging. docs/control-protocol.md says for clients what is read here.
//!
//! # Theory of operation
//! A request is a line. It is read as it comes (`json`, `request`), not kept: of a line of any length there is the text
//! of one string, what the request says so far, and whether it is one.
//!
//! A new policy may have 4096 entries, and frames do not wait while they are sorted, counted and written into a reply. So
//! the work is done in steps, and [`Session::advance`] does one: it reads a piece of a request, or does the next thing that
//! the last one asks for. A `Change` is a policy on its way. The last of its steps queues the reply and puts the policy
//! into force: nothing has changed before it, and no frame is judged within it.
//!
//! Whoever calls sends the replies before it lets more be read: then at most one reply is in memory. A caller that does not
//! meets [`MAX_UNSENT`]: the session ends there, and takes nothing more.
//!
//! # What a client can make it do
//! Work in proportion to the bytes that it sends, and a bounded step at a time; memory for two policies and a reply. Nothing
//! that it sends ends more than the session.
#![forbid(unsafe_code)]

mod json;
mod reply;
mod request;

use json::{Malformed, Reader};
use reply::{Code, Fault, Id};
use request::{Builder, Request};

use crate::engine::{Compiled, Draft, Engine, MAX_ENTRIES, Sorted};

/// The longest request, in bytes, without its line feed.
pub const MAX_REQUEST: usize = 1 << 20;

/// The most bytes of replies that wait to be sent.
pub const MAX_UNSENT: usize = 4 << 20;

/// More than the largest reply has: [`MAX_ENTRIES`] entries, quoted and with commas, the longest id, and the rest.
const MAX_REPLY: usize = MAX_ENTRIES * (LONGEST_ENTRY + 3) + (4 << 10);
/// `out *.` and a name of 253 bytes with ports.
const LONGEST_ENTRY: usize = "out *.".len() + 253 + ":65534-65535".len();

/// Memory for replies that is kept for the next one.
const KEPT_FOR_REPLIES: usize = 64 << 10;

/// What is known of the line that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// JSON so far.
    Sound,
    /// Not JSON.
    Bad(Malformed),
    /// Too long: answered already, and what comes of it is thrown away.
    Answered,
}

/// A policy on its way into force.
#[derive(Debug)]
enum Change {
    /// Its entries are there.
    Drafted(Draft),
    /// In normal form, with its lists as a reply has them, it is being compiled.
    Sorted(Box<Sorted>, Vec<u8>),
    /// All that is left is to say so, and to put it into force.
    Compiled(Box<Compiled>, Vec<u8>),
}

/// What clients make of entries about names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelNames {
    /// They do not know them: none is taken.
    Refused,
    /// They do (`--policy-names`).
    Taken,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    reader: Reader,
    names: ChannelNames,
    builder: Builder,
    line: Line,
    /// Bytes of the line so far; not counted further once it is too long.
    length: usize,
    /// What the last request asks for and is not done yet, and the id of its reply.
    change: Option<(Id, Change)>,
    /// The lists of the policy in force, as a reply has them.
    lists: Vec<u8>,
    rule_count: usize,
    replies: Vec<u8>,
    /// How many bytes of the replies have been sent.
    sent: usize,
    is_over: bool,
}

impl Session {
    /// A session about the policy of `engine`, which no one else changes.
    #[must_use]
    pub fn new(engine: &Engine, names: ChannelNames) -> Self {
        Session {
            reader: Reader::new(),
            names,
            builder: Builder::new(names),
            line: Line::Sound,
            length: 0,
            change: None,
            lists: reply::lists(&engine.policy().texts()),
            rule_count: engine.rule_count(),
            replies: Vec::new(),
            sent: 0,
            is_over: false,
        }
    }

    /// Does a step: what the last request still asks for, or else reads `input`, at most to the end of a request. Returns how
    /// many bytes were read. It does nothing if there is nothing to do or the session [is over](Session::is_over).
    pub fn advance(&mut self, input: &[u8], engine: &mut Engine) -> usize {
        if let Some((id, change)) = self.change.take() {
            self.change = self.carry_on(id, change, engine);
            return 0;
        }
        if self.unsent().len() > MAX_UNSENT - MAX_REPLY {
            self.is_over = true;
        }
        if self.is_over {
            return 0;
        }
        let end = input.iter().position(|&byte| byte == b'\n');
        self.read(&input[..end.unwrap_or(input.len())]);
        match end {
            Some(end) => {
                self.end_line();
                end + 1
            }
            None => input.len(),
        }
    }

    /// Whether there is something to do without more input.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.change.is_some()
    }

    /// The bytes of replies that wait to be sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.replies[self.sent..]
    }

    /// Says that the first `count` of the waiting bytes are sent.
    pub fn mark_sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count).min(self.replies.len());
        if self.sent == self.replies.len() {
            self.sent = 0;
            self.replies.clear();
            self.replies.shrink_to(KEPT_FOR_REPLIES);
        }
    }

    /// Whether it met [`MAX_UNSENT`]: the next reply might not have had room, so nothing was read and nothing more will be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    fn read(&mut self, bytes: &[u8]) {
        if self.line == Line::Answered {
            return;
        }
        let room = MAX_REQUEST - self.length;
        let (bytes, is_too_long) = if bytes.len() > room { (&bytes[..room], true) } else { (bytes, false) };
        self.length += bytes.len();
        if self.line == Line::Sound
            && let Err(malformed) = self.reader.read(bytes, &mut self.builder)
        {
            self.line = Line::Bad(malformed);
            // Nothing that was read so far is of use, and the rest of the line may be long.
            self.builder = Builder::new(self.names);
        }
        if is_too_long {
            let fault = Fault::new(Code::Parse, format!("longer than {MAX_REQUEST} bytes"));
            self.refuse(&Id::Null, &fault);
            self.line = Line::Answered;
            self.builder = Builder::new(self.names);
        }
    }

    fn end_line(&mut self) {
        let builder = std::mem::replace(&mut self.builder, Builder::new(self.names));
        let line = std::mem::replace(&mut self.line, Line::Sound);
        self.length = 0;
        let ended = match line {
            Line::Answered => None,
            Line::Bad(malformed) => Some(Err(malformed)),
            Line::Sound => Some(self.end_text(builder)),
        };
        self.reader.reset();
        match ended {
            None => {}
            Some(Err(malformed)) => self.refuse(&Id::Null, &Fault::new(Code::Parse, malformed.to_string())),
            Some(Ok((id, Err(fault)))) => self.refuse(&id, &fault),
            Some(Ok((id, Ok(request)))) => self.answer(id, request),
        }
    }

    fn end_text(&mut self, mut builder: Builder) -> Result<(Id, Result<Request, Fault>), Malformed> {
        self.reader.end(&mut builder)?;
        Ok(builder.finish())
    }

    fn answer(&mut self, id: Id, request: Request) {
        match request {
            Request::Get => self.write_policy(&id),
            Request::Set(draft) => self.change = Some((id, Change::Drafted(draft))),
        }
    }

    fn carry_on(&mut self, id: Id, change: Change, engine: &mut Engine) -> Option<(Id, Change)> {
        let next = match change {
            Change::Drafted(draft) => {
                let (sorted, texts) = draft.sort();
                Change::Sorted(Box::new(sorted), reply::lists(&texts))
            }
            Change::Sorted(sorted, lists) => match sorted.compile(engine.terms()) {
                Ok(compiled) => Change::Compiled(Box::new(compiled), lists),
                Err(sorted) => Change::Sorted(sorted, lists),
            },
            Change::Compiled(compiled, lists) => {
                (self.lists, self.rule_count) = (lists, compiled.rule_count());
                self.write_policy(&id);
                engine.set_compiled(*compiled);
                return None;
            }
        };
        Some((id, next))
    }

    fn write_policy(&mut self, id: &Id) {
        reply::write_policy(&mut self.replies, id, &self.lists, self.rule_count);
    }

    fn refuse(&mut self, id: &Id, fault: &Fault) {
        reply::write_fault(&mut self.replies, id, fault);
    }
}

#[cfg(test)]
mod tests;
