//! Which ports of the host plain callers may expose: an item of `expose`.
//!
//! ```text
//! ITEM = [ BIND ":" ] PORT [ "-" PORT ] [ "/tcp" | "/udp" ]
//! ```
//! An item without an address is about each that a caller may bind, and one with it about a forward with this very address in
//! front. It only narrows: ports below 1024 stay root's alone, so none of them is in an item.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::cli::{Carrier, FREE_FOR_ALL, Forward};

/// How it is written, for people.
pub(super) const TAKES: &str = "ports of 1024 to 65535, as \"8000-8099\", \"127.0.0.1:1024-65535\" or \"5353/udp\"";
/// The most items that a message has.
const TOLD: usize = 8;

/// Ports that callers may expose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExposeRange {
    bind: Option<Ipv4Addr>,
    first: u16,
    last: u16,
    carrier: Option<Carrier>,
}

impl ExposeRange {
    /// Whether a caller may have this one by it.
    #[must_use]
    pub fn covers(&self, forward: &Forward) -> bool {
        self.bind.is_none_or(|bind| bind == forward.address())
            && (self.first..=self.last).contains(&forward.external)
            && self.carrier.is_none_or(|carrier| carrier == forward.carrier)
    }
}

/// It is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRange;

impl FromStr for ExposeRange {
    type Err = NoRange;

    fn from_str(text: &str) -> Result<Self, NoRange> {
        let (rest, carrier) = match text.split_once('/') {
            None => (text, None),
            Some((rest, "tcp")) => (rest, Some(Carrier::Tcp)),
            Some((rest, "udp")) => (rest, Some(Carrier::Udp)),
            Some(_) => return Err(NoRange),
        };
        let (bind, ports) = match rest.split_once(':') {
            None => (None, rest),
            Some((bind, ports)) => (Some(bind.parse().map_err(|_| NoRange)?), ports),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |digits: &str| {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|&port| is_number && port >= FREE_FOR_ALL).ok_or(NoRange)
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(NoRange) } else { Ok(ExposeRange { bind, first, last, carrier }) }
    }
}

impl fmt::Display for ExposeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bind) = self.bind {
            write!(f, "{bind}:")?;
        }
        self.first.fmt(f)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        f.write_str(match self.carrier {
            None => "",
            Some(Carrier::Tcp) => "/tcp",
            Some(Carrier::Udp) => "/udp",
        })
    }
}

/// What callers may expose, in words: the first few items.
#[must_use]
pub fn in_words(ranges: &[ExposeRange]) -> String {
    let told: Vec<String> = ranges.iter().take(TOLD).map(ToString::to_string).collect();
    match ranges.len() {
        0 => "no ports".into(),
        count if count > TOLD => format!("{} and {} more", told.join(", "), count - TOLD),
        _ => told.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(bind: Option<[u8; 4]>, external: u16, carrier: Carrier) -> Forward {
        Forward { bind: bind.map(Ipv4Addr::from), external, internal: 22, carrier }
    }

    #[test]
    fn an_item_is_about_the_hosts_port_its_address_and_what_it_is_of() {
        let covers = |text: &str, forward: Forward| text.parse::<ExposeRange>().expect(text).covers(&forward);
        let plain = |port| forward(None, port, Carrier::Tcp);
        let local = |port| forward(Some([127, 0, 0, 1]), port, Carrier::Udp);
        for (port, is_in) in [(7999, false), (8000, true), (8099, true), (8100, false)] {
            assert_eq!(covers("8000-8099", plain(port)), is_in, "{port}");
            assert_eq!(covers("8000-8099", local(port)), is_in, "{port}");
            assert_eq!(covers("127.0.0.1:8000-8099", local(port)), is_in, "{port}");
        }
        // All addresses are not one of them.
        assert!(!covers("127.0.0.1:8000", plain(8000)) && covers("0.0.0.0:8000", plain(8000)));
        assert!(!covers("10.0.0.1:8000", local(8000)));
        assert!(covers("8000/tcp", plain(8000)) && !covers("8000/udp", plain(8000)));
        assert!(covers("8000/udp", local(8000)) && !covers("8000/tcp", local(8000)));
    }

    #[test]
    fn what_is_none_is_refused_and_what_is_one_is_written_as_it_was() {
        for text in ["1024", "1024-65535", "127.0.0.1:8000-8099/udp", "8000/tcp"] {
            assert_eq!(text.parse::<ExposeRange>().expect(text).to_string(), text);
        }
        for text in [
            "",
            "-",
            "80",
            "1023-2000",
            "0-65535",
            "65536",
            "8099-8000",
            "8000-",
            "+8000",
            "8000/sctp",
            "8000/",
            "localhost:8000",
            "127.0.0.0/8:8000",
            ":8000",
            "8000:22:22",
            "8000, 8001",
            "127.0.0.1",
        ] {
            assert_eq!(text.parse::<ExposeRange>(), Err(NoRange), "{text}");
        }
    }

    #[test]
    fn a_long_list_is_told_in_part() {
        let ranges = |count: u16| (0..count).map(|index| (2000 + index).to_string().parse().expect("a port")).collect();
        let told = |count| in_words(&Vec::<ExposeRange>::from_iter::<Vec<_>>(ranges(count)));
        assert_eq!((told(0), told(2)), ("no ports".into(), "2000, 2001".into()));
        assert!(told(8).ends_with("2006, 2007") && told(10).ends_with("2007 and 2 more"));
    }
}
