//! Driver of federation: keeps the bundles of other trust domains fresh.
//!
//! The only loop around [`Schedule`]: it starts the fetches that are due, side by side, stores what they bring, and
//! listens for commands and for what others change in the store. When to fetch is the schedule's business, how is
//! [`Fetcher`]'s, and where bundles and relationships live is [`FederationStore`]'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Debug},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rand_core::RngCore;
use spiffe_core::{Bundle, BundleSet, Timestamp, TrustDomain, Ttl};
use spire_federation::{
    fetch::{Fetched, Fetcher},
    schedule::{Fetch, Outcome, Schedule},
};
use spire_runtime::{Clock, telemetry::Metrics};
use spire_types::{EndpointProfile, ErrorKind, FederationRelationship};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

mod own_bundle;
mod start;
mod store;

pub use own_bundle::StoredOwnBundle;
pub(crate) use start::{start_driver, start_endpoint};
pub use store::StoredFederation;

/// What a store may fail with.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Relationships and bundles of other trust domains, as the driver needs them.
#[async_trait]
pub trait FederationStore: Debug + Send + Sync {
    /// The relationships that are stored; those of the configuration are not among them.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn relationships(&self) -> Result<Vec<FederationRelationship>, StoreError>;

    /// The bundle of `trust_domain`, where there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn bundle(&self, trust_domain: &TrustDomain) -> Result<Option<Arc<Bundle>>, StoreError>;

    /// Stores `fetched` in place of `replaced`, which was at hand when the fetch began; false, and nothing is stored, when
    /// another bundle is there by now.
    ///
    /// # Errors
    /// When it cannot be stored.
    async fn replace_bundle(&self, fetched: Bundle, replaced: Option<Arc<Bundle>>) -> Result<bool, StoreError>;

    /// Waits until others than this driver have changed a relationship or a bundle, and tells what. May be dropped and
    /// called again without missing anything.
    async fn changed(&self) -> Changed;
}

/// What others have changed in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Whether relationships were made, changed or deleted.
    pub relationships: bool,
    /// Whose bundles were set, changed or deleted.
    pub bundles: Vec<TrustDomain>,
}

/// Why a bundle was not refreshed on request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// There is no such relationship, or not any more.
    #[error("no relationship with trust domain {:?}", .0.as_str())]
    NoRelationship(TrustDomain),
    /// The fetch, or storing its result, failed.
    #[error("failed to refresh bundle: {0}")]
    Failed(String),
    /// The server is about to end.
    #[error("federation has ended")]
    Ended,
}

impl RefreshError {
    /// The kind of failure, as an API reports it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRelationship(_) => ErrorKind::NotFound,
            Self::Failed(_) => ErrorKind::Internal,
            Self::Ended => ErrorKind::Unavailable,
        }
    }
}

/// Commands to the driver. Clones command the same one.
#[derive(Debug, Clone)]
pub struct FederationHandle(mpsc::Sender<Command>);

#[derive(Debug)]
enum Command {
    Refresh(TrustDomain, Waiter),
    Reload,
    Updated(Vec<TrustDomain>),
}

type Waiter = oneshot::Sender<Result<(), RefreshError>>;

impl FederationHandle {
    /// Fetches the bundle of `trust_domain` now, and waits for the outcome. A relationship made just before is known.
    ///
    /// # Errors
    /// [`RefreshError`]
    pub async fn refresh(&self, trust_domain: &TrustDomain) -> Result<(), RefreshError> {
        let (waiter, outcome) = oneshot::channel();
        let command = Command::Refresh(trust_domain.clone(), waiter);
        self.0.send(command).await.map_err(|_| RefreshError::Ended)?;
        outcome.await.map_err(|_| RefreshError::Ended)?
    }

    /// Has the relationships read again soon; new ones are fetched at once. Where the store tells of changes this hurries
    /// what would happen anyway.
    pub fn reload(&self) {
        // A full queue reads them anyway.
        let _ = self.0.try_send(Command::Reload);
    }

    /// Has the relationships with `trust_domains` read again soon and fetched at once, also those in which nothing has
    /// changed: whoever updates one wants its bundle.
    pub fn updated(&self, trust_domains: Vec<TrustDomain>) {
        // With a full queue what has changed is fetched anyway.
        let _ = self.0.try_send(Command::Updated(trust_domains));
    }
}

/// The driver.
pub struct Federation {
    /// From the configuration; before a stored one of the same trust domain, these count.
    configured: Vec<FederationRelationship>,
    store: Arc<dyn FederationStore>,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    rng: Box<dyn RngCore + Send>,
    commands: mpsc::Receiver<Command>,
    schedule: Schedule,
    fetches: JoinSet<Ended>,
    /// The tasks of the fetches that count.
    running: BTreeMap<TrustDomain, (AbortHandle, Fetch)>,
    /// When the relationships are read again, after they could not be.
    reload_at: Timestamp,
    waiters: BTreeMap<TrustDomain, Vec<Waiter>>,
    metrics: Metrics,
}

/// A fetch that has ended.
struct Ended {
    fetch: Fetch,
    /// What was at hand of this trust domain when it began.
    at_hand: Option<Arc<Bundle>>,
    result: Result<Fetched, String>,
    took: Duration,
}

impl Federation {
    /// A driver of the relationships in `configured` and `store`, and the handle that commands it. `rng` spreads fetches
    /// over time; nothing secret comes from it.
    #[must_use]
    pub fn new(
        configured: Vec<FederationRelationship>,
        store: Arc<dyn FederationStore>,
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
        rng: Box<dyn RngCore + Send>,
    ) -> (Self, FederationHandle) {
        let (sender, commands) = mpsc::channel(MAX_WAITING_COMMANDS);
        let driver = Self {
            configured,
            store,
            fetcher,
            clock,
            rng,
            commands,
            schedule: Schedule::new(),
            fetches: JoinSet::new(),
            running: BTreeMap::new(),
            reload_at: Timestamp::MAX,
            waiters: BTreeMap::new(),
            metrics: Metrics::disabled(),
        };
        (driver, FederationHandle(sender))
    }

    /// Counts fetches in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Runs until `shutdown`; fetches under way are dropped then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.reload().await;
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        loop {
            while let Some(fetch) = self.schedule.next_step(self.clock.now()) {
                self.start(fetch);
            }
            let wakeup = self.schedule.next_wakeup();
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(command) = self.commands.recv() => {
                    self.reload().await;
                    match command {
                        Command::Refresh(trust_domain, waiter) => self.refresh(trust_domain, waiter),
                        Command::Updated(trust_domains) => trust_domains.iter().for_each(|it| self.fetch_again(it)),
                        Command::Reload => {}
                    }
                }
                changed = store.changed() => {
                    if changed.relationships {
                        self.reload().await;
                    }
                    self.refresh_depending_on(&changed.bundles.into_iter().collect());
                }
                Some(ended) = self.fetches.join_next_with_id() => match ended {
                    Ok((_, ended)) => self.ended(ended).await,
                    Err(err) => self.broken(&err).await,
                },
                () = clock.sleep_until(wakeup) => {}
                () = clock.sleep_until(self.reload_at) => self.reload().await,
            }
        }
    }

    /// Reads the relationships; when they cannot be read they stay as they are, for a while.
    async fn reload(&mut self) {
        self.reload_at = Timestamp::MAX;
        let stored = match self.store.relationships().await {
            Ok(stored) => stored,
            Err(err) => {
                tracing::error!(%err, "Failed to reload configs");
                // Those of the configuration do not depend on the store.
                if self.schedule.relationships().next().is_none() {
                    self.schedule.set_relationships(self.clock.now(), self.configured.clone());
                }
                self.reload_at = self.clock.now() + RELOAD_RETRY;
                return;
            }
        };
        let before: BTreeSet<TrustDomain> = self.managed();
        let all = self.configured.iter().cloned().chain(stored);
        let outdated = self.schedule.set_relationships(self.clock.now(), all);
        let after = self.managed();
        for trust_domain in outdated {
            self.abort(&trust_domain);
            if after.contains(&trust_domain) {
                tracing::info!(%trust_domain, "Updated configuration for managed trust domain");
            } else {
                tracing::info!(%trust_domain, "Trust domain no longer managed");
                for waiter in self.waiters.remove(&trust_domain).unwrap_or_default() {
                    let _ = waiter.send(Err(RefreshError::NoRelationship(trust_domain.clone())));
                }
            }
        }
        for trust_domain in after.difference(&before) {
            tracing::info!(%trust_domain, "Trust domain is now managed");
        }
    }

    fn managed(&self) -> BTreeSet<TrustDomain> {
        self.schedule.relationships().map(|relationship| relationship.trust_domain.clone()).collect()
    }

    fn refresh(&mut self, trust_domain: TrustDomain, waiter: Waiter) {
        if self.schedule.refresh(self.clock.now(), &trust_domain) {
            self.abort(&trust_domain);
            self.waiters.entry(trust_domain).or_default().push(waiter);
        } else {
            let _ = waiter.send(Err(RefreshError::NoRelationship(trust_domain)));
        }
    }

    /// Fetches again, at once, what these bundles are replaced by or authenticate.
    fn refresh_depending_on(&mut self, bundles: &BTreeSet<TrustDomain>) {
        let depending: Vec<TrustDomain> = self
            .schedule
            .relationships()
            .filter(|relationship| bundles.iter().any(|changed| depends_on(relationship, changed)))
            .map(|relationship| relationship.trust_domain.clone())
            .collect();
        depending.iter().for_each(|trust_domain| self.fetch_again(trust_domain));
    }

    fn fetch_again(&mut self, trust_domain: &TrustDomain) {
        self.schedule.refresh(self.clock.now(), trust_domain);
        self.abort(trust_domain);
    }

    fn abort(&mut self, trust_domain: &TrustDomain) {
        if let Some((task, _)) = self.running.remove(trust_domain) {
            task.abort();
        }
    }

    fn start(&mut self, fetch: Fetch) {
        self.schedule.started(&fetch);
        let trust_domain = fetch.relationship.trust_domain.clone();
        tracing::debug!(%trust_domain, url = %fetch.relationship.bundle_endpoint_url, "Polling for bundle update");
        let (store, fetcher) = (Arc::clone(&self.store), self.fetcher.clone());
        let task = self.fetches.spawn({
            let fetch = fetch.clone();
            async move {
                let began = Instant::now();
                let (at_hand, result) = perform(&*store, &fetcher, &fetch.relationship).await;
                Ended { fetch, at_hand, result, took: began.elapsed() }
            }
        });
        self.running.insert(trust_domain, (task, fetch));
    }

    /// A fetch that was aborted has nothing to tell; one that broke down is a failure like others.
    async fn broken(&mut self, err: &JoinError) {
        let fetch = self.running.values().find(|(task, _)| task.id() == err.id()).map(|(_, fetch)| fetch.clone());
        if let Some(fetch) = fetch {
            self.ended(Ended { fetch, at_hand: None, result: Err(err.to_string()), took: Duration::ZERO }).await;
        }
    }

    async fn ended(&mut self, ended: Ended) {
        let Ended { fetch, at_hand, result, took } = ended;
        if !self.schedule.is_current(&fetch) {
            return;
        }
        let trust_domain = fetch.relationship.trust_domain.clone();
        self.running.remove(&trust_domain);
        let first = at_hand.is_none();
        let hint_at_hand = at_hand.as_ref().map(|bundle| bundle.refresh_hint);
        let changed = matches!(&result, Ok(fetched) if fetched.changed);
        let stored = match result {
            Ok(fetched) => keep(&*self.store, fetched, at_hand).await,
            Err(reason) => Err(reason),
        };
        let outcome = match (&stored, hint_at_hand) {
            (Ok(refresh_hint), _) => Outcome::Fetched { refresh_hint: *refresh_hint },
            (Err(_), Some(refresh_hint)) => Outcome::Failed { refresh_hint },
            (Err(_), None) => Outcome::FailedWithoutBundle,
        };
        self.schedule.completed(self.clock.now(), &fetch, outcome, &mut *self.rng);
        self.count(&trust_domain, stored.is_ok(), changed, took);
        if let Err(err) = &stored {
            tracing::error!(%trust_domain, err, url = %fetch.relationship.bundle_endpoint_url, "Error updating bundle");
        } else if first {
            // Endpoints that this bundle authenticates could not be asked before.
            let others = self.schedule.relationships().filter(|other| other.trust_domain != trust_domain);
            let waiting: Vec<_> = others
                .filter(|other| depends_on(other, &trust_domain))
                .map(|other| other.trust_domain.clone())
                .collect();
            waiting.iter().for_each(|other| self.fetch_again(other));
        }
        for waiter in self.waiters.remove(&trust_domain).unwrap_or_default() {
            let _ = waiter.send(stored.as_ref().map(|_| ()).map_err(|reason| RefreshError::Failed(reason.clone())));
        }
    }

    fn count(&self, trust_domain: &TrustDomain, stored: bool, changed: bool, took: Duration) {
        let labels = [("trust_domain_id", trust_domain.as_str())];
        // What Go calls an error without a code.
        let status = if stored { "OK" } else { "Unknown" };
        self.metrics.call(&["bundle_manager", "fetch", "federated_bundle"], &labels, status, took);
        if stored && changed {
            self.metrics.count(&["bundle_manager", "update", "federated_bundle"], &labels);
        }
    }
}

impl Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Federation").field("configured", &self.configured.len()).finish_non_exhaustive()
    }
}

/// One fetch, with the bundles at hand now.
async fn perform(
    store: &dyn FederationStore,
    fetcher: &Fetcher,
    relationship: &FederationRelationship,
) -> (Option<Arc<Bundle>>, Result<Fetched, String>) {
    let at_hand = match store.bundle(&relationship.trust_domain).await {
        Ok(bundle) => bundle,
        Err(err) => return (None, Err(format!("failed to fetch local bundle: {err}"))),
    };
    let mut known: BundleSet = at_hand.iter().cloned().collect();
    if let EndpointProfile::HttpsSpiffe { endpoint_id } = &relationship.profile {
        match store.bundle(&endpoint_id.trust_domain()).await {
            Ok(bundle) => bundle.map(|bundle| known.insert(bundle)),
            Err(err) => return (at_hand, Err(format!("failed to fetch local bundle: {err}"))),
        };
    }
    let result = fetcher.fetch(relationship, &known).await.map_err(|err| err.to_string());
    (at_hand, result)
}

/// Stores what is new; the refresh hint that counts from now on.
async fn keep(
    store: &dyn FederationStore,
    fetched: Fetched,
    at_hand: Option<Arc<Bundle>>,
) -> Result<Option<Ttl>, String> {
    let Fetched { bundle, changed } = fetched;
    let (trust_domain, refresh_hint) = (bundle.trust_domain.clone(), bundle.refresh_hint);
    if !changed {
        tracing::debug!(%trust_domain, "bundle is the one at hand");
        return Ok(refresh_hint);
    }
    if bundle.x509_authorities.is_empty() {
        tracing::warn!(%trust_domain, "bundle holds no X.509 authority: no X.509-SVID of this trust domain is valid");
    }
    let sequence_number = bundle.sequence_number;
    match store.replace_bundle(bundle, at_hand).await {
        Ok(true) => {
            tracing::info!(%trust_domain, sequence_number, "Bundle refreshed");
            Ok(refresh_hint)
        }
        Ok(false) => Err("bundle was set while it was fetched; what was set is kept".to_owned()),
        Err(err) => Err(format!("failed to set bundle: {err}")),
    }
}

/// Whether the bundle of `trust_domain` is what `relationship` fetches, or authenticates its endpoint.
fn depends_on(relationship: &FederationRelationship, trust_domain: &TrustDomain) -> bool {
    let authenticates = match &relationship.profile {
        EndpointProfile::HttpsSpiffe { endpoint_id } => endpoint_id.is_member_of(trust_domain),
        _ => false,
    };
    authenticates || relationship.trust_domain == *trust_domain
}

/// More have to wait before they can even ask.
const MAX_WAITING_COMMANDS: usize = 256;
/// After the relationships could not be read.
const RELOAD_RETRY: Ttl = Ttl::from_secs(10);

#[cfg(test)]
mod tests;
