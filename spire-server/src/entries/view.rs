//! What one agent has been told, and what it has to be told next.

use std::collections::HashMap;
use std::sync::Arc;

use spiffe_core::{Bundle, SpiffeId, Timestamp, TrustDomain};
use spire_types::{EntryId, RegistrationEntry, Revision};

use super::EntryIndex;
use super::history::{Step, Touched};
use super::packed::Packed;

/// What one agent has been told.
#[derive(Debug)]
pub struct View {
    agent: SpiffeId,
    revision: Revision,
    entries: HashMap<EntryId, Arc<Packed>>,
    bundles: HashMap<TrustDomain, Arc<Bundle>>,
}

/// What an agent has to be told to be where the registry is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Entries that are new or different.
    pub entries: Vec<Arc<RegistrationEntry>>,
    /// Entries that are no longer the agent's.
    pub removed_entries: Vec<EntryId>,
    /// Bundles that are new or different.
    pub bundles: Vec<Arc<Bundle>>,
    /// Bundles that no entry needs any more, or that are gone.
    pub removed_bundles: Vec<TrustDomain>,
}

impl Delta {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.removed_entries.is_empty()
            && self.bundles.is_empty()
            && self.removed_bundles.is_empty()
    }
}

impl View {
    /// Of an agent that has been told nothing.
    #[must_use]
    pub fn new(agent: SpiffeId) -> Self {
        Self { agent, revision: Revision(0), entries: HashMap::new(), bundles: HashMap::new() }
    }

    /// Of an agent that has everything which `index` gives it.
    #[must_use]
    pub fn at(agent: SpiffeId, index: &EntryIndex, now: Timestamp) -> Self {
        let mut view = Self::new(agent);
        view.compare_all(index, now);
        view.revision = index.revision();
        view
    }

    /// The agent.
    #[must_use]
    pub fn agent(&self) -> &SpiffeId {
        &self.agent
    }

    /// The revision up to which the agent has been told.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// When the first of the entries that the agent has ends; nothing in the log tells of it.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        self.entries.values().filter_map(|entry| entry.expires_at).min()
    }

    /// Compares everything with `index`.
    pub fn compare_all(&mut self, index: &EntryIndex, now: Timestamp) -> Delta {
        let mut delta = Delta::default();
        let mut gone = std::mem::take(&mut self.entries);
        for entry in index.find_authorized(&self.agent, now).0 {
            if gone.remove(&entry.id).is_none_or(|told| !same(&told, entry)) {
                delta.entries.extend(entry.unpack().map(Arc::new));
            }
            self.entries.insert(entry.id.clone(), Arc::clone(entry));
        }
        delta.removed_entries.extend(gone.into_keys());
        self.compare_bundles(index, &mut delta);
        self.revision = index.revision();
        delta
    }

    /// Follows `steps`, which lead on from [`Self::revision`] without a gap.
    pub fn follow(&mut self, steps: &[Arc<Step>], now: Timestamp) -> Delta {
        let Some(last) = steps.last() else { return Delta::default() };
        let mut changed = Vec::new();
        let mut bundles_changed = false;
        for step in steps {
            match &step.touched {
                Touched::Everything => return self.compare_all(&last.after, now),
                Touched::These { nodes, .. } if nodes.contains(&self.agent) => {
                    return self.compare_all(&last.after, now);
                }
                Touched::These { entries, bundles, .. } => {
                    changed.extend(entries);
                    bundles_changed |= bundles;
                }
            }
        }
        let mut delta = Delta::default();
        for id in changed {
            self.compare_entry(id, &last.after, now, &mut delta);
        }
        if bundles_changed || !delta.is_empty() {
            self.compare_bundles(&last.after, &mut delta);
        }
        self.revision = last.after.revision();
        delta
    }

    fn compare_entry(&mut self, id: &EntryId, index: &EntryIndex, now: Timestamp, delta: &mut Delta) {
        match index.find_authorized_entry(&self.agent, id, now) {
            Some(entry) => {
                let told = self.entries.insert(id.clone(), Arc::clone(entry));
                if told.is_none_or(|told| !same(&told, entry)) {
                    delta.entries.extend(entry.unpack().map(Arc::new));
                }
            }
            None => {
                if self.entries.remove(id).is_some() {
                    delta.removed_entries.push(id.clone());
                }
            }
        }
    }

    /// The agent needs its own trust domain's bundle and those that its entries federate with.
    fn compare_bundles(&mut self, index: &EntryIndex, delta: &mut Delta) {
        let mut gone = std::mem::take(&mut self.bundles);
        let own = self.agent.trust_domain();
        for name in self.entries.values().flat_map(|entry| entry.federates_with.iter()).chain([&own]) {
            let Some(bundle) = index.bundle(name).filter(|_| !self.bundles.contains_key(name)) else { continue };
            if gone.remove(name).is_none_or(|told| !same(&told, bundle)) {
                delta.bundles.push(Arc::clone(bundle));
            }
            self.bundles.insert(name.clone(), Arc::clone(bundle));
        }
        delta.removed_bundles.extend(gone.into_keys());
    }
}

fn same<T: PartialEq>(told: &Arc<T>, now: &Arc<T>) -> bool {
    Arc::ptr_eq(told, now) || told == now
}
