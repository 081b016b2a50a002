//! Frames of a capture file, pcap or pcapng, one after the other, as they come.
//!
//! | format | what is read |
//! | --- | --- |
//! | pcap (draft-ietf-opsawg-pcap) | either byte order, microseconds or nanoseconds |
//! | pcapng (draft-ietf-opsawg-pcapng) | each section in its byte order; Interface Description Blocks: link type and `if_tsresol`; Enhanced Packet Blocks: time, frame, `opt_comment`, `epb_flags`. Other blocks are passed over, Simple Packet Blocks too, which have no time and no direction: they are counted |
//!
//! The file is hostile. A record or block over [`LONGEST`] is refused before it is read, and there are no more than
//! `INTERFACES` interfaces a section: so memory is bounded, whatever the file says and however long it is. A frame that was
//! cut as it was captured cannot be judged; it is handed out as such. Where the file ends in the middle of something, or is not
//! in order, the [`ReadError`] says at which byte.
#![forbid(unsafe_code)]

use thiserror::Error;

use super::Way;
use super::pcapng::{BYTE_ORDER_MAGIC, ENHANCED_PACKET, INTERFACE_DESCRIPTION, SECTION_HEADER};

/// The longest record or block that is read.
pub const LONGEST: u32 = 256 * 1024;
/// The most that is read at once.
const STEP: usize = 16 * 1024;
/// Half of what a clock here can count to: after the latest frame there is time left.
const LATEST: i64 = i64::MAX / 2;
/// The most interfaces of a section.
const INTERFACES: usize = 1024;

const ETHERNET: u16 = 1;
const SIMPLE_PACKET: u32 = 3;
const MICROSECONDS: u32 = 0xA1B2_C3D4;
const NANOSECONDS: u32 = 0xA1B2_3C4D;
const OPT_COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const EPB_FLAGS: u16 = 2;
const IF_TSRESOL: u16 = 9;

/// What is not in order in a file. Offsets are in bytes from its beginning.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It does not begin as a capture does.
    #[error("this is neither pcap nor pcapng")]
    NoCapture,
    /// It ends too early.
    #[error("the file is cut short: what begins at byte {0} is not whole")]
    CutShort(u64),
    /// Something is too long.
    #[error("at byte {at}: a block of {length} bytes, and the most that is read is {LONGEST}")]
    TooLong {
        /// Where it begins.
        at: u64,
        /// How long it says that it is.
        length: u32,
    },
    /// Lengths contradict each other, or something refers to what is not there.
    #[error("at byte {0}: the block is not in order: {1}")]
    Malformed(u64, &'static str),
    /// The link is of another kind.
    #[error("at byte {0}: link type {1}: only Ethernet (1) is read")]
    LinkType(u64, u16),
    /// It cannot be read: what the source of the bytes says.
    #[error("{0}")]
    Input(String),
}

/// A frame of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When, in microseconds since 1970.
    pub micros: i64,
    /// Which way, if the file says.
    pub way: Option<Way>,
    /// The frame, or as much of it as was captured.
    pub frame: Vec<u8>,
    /// Whether that is all of it.
    pub is_whole: bool,
    /// What is said about it.
    pub comment: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn half(self, bytes: &[u8]) -> Option<u16> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Order::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn word(self, bytes: &[u8]) -> Option<u32> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Order::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn word_at(self, bytes: &[u8], at: usize) -> Option<u32> {
        self.word(bytes.get(at..)?)
    }
}

#[derive(Debug)]
enum Format {
    /// With so many ticks a second.
    Pcap(Order, u64),
    /// With the ticks a second of each interface of this section.
    Pcapng(Order, Vec<u64>),
}

/// A file that is being read: `F` is [`read(2)`](https://man7.org/linux/man-pages/man2/read.2.html), of which 0 is the end.
#[derive(Debug)]
pub struct Reader<F> {
    input: F,
    format: Format,
    /// How much has been read.
    at: u64,
    passed_over: u64,
    /// The first interface's.
    name: Option<String>,
}

impl<F: FnMut(&mut [u8]) -> Result<usize, String>> Reader<F> {
    /// Reads what the file begins with.
    ///
    /// # Errors
    /// It is no capture, or not one of Ethernet.
    pub fn new(input: F) -> Result<Self, ReadError> {
        let mut reader =
            Reader { input, format: Format::Pcapng(Order::Little, Vec::new()), at: 0, passed_over: 0, name: None };
        let Some(magic) = reader.up_to_a_word()? else { return Err(ReadError::NoCapture) };
        if u32::from_be_bytes(magic) == SECTION_HEADER {
            reader.section(0)?;
            return Ok(reader);
        }
        let (order, ticks) = [Order::Little, Order::Big]
            .into_iter()
            .find_map(|order| match order.word(&magic)? {
                MICROSECONDS => Some((order, 1_000_000)),
                NANOSECONDS => Some((order, 1_000_000_000)),
                _ => None,
            })
            .ok_or(ReadError::NoCapture)?;
        let header = reader.body(0, 20)?;
        // The upper half has the length of a frame check sequence, if there is one (section 4): frames here have none.
        let link_type = order.word_at(&header, 16).unwrap_or_default();
        if link_type >> 16 != 0 {
            return Err(ReadError::Malformed(0, "frames with a check sequence are not read"));
        }
        reader.check_link(0, u16::try_from(link_type).unwrap_or_default())?;
        reader.format = Format::Pcap(order, ticks);
        Ok(reader)
    }

    /// The next frame; none at the end.
    ///
    /// # Errors
    /// The file is not in order, or cannot be read. What comes behind is lost.
    pub fn next_frame(&mut self) -> Result<Option<Captured>, ReadError> {
        if let Format::Pcap(order, ticks) = self.format {
            return self.record(order, ticks);
        }
        loop {
            let at = self.at;
            let Some(kind) = self.up_to_a_word()? else { return Ok(None) };
            if u32::from_be_bytes(kind) == SECTION_HEADER {
                self.section(at)?;
            } else if let Some(captured) = self.block(at, kind)? {
                return Ok(Some(captured));
            }
        }
    }

    /// How far the file has been read, in bytes.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// How many packets have been passed over that have neither time nor direction.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// What the first interface is called, as far as has been read.
    pub fn interface(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// A record of pcap.
    fn record(&mut self, order: Order, ticks: u64) -> Result<Option<Captured>, ReadError> {
        let at = self.at;
        let Some(seconds) = self.up_to_a_word()? else { return Ok(None) };
        let header = self.body(at, 12)?;
        let field = |index: usize| order.word_at(&header, 4 * index).unwrap_or_default();
        let (part, captured, original) = (field(0), field(1), field(2));
        if captured > LONGEST {
            return Err(ReadError::TooLong { at, length: captured });
        }
        let frame = self.body(at, captured)?;
        let seconds = u64::from(order.word(&seconds).unwrap_or_default());
        let micros = seconds * 1_000_000 + u64::from(part) / (ticks / 1_000_000);
        let micros = i64::try_from(micros).unwrap_or(LATEST).min(LATEST);
        Ok(Some(Captured { micros, way: None, frame, is_whole: captured >= original, comment: String::new() }))
    }

    /// A Section Header Block (4.1), whose type has been read: what comes behind has the byte order that it tells.
    fn section(&mut self, at: u64) -> Result<(), ReadError> {
        let length_and_magic = self.body(at, 8)?;
        let order = [Order::Little, Order::Big]
            .into_iter()
            .find(|order| order.word_at(&length_and_magic, 4) == Some(BYTE_ORDER_MAGIC))
            .ok_or(ReadError::Malformed(at, "no byte order"))?;
        let rest = self.rest_of_block(at, order, &length_and_magic, 12)?;
        if order.half(&rest) != Some(1) {
            return Err(ReadError::Malformed(at, "another version than 1"));
        }
        self.format = Format::Pcapng(order, Vec::new());
        Ok(())
    }

    /// Any other block, whose type has been read.
    fn block(&mut self, at: u64, kind: [u8; 4]) -> Result<Option<Captured>, ReadError> {
        let Format::Pcapng(order, _) = self.format else { return Ok(None) };
        let length = self.body(at, 4)?;
        let body = self.rest_of_block(at, order, &length, 8)?;
        let Format::Pcapng(order, interfaces) = &mut self.format else { return Ok(None) };
        match order.word(&kind).unwrap_or_default() {
            INTERFACE_DESCRIPTION => {
                let (link_type, ticks) =
                    interface(*order, &body).ok_or(ReadError::Malformed(at, "an interface without its fields"))?;
                if interfaces.len() >= INTERFACES {
                    return Err(ReadError::Malformed(at, "more interfaces than are read"));
                }
                if interfaces.is_empty() && self.name.is_none() {
                    let name = option(*order, body.get(8..).unwrap_or_default(), IF_NAME).unwrap_or_default();
                    self.name = Some(String::from_utf8_lossy(name).into_owned());
                }
                interfaces.push(ticks);
                self.check_link(at, link_type).map(|()| None)
            }
            ENHANCED_PACKET => {
                let of = order.word(&body).and_then(|index| interfaces.get(usize::try_from(index).ok()?));
                let ticks = of.ok_or(ReadError::Malformed(at, "a packet of no interface"))?;
                packet(*order, *ticks, &body)
                    .ok_or(ReadError::Malformed(at, "a packet longer than its block"))
                    .map(Some)
            }
            SIMPLE_PACKET => {
                self.passed_over += 1;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// What is between the first `read` bytes of a block and its second length. `head` begins with the first.
    fn rest_of_block(&mut self, at: u64, order: Order, head: &[u8], read: u32) -> Result<Vec<u8>, ReadError> {
        let length = order.word(head).unwrap_or_default();
        if length > LONGEST {
            return Err(ReadError::TooLong { at, length });
        }
        if length < read + 4 || !length.is_multiple_of(4) {
            return Err(ReadError::Malformed(at, "an impossible length"));
        }
        let mut rest = self.body(at, length - read)?;
        let again = rest.split_off(rest.len().saturating_sub(4));
        if order.word(&again) != Some(length) {
            return Err(ReadError::Malformed(at, "its two lengths differ"));
        }
        Ok(rest)
    }

    fn check_link(&self, at: u64, link_type: u16) -> Result<(), ReadError> {
        if link_type == ETHERNET { Ok(()) } else { Err(ReadError::LinkType(at, link_type)) }
    }

    /// `length` bytes of what begins at `at`.
    fn body(&mut self, at: u64, length: u32) -> Result<Vec<u8>, ReadError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut body = Vec::new();
        while body.len() < length {
            let begun = body.len();
            // Not all at once: a file may say that much and have nothing.
            body.resize(length.min(begun + STEP), 0);
            let read = (self.input)(body.get_mut(begun..).unwrap_or_default()).map_err(ReadError::Input)?;
            body.truncate(begun + read);
            self.at += read as u64;
            if read == 0 {
                return Err(ReadError::CutShort(at));
            }
        }
        Ok(body)
    }

    /// Four bytes; none at the end of the file.
    fn up_to_a_word(&mut self) -> Result<Option<[u8; 4]>, ReadError> {
        let at = self.at;
        match self.body(at, 4) {
            Ok(word) => Ok(word.first_chunk().copied()),
            Err(ReadError::CutShort(_)) if self.at == at => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The link type of an Interface Description Block (4.2), and its ticks a second.
fn interface(order: Order, body: &[u8]) -> Option<(u16, u64)> {
    let link_type = order.half(body)?;
    let ticks = match option(order, body.get(8..)?, IF_TSRESOL).and_then(<[u8]>::first) {
        // The high bit chooses between powers of 2 and of 10. One that a u64 has no room for is no clock's.
        Some(power) if power & 0x80 != 0 => 1u64.checked_shl((power & 0x7f).into())?,
        Some(power) => 10u64.checked_pow((*power).into())?,
        None => 1_000_000,
    };
    Some((link_type, ticks))
}

/// An Enhanced Packet Block (4.3).
fn packet(order: Order, ticks: u64, body: &[u8]) -> Option<Captured> {
    let field = |index: usize| order.word_at(body, 4 * index);
    let (high, low, captured, original) = (field(1)?, field(2)?, field(3)?, field(4)?);
    let length = usize::try_from(captured).ok()?;
    let data = body.get(20..)?;
    let frame = data.get(..length)?.to_vec();
    let options = data.get(length.checked_next_multiple_of(4)?..)?;
    let flags = option(order, options, EPB_FLAGS).and_then(|value| order.word(value)).unwrap_or_default();
    let time = (u128::from(high) << 32 | u128::from(low)) * 1_000_000 / u128::from(ticks);
    Some(Captured {
        micros: i64::try_from(time).unwrap_or(LATEST).min(LATEST),
        way: match flags & 3 {
            1 => Some(Way::In),
            2 => Some(Way::Out),
            _ => None,
        },
        frame,
        is_whole: captured >= original,
        comment: String::from_utf8_lossy(option(order, options, OPT_COMMENT).unwrap_or_default()).into_owned(),
    })
}

/// The first option with this code (3.5). Where options are not in order they end.
fn option(order: Order, mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let code = order.half(options)?;
        let length = usize::from(order.half(options.get(2..)?)?);
        if code == wanted {
            return options.get(4..4 + length);
        }
        if code == 0 {
            return None;
        }
        options = options.get(4 + length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests;
