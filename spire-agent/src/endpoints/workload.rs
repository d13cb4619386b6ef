//! What the Workload API and Envoy's secret discovery serve to a calling process.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use spiffe_core::{BundleSet, SpiffeId};
use spire_runtime::Clock;
use spire_types::{RegistrationEntry, Selector};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use workload_api::server::{Caller, Identities, IdentityError, Updates};
use workload_api::{Identity, JwtToken, ValidatedJwt, X509Context, validate_jwt_svid};

use super::push::pushes;
use super::rate_limits::RateLimits;
use super::source::Source;
use crate::cache::WorkloadUpdate;
use crate::config::WorkloadApiConfig;
use crate::workload::{Attestors, listed};

pub(super) const FETCH_X509_SVID: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
pub(super) const FETCH_X509_BUNDLES: &str = "/SpiffeWorkloadAPI/FetchX509Bundles";
pub(super) const FETCH_JWT_SVID: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";
pub(super) const FETCH_JWT_BUNDLES: &str = "/SpiffeWorkloadAPI/FetchJWTBundles";

/// The identities of this machine's workloads, by their selectors.
#[derive(Debug)]
pub(super) struct WorkloadIdentities<S> {
    source: Arc<S>,
    attestors: Attestors,
    rate_limits: RateLimits,
    allow_unauthenticated_verifiers: bool,
    allowed_foreign_jwt_claims: Vec<String>,
    denials: Denials,
    clock: Arc<dyn Clock>,
    closing: CancellationToken,
}

impl<S: Source> WorkloadIdentities<S> {
    pub(super) fn new(
        source: Arc<S>,
        attestors: Attestors,
        config: &WorkloadApiConfig,
        clock: Arc<dyn Clock>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            source,
            attestors,
            rate_limits: RateLimits::new(&config.rate_limits),
            allow_unauthenticated_verifiers: config.allow_unauthenticated_verifiers,
            allowed_foreign_jwt_claims: config.allowed_foreign_jwt_claims.clone(),
            denials: Denials { log_selectors: config.log_selectors.clone().into() },
            clock,
            closing,
        }
    }

    async fn attest(&self, caller: &Caller) -> Result<BTreeSet<Selector>, IdentityError> {
        let process = caller.process().ok_or(IdentityError::AttestationFailed)?;
        let selectors = self.attestors.attest_peer(process).await?;
        if !is_this_process(caller) {
            let within = self.rate_limits.check(caller.method(), &selectors);
            within.inspect_err(|_| self.attestors.count_rate_limited(caller.method()))?;
        }
        Ok(selectors)
    }

    /// The first complete update, and those that follow.
    async fn subscribe(
        &self,
        selectors: BTreeSet<Selector>,
    ) -> Result<(Arc<WorkloadUpdate>, watch::Receiver<Arc<WorkloadUpdate>>), IdentityError> {
        let mut updates = self.source.subscribe(selectors);
        let first = self.source.complete(&mut updates).await;
        let first = first.map_err(|err| IdentityError::Unavailable { reason: err.to_string() })?;
        Ok((first, updates))
    }

    /// Of the workload's bundles that of the own trust domain.
    fn own_bundle(source: &S, bundles: &BundleSet) -> Arc<BundleSet> {
        Arc::new(bundles.get(source.trust_domain()).cloned().into_iter().collect())
    }
}

#[async_trait]
impl<S: Source> Identities for WorkloadIdentities<S> {
    async fn watch_x509(&self, caller: &Caller) -> Result<Updates<X509Context>, IdentityError> {
        let selectors = self.attest(caller).await?;
        let denial = self.denials.of(caller, &selectors);
        // Envoy has use for bundles alone, and knows nothing of hints.
        let is_svid = caller.method() == FETCH_X509_SVID;
        let answer = move |update: Arc<WorkloadUpdate>| match &*update {
            update if !update.is_complete() => Ok(None),
            update if is_svid && update.identities.is_empty() => Err(denial.deny()),
            update => Ok(Some(Arc::new(context(update, is_svid)))),
        };
        let (first, updates) = self.subscribe(selectors).await?;
        // Denied before the stream begins, as every client expects.
        answer(Arc::clone(&first))?;
        for identity in first.identities.iter().filter(|_| is_svid) {
            let (pid, count, spiffe_id) = (pid(caller), first.identities.len(), identity.svid.id());
            tracing::debug!(method = name(caller), pid, count, %spiffe_id, registered = true, "Fetched X.509 SVID");
        }
        Ok(pushes(first, updates, self.closing.clone(), answer))
    }

    async fn watch_bundles(&self, caller: &Caller) -> Result<Updates<BundleSet>, IdentityError> {
        let selectors = self.attest(caller).await?;
        let denial = self.denials.of(caller, &selectors);
        let (source, everybody_verifies) = (Arc::clone(&self.source), self.allow_unauthenticated_verifiers);
        let answer = move |update: Arc<WorkloadUpdate>| match &*update {
            update if !update.is_complete() => Ok(None),
            update if !update.identities.is_empty() => Ok(Some(Arc::clone(&update.bundles))),
            update if everybody_verifies => Ok(Some(Self::own_bundle(&source, &update.bundles))),
            _ => Err(denial.deny()),
        };
        let (first, updates) = self.subscribe(selectors).await?;
        answer(Arc::clone(&first))?;
        Ok(pushes(first, updates, self.closing.clone(), answer))
    }

    async fn fetch_jwt_svids(
        &self,
        caller: &Caller,
        audience: &[String],
        id: Option<&SpiffeId>,
    ) -> Result<Vec<JwtToken>, IdentityError> {
        let selectors = self.attest(caller).await?;
        let mut entries = self.source.matching(&selectors);
        entries.retain(|entry| id.is_none_or(|id| entry.spiffe_id == *id));
        without_repeated_hints(&mut entries, |entry| entry);
        if entries.is_empty() {
            return Err(self.denials.of(caller, &selectors).deny());
        }
        let tokens = entries.iter().map(|entry| async move {
            let svid = self.source.fetch_jwt_svid(entry, audience).await;
            let svid = svid.map_err(|err| {
                tracing::error!(spiffe_id = %entry.spiffe_id, %err, "Could not fetch JWT-SVID");
                IdentityError::JwtSvid { reason: err.to_string() }
            })?;
            let (method, pid, ttl) = (name(caller), pid(caller), svid.expires_at.since(self.clock.now()).as_secs());
            tracing::debug!(method, pid, spiffe_id = %svid.id, ttl, registered = true, "Fetched JWT SVID");
            Ok::<_, IdentityError>(JwtToken { id: svid.id, token: svid.token, hint: entry.hint.clone() })
        });
        try_join_all(tokens).await
    }

    async fn validate_jwt_svid(
        &self,
        caller: &Caller,
        audience: &str,
        token: &str,
    ) -> Result<ValidatedJwt, IdentityError> {
        let selectors = self.attest(caller).await?;
        // As much as is known now: validation waits for nobody's SVID.
        let update = Arc::clone(&self.source.subscribe(selectors).borrow());
        let bundles = match update.identities.is_empty() {
            true => Self::own_bundle(&self.source, &update.bundles),
            false => Arc::clone(&update.bundles),
        };
        let (own, claims) = (self.source.trust_domain(), &self.allowed_foreign_jwt_claims);
        let validated = validate_jwt_svid(token, audience, &bundles, own, claims, self.clock.now());
        let (method, pid) = (name(caller), pid(caller));
        match &validated {
            Ok(valid) => tracing::debug!(method, pid, audience, spiffe_id = %valid.id, "Successfully validated JWT"),
            Err(err) => tracing::warn!(%err, method, pid, "Failed to validate JWT"),
        }
        validated
    }
}

fn context(update: &WorkloadUpdate, unique_hints: bool) -> X509Context {
    let mut identities: Vec<_> = update.identities.iter().collect();
    if unique_hints {
        without_repeated_hints(&mut identities, |identity| &identity.entry);
    }
    let identity = |identity: &crate::cache::WorkloadIdentity| Identity {
        svid: Arc::clone(&identity.svid),
        hint: identity.entry.hint.clone(),
    };
    X509Context { identities: identities.into_iter().map(identity).collect(), bundles: Arc::clone(&update.bundles) }
}

/// Of entries with the same hint the oldest stays, the first of those made at once.
fn without_repeated_hints<T>(items: &mut Vec<T>, entry: impl Fn(&T) -> &RegistrationEntry) {
    if items.len() < 2 {
        return;
    }
    let mut oldest: HashMap<String, (i64, usize)> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let entry = entry(item);
        let age = (entry.created_at.as_unix(), index);
        oldest.entry(entry.hint.clone()).and_modify(|kept| *kept = (*kept).min(age)).or_insert(age);
    }
    let mut index = 0..;
    items.retain(|item| {
        let (entry, index) = (entry(item), index.next());
        let kept = entry.hint.is_empty() || oldest.get(&entry.hint).map(|kept| kept.1) == index;
        if !kept {
            tracing::warn!(hint = %entry.hint, spiffe_id = %entry.spiffe_id, "Ignoring entry with duplicate hint");
        }
        kept
    });
}

/// How denials are logged.
#[derive(Debug)]
struct Denials {
    log_selectors: Arc<[String]>,
}

impl Denials {
    fn of(&self, caller: &Caller, selectors: &BTreeSet<Selector>) -> Denial {
        let shown = |selector: &&Selector| {
            let text = selector.to_string();
            let begins = |prefix: &String| {
                text.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            };
            self.log_selectors.iter().any(begins)
        };
        // As a rule none are to be shown, and then none are written out.
        let shown = selectors.iter().filter(|_| !self.log_selectors.is_empty()).filter(shown);
        Denial {
            pid: pid(caller),
            method: caller.method(),
            selectors: listed(shown),
            is_quiet: is_this_process(caller),
        }
    }
}

/// Of one caller.
#[derive(Debug)]
struct Denial {
    pid: i32,
    method: &'static str,
    selectors: String,
    is_quiet: bool,
}

impl Denial {
    fn deny(&self) -> IdentityError {
        let Self { pid, method, selectors, is_quiet } = self;
        match selectors.as_str() {
            _ if *is_quiet => {}
            "" => tracing::error!(pid, method, registered = false, "No identity issued"),
            selectors => tracing::error!(pid, method, selectors, registered = false, "No identity issued"),
        }
        IdentityError::NoIdentity
    }
}

/// The method without its service.
fn name(caller: &Caller) -> &'static str {
    caller.method().rsplit('/').next().unwrap_or_default()
}

fn pid(caller: &Caller) -> i32 {
    caller.process().map_or(0, |process| process.pid())
}

/// The agent asks itself how it does.
fn is_this_process(caller: &Caller) -> bool {
    u32::try_from(pid(caller)).is_ok_and(|pid| pid == std::process::id())
}
