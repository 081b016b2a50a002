//! A policy that is put together an entry at a time.
//!
//! To sort and compile 4096 entries takes longer than a frame may wait. So the sorting is done with each entry, as it
//! comes, and the rest in steps that a caller takes between frames: [`Draft::push`], [`Draft::sort`], [`Sorted::compile`] until
//! it is done, and then [`Engine::set_compiled`](super::super::Engine::set_compiled), before which nothing has changed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::rules::{Rule, Rules};
use super::{Entry, EntryError, MAX_ENTRIES, NameRules, Policy, PolicyEntries, Target, Terms, Way};

/// One of a policy's two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// What is allowed.
    Allow,
    /// What is blocked.
    Block,
}

/// Entries by their normal text, which sorts them and finds those that are there already.
type ByText = BTreeMap<String, Entry>;

/// A policy in the making.
#[derive(Debug, Default)]
pub struct Draft {
    allow: ByText,
    block: ByText,
    /// How many entries have come, duplicates counted.
    count: usize,
    has_names: bool,
}

impl Draft {
    /// Adds the entry that `text` is.
    ///
    /// # Errors
    /// It is none, or one more than a policy takes.
    pub fn push(&mut self, list: List, text: &str) -> Result<(), EntryError> {
        if self.count == MAX_ENTRIES {
            return Err(EntryError::too_many(text));
        }
        let entry: Entry = text.parse()?;
        self.count += 1;
        self.has_names |= matches!(entry.target, Target::Name(_));
        let entries = match list {
            List::Allow => &mut self.allow,
            List::Block => &mut self.block,
        };
        entries.insert(entry.to_string(), entry);
        Ok(())
    }

    /// Whether any entry is about a name.
    #[must_use]
    pub fn has_names(&self) -> bool {
        self.has_names
    }

    /// The policy in normal form, and the texts of its entries in the same order.
    #[must_use]
    pub fn sort(self) -> (Sorted, Texts) {
        let (allow_texts, allow) = self.allow.into_iter().unzip();
        let (block_texts, block) = self.block.into_iter().unzip();
        let sorted = Sorted {
            entries: PolicyEntries { allow, block },
            rule_count: 0,
            names: NameRules::default(),
            outward: None,
            next: Step::Names,
        };
        (sorted, Texts { allow: allow_texts, block: block_texts })
    }
}

/// The normal texts of a policy's entries, in their order.
#[derive(Debug, Default)]
pub struct Texts {
    /// Those of the entries that allow.
    pub allow: Vec<String>,
    /// Those of the entries that block.
    pub block: Vec<String>,
}

impl PolicyEntries {
    /// The texts of the entries, as they stand.
    #[must_use]
    pub fn texts(&self) -> Texts {
        let texts = |entries: &[Entry]| entries.iter().map(ToString::to_string).collect();
        Texts { allow: texts(&self.allow), block: texts(&self.block) }
    }
}

/// A policy in normal form that is being compiled.
#[derive(Debug)]
pub struct Sorted {
    entries: PolicyEntries,
    rule_count: usize,
    names: NameRules,
    outward: Option<Rules>,
    next: Step,
}

#[derive(Debug)]
enum Step {
    /// The entries about names are to be compiled.
    Names,
    /// The rules of a direction are to be merged.
    Merge(Way),
    /// They are to be compiled.
    Compile(Way, Vec<Rule>),
}

/// A policy that is ready to be put into force.
#[derive(Debug)]
pub struct Compiled {
    entries: PolicyEntries,
    rules: Policy,
    rule_count: usize,
}

impl Sorted {
    /// Does a step of the compiling for `terms`, which are the same each time.
    ///
    /// # Errors
    /// The policy, if there is another step to do.
    pub fn compile(mut self, terms: Terms) -> Result<Compiled, Box<Sorted>> {
        self.next = match self.next {
            Step::Names => {
                self.names = NameRules::compile(&self.entries);
                self.rule_count += self.names.rule_count();
                Step::Merge(Way::Out)
            }
            Step::Merge(way) => {
                let merged = self.entries.rules(way, terms.gateway);
                // What only the administrator's entries make rules of is no rule of the client's.
                if way == Way::Out || self.entries.is_stateful() {
                    self.rule_count += merged.len();
                }
                Step::Compile(way, merged)
            }
            Step::Compile(way, merged) => {
                let rules = Rules::compile(&merged);
                let (outward, inward) = match self.outward {
                    None if way == Way::Out && terms.keep_state_of(&self.entries) => {
                        self.outward = Some(rules);
                        self.next = Step::Merge(Way::In);
                        return Err(Box::new(self));
                    }
                    None => (rules, None),
                    Some(outward) => (outward, Some(rules)),
                };
                let rules = Policy { outward, inward, names: self.names };
                return Ok(Compiled { entries: self.entries, rules, rule_count: self.rule_count });
            }
        };
        Err(Box::new(self))
    }
}

impl Compiled {
    /// How many rules there are: [`PolicyEntries::rule_count`].
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rule_count
    }

    pub(in super::super) fn into_parts(self) -> (PolicyEntries, Policy) {
        (self.entries, self.rules)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_draft_comes_to_the_normal_form() {
        let texts = [
            "9.0.0.0/8",
            "10.1.2.3/8",
            "in  @host",
            "10.0.0.0/8",
            "1.2.3.4:22-22",
            "out 1.2.3.4",
            "@host:1-2",
            "A.org",
            "a.org.",
        ];
        let mut draft = Draft::default();
        for text in texts {
            draft.push(List::Allow, text).unwrap();
            draft.push(List::Block, text).unwrap();
        }
        let policy = PolicyEntries::parse(texts, texts).unwrap().normalised();
        let (sorted, texts) = draft.sort();
        assert_eq!((texts.allow, texts.block), (policy.texts().allow, policy.texts().block));
        let compiled = compile(sorted);
        assert_eq!(compiled.rule_count(), policy.rule_count(GATEWAY));
        assert_eq!(compiled.into_parts().0, policy);
    }

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);

    fn compile(mut sorted: Sorted) -> Compiled {
        loop {
            match sorted.compile(Terms::of_the_entries(GATEWAY)) {
                Ok(compiled) => return compiled,
                Err(rest) => sorted = *rest,
            }
        }
    }

    #[test]
    fn compiled_in_steps_it_is_what_it_is_compiled_at_once() {
        for (allow, block) in [
            (&["10.0.0.0/8", "1.2.3.4:22", "0.0.0.0/0:1-100"][..], &["10.1.0.0/16", "@host"][..]),
            (&["in 10.0.0.0/8:22", "out 10.1.0.0/16", "10.1.2.0/24"], &["in 10.1.0.0/16", "10.1.2.3:80"]),
            (&["www.example.org:443", "*.example.org"], &["out www.example.org:1-9", "a.example.org"]),
            (&[], &[]),
        ] {
            let mut draft = Draft::default();
            for (list, texts) in [(List::Allow, allow), (List::Block, block)] {
                texts.iter().for_each(|text| draft.push(list, text).unwrap());
            }
            let (entries, rules) = compile(draft.sort().0).into_parts();
            let at_once = Policy::compile(&entries, Terms::of_the_entries(GATEWAY));
            assert_eq!(format!("{rules:?}"), format!("{at_once:?}"));
        }
    }

    #[test]
    fn duplicates_count_and_what_is_refused_does_not() {
        let mut draft = Draft::default();
        for number in 0..MAX_ENTRIES {
            assert!(draft.push(List::Allow, "nonsense").is_err());
            draft.push(if number % 2 == 0 { List::Allow } else { List::Block }, "@host").unwrap();
        }
        assert!(draft.push(List::Block, "@host").unwrap_err().to_string().contains("4096"));
    }
}
