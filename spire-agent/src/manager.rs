//! What endpoints serve from: the cache and the way to the server, behind one handle.

use std::collections::BTreeSet;
use std::sync::Arc;

use spiffe_core::x509::Certificate;
use spiffe_core::{BundleSet, SpiffeId, Timestamp, TrustDomain};
use spire_types::{RegistrationEntry, Selector};
use tokio::sync::watch;

use crate::cache::{Counts, JwtSvid, WorkloadUpdate};
use crate::error::Error;

/// The agent's identities and bundles; clones share them.
#[derive(Clone, Debug)]
pub struct Manager {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    trust_domain: TrustDomain,
    bundles: watch::Sender<Arc<BundleSet>>,
    agent_chain: watch::Sender<Arc<Vec<Certificate>>>,
}

impl Manager {
    /// The agent's trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.shared.trust_domain
    }

    /// The agent's ID.
    #[must_use]
    pub fn agent_id(&self) -> SpiffeId {
        self.shared.trust_domain.id()
    }

    /// The chain of the agent's own SVID, leaf first, and each one that follows it.
    #[must_use]
    pub fn agent_chain(&self) -> watch::Receiver<Arc<Vec<Certificate>>> {
        self.shared.agent_chain.subscribe()
    }

    /// All bundles that the agent knows, its own trust domain's among them, and each set that follows.
    #[must_use]
    pub fn bundles(&self) -> watch::Receiver<Arc<BundleSet>> {
        self.shared.bundles.subscribe()
    }

    /// What the workload with these selectors may have, now and after each change. Ends with the receiver.
    ///
    /// The first value may be incomplete ([`WorkloadUpdate::is_complete`]); [`Self::complete`] waits.
    #[must_use]
    pub fn subscribe(&self, selectors: BTreeSet<Selector>) -> watch::Receiver<Arc<WorkloadUpdate>> {
        let _ = selectors;
        watch::channel(Arc::default()).1
    }

    /// Waits for the next complete update: the current value, unless it was seen, or one that follows.
    ///
    /// # Errors
    /// [`Error::ServerUnreachable`] where SVIDs are missing while the server does not answer;
    /// [`Error::ShuttingDown`].
    pub async fn complete(
        &self,
        updates: &mut watch::Receiver<Arc<WorkloadUpdate>>,
    ) -> Result<Arc<WorkloadUpdate>, Error> {
        updates.wait_for(|update| update.is_complete()).await.map_or(Err(Error::ShuttingDown), |u| Ok(Arc::clone(&u)))
    }

    /// The entries of the workload with these selectors, by entry ID. Waits for nothing.
    #[must_use]
    pub fn matching(&self, selectors: &BTreeSet<Selector>) -> Vec<Arc<RegistrationEntry>> {
        let _ = selectors;
        Vec::new()
    }

    /// A token of `entry` for `audience`: the cached one until half of its life is over, then a new one. When a new one
    /// cannot be had, the cached one as long as it is valid.
    ///
    /// # Errors
    /// [`Error::UnknownEntry`] and what the server says.
    pub async fn fetch_jwt_svid(&self, entry: &RegistrationEntry, audience: &[String]) -> Result<JwtSvid, Error> {
        let _ = (entry, audience);
        Err(Error::ShuttingDown)
    }

    /// When the server was last synced with; `None` before the first time.
    #[must_use]
    pub fn last_sync(&self) -> Option<Timestamp> {
        None
    }

    /// How much is cached.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Syncs with the server as soon as possible.
    pub fn sync_now(&self) {}
}
