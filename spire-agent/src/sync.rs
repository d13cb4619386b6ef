//! The driver: does what the cache says, and tells it what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::{KeyType, Timestamp, TrustDomain, Ttl};
use spire_api::status::code_name;
use spire_runtime::Backoff;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::bootstrap::Distrust;
use crate::cache::{Done, MintRequest, Step, StepKind, Synced};
use crate::error::{Denial, Error};
use crate::follow::{Follow, Mirror};
use crate::identity::Identity;
use crate::manager::Manager;
use crate::remote;
use crate::storage::Storage;
use crate::telemetry;

/// How long the first sync is tried for before the agent gives up.
const FIRST_SYNC_BUDGET: Ttl = Ttl::from_minutes(1);
const FIRST_SYNC_RETRY: Duration = Duration::from_secs(5);
const LONGEST_SYNC_RETRY: Duration = Duration::from_secs(8 * 60);
const FIRST_MINT_RETRY: Duration = Duration::from_millis(500);
const LONGEST_MINT_RETRY: Duration = Duration::from_secs(4 * 60);

/// How long it takes at most until a clock that was set is noticed.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// How long a server that does not push is not asked for it again.
const POLLS_FOR: Ttl = Ttl::from_hours(1);

/// Syncs and mints for as long as the agent runs.
#[derive(Debug)]
pub(crate) struct Driver {
    manager: Manager,
    identity: Arc<Identity>,
    storage: Storage,
    distrust: Distrust,
    key_type: KeyType,
    sync_backoff: Backoff,
    mint_backoff: Backoff,
    /// Open as long as the server tells of changes by itself.
    follow: Option<Follow>,
    mirror: Mirror,
    polls_until: Timestamp,
}

impl Driver {
    pub(crate) fn new(
        manager: Manager,
        identity: Arc<Identity>,
        storage: Storage,
        distrust: Distrust,
        key_type: KeyType,
        sync_interval: Duration,
    ) -> Self {
        let longest = LONGEST_SYNC_RETRY.min(sync_interval.saturating_mul(48));
        Self {
            manager,
            identity,
            storage,
            distrust,
            key_type,
            sync_backoff: Backoff::new(sync_interval, longest),
            mint_backoff: Backoff::new(FIRST_MINT_RETRY, LONGEST_MINT_RETRY),
            follow: None,
            mirror: Mirror::default(),
            polls_until: Timestamp::from_unix(i64::MIN),
        }
    }

    /// The first sync and the first SVIDs, without which there is nothing to serve.
    ///
    /// # Errors
    /// The last failure, once a minute has passed; at once where the server does not want the agent.
    pub(crate) async fn initialize(&mut self) -> Result<(), Error> {
        let clock = Arc::clone(self.manager.clock());
        if let Err(status) = remote::post_status(&self.manager.client().channel()).await {
            tracing::debug!(err = %crate::client::describe(&status), "Failed to post status");
        }
        let (mut backoff, mut rng) = (Backoff::new(FIRST_SYNC_RETRY, FIRST_SYNC_RETRY * 24), OsRng.unwrap_err());
        let started = clock.now();
        loop {
            let Some(step) = self.manager.with_cache(|cache| cache.next_step(clock.now())) else { return Ok(()) };
            let Err(err) = self.perform(step).await else { continue };
            if let Some(denial) = err.denial() {
                return Err(self.refused(denial, &err).await?);
            }
            self.distrust.observe(&err).await?;
            let wait = backoff.next(&mut rng);
            if !self.distrust.is_patient() && clock.now() + Ttl::from(wait) > started + FIRST_SYNC_BUDGET {
                return Err(err);
            }
            tracing::warn!(%err, retry_interval = ?wait, "Failed to initialize manager");
            clock.sleep(wait).await;
        }
    }

    /// Whoever is refused before anything runs begins anew with the next start.
    async fn refused(&self, denial: Denial, cause: &Error) -> Result<Error, Error> {
        let err = match denial {
            Denial::Banned => {
                tracing::error!(err = %cause, "Agent is banned: removing SVID and shutting down");
                Error::Banned
            }
            Denial::Attest => {
                tracing::error!(err = %cause, "Agent needs to re-attest: removing SVID and shutting down");
                Error::MustAttest { reason: cause.to_string() }
            }
        };
        self.storage.update(|data| data.svid = None).await?;
        Ok(err)
    }

    /// Goes on until `closing`.
    ///
    /// # Errors
    /// Where the server does not want the agent any more, or the agent does not trust the server any more.
    pub(crate) async fn run(mut self, closing: CancellationToken) -> Result<(), Error> {
        loop {
            tokio::select! {
                () = closing.cancelled() => return Ok(()),
                outcome = self.go_on() => outcome?,
            }
        }
    }

    /// One step, or the wait for the next.
    async fn go_on(&mut self) -> Result<(), Error> {
        let clock = Arc::clone(self.manager.clock());
        let Some(step) = self.manager.with_cache(|cache| cache.next_step(clock.now())) else {
            let wakeup = self.manager.with_cache(|cache| cache.next_wakeup());
            tokio::select! {
                () = clock.sleep(Duration::from(wakeup.since(clock.now())).min(LONGEST_NAP)) => {}
                () = self.manager.woken() => {}
                told = told(&mut self.follow, &mut self.mirror, self.manager.trust_domain()) => match told {
                    Ok(synced) => {
                        self.accept(&synced).await?;
                        let done = Done::Synced(synced);
                        self.manager.change(|cache, now| cache.completed(now, done, &mut OsRng.unwrap_err()));
                    }
                    Err(status) => {
                        tracing::debug!(err = %crate::client::describe(&status), "Stream of changes ended");
                        self.follow = None;
                        self.manager.change(|cache, _| cache.request_sync());
                    }
                }
            }
            return Ok(());
        };
        let kind = if matches!(step, Step::Mint(_)) { StepKind::Mint } else { StepKind::Sync };
        let Err(err) = self.perform(step).await else { return Ok(()) };
        let denied = match err.denial() {
            Some(denial) => self.identity.denied(denial, &err).await.map(|()| true)?,
            None => false,
        };
        self.distrust.observe(&err).await?;
        let backoff = match kind {
            StepKind::Sync => &mut self.sync_backoff,
            StepKind::Mint => &mut self.mint_backoff,
        };
        // Whoever has just attested anew tries at once.
        let wait = if denied { Duration::from_secs(1) } else { backoff.next(&mut OsRng.unwrap_err()) };
        match kind {
            StepKind::Sync => tracing::error!(%err, retry_interval = ?wait, "Synchronize failed"),
            StepKind::Mint => tracing::error!(%err, retry_interval = ?wait, "SVID renewal failed"),
        }
        self.manager.change(|cache, now| cache.failed(now, kind, &err.to_string(), Ttl::from(wait)));
        Ok(())
    }

    async fn perform(&mut self, step: Step) -> Result<(), Error> {
        let done = match step {
            Step::Expire => Done::Expired,
            Step::Sync => {
                let metrics = self.manager.metrics().clone();
                let done =
                    metrics.timed(&["manager", "sync", "fetch_entries_updates"], &[], failure, self.sync()).await?;
                self.sync_backoff.reset();
                self.distrust.over().await?;
                done
            }
            Step::Mint(requests) => {
                log_requests(&requests);
                let channel = self.manager.client().channel();
                let metrics = self.manager.metrics();
                let renewals = requests.iter().filter(|request| request.renewal).count();
                metrics.sample(&["cache_manager", "expiring_svids"], &[], telemetry::size(renewals));
                let minting = remote::mint(&channel, requests, self.key_type);
                let key = ["manager", "sync", "fetch_svids_updates"];
                let minted = metrics.timed(&key, &[], |status: &Status| code_name(status.code()), minting).await;
                let minted = minted.map_err(Error::from)?;
                self.mint_backoff.reset();
                Done::Minted(minted)
            }
        };
        self.manager.change(|cache, now| cache.completed(now, done, &mut OsRng.unwrap_err()));
        Ok(())
    }

    async fn sync(&mut self) -> Result<Done, Error> {
        if self.follow.is_some() {
            return Ok(Done::Current);
        }
        let now = self.manager.clock().now();
        let pushed = if self.polls_until <= now { self.open(now).await? } else { None };
        let synced = match pushed {
            Some(synced) => synced,
            None => self.poll().await?,
        };
        self.accept(&synced).await?;
        Ok(Done::Synced(synced))
    }

    /// Lets the server tell of changes by itself, if it does that.
    async fn open(&mut self, now: Timestamp) -> Result<Option<Synced>, Error> {
        let channel = self.manager.client().channel();
        match Follow::open(&channel, &mut self.mirror, self.manager.trust_domain()).await {
            Ok((follow, synced)) => {
                self.follow = Some(follow);
                Ok(Some(synced))
            }
            Err(status) if status.code() == Code::Unimplemented => {
                self.polls_until = now + POLLS_FOR;
                Ok(None)
            }
            Err(status) => Err(Error::from(status).attempting("failed to follow authorized entries: ")),
        }
    }

    /// Asks as SPIRE's agents do.
    async fn poll(&self) -> Result<Synced, Error> {
        let (channel, trust_domain) = (self.manager.client().channel(), self.manager.trust_domain());
        let (known, mut federates_with) = self.manager.with_cache(|cache| (cache.revisions(), cache.federates_with()));
        let listing = remote::entries(&channel, trust_domain, &known).await;
        let listing =
            listing.map_err(|status| Error::from(status).attempting("failed to fetch authorized entries: "))?;
        federates_with.retain(|id, _| listing.present.contains(id));
        for entry in &listing.entries {
            if let Some(id) = &entry.id {
                federates_with.insert(id.clone(), entry.federates_with.clone());
            }
        }
        let federated: BTreeSet<_> = federates_with.into_values().flatten().collect();
        let bundles = remote::bundles(&channel, trust_domain, federated).await;
        let bundles = bundles.map_err(|status| Error::from(status).attempting("failed to fetch bundles: "))?;
        Ok(Synced { present: listing.present, entries: listing.entries, bundles })
    }

    /// Verifies the server with the newest bundle from now on, and keeps it for the next start.
    async fn accept(&self, synced: &Synced) -> Result<(), Error> {
        let metrics = self.manager.metrics();
        if metrics.is_enabled() {
            telemetry::count_synced(metrics, &self.manager.with_cache(|cache| cache.revisions()), synced);
        }
        if let Some(own) = synced.bundles.get(self.manager.trust_domain()) {
            self.manager.client().source().set_bundles(synced.bundles.clone());
            let roots = own.x509_roots().cloned().collect();
            self.storage.update(|data| data.bundle = Some(roots)).await?;
        }
        Ok(())
    }
}

/// What the server tells by itself; nothing ever, as long as it does not.
async fn told(follow: &mut Option<Follow>, mirror: &mut Mirror, trust_domain: &TrustDomain) -> Result<Synced, Status> {
    match follow {
        Some(follow) => follow.next(mirror, trust_domain).await,
        None => std::future::pending().await,
    }
}

/// What metrics call a failure.
fn failure(err: &Error) -> &'static str {
    code_name(err.code().unwrap_or(Code::Unknown))
}

fn log_requests(requests: &[MintRequest]) {
    for MintRequest { id, spiffe_id, renewal, .. } in requests {
        let message = if *renewal { "Renewing X509-SVID" } else { "Creating X509-SVID" };
        tracing::info!(entry_id = %id, %spiffe_id, "{message}");
    }
}
