//! The entries, and which of them a set of selectors matches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use spiffe_core::Timestamp;
use spiffe_core::x509::X509Svid;
use spire_types::{EntryId, RegistrationEntry, Selector};

/// An entry, and what is held for it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) entry: Arc<RegistrationEntry>,
    pub(super) svid: Option<Held>,
    /// The server refused to mint for it; it is asked again from then on.
    pub(super) refused_until: Option<Timestamp>,
    /// Last of the workloads that matched it.
    pub(super) last_access: u64,
}

/// An SVID.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) svid: Arc<X509Svid>,
    /// The entry's revision that it was minted for.
    pub(super) revision: i64,
    pub(super) renew_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// It is to be replaced at once: an authority above it is tainted, or the entry is another one.
    pub(super) outdated: bool,
}

impl Record {
    fn new(entry: Arc<RegistrationEntry>) -> Self {
        Self { entry, svid: None, refused_until: None, last_access: 0 }
    }

    /// Whether it is for a workload with these selectors.
    fn is_for(&self, selectors: &BTreeSet<Selector>) -> bool {
        !self.entry.store_svid && self.entry.selectors.iter().all(|selector| selectors.contains(selector))
    }

    /// The SVID, if it is valid at `now`.
    pub(super) fn valid(&self, now: Timestamp) -> Option<&Held> {
        self.svid.as_ref().filter(|held| held.expires_at > now)
    }

    /// When the SVID is due for replacement: at once where it does not fit the entry any more.
    pub(super) fn renew_at(&self) -> Option<Timestamp> {
        let held = self.svid.as_ref()?;
        let at_once = held.outdated || held.revision != self.entry.revision_number;
        Some(if at_once { Timestamp::from_unix(i64::MIN) } else { held.renew_at })
    }
}

/// Records by entry ID, each also found by one of its selectors.
#[derive(Debug, Default)]
pub(super) struct Entries {
    records: BTreeMap<EntryId, Record>,
    /// Each entry stands under that of its selectors which the fewest others stand under.
    by_anchor: HashMap<Selector, BTreeSet<EntryId>>,
}

impl Entries {
    pub(super) fn get(&self, id: &EntryId) -> Option<&Record> {
        self.records.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &EntryId) -> Option<&mut Record> {
        self.records.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&EntryId, &Record)> {
        self.records.iter()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.records.values_mut()
    }

    /// Puts an entry in, in place of the one with the same ID, whose SVID it takes over where the identity is the same.
    pub(super) fn insert(&mut self, id: &EntryId, entry: Arc<RegistrationEntry>) {
        let previous = self.remove(id);
        let mut record = Record::new(entry);
        if let Some(previous) = previous {
            record.last_access = previous.last_access;
            // One that was made again under the same ID has the same revision: what was minted for the other is old.
            let again = previous.entry.created_at != record.entry.created_at;
            record.svid =
                previous.svid.filter(|_| previous.entry.spiffe_id == record.entry.spiffe_id).map(|mut held| {
                    held.outdated |= again;
                    held
                });
        }
        if let Some(anchor) =
            record.entry.selectors.iter().min_by_key(|s| self.by_anchor.get(*s).map_or(0, BTreeSet::len))
        {
            self.by_anchor.entry(anchor.clone()).or_default().insert(id.clone());
        }
        self.records.insert(id.clone(), record);
    }

    pub(super) fn remove(&mut self, id: &EntryId) -> Option<Record> {
        let record = self.records.remove(id)?;
        for selector in &record.entry.selectors {
            if let Some(ids) = self.by_anchor.get_mut(selector) {
                ids.remove(id);
                if ids.is_empty() {
                    self.by_anchor.remove(selector);
                }
            }
        }
        Some(record)
    }

    /// Notes when a workload with these selectors has last been seen.
    pub(super) fn accessed(&mut self, selectors: &BTreeSet<Selector>, at: u64) {
        for id in selectors.iter().filter_map(|selector| self.by_anchor.get(selector)).flatten() {
            if let Some(record) = self.records.get_mut(id).filter(|record| record.is_for(selectors)) {
                record.last_access = at;
            }
        }
    }

    /// The entries all of whose selectors are among `selectors`, by ID; those for stores are for nobody else.
    pub(super) fn matching(&self, selectors: &BTreeSet<Selector>) -> BTreeMap<&EntryId, &Record> {
        let anchored = selectors.iter().filter_map(|selector| self.by_anchor.get(selector)).flatten();
        anchored
            .filter_map(|id| self.records.get_key_value(id))
            .filter(|(_, record)| record.is_for(selectors))
            .collect()
    }
}
