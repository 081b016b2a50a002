//! JSON (RFC 8259) as it comes, a byte at a time.
//!
//! # Theory of operation
//! A request may have a megabyte, and frames must not wait while it is read: so it is not kept and then parsed, but read as
//! it comes, in pieces of any size, by a state machine whose work is bounded a byte. What a value is made of goes to a
//! [`TokenSink`] as a row of [`Token`]s. The memory is [`KEPT`] bytes of text and a bit a level, whatever comes.
//!
//! Strict: the grammar of RFC 8259 and nothing beside it; well-formed UTF-8 (RFC 3629); no byte order mark; escapes that
//! name half a surrogate pair are refused, since no text has it. Numbers are told apart from one another by their letters,
//! and never rounded.
#![forbid(unsafe_code)]

mod text;

pub(super) use text::Text;
use text::{Decoder, Progress};

/// The deepest nesting of arrays and objects.
pub(super) const MAX_DEPTH: u32 = 127;

/// How much of a string, decoded, or of a number is kept. More than any that means something here; [`Text::is_cut`] tells.
pub(super) const KEPT: usize = 1024;

/// A part of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// A member's name.
    Key(Text<'a>),
    /// A string.
    String(Text<'a>),
    /// A number, in its own letters.
    Number(Text<'a>),
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
}

/// Takes the tokens, in their order.
pub(super) trait TokenSink {
    /// The next one.
    fn token(&mut self, token: Token<'_>);
}

/// Why bytes are no JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// Not the grammar.
    #[error("not JSON")]
    Syntax,
    /// Ended before the value did.
    #[error("not JSON: it ends too early")]
    Cut,
    /// White space alone.
    #[error("not JSON: the line is blank")]
    Blank,
    /// Bytes that are no UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// `\ud800` without its other half.
    #[error("not JSON: half a surrogate pair is no text")]
    Surrogate,
    /// More levels than [`MAX_DEPTH`].
    #[error("nested too deep: the limit is 127 levels")]
    Depth,
}

/// Where in the grammar the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// After `[`: a value or `]`.
    FirstElement,
    /// After `{`: a name or `}`.
    FirstKey,
    /// After `,` in an object.
    Key,
    /// After a name.
    Colon,
    /// After a value in an array or object.
    Next,
    /// In a string, which is a name or a value.
    InText(Role),
    /// In a number.
    InNumber(Number),
    /// In `true`, `false` or `null`: what is still to come of it.
    InWord(&'static [u8], Token<'static>),
    /// After the value.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Key,
    Value,
}

/// Where in a number (RFC 8259, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// Reads one JSON text after another.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// A bit a level, the innermost lowest: 1 is an object.
    levels: u128,
    depth: u32,
    text: Decoder,
}

impl Reader {
    pub(super) fn new() -> Self {
        Reader { state: State::Value, levels: 0, depth: 0, text: Decoder::new() }
    }

    /// Back to before the first byte.
    pub(super) fn reset(&mut self) {
        (self.state, self.levels, self.depth) = (State::Value, 0, 0);
        self.text.clear();
    }

    /// Reads the next bytes of the text.
    pub(super) fn read(&mut self, bytes: &[u8], sink: &mut impl TokenSink) -> Result<(), Malformed> {
        bytes.iter().try_for_each(|&byte| self.step(byte, sink))
    }

    /// Says that the text ends here.
    pub(super) fn end(&mut self, sink: &mut impl TokenSink) -> Result<(), Malformed> {
        if let State::InNumber(number) = self.state {
            self.end_number(number, sink)?;
        }
        match self.state {
            State::Done => Ok(()),
            State::Value if self.depth == 0 => Err(Malformed::Blank),
            _ => Err(Malformed::Cut),
        }
    }

    fn step(&mut self, byte: u8, sink: &mut impl TokenSink) -> Result<(), Malformed> {
        match self.state {
            State::InText(role) => self.in_text(role, byte, sink),
            State::InNumber(number) => self.in_number(number, byte, sink),
            State::InWord(rest, token) => self.in_word(rest, token, byte, sink),
            _ => self.between(byte, sink),
        }
    }

    /// Outside of strings, numbers and words.
    fn between(&mut self, byte: u8, sink: &mut impl TokenSink) -> Result<(), Malformed> {
        match (self.state, byte) {
            (_, b' ' | b'\t' | b'\n' | b'\r') => Ok(()),
            (State::Value | State::FirstElement, b'{') => self.open(State::FirstKey, 1, Token::ObjectStart, sink),
            (State::Value | State::FirstElement, b'[') => self.open(State::FirstElement, 0, Token::ArrayStart, sink),
            (State::Value | State::FirstElement, b'"') => self.start_text(Role::Value),
            (State::FirstElement, b']') => self.close(Token::ArrayEnd, sink),
            (State::Value | State::FirstElement, _) => self.start_scalar(byte),
            (State::FirstKey | State::Key, b'"') => self.start_text(Role::Key),
            (State::Colon, b':') => self.go(State::Value),
            (State::Next, b',') if self.in_object() => self.go(State::Key),
            (State::Next, b',') => self.go(State::Value),
            (State::FirstKey, b'}') => self.close(Token::ObjectEnd, sink),
            (State::Next, b'}') if self.in_object() => self.close(Token::ObjectEnd, sink),
            (State::Next, b']') if !self.in_object() => self.close(Token::ArrayEnd, sink),
            _ => Err(not_json(byte)),
        }
    }

    fn start_scalar(&mut self, byte: u8) -> Result<(), Malformed> {
        match byte {
            b'n' => return self.go(State::InWord(b"ull", Token::Null)),
            b't' => return self.go(State::InWord(b"rue", Token::Bool)),
            b'f' => return self.go(State::InWord(b"alse", Token::Bool)),
            _ => {}
        }
        let number = match byte {
            b'-' => Number::Minus,
            b'0' => Number::Zero,
            b'1'..=b'9' => Number::Integer,
            _ => return Err(not_json(byte)),
        };
        self.text.clear();
        self.text.keep(byte);
        self.go(State::InNumber(number))
    }

    fn start_text(&mut self, role: Role) -> Result<(), Malformed> {
        self.text.clear();
        self.go(State::InText(role))
    }

    #[inline]
    fn in_text(&mut self, role: Role, byte: u8, sink: &mut impl TokenSink) -> Result<(), Malformed> {
        match self.text.step(byte)? {
            Progress::More => Ok(()),
            Progress::End if role == Role::Key => {
                sink.token(Token::Key(self.text.text()));
                self.go(State::Colon)
            }
            Progress::End => {
                sink.token(Token::String(self.text.text()));
                self.after_value()
            }
        }
    }

    fn in_number(&mut self, number: Number, byte: u8, sink: &mut impl TokenSink) -> Result<(), Malformed> {
        use Number::*;
        let next = match (number, byte) {
            (Minus, b'0') => Zero,
            (Minus, b'1'..=b'9') | (Integer, b'0'..=b'9') => Integer,
            (Zero | Integer, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Integer | Fraction, b'e' | b'E') => E,
            (E, b'+' | b'-') => Sign,
            (E | Sign | Exponent, b'0'..=b'9') => Exponent,
            _ => {
                self.end_number(number, sink)?;
                return self.between(byte, sink);
            }
        };
        self.text.keep(byte);
        self.go(State::InNumber(next))
    }

    fn end_number(&mut self, number: Number, sink: &mut impl TokenSink) -> Result<(), Malformed> {
        match number {
            Number::Zero | Number::Integer | Number::Fraction | Number::Exponent => {
                sink.token(Token::Number(self.text.text()));
                self.after_value()
            }
            Number::Minus | Number::Point | Number::E | Number::Sign => Err(Malformed::Syntax),
        }
    }

    fn in_word(
        &mut self,
        rest: &'static [u8],
        token: Token<'static>,
        byte: u8,
        sink: &mut impl TokenSink,
    ) -> Result<(), Malformed> {
        match rest {
            [last] if *last == byte => {
                sink.token(token);
                self.after_value()
            }
            [next, rest @ ..] if *next == byte => self.go(State::InWord(rest, token)),
            _ => Err(not_json(byte)),
        }
    }

    fn open(
        &mut self,
        state: State,
        level: u128,
        token: Token<'_>,
        sink: &mut impl TokenSink,
    ) -> Result<(), Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed::Depth);
        }
        self.depth += 1;
        self.levels = self.levels << 1 | level;
        sink.token(token);
        self.go(state)
    }

    fn close(&mut self, token: Token<'_>, sink: &mut impl TokenSink) -> Result<(), Malformed> {
        self.depth -= 1;
        self.levels >>= 1;
        sink.token(token);
        self.after_value()
    }

    fn in_object(&self) -> bool {
        self.levels & 1 == 1
    }

    fn after_value(&mut self) -> Result<(), Malformed> {
        self.go(if self.depth == 0 { State::Done } else { State::Next })
    }

    fn go(&mut self, state: State) -> Result<(), Malformed> {
        self.state = state;
        Ok(())
    }
}

/// What a byte is that the grammar has no place for.
fn not_json(byte: u8) -> Malformed {
    if byte.is_ascii() { Malformed::Syntax } else { Malformed::Encoding }
}

#[cfg(test)]
mod tests;
