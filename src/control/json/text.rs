//! The inside of a JSON string: UTF-8 and escapes (RFC 8259, section 7; RFC 3629), decoded as they come.
#![forbid(unsafe_code)]

use std::str;

use super::{KEPT, Malformed};

/// Texts up to this length are kept as they are. Of longer ones, which can only be entries here, spaces in a row are kept as
/// one: an entry may have any number of them behind its direction, and they mean what one means.
const LONG: usize = 256;

/// What was kept of a string or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) struct Text<'a> {
    kept: &'a str,
    is_cut: bool,
}

impl<'a> Text<'a> {
    /// What was kept of it: the start, if it is longer than [`KEPT`].
    pub(in crate::control) fn kept(self) -> &'a str {
        self.kept
    }

    /// Whether its end was not kept.
    pub(in crate::control) fn is_cut(self) -> bool {
        self.is_cut
    }

    /// The text, exactly, if it has at most 256 bytes.
    pub(in crate::control) fn short(self) -> Option<&'a str> {
        (self.kept.len() <= LONG).then_some(self.kept)
    }
}

/// Whether a string goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    End,
}

/// Where in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    /// In a character of several bytes: how many must still come, and within what the next one must be.
    Tail(u8, u8, u8),
    /// After a backslash.
    Escape,
    /// In `\uXXXX`: digits read, and their value.
    Hex(u8, u16),
    /// After the first half of a surrogate pair, which is this.
    Half(u16),
    /// After that and a backslash.
    HalfEscape(u16),
    /// In the second half: digits read, their value; the first half.
    HalfHex(u8, u16, u16),
}

/// Decodes a string into memory of a fixed size.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    kept: Vec<u8>,
    is_cut: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Decoder { state: State::Plain, kept: Vec::with_capacity(KEPT), is_cut: false }
    }

    pub(super) fn clear(&mut self) {
        self.state = State::Plain;
        self.kept.clear();
        self.is_cut = false;
    }

    /// What has been kept since it was cleared.
    pub(super) fn text(&self) -> Text<'_> {
        let kept = match str::from_utf8(&self.kept) {
            Ok(kept) => kept,
            // Cut in the middle of a character.
            Err(error) => str::from_utf8(&self.kept[..error.valid_up_to()]).unwrap_or_default(),
        };
        Text { kept, is_cut: self.is_cut }
    }

    /// Reads a byte of a string, after its opening quote.
    #[inline]
    pub(super) fn step(&mut self, byte: u8) -> Result<Progress, Malformed> {
        match self.state {
            State::Plain => return self.plain(byte),
            State::Tail(left, low, high) => {
                if !(low..=high).contains(&byte) {
                    return Err(Malformed::Encoding);
                }
                self.keep(byte);
                self.state = if left == 1 { State::Plain } else { State::Tail(left - 1, 0x80, 0xbf) };
            }
            State::Escape => self.escaped(byte)?,
            State::Hex(read, value) => {
                let value = value << 4 | digit(byte)?;
                self.state = match (read, value) {
                    (0..=2, _) => State::Hex(read + 1, value),
                    (_, 0xd800..=0xdbff) => State::Half(value),
                    _ => return self.keep_char(value.into()),
                };
            }
            State::Half(first) if byte == b'\\' => self.state = State::HalfEscape(first),
            State::HalfEscape(first) if byte == b'u' => self.state = State::HalfHex(0, 0, first),
            State::Half(_) | State::HalfEscape(_) => return Err(Malformed::Surrogate),
            State::HalfHex(read, value, first) => {
                let value = value << 4 | digit(byte)?;
                if read < 3 {
                    self.state = State::HalfHex(read + 1, value, first);
                } else if (0xdc00..=0xdfff).contains(&value) {
                    return self.keep_char(0x1_0000 + (u32::from(first & 0x3ff) << 10) + u32::from(value & 0x3ff));
                } else {
                    return Err(Malformed::Surrogate);
                }
            }
        }
        Ok(Progress::More)
    }

    #[inline]
    fn plain(&mut self, byte: u8) -> Result<Progress, Malformed> {
        match byte {
            b'"' => return Ok(Progress::End),
            b'\\' => self.state = State::Escape,
            0..=0x1f => return Err(Malformed::Syntax),
            0x20..=0x7f => self.keep(byte),
            _ => {
                // RFC 3629, section 4: no overlong forms, no surrogates, nothing beyond U+10FFFF.
                self.state = match byte {
                    0xc2..=0xdf => State::Tail(1, 0x80, 0xbf),
                    0xe0 => State::Tail(2, 0xa0, 0xbf),
                    0xed => State::Tail(2, 0x80, 0x9f),
                    0xe1..=0xef => State::Tail(2, 0x80, 0xbf),
                    0xf0 => State::Tail(3, 0x90, 0xbf),
                    0xf1..=0xf3 => State::Tail(3, 0x80, 0xbf),
                    0xf4 => State::Tail(3, 0x80, 0x8f),
                    _ => return Err(Malformed::Encoding),
                };
                self.keep(byte);
            }
        }
        Ok(Progress::More)
    }

    fn escaped(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = State::Plain;
        match byte {
            b'"' | b'\\' | b'/' => self.keep(byte),
            b'b' => self.keep(0x08),
            b'f' => self.keep(0x0c),
            b'n' => self.keep(b'\n'),
            b'r' => self.keep(b'\r'),
            b't' => self.keep(b'\t'),
            b'u' => self.state = State::Hex(0, 0),
            _ => return Err(Malformed::Syntax),
        }
        Ok(())
    }

    fn keep_char(&mut self, code: u32) -> Result<Progress, Malformed> {
        // A second half without its first is no character.
        let character = char::from_u32(code).ok_or(Malformed::Surrogate)?;
        for &byte in character.encode_utf8(&mut [0; 4]).as_bytes() {
            self.keep(byte);
        }
        self.state = State::Plain;
        Ok(Progress::More)
    }

    #[inline]
    pub(super) fn keep(&mut self, byte: u8) {
        let length = self.kept.len();
        if length <= LONG {
            self.kept.push(byte);
        } else if byte == b' ' && self.kept.last() == Some(&b' ') && !self.is_cut {
            // Means no more than the space before it.
        } else if length < KEPT && !self.is_cut {
            self.kept.push(byte);
        } else {
            self.is_cut = true;
        }
    }
}

fn digit(byte: u8) -> Result<u16, Malformed> {
    match byte {
        b'0'..=b'9' => Ok(u16::from(byte - b'0')),
        b'a'..=b'f' => Ok(u16::from(byte - b'a') + 10),
        b'A'..=b'F' => Ok(u16::from(byte - b'A') + 10),
        _ => Err(Malformed::Syntax),
    }
}
