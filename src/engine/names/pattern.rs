//! The names that an entry can be about: one name, or all names below one.
//!
//! `www.example.org` is that name and no other. `*.example.org` is every name below `example.org`, at any depth, and not
//! `example.org` itself. A name is of letters, digits and hyphens (RFC 1123, section 2.1), of 253 bytes at most; it is kept
//! in lower case and without the dot that may stand at its end. Other letters are written as A-labels (RFC 5890): `xn--...`.
//! A name has two labels at least, so that no word is taken for one by mistake, and its last label is no number, so that no
//! address is.
#![forbid(unsafe_code)]

use std::fmt;

use super::super::entry::{EntryFault, Misfit};

/// The longest name as text, in bytes (RFC 1035, section 2.3.4: 255 bytes with the lengths of its labels).
pub(super) const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What is in front of a name to mean those below it.
const BELOW: &str = "*.";

/// A name, or all names below one. Its [`Display`](fmt::Display) is the normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    reach: Reach,
    /// In lower case, without a dot at the end.
    name: Box<str>,
}

/// Which names a pattern is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) enum Reach {
    /// Its own.
    Itself,
    /// All below its own.
    Below,
}

impl Pattern {
    /// Whether a text, in front of which is no direction and behind which are no ports, is meant as a name: what is in front of
    /// a slash, if there is one, ends in a label that is no number.
    pub(in super::super) fn is_meant_by(text: &str) -> bool {
        let front = text.split('/').next().unwrap_or_default();
        match front.trim_end_matches('.').rsplit_once('.') {
            Some((_, last)) => last.bytes().any(|byte| !byte.is_ascii_digit()),
            None => false,
        }
    }

    /// Reads a pattern.
    pub(in super::super) fn parse(text: &str) -> Result<Self, Misfit> {
        let (reach, name) = match text.strip_prefix(BELOW) {
            Some(name) => (Reach::Below, name),
            None => (Reach::Itself, text),
        };
        let start = text.len() - name.len();
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > LONGEST_NAME {
            return Err((EntryFault::NameLength, start));
        }
        let mut at = start;
        for label in name.split('.') {
            check_label(label).map_err(|(fault, inside)| (fault, at + inside))?;
            at += label.len() + 1;
        }
        Ok(Pattern { reach, name: name.to_ascii_lowercase().into() })
    }

    /// Whether all that `other` is about is what this is about too.
    #[must_use]
    pub fn covers(&self, other: &Pattern) -> bool {
        let is_below = || other.name.strip_suffix(&*self.name).is_some_and(|front| front.ends_with('.'));
        match (self.reach, other.reach) {
            (Reach::Itself, _) => self == other,
            (Reach::Below, Reach::Itself) => is_below(),
            (Reach::Below, Reach::Below) => self == other || is_below(),
        }
    }

    pub(in super::super) fn reach(&self) -> Reach {
        self.reach
    }

    pub(in super::super) fn name(&self) -> &str {
        &self.name
    }
}

fn check_label(label: &str) -> Result<(), Misfit> {
    if let Some(at) = label.find('*') {
        return Err((EntryFault::Wildcard, at));
    }
    if let Some(at) = label.find(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        return Err((EntryFault::NameCharacter, at));
    }
    if label.is_empty() || label.len() > LONGEST_LABEL || label.starts_with('-') {
        return Err((EntryFault::NameLabel, 0));
    }
    if label.ends_with('-') {
        return Err((EntryFault::NameLabel, label.len() - 1));
    }
    Ok(())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reach {
            Reach::Itself => "",
            Reach::Below => BELOW,
        })?;
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::entry::Entry;
    use super::*;

    #[test]
    fn a_name_is_normalised_and_its_normal_form_parses_back() {
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for (text, normal) in [
            ("github.com", "github.com"),
            ("GitHub.COM.", "github.com"),
            ("*.Example.org:443", "*.example.org:443"),
            ("*.org.", "*.org"),
            ("out  *.a-b.xn--p1ai:1-9", "out *.a-b.xn--p1ai:1-9"),
            ("1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"),
            ("0--0.4.x", "0--0.4.x"),
            (&longest, &longest),
        ] {
            let entry: Entry = text.parse().unwrap();
            assert_eq!(entry.to_string(), normal);
            assert_eq!(normal.parse::<Entry>().unwrap(), entry);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_at_its_character() {
        use EntryFault::*;
        let too_long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62));
        let long_label = format!("a.{}.org", "b".repeat(64));
        for (text, fault, at) in [
            ("a..org", NameLabel, 2),
            (".example.org", NameLabel, 0),
            ("*..org", NameLabel, 2),
            ("-a.org", NameLabel, 0),
            ("a-.org", NameLabel, 1),
            ("a.org-", NameLabel, 5),
            (&long_label, NameLabel, 2),
            (&too_long, NameLength, 0),
            ("a_b.org", NameCharacter, 1),
            ("b\u{fc}cher.example", NameCharacter, 1),
            ("example.org/24", NameCharacter, 11),
            ("a.*.org", Wildcard, 2),
            ("*a.org", Wildcard, 0),
            ("*.*.org", Wildcard, 2),
            ("a.b*.org", Wildcard, 3),
            ("example.org..", NameLabel, 12),
            ("in example.org", NameInward, 3),
            ("in *.example.org:22", NameInward, 3),
            ("out a_b.org:22", NameCharacter, 5),
            ("example.org:0", Port, 12),
            ("localhost", Name, 0),
            ("*", Name, 0),
            ("*.", Name, 0),
            ("1.2.3.x4/8", NameCharacter, 8),
            ("*.1.2.3.4", Name, 0),
        ] {
            let error = text.parse::<Entry>().expect_err(text);
            assert_eq!((error.fault(), error.offset()), (fault, Some(at)), "{text:?}");
        }
    }
}
