//! Who waits for changes, by selectors.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use spire_types::{RegistrationEntry, Selector};

/// One who subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(u64);

#[derive(Debug, Default)]
pub(super) struct Subscribers {
    last: u64,
    selectors: BTreeMap<SubscriberId, BTreeSet<Selector>>,
    by_selector: HashMap<Selector, BTreeSet<SubscriberId>>,
}

impl Subscribers {
    pub(super) fn add(&mut self, selectors: BTreeSet<Selector>) -> SubscriberId {
        self.last += 1;
        let id = SubscriberId(self.last);
        for selector in &selectors {
            self.by_selector.entry(selector.clone()).or_default().insert(id);
        }
        self.selectors.insert(id, selectors);
        id
    }

    pub(super) fn remove(&mut self, id: SubscriberId) {
        for selector in self.selectors.remove(&id).unwrap_or_default() {
            if let Some(ids) = self.by_selector.get_mut(&selector) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_selector.remove(&selector);
                }
            }
        }
    }

    pub(super) fn selectors(&self, id: SubscriberId) -> Option<&BTreeSet<Selector>> {
        self.selectors.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = SubscriberId> {
        self.selectors.keys().copied()
    }

    /// Those that `entry` is for.
    pub(super) fn matching(&self, entry: &RegistrationEntry) -> impl Iterator<Item = SubscriberId> {
        let rarest = entry
            .selectors
            .iter()
            .map(|selector| self.by_selector.get(selector))
            .min_by_key(|ids| ids.map_or(0, BTreeSet::len))
            .flatten();
        rarest.into_iter().flatten().copied().filter(|id| {
            let selectors = self.selectors.get(id);
            selectors.is_some_and(|held| entry.selectors.iter().all(|selector| held.contains(selector)))
        })
    }

    pub(super) fn is_active(&self, entry: &RegistrationEntry) -> bool {
        self.matching(entry).next().is_some()
    }
}
