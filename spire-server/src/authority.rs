//! Driver of rotation: prepares, activates and retires the server's X.509 CA and JWT key.
//!
//! The only loop around [`Rotation`], which decides. Here are the effects: keys in the key manager, certificates,
//! the own bundle and the journal in the datastore. An authority is in the bundle before it signs anything. What
//! signs at the moment is a snapshot, [`AuthorityHandle::current`], which nobody waits for.

mod activate;
mod command;
mod error;
mod from_upstream;
mod handle;
mod journal;
mod prepare;
mod retire;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_core::CryptoRng;
use spiffe_core::{KeyType, TrustDomain};
use spire_api::status::{code, code_name};
use spire_ca::rotation::{Done, Inventory, Journal, Kind, Policy, Publication, Rotation, SlotId, Step, policy};
use spire_ca::upstream::UpstreamAuthority;
use spire_ca::upstream::follow::Changes;
use spire_ca::{Authority, Composers, DistinguishedName, JwtKey, X509Ca};
use spire_datastore::DataStore;
use spire_keymanager::KeyManager;
use spire_runtime::telemetry::Metrics;
use spire_runtime::{Clock, Tasks};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use error::AuthorityError;
use handle::Command;
pub use handle::{AuthorityHandle, AuthorityState, AuthorityStates};
use journal::{SlotKeys, find_journal};

/// What an operator decides about the server's authorities.
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// Whose authorities they are.
    pub trust_domain: TrustDomain,
    /// Lifetimes, and whether there are JWT-SVIDs.
    pub policy: Policy,
    /// How long an authority has been published before it signs.
    pub publication: Publication,
    /// The kind of the CA's key.
    pub ca_key_type: KeyType,
    /// The kind of the JWT key.
    pub jwt_key_type: KeyType,
    /// The CA's subject.
    pub ca_subject: DistinguishedName,
}

impl AuthorityConfig {
    /// SPIRE's defaults.
    #[must_use]
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            policy: Policy::default(),
            publication: Publication::default(),
            ca_key_type: KeyType::EcP256,
            jwt_key_type: KeyType::EcP256,
            ca_subject: DistinguishedName::default_ca(),
        }
    }
}

/// What the driver works with.
pub struct AuthorityParts {
    /// Where keys live.
    pub key_manager: Arc<dyn KeyManager>,
    /// Where the bundle and the journal live.
    pub datastore: Arc<dyn DataStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Serial numbers and key IDs come from it.
    pub rng: Box<dyn CryptoRng + Send + Sync>,
    /// What changes credentials before they are signed.
    pub composers: Composers,
    /// Who signs the CA; `None` for a self-signed one.
    pub upstream: Option<Arc<dyn UpstreamAuthority>>,
    /// Where rotation is counted, and what is signed.
    pub metrics: Metrics,
}

/// Loads the journal, makes what is missing, and starts the task that keeps it fresh.
///
/// # Errors
/// [`AuthorityError`] when the journal cannot be read, or a first authority cannot be made: a server without one cannot
/// do anything.
pub async fn start(
    config: AuthorityConfig,
    parts: AuthorityParts,
    tasks: &Tasks,
) -> Result<AuthorityHandle, AuthorityError> {
    let mut driver = Driver::load(config, parts).await?;
    if let (None, Some(upstream)) = (driver.rotation.x509().active(), &driver.parts.upstream) {
        upstream.ready().await?;
    }
    while let Some(step) = driver.rotation.next_step(driver.parts.clock.now()) {
        match driver.perform(step.clone()).await {
            Err(err) if driver.can_start_without(&step) => driver.failed(&step, &err),
            outcome => outcome?,
        }
    }
    let current = driver.snapshot()?;
    let (upstream, metrics) = (driver.parts.upstream.is_some(), driver.parts.metrics.clone());
    let (publisher, current) = watch::channel(current);
    let (sender, commands) = mpsc::channel(MAX_WAITING_COMMANDS);
    let failures = Arc::clone(&driver.failures);
    let shutdown = tasks.shutdown_token();
    tasks.spawn("authority", driver.run(publisher, commands, shutdown));
    Ok(AuthorityHandle { current, commands: sender, failures, upstream, metrics })
}

/// The loop's state.
struct Driver {
    config: AuthorityConfig,
    parts: AuthorityParts,
    rotation: Rotation,
    /// The number of the journal's row; zero before it is stored.
    journal_id: i64,
    x509: Option<Arc<X509Ca>>,
    jwt: Option<Arc<JwtKey>>,
    /// How many attempts have failed since the last one that did not.
    failures: Arc<AtomicU64>,
    /// Whether the upstream's bundle could be had when it was last asked for.
    follows: bool,
    /// Whether something was tainted that watchers are to hear of.
    tainted: bool,
    /// Taints of what is above the active CA: told once that CA had the time to be replaced.
    held_back: Changes,
}

impl Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("rotation", &self.rotation).finish_non_exhaustive()
    }
}

impl Driver {
    async fn load(config: AuthorityConfig, parts: AuthorityParts) -> Result<Self, AuthorityError> {
        let keys = SlotKeys::of(parts.key_manager.as_ref()).await?;
        let found = find_journal(parts.datastore.as_ref(), &keys).await?;
        let (journal_id, journal) = match found {
            Some(stored) => (stored.id, Journal::decode(&stored.data)?),
            None => (0, Journal::default()),
        };
        let bundle = parts.datastore.fetch_bundle(&config.trust_domain).await?;
        let inventory = Inventory { key: &keys, bundle: bundle.as_ref(), upstream: parts.upstream.is_some() };
        let mut rotation = Rotation::restore(config.policy, journal, inventory, parts.clock.now())
            .with_publication(config.publication);
        if parts.upstream.as_ref().is_some_and(|upstream| upstream.has_bundle()) {
            rotation = rotation.following();
        }
        let failures = Arc::default();
        let (x509, jwt, follows, tainted, held_back) = (None, None, true, false, Changes::default());
        let mut driver = Self { config, parts, rotation, journal_id, x509, jwt, failures, follows, tainted, held_back };
        if let Some(active) = driver.rotation.x509().active() {
            let (slot, record) = (active.slot, active.record.clone());
            driver.use_x509(slot, &record).await?;
            tracing::info!(local_authority_id = %record.authority_id, "X509 CA loaded");
        }
        if let Some(active) = driver.rotation.jwt().active() {
            let (slot, record) = (active.slot, active.record.clone());
            driver.use_jwt(slot, &record).await?;
            tracing::info!(local_authority_id = %record.authority_id, "JWT key loaded");
        }
        Ok(driver)
    }

    async fn run(
        mut self,
        publisher: watch::Sender<Authority>,
        mut commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) -> Result<(), AuthorityError> {
        let clock = Arc::clone(&self.parts.clock);
        loop {
            if let Some(step) = self.rotation.next_step(clock.now()) {
                match self.perform(step.clone()).await {
                    Ok(()) if step == Step::FollowUpstream => {}
                    Ok(()) => self.failures.store(0, Ordering::Relaxed),
                    Err(err) => self.failed(&step, &err),
                }
                self.publish(&step, &publisher)?;
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = clock.sleep_until(self.rotation.next_wakeup()) => {}
                Some(command) = commands.recv() => self.command(command, &publisher).await?,
            }
        }
    }

    /// The upstream may be down: its bundle can wait, and so can successors of what signs.
    fn can_start_without(&self, step: &Step) -> bool {
        match step {
            Step::FollowUpstream => true,
            Step::Prepare { .. } => self.rotation.x509().active().is_some(),
            _ => false,
        }
    }

    fn failed(&mut self, step: &Step, err: &AuthorityError) {
        self.rotation.failed(self.parts.clock.now(), step);
        if *step != Step::FollowUpstream {
            tracing::error!(%err, ?step, "authority step failed, will be tried again");
            self.failures.fetch_add(1, Ordering::Relaxed);
        } else if std::mem::take(&mut self.follows) {
            // Once for an outage: it is tried again every few seconds, and what was followed before stays.
            tracing::error!(%err, "upstream bundle cannot be followed, will be tried again");
        }
    }

    /// Activating changes what signs; tainting changes what should not have signed, which watchers of it act upon.
    fn publish(&mut self, step: &Step, publisher: &watch::Sender<Authority>) -> Result<(), AuthorityError> {
        let tainted = std::mem::take(&mut self.tainted);
        if tainted || matches!(step, Step::Activate { .. } | Step::Taint { .. }) {
            publisher.send_replace(self.snapshot()?);
        }
        Ok(())
    }

    /// Does one step, and records that it is done, or what its failure has spoilt.
    async fn perform(&mut self, step: Step) -> Result<(), AuthorityError> {
        match self.effect(&step).await {
            Ok(done) => {
                self.rotation.completed(self.parts.clock.now(), done);
                Ok(())
            }
            Err(err) => {
                match (&step, &err) {
                    // The old key may be gone already.
                    (Step::Prepare { kind, slot }, _) => self.rotation.key_lost(*kind, *slot),
                    (
                        Step::Activate { kind, .. },
                        AuthorityError::KeyGone { .. } | AuthorityError::Ca(spire_ca::Error::KeyMismatch),
                    ) => {
                        let slot = match kind {
                            Kind::X509 => self.rotation.x509().next_slot(),
                            Kind::Jwt => self.rotation.jwt().next_slot(),
                        };
                        self.rotation.key_lost(*kind, slot);
                    }
                    _ => {}
                }
                Err(err)
            }
        }
    }

    async fn effect(&mut self, step: &Step) -> Result<Done, AuthorityError> {
        Ok(match step {
            Step::Prepare { kind: Kind::X509, slot } => {
                let metrics = self.parts.metrics.clone();
                metrics.timed(&["ca", "manager", "x509_ca", "prepare"], &[], failure, self.prepare_x509(*slot)).await?
            }
            Step::Prepare { kind: Kind::Jwt, slot } => {
                let metrics = self.parts.metrics.clone();
                metrics.timed(&["ca", "manager", "jwt_key", "prepare"], &[], failure, self.prepare_jwt(*slot)).await?
            }
            Step::Activate { kind, authority_id } => self.activate(*kind, authority_id.clone()).await?,
            Step::SaveJournal => self.save_journal().await?,
            Step::Taint { kind, authority_id } => self.taint(*kind, authority_id).await?,
            Step::Revoke { kind, authority_id } => self.revoke(*kind, authority_id).await?,
            Step::PruneBundle => {
                let expired_before = self.parts.clock.now() - policy::PRUNE_BUNDLE_AFTER;
                let pruning = self.parts.datastore.prune_bundle(&self.config.trust_domain, expired_before);
                let failure = |err: &spire_datastore::Error| code_name(code(err.kind()));
                let metrics = &self.parts.metrics;
                if metrics.timed(&["ca", "manager", "bundle", "prune"], &[], failure, pruning).await?.is_some() {
                    metrics.count(&["ca", "manager", "bundle", "pruned"], &[]);
                }
                Done::PrunedBundle
            }
            Step::PruneJournals => self.prune_journals().await?,
            Step::FollowUpstream => self.follow_upstream().await?,
        })
    }

    fn snapshot(&self) -> Result<Authority, AuthorityError> {
        let x509 = self.x509.clone().ok_or(AuthorityError::Bug("no active X.509 CA"))?;
        let composers = self.parts.composers.clone();
        Ok(Authority::new(self.config.trust_domain.clone(), x509, self.jwt.clone(), composers))
    }
}

/// What metrics call a failure.
fn failure(err: &AuthorityError) -> &'static str {
    code_name(code(err.kind()))
}

fn slot_name(slot: SlotId) -> &'static str {
    match slot {
        SlotId::A => "A",
        SlotId::B => "B",
    }
}

/// Failures in a row that do not mean anything yet: a hundred seconds of them.
pub const MAX_FAILURES: u64 = 10;
/// More than these, and whoever commands waits.
const MAX_WAITING_COMMANDS: usize = 16;

#[cfg(test)]
mod tests;
