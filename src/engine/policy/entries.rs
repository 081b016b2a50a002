//! The operator's entries as lists: how many there may be, their normal form, how many rules they come to, and where an entry
//! with ports opens what one without closes.
#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::super::entry::{Entry, EntryError, MAX_ENTRIES, Target, Way};
use super::rules::{Rule, Whose};
use super::{NameRules, Ruling, State};

/// The operator's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyEntries {
    /// What the guest may reach besides the default, and who may reach the guest.
    pub allow: Vec<Entry>,
    /// What the guest may not reach, and who may not reach the guest.
    pub block: Vec<Entry>,
}

impl PolicyEntries {
    /// Two lists, of at most [`MAX_ENTRIES`] entries together, duplicates counted.
    ///
    /// # Errors
    /// The first entry past that.
    pub fn new(allow: Vec<Entry>, block: Vec<Entry>) -> Result<Self, EntryError> {
        match allow.iter().chain(&block).nth(MAX_ENTRIES) {
            Some(entry) => Err(EntryError::too_many_of(entry)),
            None => Ok(PolicyEntries { allow, block }),
        }
    }

    /// Two lists of texts, as the control channel has them: at most [`MAX_ENTRIES`] together, counted before duplicates go.
    ///
    /// # Errors
    /// The first text that is no entry, or the first one past the most that a policy takes.
    pub fn parse<'a>(
        allow: impl IntoIterator<Item = &'a str>,
        block: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, EntryError> {
        let mut room = MAX_ENTRIES;
        let mut parse = |text: &'a str| {
            room = room.checked_sub(1).ok_or_else(|| EntryError::too_many(text))?;
            text.parse()
        };
        let allow = allow.into_iter().map(&mut parse).collect::<Result<_, _>>()?;
        let block = block.into_iter().map(&mut parse).collect::<Result<_, _>>()?;
        Ok(PolicyEntries { allow, block })
    }

    /// The normal form: each list sorted by the bytes of its entries' texts, without duplicates. Two policies with the same
    /// normal form are the same.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        for list in [&mut self.allow, &mut self.block] {
            list.sort_by_cached_key(Text::of);
            list.dedup();
        }
        self
    }

    /// Whether `0.0.0.0/0` is allowed, be it blocked as well: in the policy of the start, this is what makes
    /// [`Isolation::Open`](super::super::Isolation::Open). With a direction or ports it says less, and does not count.
    #[must_use]
    pub fn allows_everything(&self) -> bool {
        let everything = Target::Prefix(Ipv4Net::default());
        self.allow.iter().any(|entry| entry.way == Way::Bare && entry.target == everything && entry.ports.is_none())
    }

    /// Whether any entry has a direction, so that the whole policy keeps state.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        self.allow.iter().chain(&self.block).any(|entry| entry.way != Way::Bare)
    }

    /// How many rules the entries come to once they are merged: without any direction, the distinct targets, ports
    /// included, one in both lists once; with one, those of what the guest begins and those of what others begin, so that a
    /// bare entry counts twice. `@host` is the /32 of `gateway`.
    #[must_use]
    pub fn rule_count(&self, gateway: Ipv4Addr) -> usize {
        let inward = if self.is_stateful() { self.rules(Way::In, gateway).len() } else { 0 };
        self.rules(Way::Out, gateway).len() + inward + NameRules::compile(self, State::AsEntriesAsk).rule_count()
    }

    /// Whether any entry is about a name.
    #[must_use]
    pub fn has_names(&self) -> bool {
        self.allow.iter().chain(&self.block).any(|entry| matches!(entry.target, Target::Name(_)))
    }

    /// The rules of addresses in one direction, merged, in the order that [`Rules::compile`](super::rules::Rules::compile) asks for.
    pub(super) fn rules(&self, way: Way, gateway: Ipv4Addr) -> Vec<Rule> {
        let lists = [(&self.allow, Ruling::Allowed), (&self.block, Ruling::Blocked)];
        let mut rules: Vec<Rule> = lists
            .into_iter()
            .flat_map(|(list, ruling)| list.iter().map(move |entry| (entry, ruling)))
            .filter(|(entry, _)| entry.way == Way::Bare || entry.way == way)
            .filter_map(|(entry, ruling)| {
                let whose = if entry.way == Way::In { Whose::Guest } else { Whose::Far };
                let prefix = entry.target.prefix(gateway)?;
                Some(Rule { prefix, ports: entry.ports.map(|ports| (whose, ports)), ruling })
            })
            .collect();
        // Block is in front of allow, and wins.
        rules.sort_unstable_by_key(|rule| (rule.key(), rule.ruling));
        rules.dedup_by_key(|rule| rule.key());
        rules
    }
}

/// An entry's text in place, with zeroes behind, which are below every character: 4096 of them are sorted within a frame's
/// time, and 4096 strings are not. One about a name may be too long for that, and is a string.
enum Text {
    InPlace { bytes: [u8; Text::LONGEST], length: usize },
    String(String),
}

impl Text {
    /// The longest entry about an address has 34 bytes.
    const LONGEST: usize = 40;

    fn of(entry: &Entry) -> Self {
        let (mut bytes, mut length) = ([0; Self::LONGEST], 0);
        match write!(InPlace { bytes: &mut bytes, length: &mut length }, "{entry}") {
            Ok(()) => Text::InPlace { bytes, length },
            Err(fmt::Error) => Text::String(entry.to_string()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Text::InPlace { bytes, length } => bytes.get(..*length).unwrap_or_default(),
            Text::String(text) => text.as_bytes(),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Text::InPlace { bytes: a, .. }, Text::InPlace { bytes: b, .. }) => a.cmp(b),
            _ => self.bytes().cmp(other.bytes()),
        }
    }
}

struct InPlace<'a> {
    bytes: &'a mut [u8; Text::LONGEST],
    length: &'a mut usize,
}

impl fmt::Write for InPlace<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = *self.length + part.len();
        let room = self.bytes.get_mut(*self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        *self.length = end;
        Ok(())
    }
}

impl Target {
    /// The prefix, if it is not a name; `@host` is the /32 of `gateway`.
    pub(super) fn prefix(&self, gateway: Ipv4Addr) -> Option<Ipv4Net> {
        match self {
            Target::Prefix(net) => Some(*net),
            Target::Host => Some(Ipv4Net::from(gateway)),
            Target::Name(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);

    fn entries(allow: &[&str], block: &[&str]) -> PolicyEntries {
        PolicyEntries::parse(allow.iter().copied(), block.iter().copied()).unwrap()
    }

    fn texts(list: &[Entry]) -> Vec<String> {
        list.iter().map(Entry::to_string).collect()
    }

    #[test]
    fn the_examples_of_the_control_channels_specification() {
        let none = entries(&[], &[]).normalised();
        assert_eq!((none.allow.len(), none.block.len(), none.rule_count(GATEWAY)), (0, 0, 0));
        let bare = entries(&["@host", "10.1.2.3/8"], &["0.0.0.0/0"]).normalised();
        assert_eq!(texts(&bare.allow), ["10.0.0.0/8", "@host"]);
        assert_eq!(texts(&bare.block), ["0.0.0.0/0"]);
        assert_eq!(bare.rule_count(GATEWAY), 3);
        let directed = entries(&["in 10.1.2.3/8", "out 10.0.0.0/8"], &["in 10.0.0.0/8"]).normalised();
        assert_eq!(texts(&directed.allow), ["in 10.0.0.0/8", "out 10.0.0.0/8"]);
        assert_eq!(texts(&directed.block), ["in 10.0.0.0/8"]);
        assert_eq!(directed.rule_count(GATEWAY), 2);
    }

    #[test]
    fn lists_are_sorted_by_bytes_without_duplicates() {
        let policy = entries(
            &[
                "out 9.0.0.0/8",
                "@host",
                "9.0.0.0/8:22-22",
                "in  @host",
                "10.1.1.1",
                "9.0.0.0/8:22",
                "10.1.1.1/32",
                "9.0.0.0/8",
            ],
            &[],
        );
        let normal = ["10.1.1.1/32", "9.0.0.0/8", "9.0.0.0/8:22", "@host", "in @host", "out 9.0.0.0/8"];
        assert_eq!(texts(&policy.normalised().allow), normal);
    }

    #[test]
    fn the_longest_text_has_room() {
        let name = format!("out *.{}.example.org:1-2", "a".repeat(63));
        for text in ["out 255.255.255.255/32:65534-65535", "in @host", "*.example.org", &name] {
            let of_entry = Text::of(&text.parse().unwrap());
            assert_eq!(of_entry.bytes(), text.as_bytes());
            assert_eq!(matches!(of_entry, Text::String(_)), text == name);
        }
    }

    #[test]
    fn rules_are_counted_after_merging() {
        let count = |allow: &[&str], block: &[&str]| entries(allow, block).rule_count(GATEWAY);
        assert_eq!(count(&["@host", "192.168.64.1"], &["@host"]), 1, "bare: distinct targets");
        assert_eq!(count(&["1.1.1.1", "1.1.1.1:53", "1.1.1.1:1-53"], &["1.1.1.1:53"]), 3, "ports are of the target");
        assert_eq!(count(&["in 1.1.1.1"], &["out 2.2.2.2"]), 2);
        assert_eq!(count(&["in 1.1.1.1"], &["2.2.2.2"]), 3, "a bare one counts twice");
        assert_eq!(count(&["in 1.1.1.1", "1.1.1.1"], &["out 1.1.1.1"]), 2, "and merges with both");
        assert_eq!(count(&["in 1.1.1.1:22", "1.1.1.1:22"], &[]), 3, "the guest's port 22 and the far side's");
        let names = ["a.org:5", "A.org.", "*.a.org", "a.org:5-5", "a.org:1-9", "1.1.1.1"];
        assert_eq!(count(&names, &["a.org", "a.org:5"]), 5, "a name is a target like any other");
        assert_eq!(count(&names, &["a.org", "out a.org:6"]), 11);
    }

    #[test]
    fn a_policy_has_an_end_counted_before_duplicates_go() {
        let half = vec!["@host"; MAX_ENTRIES / 2];
        let more = vec!["@host"; MAX_ENTRIES / 2 + 1];
        let parse = |allow: &[&'static str], block: &[&'static str]| {
            PolicyEntries::parse(allow.iter().copied(), block.iter().copied())
        };
        assert_eq!(parse(&half, &half).unwrap().normalised(), entries(&["@host"], &["@host"]));
        for (allow, block) in [(&half, &more), (&more, &half)] {
            let error = parse(allow, block).unwrap_err();
            assert!(error.to_string().contains("one too many"), "{error}");
            let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(PolicyEntries::new(list(allow), list(block)), Err(error));
        }
        assert!(PolicyEntries::new(vec!["@host".parse().unwrap(); MAX_ENTRIES], vec![]).is_ok());
    }

    #[test]
    fn everything_is_allowed_by_the_bare_default_route_alone_even_if_it_is_blocked_as_well() {
        assert!(entries(&["@host", "1.2.3.4/0"], &["0.0.0.0/0"]).allows_everything());
        for allow in
            [&["0.0.0.0/1", "128.0.0.0/1"][..], &["0.0.0.0"], &["in 0.0.0.0/0", "out 0.0.0.0/0"], &["0.0.0.0/0:443"]]
        {
            assert!(!entries(allow, &["0.0.0.0/0"]).allows_everything(), "{allow:?}");
        }
    }
}
