//! The own bundle, for the bundle endpoint.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use spiffe_core::{Bundle, TrustDomain};
use spire_datastore::{DataStore, Revision};
use spire_federation::serve::OwnBundle;

use super::StoreError;

/// The bundle of one trust domain in the datastore, read again only after something was written there: anyone may ask
/// the endpoint, as often as he likes.
#[derive(Debug)]
pub struct StoredOwnBundle {
    datastore: Arc<dyn DataStore>,
    trust_domain: TrustDomain,
    latest: Mutex<Option<(Revision, Arc<Bundle>)>>,
}

impl StoredOwnBundle {
    /// The bundle of `trust_domain` in `datastore`.
    pub fn new(datastore: Arc<dyn DataStore>, trust_domain: TrustDomain) -> Self {
        Self { datastore, trust_domain, latest: Mutex::default() }
    }

    /// The bundle of the moment; `None` before there is one.
    ///
    /// # Errors
    /// When the datastore fails.
    pub async fn fetch(&self) -> Result<Option<Arc<Bundle>>, spire_datastore::Error> {
        // Read before the bundle is: what is kept is never older than the revision says.
        let revision = *self.datastore.revisions().borrow();
        if let Some((known, bundle)) = &*self.latest.lock()
            && *known == revision
        {
            return Ok(Some(Arc::clone(bundle)));
        }
        let Some(bundle) = self.datastore.fetch_bundle(&self.trust_domain).await?.map(Arc::new) else {
            return Ok(None);
        };
        *self.latest.lock() = Some((revision, Arc::clone(&bundle)));
        Ok(Some(bundle))
    }
}

#[async_trait]
impl OwnBundle for StoredOwnBundle {
    async fn own_bundle(&self) -> Result<Arc<Bundle>, StoreError> {
        Ok(self.fetch().await?.ok_or("trust domain has no bundle yet")?)
    }
}
