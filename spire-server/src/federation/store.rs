//! Relationships and bundles in the server's datastore.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use spiffe_core::{Bundle, TrustDomain};
use spire_datastore::{DataStore, Revision};
use spire_types::{FederationRelationship, PageRequest};
use tokio::sync::watch;

use super::{Changed, FederationStore, StoreError};
use crate::entries::{EntryCache, EntryIndex};

/// The datastore as the driver of federation sees it. It follows the index, and knows its own writes.
pub struct StoredFederation {
    datastore: Arc<dyn DataStore>,
    cache: Arc<EntryCache>,
    watch: tokio::sync::Mutex<Watch>,
    /// What this driver has stored last.
    own: Mutex<BTreeMap<TrustDomain, Bundle>>,
}

struct Watch {
    revisions: watch::Receiver<Revision>,
    /// Up to which state changes are known.
    seen: Arc<EntryIndex>,
}

impl StoredFederation {
    /// Follows `datastore` from the state that its index `cache` has now.
    pub fn new(datastore: Arc<dyn DataStore>, cache: Arc<EntryCache>) -> Self {
        let watch = tokio::sync::Mutex::new(Watch { revisions: datastore.revisions(), seen: cache.current() });
        Self { datastore, cache, watch, own: Mutex::default() }
    }

    /// What others did between two states.
    fn by_others(&self, before: &EntryIndex, after: &EntryIndex) -> Changed {
        let own = self.own.lock();
        let is_new = |bundle: &&Arc<Bundle>| {
            let name = &bundle.trust_domain;
            !before.bundle(name).is_some_and(|known| Arc::ptr_eq(known, bundle)) && own.get(name) != Some(bundle)
        };
        // The driver deletes none.
        let deleted = before.bundles().filter(|bundle| after.bundle(&bundle.trust_domain).is_none());
        let bundles = after.bundles().filter(is_new).chain(deleted).map(|bundle| bundle.trust_domain.clone()).collect();
        Changed { relationships: !before.has_relationships_of(after), bundles }
    }
}

#[async_trait]
impl FederationStore for StoredFederation {
    async fn relationships(&self) -> Result<Vec<FederationRelationship>, StoreError> {
        Ok(self.datastore.list_relationships(PageRequest::default()).await?.items)
    }

    async fn bundle(&self, trust_domain: &TrustDomain) -> Result<Option<Arc<Bundle>>, StoreError> {
        Ok(self.datastore.fetch_bundle(trust_domain).await?.map(Arc::new))
    }

    async fn replace_bundle(&self, fetched: Bundle, replaced: Option<Arc<Bundle>>) -> Result<bool, StoreError> {
        let trust_domain = fetched.trust_domain.clone();
        // Noted first: the log may tell of the write before it has returned.
        let before = self.own.lock().insert(trust_domain.clone(), fetched.clone());
        let stored = self.datastore.replace_bundle(fetched, replaced.map(Arc::unwrap_or_clone)).await;
        if !matches!(stored, Ok(true)) {
            let mut own = self.own.lock();
            match before {
                Some(before) => own.insert(trust_domain, before),
                None => own.remove(&trust_domain),
            };
        }
        Ok(stored?)
    }

    async fn changed(&self) -> Changed {
        let mut watch = self.watch.lock().await;
        loop {
            let newest = *watch.revisions.borrow_and_update();
            if let Err(err) = self.cache.reach(newest).await {
                tracing::warn!(%err, "changes of federation cannot be read, will retry");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let current = self.cache.current();
            let before = std::mem::replace(&mut watch.seen, Arc::clone(&current));
            let changed = self.by_others(&before, &current);
            if changed != Changed::default() {
                return changed;
            }
            if watch.revisions.changed().await.is_err() {
                // The store has ended; so will the driver.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Debug for StoredFederation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredFederation").field("datastore", &self.datastore).finish_non_exhaustive()
    }
}

/// After the log could not be read.
const RETRY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
