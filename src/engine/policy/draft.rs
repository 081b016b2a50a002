//! A policy that is put together an entry at a time.
//!
//! To sort, count and compile 4096 entries takes longer than a frame may wait. So the sorting is done with each entry, as it
//! comes, and the rest in steps that a caller takes between frames: [`Draft::push`], [`Draft::order`], [`Ordered::count`], and
//! then [`Engine::set_ordered`](super::super::Engine::set_ordered), before which nothing has changed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Entry, EntryError, MAX_ENTRIES, PolicyEntries};

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
        let entries = match list {
            List::Allow => &mut self.allow,
            List::Block => &mut self.block,
        };
        entries.insert(entry.to_string(), entry);
        Ok(())
    }

    /// The policy in normal form, and the texts of its entries in the same order.
    #[must_use]
    pub fn order(self) -> (Ordered, Texts) {
        let (allow_texts, allow) = self.allow.into_iter().unzip();
        let (block_texts, block) = self.block.into_iter().unzip();
        let policy = PolicyEntries { allow, block };
        (Ordered { policy, rule_count: None }, Texts { allow: allow_texts, block: block_texts })
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

/// A policy in normal form.
#[derive(Debug)]
pub struct Ordered {
    policy: PolicyEntries,
    rule_count: Option<usize>,
}

impl Ordered {
    /// Counts the rules, once: [`PolicyEntries::rule_count`].
    pub fn count(&mut self, gateway: Ipv4Addr) -> usize {
        *self.rule_count.get_or_insert_with(|| self.policy.rule_count(gateway))
    }

    pub(in super::super) fn into_parts(self) -> (PolicyEntries, Option<usize>) {
        (self.policy, self.rule_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_comes_to_the_normal_form() {
        let texts = ["9.0.0.0/8", "10.1.2.3/8", "in  @host", "10.0.0.0/8", "1.2.3.4:22-22", "out 1.2.3.4", "@host:1-2"];
        let mut draft = Draft::default();
        for text in texts {
            draft.push(List::Allow, text).unwrap();
            draft.push(List::Block, text).unwrap();
        }
        let policy = PolicyEntries::parse(texts, texts).unwrap().normalised();
        let (ordered, texts) = draft.order();
        assert_eq!(ordered.into_parts().0, policy);
        assert_eq!((texts.allow, texts.block), (policy.texts().allow, policy.texts().block));
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
