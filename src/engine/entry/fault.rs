//! What can be wrong with an entry, where, and how it is told.
#![forbid(unsafe_code)]

use std::fmt;

use super::Entry;

/// Why a text is no entry: the text, the character, what is wrong with it, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry `{shown}`{at}: {fault}", at = At(self.column))]
pub struct EntryError {
    shown: String,
    fault: EntryFault,
    offset: Option<usize>,
    column: Option<usize>,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Nothing, where an entry should be.
    #[error("is empty; write an IPv4 address, a CIDR, @host or a name, or leave it and its comma out")]
    Empty,
    /// White space.
    #[error("has a blank; only one or more spaces behind `in` or `out` are taken")]
    Blank,
    /// `in` or `out`, and nothing behind.
    #[error(
        "has a direction and no target; write `in` or `out`, a space, and an IPv4 address, a CIDR, @host or a name"
    )]
    NoTarget,
    /// `@HOST`, `IN` and other spellings.
    #[error("is to be written in lower case: @host, in, out")]
    UpperCase,
    /// An IPv6 address.
    #[error("IPv6 never passes softnet, so no entry can be about it; write an IPv4 address or CIDR")]
    Ipv6,
    /// Neither an address nor a name.
    #[error("is neither an address nor a name with a dot in it; write an IPv4 address, a CIDR, @host or a whole name")]
    Name,
    /// A character that no name has.
    #[error(
        "has a character that names do not have; write letters, digits, hyphens and dots, and other letters as xn--..."
    )]
    NameCharacter,
    /// A part of a name that is none.
    #[error(
        "has an empty part of a name, one of more than 63 bytes, or one with a hyphen at an end; write the whole name"
    )]
    NameLabel,
    /// Too long for a name.
    #[error("has a name of more than 253 bytes; no name is so long")]
    NameLength,
    /// A star elsewhere than in front.
    #[error("has a star inside of a name; write `*.` in front of a name, for all names below it, or no star")]
    Wildcard,
    /// A name in an `in` entry.
    #[error(
        "is about what others begin, and a name's addresses are not known before the guest asks for them; write `out` or \
         no direction, or an address"
    )]
    NameInward,
    /// Another word behind `@`.
    #[error("is unknown; the only target with @ is @host, without a prefix length")]
    UnknownTarget,
    /// An octet, a prefix length or a port with a zero in front: some read it as octal.
    #[error("has a number with a leading zero, which some read as octal; write it in plain decimal")]
    LeadingZero,
    /// Not four octets.
    #[error("is not an IPv4 address; write four numbers from 0 to 255 with dots between")]
    Address,
    /// Not a prefix length.
    #[error("has no valid prefix length; write a number from 0 to 32 behind the slash")]
    PrefixLength,
    /// Not a port and not a range of ports.
    #[error("has no valid port; write a number from 1 to 65535 behind the colon, or two with a hyphen between")]
    Port,
    /// A range of ports that ends before it begins.
    #[error("has a range of ports that ends before it begins; write the lower port first")]
    PortOrder,
    /// More entries than [`MAX_ENTRIES`](super::MAX_ENTRIES).
    #[error(
        "is one too many: a policy takes at most 4096 entries, both lists together; merge some into wider prefixes"
    )]
    TooMany,
}

/// A fault, and the byte of the entry at which it was seen.
pub(in super::super) type Misfit = (EntryFault, usize);

impl EntryError {
    /// The longest part of an entry that an error repeats, in characters.
    const ECHO: usize = 64;

    pub(super) fn new(entry: &str, (fault, offset): Misfit) -> Self {
        let column = 1 + entry.char_indices().take_while(|&(at, _)| at < offset).count();
        EntryError { offset: Some(offset), column: Some(column), ..EntryError::of_whole(entry, fault) }
    }

    fn of_whole(entry: &str, fault: EntryFault) -> Self {
        // The text comes from a peer and goes to terminals and logs: no control characters, and not all of it.
        let mut shown: String = entry.chars().take(Self::ECHO).flat_map(char::escape_debug).collect();
        if entry.chars().nth(Self::ECHO).is_some() {
            shown.push_str("...");
        }
        EntryError { shown, fault, offset: None, column: None }
    }

    /// The first text past the most that a policy takes.
    pub(in super::super) fn too_many(entry: &str) -> Self {
        EntryError::of_whole(entry, EntryFault::TooMany)
    }

    /// [`EntryError::too_many`], where the texts are read already.
    pub(in super::super) fn too_many_of(entry: &Entry) -> Self {
        EntryError::too_many(&entry.to_string())
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> EntryFault {
        self.fault
    }

    /// Where, as an offset in bytes into the entry as it was given; nowhere in particular when there are too many.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        self.offset
    }
}

/// A column, counted in characters from 1, as a message has it.
struct At(Option<usize>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |column| write!(f, ", character {column}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_the_entry_without_control_characters_and_not_at_any_length() {
        let error = "ex\u{1b}[2Jam\nple".parse::<Entry>().unwrap_err().to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
        let error = "x".repeat(100_000).parse::<Entry>().unwrap_err().to_string();
        assert!(error.len() < 300 && error.contains("xxx..."));
    }

    #[test]
    fn an_error_names_entry_character_and_reason() {
        let error = "in 10.0.0.0/33".parse::<Entry>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "entry `in 10.0.0.0/33`, character 13: has no valid prefix length; write a number from 0 to 32 behind the slash"
        );
        assert_eq!(error.offset(), Some(12));
        let error = "１.2.3.4 ".parse::<Entry>().unwrap_err();
        assert_eq!(error.offset(), Some(9), "in bytes");
        assert!(error.to_string().contains(", character 8: "), "in characters: {error}");
        assert!(EntryError::too_many("@host").to_string().starts_with("entry `@host`: is one too many"));
    }
}
