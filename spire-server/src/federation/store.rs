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
use spire_datastore::{Change, Changes, DataStore, Revision};
use spire_types::{FederationRelationship, PageRequest};
use tokio::sync::watch;

use super::{Changed, FederationStore, StoreError};

/// The datastore as the driver of federation sees it. It follows the log of changes, and knows its own writes.
pub struct StoredFederation {
    datastore: Arc<dyn DataStore>,
    watch: tokio::sync::Mutex<Watch>,
    /// What this driver has stored last.
    own: Mutex<BTreeMap<TrustDomain, Bundle>>,
}

struct Watch {
    revisions: watch::Receiver<Revision>,
    /// Up to which changes are known.
    seen: Revision,
}

impl StoredFederation {
    /// Follows `datastore` from the revision it has now.
    pub fn new(datastore: Arc<dyn DataStore>) -> Self {
        let mut revisions = datastore.revisions();
        let seen = *revisions.borrow_and_update();
        let watch = tokio::sync::Mutex::new(Watch { revisions, seen });
        Self { datastore, watch, own: Mutex::default() }
    }

    /// What others did of `changes`.
    fn by_others(&self, changes: Vec<Change>) -> Changed {
        let mut by_others = Changed::default();
        for change in changes {
            match change {
                Change::Relationship(..) => by_others.relationships = true,
                Change::Bundle(trust_domain, bundle) => {
                    // The driver deletes none.
                    let own = bundle.is_some_and(|bundle| self.own.lock().get(&trust_domain) == Some(&bundle));
                    if !own {
                        by_others.bundles.push(trust_domain);
                    }
                }
                Change::Entry(..) | Change::Node(..) => {}
            }
        }
        by_others
    }

    /// All that may have changed, when the log does not reach back far enough.
    async fn everything(&self) -> Result<Changed, StoreError> {
        let bundles = self.datastore.list_bundles(PageRequest::default()).await?.items;
        let changes = bundles.into_iter().map(|bundle| Change::Bundle(bundle.trust_domain.clone(), Some(bundle)));
        Ok(Changed { relationships: true, ..self.by_others(changes.collect()) })
    }

    /// What others have changed since `seen`, and what is seen then.
    async fn since(&self, seen: Revision, newest: Revision) -> Result<(Revision, Changed), StoreError> {
        match self.datastore.changes_since(seen).await? {
            Changes::Since(revision, changes) => Ok((revision, self.by_others(changes))),
            Changes::TooOld => Ok((newest, self.everything().await?)),
        }
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
            if newest > watch.seen {
                match self.since(watch.seen, newest).await {
                    Ok((revision, changed)) => {
                        watch.seen = revision;
                        if changed != Changed::default() {
                            return changed;
                        }
                    }
                    Err(err) => {
                        tracing::warn!(%err, "changes of federation cannot be read, will retry");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            } else if watch.revisions.changed().await.is_err() {
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
