//! What endpoints serve from, so that they can be tested without a server.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use spiffe_core::x509::Certificate;
use spiffe_core::{BundleSet, Timestamp, TrustDomain};
use spire_types::{RegistrationEntry, Selector};
use tokio::sync::watch;

use crate::cache::{Counts, JwtSvid, WorkloadUpdate};
use crate::error::Error;
use crate::manager::Manager;

/// As [`Manager`], whose methods of the same names say what each does. All may be called concurrently.
#[async_trait]
#[expect(missing_docs, reason = "those of Manager")]
pub trait Source: Send + Sync + 'static {
    fn trust_domain(&self) -> &TrustDomain;
    fn agent_chain(&self) -> Arc<Vec<Certificate>>;
    fn bundles(&self) -> watch::Receiver<Arc<BundleSet>>;
    fn subscribe(&self, selectors: BTreeSet<Selector>) -> watch::Receiver<Arc<WorkloadUpdate>>;
    fn matching(&self, selectors: &BTreeSet<Selector>) -> Vec<Arc<RegistrationEntry>>;
    fn last_sync(&self) -> Option<Timestamp>;
    fn counts(&self) -> Counts;

    /// # Errors
    /// Those of [`Manager::complete`].
    async fn complete(&self, updates: &mut watch::Receiver<Arc<WorkloadUpdate>>) -> Result<Arc<WorkloadUpdate>, Error>;

    /// # Errors
    /// Those of [`Manager::fetch_jwt_svid`].
    async fn fetch_jwt_svid(&self, entry: &RegistrationEntry, audience: &[String]) -> Result<JwtSvid, Error>;
}

#[async_trait]
impl Source for Manager {
    fn trust_domain(&self) -> &TrustDomain {
        self.trust_domain()
    }

    fn agent_chain(&self) -> Arc<Vec<Certificate>> {
        Arc::clone(&self.agent_chain().borrow())
    }

    fn bundles(&self) -> watch::Receiver<Arc<BundleSet>> {
        self.bundles()
    }

    fn subscribe(&self, selectors: BTreeSet<Selector>) -> watch::Receiver<Arc<WorkloadUpdate>> {
        self.subscribe(selectors)
    }

    fn matching(&self, selectors: &BTreeSet<Selector>) -> Vec<Arc<RegistrationEntry>> {
        self.matching(selectors)
    }

    fn last_sync(&self) -> Option<Timestamp> {
        self.last_sync()
    }

    fn counts(&self) -> Counts {
        self.counts()
    }

    async fn complete(&self, updates: &mut watch::Receiver<Arc<WorkloadUpdate>>) -> Result<Arc<WorkloadUpdate>, Error> {
        self.complete(updates).await
    }

    async fn fetch_jwt_svid(&self, entry: &RegistrationEntry, audience: &[String]) -> Result<JwtSvid, Error> {
        self.fetch_jwt_svid(entry, audience).await
    }
}
