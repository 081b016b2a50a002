//! The grammar of an allow or block entry.
//!
//! An entry is a target, after `in` or `out` and a space if it is about one direction. A target is an IPv4 CIDR
//! (`10.0.0.0/8`), a bare address (`10.1.2.3`, which means /32), `@host` (the gateway), or a name or all names below one
//! ([`super::names`]); each may have ports (`:443`, `:8000-8999`), which are TCP's and UDP's. Host bits are cleared: `10.1.2.3/8`
//! is `10.0.0.0/8`. What never will be (IPv6) is refused by name, so that nobody takes silence for consent.
//!
//! There is one grammar, here, for the command line and for the control channel; one normal form, [`Entry`]'s `Display`; and one
//! compiled form, [`super::policy`]'s.
#![forbid(unsafe_code)]

mod fault;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

pub use fault::{EntryError, EntryFault};

pub(super) use fault::Misfit;

use super::names::Pattern;

/// The most entries that a policy may have, both lists together.
pub const MAX_ENTRIES: usize = 4096;

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A prefix, host bits cleared.
    Prefix(Ipv4Net),
    /// `@host`: the gateway.
    Host,
    /// The public addresses that a name has, or those that names below one have, as the guest learns them.
    Name(Pattern),
}

/// Which connections an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// No direction: what the guest begins and, once any entry of the policy has a direction, what others begin as well.
    Bare,
    /// What the guest begins.
    Out,
    /// What others begin with the guest.
    In,
}

/// Ports of TCP and UDP, from the first to the last; no range is empty, and none has port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The lowest port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }
}

/// One entry of `--allow` or `--block`.
///
/// Its [`Display`](fmt::Display) is the normalised form, and parses back to the same entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Which direction it is about, if one.
    pub way: Way,
    /// Whom it is about.
    pub target: Target,
    /// The ports, if not all and every protocol: of the guest if the entry is `in`, else of the far side.
    pub ports: Option<PortRange>,
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
            if entries.len() == MAX_ENTRIES {
                return Err(EntryError::too_many(text));
            }
            entries.push(text.parse()?);
        }
        Ok(entries)
    }
}

impl FromStr for Entry {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        parse_entry(text).map_err(|misfit| EntryError::new(text, misfit))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.way {
            Way::Bare => "",
            Way::Out => "out ",
            Way::In => "in ",
        })?;
        match &self.target {
            Target::Prefix(net) => net.fmt(f)?,
            Target::Host => f.write_str("@host")?,
            Target::Name(pattern) => pattern.fmt(f)?,
        }
        match self.ports {
            None => Ok(()),
            Some(PortRange { first, last }) if first == last => write!(f, ":{first}"),
            Some(PortRange { first, last }) => write!(f, ":{first}-{last}"),
        }
    }
}

fn parse_entry(text: &str) -> Result<Entry, Misfit> {
    if text.is_empty() {
        return Err((EntryFault::Empty, 0));
    }
    let first_word = text.split(char::is_whitespace).next().unwrap_or_default();
    let way = match first_word {
        "in" => Way::In,
        "out" => Way::Out,
        word if word.eq_ignore_ascii_case("in") || word.eq_ignore_ascii_case("out") => {
            return Err((EntryFault::UpperCase, 0));
        }
        _ => Way::Bare,
    };
    let rest = match way {
        Way::Bare => text,
        Way::Out | Way::In => text.get(first_word.len()..).unwrap_or_default().trim_start_matches(' '),
    };
    let start = text.len() - rest.len();
    let shift = |(fault, at): Misfit| (fault, start + at);
    if rest.is_empty() {
        return Err((EntryFault::NoTarget, start));
    }
    if let Some(at) = rest.find(char::is_whitespace) {
        return Err(shift((EntryFault::Blank, at)));
    }
    let (target, ports) = split_ports(rest).map_err(shift)?;
    let entry = Entry { way, target: parse_target(target).map_err(shift)?, ports: None };
    if way == Way::In && matches!(entry.target, Target::Name(_)) {
        return Err((EntryFault::NameInward, start));
    }
    match ports {
        None => Ok(entry),
        Some(ports) => {
            let shift = |(fault, at): Misfit| (fault, start + target.len() + 1 + at);
            Ok(Entry { ports: Some(parse_ports(ports).map_err(shift)?), ..entry })
        }
    }
}

/// What is in front of the colon and what is behind. Two colons are IPv6, but behind what is no part of such an address.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), Misfit> {
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((front, behind)) if behind.contains(':') && !front.contains(['.', '@']) => Err((EntryFault::Ipv6, 0)),
        Some((front, behind)) => Ok((front, Some(behind))),
    }
}

fn parse_target(text: &str) -> Result<Target, Misfit> {
    if text == "@host" {
        return Ok(Target::Host);
    }
    if text.eq_ignore_ascii_case("@host") {
        return Err((EntryFault::UpperCase, 0));
    }
    if text.starts_with('@') {
        return Err((EntryFault::UnknownTarget, 0));
    }
    if Pattern::is_meant_by(text) {
        return Pattern::parse(text).map(Target::Name);
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => {
            let at = address.len() + 1;
            (parse_address(address)?, parse_prefix_length(length).map_err(|fault| (fault, at))?)
        }
        None => (parse_address(text)?, 32),
    };
    let net = Ipv4Net::new(address, length).map_err(|_| (EntryFault::PrefixLength, text.len()))?;
    Ok(Target::Prefix(net.trunc()))
}

fn parse_address(text: &str) -> Result<Ipv4Addr, Misfit> {
    if let Some(at) = text.find(|c: char| !c.is_ascii_digit() && c != '.') {
        return Err((EntryFault::Name, at));
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    let mut at = 0;
    for octet in &mut octets {
        let part = parts.next().unwrap_or_default();
        *octet = parse_decimal(part, EntryFault::Address).map_err(|fault| (fault, at.min(text.len())))?;
        at += part.len() + 1;
    }
    match parts.next() {
        Some(_) => Err((EntryFault::Address, at - 1)),
        None => Ok(Ipv4Addr::from(octets)),
    }
}

fn parse_prefix_length(text: &str) -> Result<u8, EntryFault> {
    match parse_decimal(text, EntryFault::PrefixLength)? {
        length @ 0..=32 => Ok(length),
        _ => Err(EntryFault::PrefixLength),
    }
}

fn parse_ports(text: &str) -> Result<PortRange, Misfit> {
    let (first, last, second_at) = match text.split_once('-') {
        Some((first, last)) => (first, last, first.len() + 1),
        None => (text, text, 0),
    };
    let first = parse_port(first).map_err(|fault| (fault, 0))?;
    let last = parse_port(last).map_err(|fault| (fault, second_at))?;
    if first <= last { Ok(PortRange { first, last }) } else { Err((EntryFault::PortOrder, second_at)) }
}

fn parse_port(text: &str) -> Result<u16, EntryFault> {
    match parse_decimal(text, EntryFault::Port)? {
        0 => Err(EntryFault::Port),
        port => Ok(port),
    }
}

/// A number in plain decimal: no sign, no leading zero.
fn parse_decimal<T: FromStr>(digits: &str, otherwise: EntryFault) -> Result<T, EntryFault> {
    if digits.bytes().any(|byte| !byte.is_ascii_digit()) {
        return Err(otherwise);
    }
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
            ("1.2.3.4:22", "1.2.3.4/32:22"),
            ("10.1.2.3/8:22-22", "10.0.0.0/8:22"),
            ("@host:1-65535", "@host:1-65535"),
            ("in 1.2.3.4", "in 1.2.3.4/32"),
            ("in    @host:22", "in @host:22"),
            ("out  10.1.2.3/8:8000-8999", "out 10.0.0.0/8:8000-8999"),
        ] {
            let entry: Entry = text.parse().unwrap();
            assert_eq!(entry.to_string(), normal);
            assert_eq!(normal.parse::<Entry>().unwrap(), entry);
        }
    }

    #[test]
    fn a_bad_entry_is_refused_by_name_at_its_character() {
        use EntryFault::*;
        for (text, fault, at) in [
            ("", Empty, 0),
            (" ", Blank, 0),
            ("\t", Blank, 0),
            (" 1.2.3.4", Blank, 0),
            (" in 1.2.3.4", Blank, 0),
            ("1.2.3.4 ", Blank, 7),
            ("1.2.3.4 /8", Blank, 7),
            ("1.2.3.4 :22", Blank, 7),
            ("in 1.2.3.4 ", Blank, 10),
            ("in\t1.2.3.4", Blank, 2),
            ("in \t1.2.3.4", Blank, 3),
            ("in out 1.2.3.4", Blank, 6),
            ("in", NoTarget, 2),
            ("out  ", NoTarget, 5),
            ("IN 1.2.3.4", UpperCase, 0),
            ("Out @host", UpperCase, 0),
            ("in out", Name, 3),
            ("in1.2.3.4", Name, 0),
            ("in :22", Address, 3),
            ("::1", Ipv6, 0),
            ("fe80::1/64", Ipv6, 0),
            ("in fe80::1/64", Ipv6, 3),
            ("::ffff:1.2.3.4", Ipv6, 0),
            ("[::1]:80", Ipv6, 0),
            ("2001:db8:0:0:0:0:0:1", Ipv6, 0),
            ("localhost", Name, 0),
            ("localhost:80", Name, 0),
            ("0x7f.0.0.1", Name, 1),
            ("１.2.3.4", Name, 0),
            ("-1.2.3.4", Name, 0),
            ("+1.2.3.4", Name, 0),
            ("1.2.3.4\0", NameCharacter, 7),
            ("@HOST", UpperCase, 0),
            ("in @Host:22", UpperCase, 3),
            ("@guest", UnknownTarget, 0),
            ("@host/32", UnknownTarget, 0),
            ("@", UnknownTarget, 0),
            ("010.0.0.1", LeadingZero, 0),
            ("10.0.0.00", LeadingZero, 7),
            ("10.0.0.0/08", LeadingZero, 9),
            ("1.2.3.4:022", LeadingZero, 8),
            ("1.2.3", Address, 5),
            ("1.2.3.4.5", Address, 7),
            ("1.2.3.256", Address, 6),
            ("1..2.3", Address, 2),
            ("1", Address, 1),
            ("16909060", Address, 0),
            ("/8", Address, 0),
            (":22", Address, 0),
            ("1.2.3.4.", Address, 7),
            ("1.2.3.4/33", PrefixLength, 8),
            ("1.2.3.4/", PrefixLength, 8),
            ("1.2.3.4/:22", PrefixLength, 8),
            ("1.2.3.4/-1", PrefixLength, 8),
            ("1.2.3.4/8/8", PrefixLength, 8),
            ("1.2.3.4/255.0.0.0", PrefixLength, 8),
            ("1.2.3.4/+8", PrefixLength, 8),
            ("1.2.3.4/256", PrefixLength, 8),
            ("1.2.3.4:", Port, 8),
            ("1.2.3.4:0", Port, 8),
            ("1.2.3.4:65536", Port, 8),
            ("1.2.3.4:ssh", Port, 8),
            ("1.2.3.4:+22", Port, 8),
            ("1.2.3.4:22:23", Port, 8),
            ("@host:1:2", Port, 6),
            ("1.2.3.4:22-", Port, 11),
            ("1.2.3.4:-22", Port, 8),
            ("1.2.3.4:1-2-3", Port, 10),
            ("1.2.3.4:1-65536", Port, 10),
            ("in @host:23-22", PortOrder, 12),
        ] {
            let error = text.parse::<Entry>().expect_err(text);
            assert_eq!((error.fault(), error.offset()), (fault, Some(at)), "{text:?}");
            assert!(error.to_string().starts_with("entry `"), "{error}");
        }
    }

    #[test]
    fn a_list_is_split_at_commas_and_an_empty_one_has_no_entries() {
        let texts = |list: &str| {
            Entry::parse_list(list).map(|entries| entries.iter().map(Entry::to_string).collect::<Vec<_>>())
        };
        assert_eq!(texts(""), Ok(vec![]));
        assert_eq!(texts("10.0.0.1/8,in @host:22").unwrap(), ["10.0.0.0/8", "in @host:22"]);
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
