//! Until the engine has these itself.
#![forbid(unsafe_code)]

use crate::engine::{Engine, Entry, PolicyEntries};

pub(super) trait Normalise {
    fn normalised(self) -> Self;
}

impl Normalise for PolicyEntries {
    fn normalised(self) -> Self {
        let sort = |mut list: Vec<Entry>| {
            list.sort_by_cached_key(ToString::to_string);
            list.dedup();
            list
        };
        PolicyEntries { allow: sort(self.allow), block: sort(self.block) }
    }
}

pub(super) trait Count {
    fn rule_count(&self) -> usize;
    fn rule_count_of(&self, policy: &PolicyEntries) -> usize;
}

impl Count for Engine {
    fn rule_count(&self) -> usize {
        self.rule_count_of(self.policy())
    }

    fn rule_count_of(&self, policy: &PolicyEntries) -> usize {
        let mut all: Vec<&Entry> = policy.allow.iter().chain(&policy.block).collect();
        all.sort();
        all.dedup();
        all.len()
    }
}
