//! Which SVIDs make room when there are too many.

use spire_types::EntryId;

use super::Cache;

impl Cache {
    /// Drops the SVIDs that nobody has asked for the longest, until there are no more than there should be. Those that
    /// somebody is subscribed to stay.
    pub(super) fn evict(&mut self) {
        let surplus = self.svid_count().saturating_sub(self.settings.max_x509_svids);
        if surplus == 0 {
            return;
        }
        let mut idle: Vec<(u64, EntryId)> = self
            .entries
            .iter()
            .filter(|(_, record)| record.svid.is_some() && !self.subscribers.is_active(&record.entry))
            .map(|(id, record)| (record.last_access, id.clone()))
            .collect();
        idle.sort();
        for (_, id) in idle.into_iter().take(surplus) {
            if let Some(record) = self.entries.get_mut(&id) {
                record.svid = None;
            }
        }
    }
}
