//! The file as words: TOML of ten keys. A key that is not known is refused by name, so that nobody takes a
//! misspelt limit for one that holds. Every fault has its line.
//!
//! ```toml
//! users = ["alice", 1000]             # who may run softnet, besides root;
//! groups = ["vm"]                     # without both: whoever may start the program
//! guests-per-user = 4                 # Linux
//! block = ["169.254.0.0/16"]          # entries as of --block, without names, that nobody lifts,
//! allow = ["169.254.169.254:80"]      # and holes in them
//! bridges = ["virbr0"]                # what plain callers may give to --bridge (Linux)
//! subnets = ["10.99.0.0/16"]          # and within which --subnet may be (Linux)
//! expose = ["8000-8099"]             # and to --expose, as [BIND:]PORT[-PORT][/tcp|/udp]
//! rate-limit = "100mbit/s,20kpps"     # the most that guests of plain callers get
//! isolation = "always"                # or "caller": --allow 0.0.0.0/0 switches it off
//! ```

use std::fmt;

use ipnet::Ipv4Net;
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expose::{self, ExposeRange};
use super::{Administrator, FILE, Id, IsolationRule};
use crate::cli::parse_rate;
use crate::engine::{Entry, EntryError, MAX_ENTRIES, PolicyEntries, RateLimit, Target};

/// All keys.
const KEYS: &str = "users, groups, guests-per-user, block, allow, bridges, subnets, expose, rate-limit, isolation";
/// The most items of a list.
const MAX_ITEMS: usize = MAX_ENTRIES;

/// A fault, and where.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{FILE}, line {line}: {fault}")]
pub struct WordsError {
    line: usize,
    fault: Fault,
}

impl WordsError {
    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}

/// What is wrong on a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no TOML.
    Syntax(String),
    /// There is no such key.
    UnknownKey(String),
    /// This system has nothing that the key is about.
    NotHere(&'static str),
    /// The value of a key is none that it takes.
    Value {
        /// The key.
        key: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// An entry is none.
    Entry(&'static str, EntryError),
    /// An entry is about a name.
    Name(&'static str, String),
    /// A list is too long.
    TooMany(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax(message) => write!(f, "this is no TOML: {message}"),
            Fault::UnknownKey(key) => write!(f, "there is no key `{key}`: the keys are {KEYS}"),
            Fault::NotHere(key) => write!(f, "`{key}` is for Linux: remove it"),
            Fault::Value { key, takes } => write!(f, "`{key}` takes {takes}"),
            Fault::Entry(key, error) => write!(f, "`{key}`: {error}"),
            Fault::Name(key, entry) => {
                write!(f, "`{key}`: `{entry}` is a name, and what is said here is of addresses alone")
            }
            Fault::TooMany(key) => write!(f, "`{key}` has more than {MAX_ITEMS}"),
        }
    }
}

type Value<'i> = Spanned<DeValue<'i>>;

/// What a text says.
pub(super) fn parse(text: &str) -> Result<Administrator, WordsError> {
    let at = |offset: usize, fault| WordsError { line: line(text, offset), fault };
    let document = DeTable::parse(text).map_err(|error| {
        // One line; its other ones are a picture of the text.
        let message: String = error.message().chars().filter(|c| !c.is_control()).collect();
        at(error.span().map_or(0, |span| span.start), Fault::Syntax(message))
    })?;
    let mut word = Administrator::default();
    for (key, value) in document.get_ref() {
        let name: &str = key.get_ref();
        let offset = key.span().start;
        take(&mut word, name, value).map_err(|(within, fault)| at(within.unwrap_or(offset), fault))?;
    }
    PolicyEntries::new(word.policy.allow.clone(), word.policy.block.clone())
        .map_err(|error| at(0, Fault::Entry("block", error)))?;
    Ok(word)
}

/// The number of the line that a byte is in, from 1.
fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// A fault, and at which byte, if not at the key.
type Misfit = (Option<usize>, Fault);

fn take(word: &mut Administrator, key: &str, value: &Value<'_>) -> Result<(), Misfit> {
    match key {
        "users" => word.callers.get_or_insert_default().users = list("users", value, id)?,
        "groups" => word.callers.get_or_insert_default().groups = list("groups", value, id)?,
        "guests-per-user" => word.guests_per_user = Some(number(linux("guests-per-user")?, value)?),
        "block" => word.policy.block = entries("block", value)?,
        "allow" => word.policy.allow = entries("allow", value)?,
        "bridges" => word.bridges = list(linux("bridges")?, value, text)?,
        "subnets" => word.subnets = list(linux("subnets")?, value, subnet)?,
        "expose" => word.expose = Some(list("expose", value, ports)?),
        "rate-limit" => word.rate_limit = rate(value)?,
        "isolation" => word.isolation = isolation(value)?,
        // Somebody's else text, in a message.
        unknown => {
            return Err((None, Fault::UnknownKey(unknown.chars().take(64).flat_map(char::escape_debug).collect())));
        }
    }
    Ok(())
}

/// A key of Linux's alone.
fn linux(key: &'static str) -> Result<&'static str, Misfit> {
    if cfg!(target_os = "linux") { Ok(key) } else { Err((None, Fault::NotHere(key))) }
}

fn list<T>(
    key: &'static str,
    value: &Value<'_>,
    item: impl Fn(&'static str, &Value<'_>) -> Result<T, Misfit>,
) -> Result<Vec<T>, Misfit> {
    let DeValue::Array(items) = value.get_ref() else {
        return Err((Some(value.span().start), Fault::Value { key, takes: "a list, as [\"...\", \"...\"]" }));
    };
    if items.len() > MAX_ITEMS {
        return Err((None, Fault::TooMany(key)));
    }
    items.iter().map(|each| item(key, each)).collect()
}

fn text(key: &'static str, value: &Value<'_>) -> Result<String, Misfit> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err((Some(value.span().start), Fault::Value { key, takes: "strings" })),
    }
}

/// A plain decimal number that fits.
fn number(key: &'static str, value: &Value<'_>) -> Result<u32, Misfit> {
    let digits = match value.get_ref() {
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        _ => "",
    };
    let takes = "a whole number, of 0 or more";
    digits.parse().map_err(|_| (Some(value.span().start), Fault::Value { key, takes }))
}

fn id(key: &'static str, value: &Value<'_>) -> Result<Id, Misfit> {
    let misfit = || (Some(value.span().start), Fault::Value { key, takes: "names (\"alice\") and numbers (1000)" });
    match value.get_ref() {
        DeValue::String(name) if !name.is_empty() && !name.contains('\0') => Ok(Id::Name(name.to_string())),
        DeValue::Integer(_) => number(key, value).map(Id::Number).map_err(|_| misfit()),
        _ => Err(misfit()),
    }
}

fn subnet(key: &'static str, value: &Value<'_>) -> Result<Ipv4Net, Misfit> {
    let subnet = text(key, value)?.parse().ok();
    subnet.ok_or((Some(value.span().start), Fault::Value { key, takes: "IPv4 prefixes, as \"10.99.0.0/16\"" }))
}

fn ports(key: &'static str, value: &Value<'_>) -> Result<ExposeRange, Misfit> {
    let range = text(key, value)?.parse().ok();
    range.ok_or((Some(value.span().start), Fault::Value { key, takes: expose::TAKES }))
}

fn rate(value: &Value<'_>) -> Result<RateLimit, Misfit> {
    let rate = match value.get_ref() {
        DeValue::String(text) => parse_rate(text).ok(),
        _ => None,
    };
    let takes = "what --rate-limit takes, as \"100mbit/s,20kpps\"";
    rate.ok_or((Some(value.span().start), Fault::Value { key: "rate-limit", takes }))
}

fn entries(key: &'static str, value: &Value<'_>) -> Result<Vec<Entry>, Misfit> {
    list(key, value, |key, value| {
        let (at, text) = (Some(value.span().start), text(key, value)?);
        let entry: Entry = text.parse().map_err(|error| (at, Fault::Entry(key, error)))?;
        if let Target::Name(_) = entry.target {
            return Err((at, Fault::Name(key, entry.to_string())));
        }
        Ok(entry)
    })
}

fn isolation(value: &Value<'_>) -> Result<IsolationRule, Misfit> {
    match value.get_ref() {
        DeValue::String(word) if word == "always" => Ok(IsolationRule::Always),
        DeValue::String(word) if word == "caller" => Ok(IsolationRule::CallersChoice),
        _ => Err((Some(value.span().start), Fault::Value { key: "isolation", takes: "\"always\" or \"caller\"" })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_read() {
        let word = parse(
            "users = [\"alice\", 1000]\ngroups = [\"vm\"]\nguests-per-user = 4\nblock = [\"169.254.0.0/16\", \"in 0.0.0.0/0\"]\n\
             allow = [\"169.254.169.254:80\"]\nbridges = [\"virbr0\"]\nsubnets = [\"10.99.0.0/16\"]\nisolation = \"always\"\n\
             expose = [\"8000-8099\", \"127.0.0.1:5353/udp\"]\nrate-limit = \"100mbit/s,20kpps\"\n",
        )
        .expect("sound");
        let callers = word.callers.expect("callers");
        assert_eq!(callers.users, [Id::Name("alice".into()), Id::Number(1000)]);
        assert_eq!(callers.groups, [Id::Name("vm".into())]);
        assert_eq!(word.guests_per_user, Some(4));
        assert_eq!(word.policy.texts().block, ["169.254.0.0/16", "in 0.0.0.0/0"]);
        assert_eq!(word.policy.texts().allow, ["169.254.169.254/32:80"]);
        assert_eq!((word.bridges, word.subnets.len()), (vec!["virbr0".to_owned()], 1));
        assert_eq!(word.isolation, IsolationRule::Always);
        let expose: Vec<String> = word.expose.expect("ports").iter().map(ToString::to_string).collect();
        assert_eq!(expose, ["8000-8099", "127.0.0.1:5353/udp"]);
        assert_eq!(word.rate_limit, RateLimit { bits: Some(100_000_000), frames: Some(20_000) });
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse("# nothing\n"), Ok(Administrator::default()));
    }

    #[test]
    fn a_fault_is_told_with_its_line() {
        for (text, line, said) in [
            ("\nusers = [\n", 2, "this is no TOML: "),
            ("users = []\nusers = []\n", 2, "this is no TOML: "),
            ("block = []\n\nblok = []\n", 3, "there is no key `blok`: the keys are users, groups, "),
            ("[policy]\nblock = []\n", 1, "there is no key `policy`"),
            ("\"\\u001b[2J\" = 1\n", 1, "there is no key `\\u{1b}[2J`"),
            ("guests-per-user = -1\n", 1, "`guests-per-user` takes a whole number"),
            ("guests-per-user = \"4\"\n", 1, "`guests-per-user` takes a whole number"),
            ("guests-per-user = 4294967296\n", 1, "`guests-per-user` takes a whole number"),
            ("users = \"alice\"\n", 1, "`users` takes a list"),
            ("users = [\"alice\",\n  true]\n", 2, "`users` takes names"),
            ("users = [\"\"]\n", 1, "`users` takes names"),
            ("block = [\n  \"10.0.0.0/8\",\n  \"10.0.0.0/33\",\n]\n", 3, "`block`: entry `10.0.0.0/33`"),
            ("block = [\n  \"github.com\"]\n", 2, "`block`: `github.com` is a name"),
            ("subnets = [\"10.99.0.0\"]\n", 1, "`subnets` takes IPv4 prefixes"),
            ("expose = false\n", 1, "`expose` takes a list"),
            ("expose = [8000]\n", 1, "`expose` takes strings"),
            ("expose = [\"8000\",\n \"80\"]\n", 2, "`expose` takes ports of 1024 to 65535, as \"8000-8099\""),
            ("rate-limit = 100\n", 1, "`rate-limit` takes what --rate-limit takes, as \"100mbit/s,20kpps\""),
            ("rate-limit = \"1bit\"\n", 1, "`rate-limit` takes what --rate-limit takes"),
            ("isolation = \"never\"\n", 1, "`isolation` takes \"always\" or \"caller\""),
        ] {
            let error = parse(text).expect_err(text).to_string();
            let expected = format!("{FILE}, line {line}: {said}");
            assert!(error.starts_with(&expected) && error.lines().count() == 1, "{text:?}: {error}");
        }
    }

    #[test]
    fn entries_have_an_end() {
        let list = |count: usize| format!("[{}]", vec!["\"@host\""; count].join(","));
        assert!(parse(&format!("block = {}", list(4096))).is_ok());
        assert!(parse(&format!("block = {}\nallow = {}", list(4096), list(1))).is_err());
        assert!(parse(&format!("block = {}", list(4097))).is_err());
    }
}
