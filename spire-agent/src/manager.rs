//! What endpoints serve from: the cache and the way to the server, behind one handle.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::x509::Certificate;
use spiffe_core::{BundleSet, SpiffeId, Timestamp, TrustDomain};
use spire_runtime::Clock;
use spire_runtime::telemetry::Metrics;
use spire_types::{RegistrationEntry, Selector};
use tokio::sync::{Notify, watch};

use crate::cache::renewal::expires_at;
use crate::cache::{Cache, Counts, JwtCache, JwtSvid, Lookup, Outage, Settings, SubscriberId, WorkloadUpdate};
use crate::client::ServerClient;
use crate::error::Error;
use crate::identity::AgentSvid;
use crate::remote;

/// So many subscribers who have gone are no burden.
const FEW_SUBSCRIBERS: usize = 64;

/// The agent's identities and bundles; clones share them.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    client: ServerClient,
    jwt_cache_hit_timeout: Duration,
    state: Mutex<State>,
    jwt: Mutex<JwtCache>,
    bundles: watch::Sender<Arc<BundleSet>>,
    outage: watch::Sender<Option<Outage>>,
    agent: watch::Receiver<AgentSvid>,
    chain: watch::Sender<Arc<Vec<Certificate>>>,
    wake: Notify,
    metrics: Metrics,
}

/// The cache, and where its updates go. Locked for the length of a look-up or a change.
struct State {
    cache: Cache,
    subscribers: BTreeMap<SubscriberId, watch::Sender<Arc<WorkloadUpdate>>>,
    /// How many subscribers there may be before those who have gone are looked for.
    swept_at: usize,
}

impl State {
    fn new(cache: Cache) -> Self {
        Self { cache, subscribers: BTreeMap::new(), swept_at: FEW_SUBSCRIBERS }
    }

    fn subscribe(&mut self, selectors: BTreeSet<Selector>, now: Timestamp) -> watch::Receiver<Arc<WorkloadUpdate>> {
        // Nothing may change for hours while workloads come and go.
        if self.subscribers.len() >= self.swept_at {
            self.sweep();
        }
        let id = self.cache.subscribe(selectors);
        let update = || Arc::new(self.cache.update_for(id, now));
        match self.subscribers.entry(id) {
            Entry::Occupied(known) => {
                let sender = known.get();
                if has_expired(&sender.borrow(), now) {
                    sender.send_replace(update());
                }
                sender.subscribe()
            }
            Entry::Vacant(new) => new.insert(watch::Sender::new(update())).subscribe(),
        }
    }

    /// Lets those go all of whose receivers are gone.
    fn sweep(&mut self) {
        let cache = &mut self.cache;
        self.subscribers.retain(|id, sender| {
            let stays = !sender.is_closed();
            if !stays {
                cache.unsubscribe(*id);
            }
            stays
        });
        self.swept_at = FEW_SUBSCRIBERS.max(2 * self.subscribers.len());
    }
}

/// Whether there is an SVID in it that nobody may have any longer.
fn has_expired(update: &WorkloadUpdate, now: Timestamp) -> bool {
    update.identities.iter().any(|identity| expires_at(identity.svid.chain()) <= now)
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("trust_domain", &self.shared.trust_domain).finish_non_exhaustive()
    }
}

/// What a manager is made from.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) max_jwt_svids: usize,
    pub(crate) jwt_cache_hit_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) client: ServerClient,
    pub(crate) agent: watch::Receiver<AgentSvid>,
    pub(crate) metrics: Metrics,
}

impl Manager {
    pub(crate) fn new(parts: Parts) -> Self {
        let chain = Arc::clone(&parts.agent.borrow().chain);
        Self {
            shared: Arc::new(Shared {
                trust_domain: parts.settings.trust_domain.clone(),
                clock: parts.clock,
                client: parts.client,
                jwt_cache_hit_timeout: parts.jwt_cache_hit_timeout,
                state: Mutex::new(State::new(Cache::new(parts.settings))),
                jwt: Mutex::new(JwtCache::new(parts.max_jwt_svids)),
                bundles: watch::Sender::default(),
                outage: watch::Sender::default(),
                agent: parts.agent,
                chain: watch::Sender::new(chain),
                wake: Notify::new(),
                metrics: parts.metrics,
            }),
        }
    }

    /// The agent's trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.shared.trust_domain
    }

    /// The agent's ID.
    #[must_use]
    pub fn agent_id(&self) -> SpiffeId {
        self.shared.agent.borrow().id.clone()
    }

    /// The chain of the agent's own SVID, leaf first, and each one that follows it.
    #[must_use]
    pub fn agent_chain(&self) -> watch::Receiver<Arc<Vec<Certificate>>> {
        self.shared.chain.subscribe()
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
        let receiver = self.shared.state.lock().subscribe(selectors, self.shared.clock.now());
        if receiver.borrow().pending > 0 {
            self.shared.wake.notify_one();
        }
        receiver
    }

    /// Waits until the update is complete, for somebody who has none yet. Those who have one go on with it: they wait
    /// for changes of the receiver, and pass over updates that are not complete.
    ///
    /// # Errors
    /// [`Error::ServerUnreachable`] where SVIDs are missing while the server does not answer;
    /// [`Error::ShuttingDown`].
    pub async fn complete(
        &self,
        updates: &mut watch::Receiver<Arc<WorkloadUpdate>>,
    ) -> Result<Arc<WorkloadUpdate>, Error> {
        let mut outages = self.shared.outage.subscribe();
        tokio::select! {
            biased;
            update = updates.wait_for(|update| update.is_complete()) => {
                update.map(|update| Arc::clone(&update)).map_err(|_| Error::ShuttingDown)
            }
            outage = outages.wait_for(Option::is_some) => Err(match outage.ok().and_then(|outage| outage.clone()) {
                Some(outage) => Error::ServerUnreachable { since: outage.since, reason: outage.reason },
                None => Error::ShuttingDown,
            }),
        }
    }

    /// The entries of the workload with these selectors, by entry ID. Waits for nothing.
    #[must_use]
    pub fn matching(&self, selectors: &BTreeSet<Selector>) -> Vec<Arc<RegistrationEntry>> {
        self.shared.state.lock().cache.matching(selectors)
    }

    /// A token of `entry` for `audience`: the cached one until half of its life is over, then a new one. When a new one
    /// cannot be had, the cached one as long as it is valid. Where the entry wants each token to have its own ID, none
    /// is cached.
    ///
    /// # Errors
    /// [`Error::UnknownEntry`] where the entry is gone, and what the server says.
    pub async fn fetch_jwt_svid(&self, entry: &RegistrationEntry, audience: &[String]) -> Result<JwtSvid, Error> {
        let shared = &self.shared;
        let known =
            entry.id.as_ref().and_then(|id| shared.state.lock().cache.entry(id).map(|entry| (id, Arc::clone(entry))));
        let Some((id, entry)) = known else {
            let id = entry.id.clone().ok_or(Error::ShuttingDown)?;
            return Err(Error::UnknownEntry { id });
        };
        let channel = shared.client.channel();
        let fetch = remote::jwt(&channel, id, &entry.spiffe_id, audience);
        if entry.additional.is_some_and(|additional| additional.jwt_svid_include_jti) {
            return Ok(fetch.await?);
        }
        let lookup = shared.jwt.lock().get(&entry.spiffe_id, audience, shared.clock.now());
        let svid = match lookup {
            Lookup::Fresh(svid) => return Ok(svid),
            Lookup::Missing => fetch.await?,
            Lookup::Aging(aging) => {
                let late = |_| tonic::Status::deadline_exceeded("server takes too long");
                let fetched = tokio::time::timeout(shared.jwt_cache_hit_timeout, fetch).await.map_err(late);
                match fetched.and_then(|fetched| fetched) {
                    Ok(svid) => svid,
                    Err(status) if aging.expires_at > shared.clock.now() => {
                        let err = Error::from(status);
                        tracing::warn!(%err, spiffe_id = %entry.spiffe_id, "Unable to renew JWT; still valid, using cached");
                        return Ok(aging);
                    }
                    Err(status) => return Err(status.into()),
                }
            }
        };
        shared.jwt.lock().insert(audience, svid.clone(), &mut OsRng.unwrap_err());
        Ok(svid)
    }

    /// When the server was last synced with; `None` before the first time.
    #[must_use]
    pub fn last_sync(&self) -> Option<Timestamp> {
        self.shared.state.lock().cache.last_sync()
    }

    /// How much is cached.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let x509_svids = self.shared.state.lock().cache.svid_count();
        Counts { x509_svids, jwt_svids: self.shared.jwt.lock().len(), store_svids: 0 }
    }

    /// Syncs with the server as soon as possible: the one place for whoever learns that something has changed.
    pub fn sync_now(&self) {
        self.shared.state.lock().cache.request_sync();
        self.shared.wake.notify_one();
    }

    /// Ends when there may be something to do before the time that the driver waits for.
    pub(crate) async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    pub(crate) fn client(&self) -> &ServerClient {
        &self.shared.client
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Asks the cache something, or tells it something that concerns nobody.
    pub(crate) fn with_cache<T>(&self, ask: impl FnOnce(&mut Cache) -> T) -> T {
        ask(&mut self.shared.state.lock().cache)
    }

    /// Tells the cache something, and everybody who is concerned what has changed.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Cache, Timestamp)) {
        let now = self.shared.clock.now();
        let mut state = self.shared.state.lock();
        change(&mut state.cache, now);
        state.sweep();
        let State { cache, subscribers, .. } = &mut *state;
        for id in cache.take_changed() {
            if let Some(sender) = subscribers.get(&id) {
                sender.send_replace(Arc::new(cache.update_for(id, now)));
            }
        }
        self.shared.bundles.send_if_modified(|bundles| {
            let differ = !Arc::ptr_eq(bundles, cache.bundles());
            *bundles = Arc::clone(cache.bundles());
            differ
        });
        self.shared.outage.send_if_modified(|outage| {
            let differ = outage.as_ref() != cache.outage();
            *outage = cache.outage().cloned();
            differ
        });
        drop(state);
        self.forget_tainted_tokens();
    }

    /// Follows the agent's own SVID.
    pub(crate) async fn follow_agent(self) {
        let mut agent = self.shared.agent.clone();
        while agent.changed().await.is_ok() {
            let chain = Arc::clone(&agent.borrow_and_update().chain);
            self.shared.chain.send_replace(chain);
        }
    }

    fn forget_tainted_tokens(&self) {
        let bundles = self.shared.bundles.borrow().clone();
        let Some(own) = bundles.get(&self.shared.trust_domain) else { return };
        let tainted = own.jwt_authorities.iter().filter(|authority| authority.tainted);
        let tainted: BTreeSet<String> = tainted.map(|authority| authority.key_id.clone()).collect();
        if !tainted.is_empty() {
            self.shared.jwt.lock().drop_signed_by(&tainted);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;
    use spiffe_core::Ttl;
    use spiffe_core::testing::TestAuthority;
    use spiffe_core::x509::X509Svid;
    use spire_types::EntryId;

    use super::*;
    use crate::cache::{Done, Minted, Synced};

    const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

    fn state(trust_domain: TrustDomain) -> State {
        let sync_interval = Ttl::from_secs(5);
        State::new(Cache::new(Settings { trust_domain, sync_interval, max_x509_svids: 1, availability_target: None }))
    }

    fn of_user(number: usize) -> BTreeSet<Selector> {
        BTreeSet::from([format!("unix:uid:{number}").parse().unwrap()])
    }

    #[test]
    fn workloads_that_have_left_are_forgotten_though_nothing_changes() {
        let (mut state, now) = (state(TrustDomain::parse("example.org").unwrap()), NOW);
        let stay: Vec<_> = (0..100).map(|number| state.subscribe(of_user(number), now)).collect();
        for number in 100..10_000 {
            drop(state.subscribe(of_user(number), now));
        }
        assert!(state.subscribers.len() <= 2 * stay.len(), "{}", state.subscribers.len());
        assert_eq!(state.subscribers.values().filter(|sender| !sender.is_closed()).count(), stay.len());
    }

    #[test]
    fn workloads_with_the_same_selectors_share_what_is_valid_still() {
        let authority = TestAuthority::new("example.org");
        let (mut state, mut rng) = (state(authority.trust_domain().clone()), ChaCha8Rng::seed_from_u64(1));
        let (id, expires) = (EntryId::parse("web").unwrap(), NOW + Ttl::from_hours(1));
        let svid = authority.svid_valid("/web", NOW, expires);
        let trust_domain = authority.trust_domain().id();
        let mut entry = RegistrationEntry::new(svid.id().clone(), trust_domain, of_user(1).into_iter().collect());
        entry.id = Some(id.clone());
        let (present, bundles) = (BTreeSet::from([id.clone()]), authority.bundles());
        state.cache.completed(NOW, Done::Synced(Synced { present, entries: vec![entry], bundles }), &mut rng);
        let minted = Minted { id, revision: 0, outcome: Ok(X509Svid::clone(&svid)) };
        state.cache.completed(NOW, Done::Minted(vec![minted]), &mut rng);

        let first = state.subscribe(of_user(1), NOW);
        drop(state.subscribe(of_user(1), NOW));
        let second = state.subscribe(of_user(1), expires - Ttl::from_secs(1));
        assert!(Arc::ptr_eq(&first.borrow(), &second.borrow()));
        assert_eq!((second.borrow().identities.len(), second.borrow().pending), (1, 0));
        assert_eq!(state.subscribe(of_user(2), NOW).borrow().identities.len(), 0);

        // Nobody has noticed yet that it has expired.
        let late = state.subscribe(of_user(1), expires);
        assert_eq!((late.borrow().identities.len(), late.borrow().pending), (0, 1));
        assert!(first.has_changed().unwrap() && !late.has_changed().unwrap());
        assert_eq!(state.subscribers.len(), 2);
    }
}
