//! Who waits for changes, by selectors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use spire_types::{RegistrationEntry, Selector};

/// Those who subscribed with the same selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(u64);

#[derive(Debug, Default)]
pub(super) struct Subscribers {
    last: u64,
    selectors: BTreeMap<SubscriberId, Arc<BTreeSet<Selector>>>,
    by_selectors: BTreeMap<Arc<BTreeSet<Selector>>, SubscriberId>,
    by_selector: HashMap<Selector, BTreeSet<SubscriberId>>,
}

impl Subscribers {
    pub(super) fn add(&mut self, selectors: BTreeSet<Selector>) -> SubscriberId {
        if let Some(known) = self.by_selectors.get(&selectors) {
            return *known;
        }
        self.last += 1;
        let id = SubscriberId(self.last);
        for selector in &selectors {
            self.by_selector.entry(selector.clone()).or_default().insert(id);
        }
        let selectors = Arc::new(selectors);
        self.by_selectors.insert(Arc::clone(&selectors), id);
        self.selectors.insert(id, selectors);
        id
    }

    pub(super) fn remove(&mut self, id: SubscriberId) {
        let Some(selectors) = self.selectors.remove(&id) else { return };
        self.by_selectors.remove(&selectors);
        for selector in &*selectors {
            if let Some(ids) = self.by_selector.get_mut(selector) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_selector.remove(selector);
                }
            }
        }
    }

    pub(super) fn selectors(&self, id: SubscriberId) -> Option<&BTreeSet<Selector>> {
        self.selectors.get(&id).map(|selectors| &**selectors)
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
