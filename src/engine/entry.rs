//! The grammar of an allow or block entry.
//!
//! An entry is an IPv4 CIDR (`10.0.0.0/8`), a bare address (`10.1.2.3`, which means /32), or `@host` (the gateway). Host
//! bits are cleared: `10.1.2.3/8` is `10.0.0.0/8`. What a later release will take (a direction, ports) and what never will
//! be (IPv6, names) is refused by name, so that nobody takes silence for consent.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

/// The most entries that one list may have.
pub const MAX_ENTRIES: usize = 4096;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A prefix, host bits cleared.
    Prefix(Ipv4Net),
    /// `@host`: the gateway.
    Host,
}

/// One entry of `--allow` or `--block`.
///
/// Its [`Display`](fmt::Display) is the normalised form, and parses back to the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Whom it is about.
    pub target: Target,
}

/// Why a text is no entry: the text, what is wrong with it, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry `{entry}`: {fault}")]
pub struct EntryError {
    entry: String,
    fault: EntryFault,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Nothing, where an entry should be.
    #[error("is empty; write an IPv4 address, a CIDR or @host, or leave it and its comma out")]
    Empty,
    /// White space.
    #[error("has blanks; write it without")]
    Blank,
    /// `in` or `out`.
    #[error("entries with a direction come with a later release; write the target without `in` or `out`")]
    Directed,
    /// `:PORT`.
    #[error("entries with ports come with a later release; write the target without `:` and what follows")]
    Ports,
    /// An IPv6 address.
    #[error("IPv6 never passes softnet, so no entry can be about it; write an IPv4 address or CIDR")]
    Ipv6,
    /// A host name, or something like it.
    #[error("is not an address, and names are not looked up; write an IPv4 address, a CIDR or @host")]
    Name,
    /// `@HOST` and other spellings.
    #[error("is to be written in lower case: @host")]
    UpperCaseHost,
    /// Another word behind `@`.
    #[error("is unknown; the only target with @ is @host, without a prefix length")]
    UnknownTarget,
    /// An octet or a prefix length with a zero in front: some read it as octal.
    #[error("has a number with a leading zero, which some read as octal; write it in plain decimal")]
    LeadingZero,
    /// Not four octets.
    #[error("is not an IPv4 address; write four numbers from 0 to 255 with dots between")]
    Address,
    /// Not a prefix length.
    #[error("has no valid prefix length; write a number from 0 to 32 behind the slash")]
    PrefixLength,
    /// A list longer than [`MAX_ENTRIES`].
    #[error("is one too many: a list takes at most 4096 entries; merge some into wider prefixes")]
    TooMany,
}

impl EntryError {
    /// The longest part of an entry that an error repeats, in characters.
    const ECHO: usize = 64;

    fn new(entry: &str, fault: EntryFault) -> Self {
        // The text comes from a peer and goes to terminals and logs: no control characters, and not all of it.
        let mut shown: String = entry.chars().take(Self::ECHO).flat_map(char::escape_debug).collect();
        if entry.chars().nth(Self::ECHO).is_some() {
            shown.push_str("...");
        }
        EntryError { entry: shown, fault }
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> EntryFault {
        self.fault
    }
}

impl Entry {
    /// The entries of a comma separated list, as the command line has it. An empty list has no entries.
    ///
    /// # Errors
    /// The first bad entry; an empty one between commas is bad too. More than [`MAX_ENTRIES`] entries.
    pub fn parse_list(list: &str) -> Result<Vec<Entry>, EntryError> {
        if list.is_empty() {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        for text in list.split(',') {
            let entry = text.parse()?;
            if entries.len() == MAX_ENTRIES {
                return Err(EntryError::new(text, EntryFault::TooMany));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl FromStr for Entry {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        parse_target(text).map(|target| Entry { target }).map_err(|fault| EntryError::new(text, fault))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            Target::Prefix(net) => net.fmt(f),
            Target::Host => f.write_str("@host"),
        }
    }
}

fn parse_target(text: &str) -> Result<Target, EntryFault> {
    let first_word =
        text.split_whitespace().next().ok_or(if text.is_empty() { EntryFault::Empty } else { EntryFault::Blank })?;
    if first_word.eq_ignore_ascii_case("in") || first_word.eq_ignore_ascii_case("out") {
        return Err(EntryFault::Directed);
    }
    if text.contains(char::is_whitespace) {
        return Err(EntryFault::Blank);
    }
    match text.matches(':').count() {
        0 => {}
        1 => return Err(EntryFault::Ports),
        _ => return Err(EntryFault::Ipv6),
    }
    if text == "@host" {
        return Ok(Target::Host);
    }
    if text.eq_ignore_ascii_case("@host") {
        return Err(EntryFault::UpperCaseHost);
    }
    if text.starts_with('@') {
        return Err(EntryFault::UnknownTarget);
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (parse_address(address)?, parse_prefix_length(length)?),
        None => (parse_address(text)?, 32),
    };
    let net = Ipv4Net::new(address, length).map_err(|_| EntryFault::PrefixLength)?;
    Ok(Target::Prefix(net.trunc()))
}

fn parse_address(text: &str) -> Result<Ipv4Addr, EntryFault> {
    if text.chars().any(|c| !c.is_ascii_digit() && c != '.') {
        return Err(EntryFault::Name);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = parse_decimal(parts.next().unwrap_or_default(), EntryFault::Address)?;
    }
    if parts.next().is_some() {
        return Err(EntryFault::Address);
    }
    Ok(Ipv4Addr::from(octets))
}

fn parse_prefix_length(text: &str) -> Result<u8, EntryFault> {
    if text.chars().any(|c| !c.is_ascii_digit()) {
        return Err(EntryFault::PrefixLength);
    }
    parse_decimal(text, EntryFault::PrefixLength)
}

fn parse_decimal(digits: &str, otherwise: EntryFault) -> Result<u8, EntryFault> {
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(EntryFault::LeadingZero);
    }
    digits.parse().map_err(|_| otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_normalised_and_its_normal_form_parses_back() {
        for (text, normal) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("1.2.3.4", "1.2.3.4/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("255.255.255.255/0", "0.0.0.0/0"),
            ("192.168.64.7/32", "192.168.64.7/32"),
            ("@host", "@host"),
        ] {
            let entry: Entry = text.parse().unwrap();
            assert_eq!(entry.to_string(), normal);
            assert_eq!(normal.parse::<Entry>().unwrap(), entry);
        }
    }

    #[test]
    fn a_bad_entry_is_refused_by_name() {
        use EntryFault::*;
        for (text, fault) in [
            ("", Empty),
            (" ", Blank),
            ("\t", Blank),
            (" 1.2.3.4", Blank),
            ("1.2.3.4 ", Blank),
            ("1.2.3.4 /8", Blank),
            ("in 1.2.3.4", Directed),
            ("out @host", Directed),
            ("in", Directed),
            ("in  1.2.3.4", Directed),
            ("IN 1.2.3.4", Directed),
            ("in 1.2.3.4:22", Directed),
            ("1.2.3.4:22", Ports),
            ("@host:53", Ports),
            ("10.0.0.0/8:1-9", Ports),
            ("example.com:80", Ports),
            ("::1", Ipv6),
            ("fe80::1/64", Ipv6),
            ("::ffff:1.2.3.4", Ipv6),
            ("2001:db8:0:0:0:0:0:1", Ipv6),
            ("example.com", Name),
            ("localhost", Name),
            ("0x7f.0.0.1", Name),
            ("１.2.3.4", Name),
            ("-1.2.3.4", Name),
            ("+1.2.3.4", Name),
            ("1.2.3.4\0", Name),
            ("@HOST", UpperCaseHost),
            ("@Host", UpperCaseHost),
            ("@guest", UnknownTarget),
            ("@host/32", UnknownTarget),
            ("@", UnknownTarget),
            ("010.0.0.1", LeadingZero),
            ("10.0.0.00", LeadingZero),
            ("10.0.0.0/08", LeadingZero),
            ("1.2.3", Address),
            ("1.2.3.4.5", Address),
            ("1.2.3.256", Address),
            ("1..2.3", Address),
            ("1", Address),
            ("16909060", Address),
            ("/8", Address),
            ("1.2.3.4.", Address),
            ("1.2.3.4/33", PrefixLength),
            ("1.2.3.4/", PrefixLength),
            ("1.2.3.4/-1", PrefixLength),
            ("1.2.3.4/8/8", PrefixLength),
            ("1.2.3.4/255.0.0.0", PrefixLength),
            ("1.2.3.4/+8", PrefixLength),
            ("1.2.3.4/256", PrefixLength),
        ] {
            let error = text.parse::<Entry>().expect_err(text);
            assert_eq!(error.fault(), fault, "{text:?}");
            assert!(error.to_string().starts_with("entry `"), "{error}");
        }
    }

    #[test]
    fn an_error_repeats_the_entry_without_control_characters_and_not_at_any_length() {
        let error = "ex\u{1b}[2Jam\nple".parse::<Entry>().unwrap_err().to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
        let error = "x".repeat(100_000).parse::<Entry>().unwrap_err().to_string();
        assert!(error.len() < 300 && error.contains("xxx..."));
    }

    #[test]
    fn a_list_is_split_at_commas_and_an_empty_one_has_no_entries() {
        let texts = |list: &str| {
            Entry::parse_list(list).map(|entries| entries.iter().map(Entry::to_string).collect::<Vec<_>>())
        };
        assert_eq!(texts(""), Ok(vec![]));
        assert_eq!(texts("10.0.0.1/8,@host").unwrap(), ["10.0.0.0/8", "@host"]);
        for list in [",", "@host,", ",@host", "@host,,@host"] {
            assert_eq!(texts(list).unwrap_err().fault(), EntryFault::Empty, "{list}");
        }
        assert_eq!(texts("@host, @host").unwrap_err().fault(), EntryFault::Blank);
    }

    #[test]
    fn a_list_has_an_end() {
        assert_eq!(Entry::parse_list(&vec!["@host"; MAX_ENTRIES].join(",")).unwrap().len(), MAX_ENTRIES);
        let error = Entry::parse_list(&vec!["@host"; MAX_ENTRIES + 1].join(",")).unwrap_err();
        assert_eq!(error.fault(), EntryFault::TooMany);
    }
}
