//! Node aliases: entries of the server that give a second name to each agent with certain selectors.

use std::collections::HashSet;
use std::sync::Arc;

use spire_types::{EntryId, RegistrationEntry, Selector};

use super::trie::TrieMap;

/// Aliases, each filed under one of its selectors: an agent has the alias only if it has that one.
#[derive(Clone, Debug, Default)]
pub(super) struct Aliases(TrieMap<Selector, Bucket>);

type Bucket = TrieMap<EntryId, Arc<RegistrationEntry>>;

impl Aliases {
    /// Files an alias under that of its selectors which fewest others are filed under.
    pub(super) fn insert(&mut self, id: &EntryId, alias: &Arc<RegistrationEntry>) {
        let crowd = |selector: &&Selector| self.0.get(*selector).map_or(0, TrieMap::len);
        if let Some(selector) = alias.selectors.iter().min_by_key(crowd) {
            let file = |bucket: &mut Bucket| drop(bucket.insert(id.clone(), Arc::clone(alias)));
            self.0.alter(selector, file, TrieMap::is_empty);
        }
    }

    /// Takes an alias out.
    pub(super) fn remove(&mut self, id: &EntryId, alias: &RegistrationEntry) {
        for selector in &alias.selectors {
            if self.0.get(selector).is_some_and(|bucket| bucket.get(id).is_some()) {
                self.0.alter(selector, |bucket| drop(bucket.remove(id)), TrieMap::is_empty);
            }
        }
    }

    /// Those whose selectors are all among `selectors`.
    pub(super) fn of<'a>(&'a self, selectors: &[Selector]) -> Vec<&'a Arc<RegistrationEntry>> {
        let at_hand: HashSet<&Selector> = selectors.iter().collect();
        let candidates = at_hand.iter().filter_map(|selector| self.0.get(*selector)).flat_map(TrieMap::values);
        candidates.filter(|alias| alias.selectors.iter().all(|selector| at_hand.contains(selector))).collect()
    }
}
