//! Driver of rotation: prepares, activates and retires the server's X.509 CA and JWT key.
//!
//! The only loop around [`Rotation`], which decides. Here are the effects: keys in the key manager, certificates,
//! the own bundle and the journal in the datastore. An authority is in the bundle before it signs anything. What
//! signs at the moment is a snapshot, [`AuthorityHandle::current`], which nobody waits for.

mod error;
mod handle;

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_core::CryptoRng;
use spiffe_core::{Bundle, JwtAuthority, KeyType, PublicKey, Timestamp, TrustDomain, X509Authority};
use spire_api::status::{code, code_name};
use spire_ca::rotation::{
    Done, Inventory, Journal, JwtRecord, KeyLookup, Kind, MIN_LIFETIME, Policy, Publication, Record, Rotation, SlotId,
    Slots, Step, X509Record, policy,
};
use spire_ca::upstream::follow::{self, Changes};
use spire_ca::upstream::{self, UpstreamAuthority};
use spire_ca::{
    Authority, AuthorityId, Composers, DistinguishedName, JwtKey, SelfSignedCaParams, X509Ca, ca_csr,
    mint_self_signed_ca, random_key_id,
};
use spire_datastore::{CaJournal, DataStore};
use spire_keymanager::{KeyId, KeyManager, Signer};
use spire_runtime::telemetry::Metrics;
use spire_runtime::{Clock, Tasks};
use spire_types::ErrorKind;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use error::AuthorityError;
pub use handle::{AuthorityHandle, AuthorityState, AuthorityStates};
use handle::{Change, Command};

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

    async fn command(&mut self, command: Command, publisher: &watch::Sender<Authority>) -> Result<(), AuthorityError> {
        // Whoever asked may have gone: that is no reason to fail.
        match command {
            Command::States(kind, answer) => drop(answer.send(self.states(kind))),
            Command::Change(kind, change, answer) => {
                let outcome = match self.step_of(kind, &change) {
                    Err(refused) => Err(refused),
                    Ok(step) => match self.perform(step.clone()).await {
                        Ok(()) => {
                            self.publish(&step, publisher)?;
                            Ok(self.states(kind))
                        }
                        Err(err) => Err(err),
                    },
                };
                drop(answer.send(outcome));
            }
        }
        Ok(())
    }

    fn step_of(&self, kind: Kind, change: &Change) -> Result<Step, AuthorityError> {
        if kind == Kind::Jwt && !self.config.policy.jwt_svids {
            return Err(AuthorityError::JwtDisabled);
        }
        if kind == Kind::X509 && self.parts.upstream.is_some() {
            match change {
                Change::Taint(_) => return Err(AuthorityError::SignedUpstream { verb: "tainted" }),
                Change::Revoke(_) => return Err(AuthorityError::SignedUpstream { verb: "revoked" }),
                Change::Prepare | Change::Activate(_) | Change::TaintUpstream(_) | Change::RevokeUpstream(_) => {}
            }
        }
        Ok(match change {
            Change::Prepare => self.rotation.prepare(kind)?,
            Change::Activate(id) => self.rotation.activate(kind, id)?,
            Change::Taint(id) => self.rotation.taint(kind, id)?,
            Change::Revoke(id) => self.rotation.revoke(kind, id)?,
            Change::TaintUpstream(id) => Step::Taint { kind, authority_id: self.old_upstream(id)? },
            Change::RevokeUpstream(id) => Step::Revoke { kind, authority_id: self.old_upstream(id)? },
        })
    }

    /// An upstream authority that signed the old CA and does not sign the active one. Worded as SPIRE does.
    fn old_upstream(&self, id: &AuthorityId) -> Result<AuthorityId, AuthorityError> {
        let unfit = |reason| Err(AuthorityError::UpstreamUnfit { reason });
        if self.parts.upstream.is_none() {
            return Err(AuthorityError::NoUpstream);
        }
        let AuthorityStates { active, prepared, old } = self.states(Kind::X509);
        let signed_by = |state: &Option<AuthorityState>| {
            state.as_ref().is_some_and(|state| state.upstream_authority_id == id.as_str())
        };
        if signed_by(&active) {
            unfit("unable to use upstream authority singing current authority")
        } else if signed_by(&prepared) {
            unfit("only upstream authorities signing an old authority can be used")
        } else if signed_by(&old) {
            Ok(id.clone())
        } else {
            unfit("upstream authority didn't sign the old local authority")
        }
    }

    fn states(&self, kind: Kind) -> AuthorityStates {
        match kind {
            Kind::X509 => AuthorityStates::of(self.rotation.x509(), |ca| ca.upstream_authority_id.clone()),
            Kind::Jwt => AuthorityStates::of(self.rotation.jwt(), |_| String::new()),
        }
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

    /// Takes over what the upstream's bundle has; a CA below something tainted is replaced.
    async fn follow_upstream(&mut self) -> Result<Done, AuthorityError> {
        let upstream = self.parts.upstream.clone().ok_or(AuthorityError::NoUpstream)?;
        let theirs = upstream.fetch_bundle().await?;
        if !std::mem::replace(&mut self.follows, true) {
            tracing::info!("upstream bundle is followed again");
        }
        // Due now, whatever has become of it upstream.
        let was_held_back = !self.held_back.is_empty();
        if was_held_back {
            self.apply(self.held_back.clone()).await?;
            self.held_back = Changes::default();
        }
        let own = self.own_bundle().await?;
        let mut changes = Changes::between(&own, &theirs);
        let to_be = changes.with_taints(&own);
        let is_tainted = |ca: &X509Record| follow::is_below_tainted(&ca.upstream_chain, &to_be);
        // Agents that hear of a taint have everything below it replaced, at once: by a CA that is below it no more.
        if !was_held_back && self.rotation.x509().active().is_some_and(|active| is_tainted(active.record)) {
            self.held_back.taint_x509 = std::mem::take(&mut changes.taint_x509);
        }
        if !changes.is_empty() {
            self.apply(changes).await?;
        }
        self.rotation.x509_tainted(is_tainted);
        Ok(Done::FollowedUpstream)
    }

    async fn own_bundle(&self) -> Result<Bundle, AuthorityError> {
        let trust_domain = &self.config.trust_domain;
        let stored = self.parts.datastore.fetch_bundle(trust_domain).await?;
        Ok(stored.unwrap_or_else(|| Bundle::new(trust_domain.clone())))
    }

    async fn apply(&mut self, changes: Changes) -> Result<(), AuthorityError> {
        let (datastore, trust_domain) = (&self.parts.datastore, &self.config.trust_domain);
        tracing::info!(
            x509_authorities = changes.append_x509.len(),
            jwt_authorities = changes.append_jwt.len(),
            tainted = changes.taint_x509.len() + changes.taint_jwt.len(),
            revoked = changes.revoke_x509.len() + changes.revoke_jwt.len(),
            "upstream bundle changed"
        );
        datastore.append_bundle(trust_domain, changes.append_x509, changes.append_jwt).await?;
        for id in changes.taint_x509 {
            datastore.taint_x509_authority(trust_domain, &id).await?;
            tracing::info!(subject_key_id = hex(&id), "X.509 authority tainted");
            self.tainted = true;
        }
        for id in changes.taint_jwt {
            datastore.taint_jwt_authority(trust_domain, &id).await?;
            tracing::info!(local_authority_id = %id, "JWT authority tainted");
            self.tainted = true;
        }
        for id in changes.revoke_x509 {
            datastore.revoke_x509_authority(trust_domain, &id).await?;
            tracing::info!(subject_key_id = hex(&id), "X.509 authority revoked");
        }
        for id in changes.revoke_jwt {
            datastore.revoke_jwt_authority(trust_domain, &id).await?;
            tracing::info!(local_authority_id = %id, "JWT authority revoked");
        }
        Ok(())
    }

    async fn prepare_x509(&mut self, slot: SlotId) -> Result<Done, AuthorityError> {
        let key_id = KeyId::new(Kind::X509.key_id(slot))?;
        let signer = self.generate_key(&key_id, self.config.ca_key_type).await?;
        let now = self.parts.clock.now();
        let (record, roots) = match self.parts.upstream.clone() {
            None => self.self_signed(signer.as_ref(), now).await?,
            Some(upstream) => self.signed_upstream(upstream.as_ref(), signer, now).await?,
        };
        if record.not_after() < now + MIN_LIFETIME {
            return Err(AuthorityError::TooShort { not_after: record.not_after(), now });
        }
        // Published before it signs anything, so that nobody meets an SVID whose root is not known yet.
        self.parts.datastore.append_bundle(&self.config.trust_domain, roots, Vec::new()).await?;
        tracing::info!(
            slot = slot_name(slot),
            issued_at = %record.issued_at,
            expiration = %record.not_after(),
            self_signed = self.parts.upstream.is_none(),
            local_authority_id = %record.authority_id,
            upstream_authority_id = %record.upstream_authority_id,
            "X509 CA prepared"
        );
        Ok(Done::PreparedX509 { slot, record })
    }

    async fn generate_key(
        &self,
        key_id: &KeyId,
        key_type: KeyType,
    ) -> Result<Arc<dyn Signer>, spire_keymanager::Error> {
        let (metrics, generating) = (&self.parts.metrics, self.parts.key_manager.generate_key(key_id, key_type));
        metrics.timed(&["server_key_manager", "generate_key"], &[], |_| "Internal", generating).await
    }

    async fn self_signed(
        &mut self,
        signer: &dyn Signer,
        now: Timestamp,
    ) -> Result<(X509Record, Vec<X509Authority>), AuthorityError> {
        let params = SelfSignedCaParams {
            trust_domain: &self.config.trust_domain,
            subject: &self.config.ca_subject,
            ttl: self.config.policy.ca_ttl,
        };
        let certificate =
            mint_self_signed_ca(&params, &self.parts.composers, signer, now, self.parts.rng.as_mut()).await?;
        let root = X509Authority { certificate: certificate.clone(), tainted: false };
        Ok((X509Record::new(certificate, Vec::new(), now), vec![root]))
    }

    async fn signed_upstream(
        &mut self,
        upstream: &dyn UpstreamAuthority,
        signer: Arc<dyn Signer>,
        now: Timestamp,
    ) -> Result<(X509Record, Vec<X509Authority>), AuthorityError> {
        let trust_domain = &self.config.trust_domain;
        let rng = self.parts.rng.as_mut();
        let csr = ca_csr(trust_domain, &self.config.ca_subject, &self.parts.composers, signer.as_ref(), rng).await?;
        let answer = upstream.mint_x509_ca(&csr, self.config.policy.ca_ttl, now, rng).await?;
        // Asking may have taken a while.
        let now = self.parts.clock.now().max(now);
        upstream::chain::check(&answer, trust_domain, signer, now, rng).await?;
        let certificate = answer.chain.first().cloned().ok_or(AuthorityError::Bug("a checked chain is empty"))?;
        Ok((X509Record::new(certificate, answer.chain, now), answer.roots))
    }

    async fn prepare_jwt(&mut self, slot: SlotId) -> Result<Done, AuthorityError> {
        let key_id = KeyId::new(Kind::Jwt.key_id(slot))?;
        let signer = self.generate_key(&key_id, self.config.jwt_key_type).await?;
        let now = self.parts.clock.now();
        let mut record = JwtRecord {
            authority_id: random_key_id(self.parts.rng.as_mut()),
            issued_at: now,
            not_after: now + self.config.policy.ca_ttl,
            public_key: signer.public_key().clone(),
        };
        let key = JwtAuthority {
            key_id: record.authority_id.as_str().to_owned(),
            public_key: record.public_key.clone(),
            expires_at: Some(record.not_after),
            tainted: false,
        };
        let published = match &self.parts.upstream {
            Some(upstream) => upstream.publish_jwt_key(&key).await?,
            None => None,
        };
        let keys = published.unwrap_or_else(|| vec![key]);
        self.parts.datastore.append_bundle(&self.config.trust_domain, Vec::new(), keys).await?;
        // Its readers' time begins once it is published.
        record.issued_at = self.parts.clock.now();
        tracing::info!(
            slot = slot_name(slot),
            issued_at = %record.issued_at,
            expiration = %record.not_after,
            local_authority_id = %record.authority_id,
            "JWT key prepared"
        );
        Ok(Done::PreparedJwt { slot, record })
    }

    async fn activate(&mut self, kind: Kind, authority_id: AuthorityId) -> Result<Done, AuthorityError> {
        const NOT_PREPARED: AuthorityError = AuthorityError::Bug("what is to be activated is not prepared");
        match kind {
            Kind::X509 => {
                let held = prepared(self.rotation.x509(), &authority_id).ok_or(NOT_PREPARED)?;
                self.use_x509(held.0, &held.1).await?;
                self.activated_x509(held.0, &held.1);
            }
            Kind::Jwt => {
                let (slot, record) = prepared(self.rotation.jwt(), &authority_id).ok_or(NOT_PREPARED)?;
                self.use_jwt(slot, &record).await?;
                tracing::info!(
                    slot = slot_name(slot),
                    issued_at = %record.issued_at,
                    expiration = %record.not_after,
                    local_authority_id = %record.authority_id,
                    "JWT key activated"
                );
                self.parts.metrics.count(&["manager", "jwt_key", "activate"], &[]);
            }
        }
        Ok(Done::Activated { kind, authority_id })
    }

    fn activated_x509(&self, slot: SlotId, record: &X509Record) {
        tracing::info!(
            slot = slot_name(slot),
            issued_at = %record.issued_at,
            expiration = %record.not_after(),
            local_authority_id = %record.authority_id,
            upstream_authority_id = %record.upstream_authority_id,
            "X509 CA activated"
        );
        let ttl = record.not_after().since(self.parts.clock.now()).as_secs();
        let (metrics, labels) = (&self.parts.metrics, [("trust_domain_id", self.config.trust_domain.as_str())]);
        metrics.count(&["ca", "manager", "x509_ca", "activate"], &[]);
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let (expiration, left) = (record.not_after().as_unix() as f64, ttl as f64);
        metrics.gauge(&["manager", "x509_ca", "rotate", "expiration"], &labels, expiration);
        metrics.gauge(&["manager", "x509_ca", "rotate", "ttl"], &labels, left);
        tracing::debug!(trust_domain_id = %self.config.trust_domain.id(), ttl, "Successfully rotated X.509 CA");
    }

    async fn use_x509(&mut self, slot: SlotId, record: &X509Record) -> Result<(), AuthorityError> {
        let signer = self.signer(Kind::X509, slot).await?;
        let ca = X509Ca::new(record.certificate.clone(), record.upstream_chain.clone(), signer)?;
        self.x509 = Some(Arc::new(ca));
        Ok(())
    }

    async fn use_jwt(&mut self, slot: SlotId, record: &JwtRecord) -> Result<(), AuthorityError> {
        let signer = self.signer(Kind::Jwt, slot).await?;
        if *signer.public_key() != record.public_key {
            return Err(spire_ca::Error::KeyMismatch.into());
        }
        self.jwt = Some(Arc::new(JwtKey::new(record.authority_id.as_str(), record.not_after, signer)?));
        Ok(())
    }

    async fn signer(&self, kind: Kind, slot: SlotId) -> Result<Arc<dyn Signer>, AuthorityError> {
        let key_id = KeyId::new(kind.key_id(slot))?;
        self.parts.key_manager.get_key(&key_id).await?.ok_or(AuthorityError::KeyGone { key_id })
    }

    fn snapshot(&self) -> Result<Authority, AuthorityError> {
        let x509 = self.x509.clone().ok_or(AuthorityError::Bug("no active X.509 CA"))?;
        let composers = self.parts.composers.clone();
        Ok(Authority::new(self.config.trust_domain.clone(), x509, self.jwt.clone(), composers))
    }

    async fn save_journal(&mut self) -> Result<Done, AuthorityError> {
        let generation = self.rotation.generation();
        let active = self.rotation.x509().active().map(|held| held.record.authority_id.as_str().to_owned());
        let mut journal = CaJournal {
            id: self.journal_id,
            active_x509_authority_id: active.unwrap_or_default(),
            data: self.rotation.journal().encode(),
        };
        let saved = self.parts.datastore.save_ca_journal(journal.clone()).await;
        self.journal_id = match saved {
            // Another server may have pruned it while this one was down.
            Err(err) if err.kind() == ErrorKind::NotFound && journal.id != 0 => {
                journal.id = 0;
                self.parts.datastore.save_ca_journal(journal).await?
            }
            saved => saved?,
        };
        Ok(Done::SavedJournal { generation })
    }

    async fn taint(&self, kind: Kind, id: &AuthorityId) -> Result<Done, AuthorityError> {
        let (datastore, trust_domain) = (&self.parts.datastore, &self.config.trust_domain);
        match kind {
            Kind::X509 => datastore.taint_x509_authority(trust_domain, &key_id_bytes(id)?).await?,
            Kind::Jwt => datastore.taint_jwt_authority(trust_domain, id.as_str()).await?,
        };
        tracing::debug!(local_authority_id = %id, ?kind, "Authority is tainted");
        Ok(Done::Tainted)
    }

    async fn revoke(&self, kind: Kind, id: &AuthorityId) -> Result<Done, AuthorityError> {
        let (datastore, trust_domain) = (&self.parts.datastore, &self.config.trust_domain);
        match kind {
            Kind::X509 => datastore.revoke_x509_authority(trust_domain, &key_id_bytes(id)?).await?,
            Kind::Jwt => datastore.revoke_jwt_authority(trust_domain, id.as_str()).await?,
        };
        tracing::debug!(local_authority_id = %id, ?kind, "Authority is revoked");
        Ok(Done::Revoked)
    }

    async fn prune_journals(&self) -> Result<Done, AuthorityError> {
        let expired_before = self.parts.clock.now() - policy::PRUNE_JOURNALS_AFTER;
        for stored in self.parts.datastore.list_ca_journals().await? {
            // One that cannot be read is not known to be over.
            let is_over = Journal::decode(&stored.data).is_ok_and(|journal| journal.last_not_after() < expired_before);
            if is_over && stored.id != self.journal_id {
                self.parts.datastore.delete_ca_journal(stored.id).await?;
            }
        }
        Ok(Done::PrunedJournals)
    }
}

fn prepared<R: Record>(slots: &Slots<R>, id: &AuthorityId) -> Option<(SlotId, R)> {
    let held = slots.other().filter(|held| held.record.authority_id() == id)?;
    Some((held.slot, held.record.clone()))
}

/// What metrics call a failure.
fn failure(err: &AuthorityError) -> &'static str {
    code_name(code(err.kind()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn slot_name(slot: SlotId) -> &'static str {
    match slot {
        SlotId::A => "A",
        SlotId::B => "B",
    }
}

/// The subject key ID that an X.509 authority is named by.
fn key_id_bytes(id: &AuthorityId) -> Result<Vec<u8>, AuthorityError> {
    const BUG: AuthorityError = AuthorityError::Bug("a CA's name is not hex");
    let digits = id.as_str().as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(BUG);
    }
    pairs
        .iter()
        .map(|pair| {
            let text = std::str::from_utf8(pair).map_err(|_| BUG)?;
            u8::from_str_radix(text, 16).map_err(|_| BUG)
        })
        .collect()
}

/// The public keys that the key manager has for the slots.
#[derive(Debug, Default)]
struct SlotKeys(Vec<(Kind, SlotId, PublicKey)>);

impl SlotKeys {
    async fn of(key_manager: &dyn KeyManager) -> Result<Self, AuthorityError> {
        let mut keys = Self::default();
        for kind in [Kind::X509, Kind::Jwt] {
            for slot in [SlotId::A, SlotId::B] {
                if let Some(signer) = key_manager.get_key(&KeyId::new(kind.key_id(slot))?).await? {
                    keys.0.push((kind, slot, signer.public_key().clone()));
                }
            }
        }
        Ok(keys)
    }
}

impl KeyLookup for SlotKeys {
    fn public_key(&self, kind: Kind, slot: SlotId) -> Option<PublicKey> {
        self.0.iter().find(|(k, s, _)| (*k, *s) == (kind, slot)).map(|(.., key)| key.clone())
    }
}

/// A server's own journal is the one whose active CA has a key that is here.
async fn find_journal(datastore: &dyn DataStore, keys: &SlotKeys) -> Result<Option<CaJournal>, AuthorityError> {
    let own: Vec<AuthorityId> = keys
        .0
        .iter()
        .filter(|(kind, ..)| *kind == Kind::X509)
        .map(|(.., key)| AuthorityId::of_public_key(key))
        .collect();
    let journals = datastore.list_ca_journals().await?;
    Ok(journals.into_iter().find(|journal| own.iter().any(|id| id.as_str() == journal.active_x509_authority_id)))
}

/// Failures in a row that do not mean anything yet: a hundred seconds of them.
pub const MAX_FAILURES: u64 = 10;
/// More than these, and whoever commands waits.
const MAX_WAITING_COMMANDS: usize = 16;

#[cfg(test)]
mod tests;
