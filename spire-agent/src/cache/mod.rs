//! What the agent holds for its workloads, and what is to be done about it: a value, without tasks or time of its own.
//!
//! Start at [`Cache`]. The driver asks for the [next step](Cache::next_step), performs it, and tells that it is
//! [completed](Cache::completed) or has [failed](Cache::failed); then it looks at [who is
//! affected](Cache::take_changed).

mod entries;
mod eviction;
mod jwt;
pub(crate) mod renewal;
mod step;
mod subscribers;
#[cfg(test)]
mod tests;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand_core::RngCore;
use spiffe_core::x509::{Certificate, verify_chain};
use spiffe_core::{Bundle, BundleSet, Timestamp, TrustDomain, Ttl};
use spire_types::{EntryId, RegistrationEntry, Selector};

use self::entries::{Entries, Held, Record};
use self::subscribers::Subscribers;

pub use self::jwt::{JwtCache, Lookup};
pub use self::step::{Done, MintRequest, Minted, Outage, Revision, Step, StepKind, Synced};
pub use self::subscribers::SubscriberId;
pub use self::update::{Counts, JwtSvid, WorkloadIdentity, WorkloadUpdate};

/// Most SVIDs that are asked for at once.
const MAX_BATCH: usize = 500;
/// How long after a refusal the server is asked again to mint for an entry.
const REFUSED_FOR: Ttl = Ttl::from_secs(5);
/// How long after an SVID was minted below an authority that is tainted already, another is asked for.
pub(crate) const BELOW_TAINTED_FOR: Ttl = Ttl::from_secs(10);
/// Longest wait between syncs as long as nothing is cached.
const LONGEST_WAIT_WHEN_EMPTY: Ttl = Ttl::from_secs(5);

/// What a cache is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agent's trust domain.
    pub trust_domain: TrustDomain,
    /// How long after a sync the next one is due, give or take a tenth.
    pub sync_interval: Ttl,
    /// How many X.509-SVIDs are held. More, when more are in use.
    pub max_x509_svids: usize,
    /// How much validity is wanted of SVIDs at any time; `None` renews at half-life.
    pub availability_target: Option<Ttl>,
}

/// Entries, SVIDs, bundles, and who waits for them.
#[derive(Debug)]
pub struct Cache {
    settings: Settings,
    entries: Entries,
    bundles: Arc<BundleSet>,
    subscribers: Subscribers,
    changed: BTreeSet<SubscriberId>,
    accesses: u64,
    sync_due: Timestamp,
    mint_due: Timestamp,
    batch: usize,
    last_sync: Option<Timestamp>,
    /// When something was last recorded: what is due later by a clock that has been set back since is due now.
    recorded_at: Timestamp,
    failing_sync: Option<Outage>,
    failing_mint: Option<Outage>,
    /// Key IDs of the authorities whose SVIDs have been seen to.
    tainted: BTreeSet<Vec<u8>>,
}

impl Cache {
    /// An empty cache, whose first sync is due at once.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            entries: Entries::default(),
            bundles: Arc::default(),
            subscribers: Subscribers::default(),
            changed: BTreeSet::new(),
            accesses: 0,
            sync_due: Timestamp::from_unix(i64::MIN),
            mint_due: Timestamp::from_unix(i64::MIN),
            batch: MAX_BATCH,
            last_sync: None,
            recorded_at: Timestamp::from_unix(i64::MIN),
            failing_sync: None,
            failing_mint: None,
            tainted: BTreeSet::new(),
        }
    }

    /// The next thing to do at `now`, or `None` until [`Self::next_wakeup`]. Asking changes nothing.
    #[must_use]
    pub fn next_step(&self, now: Timestamp) -> Option<Step> {
        if self.entries.iter().any(|(_, record)| is_expired(record, now)) {
            return Some(Step::Expire);
        }
        // Whoever waits for an SVID goes before the routine.
        let due = if self.mint_due <= now { self.to_mint(now) } else { Vec::new() };
        let is_due = self.sync_due <= now || now < self.recorded_at;
        if is_due && (self.last_sync.is_none() || due.is_empty()) {
            return Some(Step::Sync);
        }
        if !due.is_empty() {
            return Some(Step::Mint(due));
        }
        None
    }

    /// Records that a step succeeded. One that is neither recorded nor failed is offered again.
    pub fn completed(&mut self, now: Timestamp, done: Done, rng: &mut (impl RngCore + ?Sized)) {
        self.recorded_at = now;
        match done {
            Done::Expired => self.expire(now),
            Done::Synced(synced) => {
                self.replace_bundles(synced.bundles);
                self.replace_entries(&synced.present, synced.entries);
                self.mark_tainted(now);
                self.evict();
                self.in_sync(now, rng);
            }
            Done::Current => self.in_sync(now, rng),
            Done::Minted(minted) => self.minted(now, minted, rng),
        }
    }

    /// Records that a step of that kind failed: it is offered again after `wait`.
    pub fn failed(&mut self, now: Timestamp, kind: StepKind, reason: &str, wait: Ttl) {
        self.recorded_at = now;
        let due = now + wait.max(Ttl::from_secs(1));
        let failing = match kind {
            StepKind::Sync => {
                self.sync_due = due;
                &mut self.failing_sync
            }
            StepKind::Mint => {
                self.mint_due = due;
                self.batch = (self.batch / 2).max(1);
                &mut self.failing_mint
            }
        };
        let since = failing.as_ref().map_or(now, |outage| outage.since);
        *failing = Some(Outage { since, reason: reason.to_owned() });
    }

    /// When [`Self::next_step`] could next answer differently.
    #[must_use]
    pub fn next_wakeup(&self) -> Timestamp {
        let mut next = self.sync_due;
        let has_room = self.has_room();
        for (_, record) in self.entries.iter() {
            if let Some(held) = &record.svid {
                next = next.min(held.expires_at);
            }
            if let Some(at) = self.mint_at(record, has_room) {
                next = next.min(at.max(self.mint_due));
            }
        }
        next
    }

    /// Makes a sync due at once.
    pub fn request_sync(&mut self) {
        self.sync_due = Timestamp::from_unix(i64::MIN);
    }

    /// Takes somebody on who is affected by what concerns a workload with these selectors. All who have the same are one.
    pub fn subscribe(&mut self, selectors: BTreeSet<Selector>) -> SubscriberId {
        self.accesses += 1;
        self.entries.accessed(&selectors, self.accesses);
        self.subscribers.add(selectors)
    }

    /// Lets a subscriber go, all those who are one.
    pub fn unsubscribe(&mut self, id: SubscriberId) {
        self.subscribers.remove(id);
        self.changed.remove(&id);
    }

    /// The subscribers who are affected by what happened since this was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<SubscriberId> {
        std::mem::take(&mut self.changed)
    }

    /// What a subscriber may have at `now`: never an SVID that has expired, nor one whose entry is gone.
    #[must_use]
    pub fn update_for(&self, id: SubscriberId, now: Timestamp) -> WorkloadUpdate {
        self.subscribers.selectors(id).map_or_else(WorkloadUpdate::default, |selectors| self.update(selectors, now))
    }

    /// The entries of a workload, by ID.
    #[must_use]
    pub fn matching(&self, selectors: &BTreeSet<Selector>) -> Vec<Arc<RegistrationEntry>> {
        self.entries.matching(selectors).into_values().map(|record| Arc::clone(&record.entry)).collect()
    }

    /// An entry that is not for a store.
    #[must_use]
    pub fn entry(&self, id: &EntryId) -> Option<&Arc<RegistrationEntry>> {
        self.entries.get(id).map(|record| &record.entry).filter(|entry| !entry.store_svid)
    }

    /// Which revisions of which entries are known.
    #[must_use]
    pub fn revisions(&self) -> BTreeMap<EntryId, Revision> {
        self.entries.iter().map(|(id, record)| (id.clone(), Revision::of(&record.entry))).collect()
    }

    /// Whose bundles the entries ask for.
    #[must_use]
    pub fn federates_with(&self) -> BTreeMap<EntryId, Vec<TrustDomain>> {
        self.entries.iter().map(|(id, record)| (id.clone(), record.entry.federates_with.clone())).collect()
    }

    /// All bundles.
    #[must_use]
    pub fn bundles(&self) -> &Arc<BundleSet> {
        &self.bundles
    }

    /// How many SVIDs there are.
    #[must_use]
    pub fn svid_count(&self) -> usize {
        self.entries.iter().filter(|(_, record)| record.svid.is_some()).count()
    }

    /// How many entries are known.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.entries.iter().count()
    }

    /// When the last sync was completed.
    #[must_use]
    pub fn last_sync(&self) -> Option<Timestamp> {
        self.last_sync
    }

    /// Since when the server does not do what it is asked to, if that is so.
    #[must_use]
    pub fn outage(&self) -> Option<&Outage> {
        self.failing_mint.as_ref().or(self.failing_sync.as_ref())
    }

    fn update(&self, selectors: &BTreeSet<Selector>, now: Timestamp) -> WorkloadUpdate {
        let matching = self.entries.matching(selectors);
        let mut update = WorkloadUpdate::default();
        let mut trust_domains = BTreeSet::from([&self.settings.trust_domain]);
        let mut refused = 0;
        for record in matching.values() {
            trust_domains.extend(&record.entry.federates_with);
            match record.valid(now) {
                Some(held) => update
                    .identities
                    .push(WorkloadIdentity { entry: Arc::clone(&record.entry), svid: Arc::clone(&held.svid) }),
                None if record.refused_until.is_some() => refused += 1,
                None => update.pending += 1,
            }
        }
        if update.identities.is_empty() {
            update.pending += refused;
        }
        let bundles = trust_domains.into_iter().filter_map(|trust_domain| self.bundles.get(trust_domain).cloned());
        update.bundles = Arc::new(bundles.collect());
        update
    }

    fn has_room(&self) -> bool {
        self.svid_count() < self.settings.max_x509_svids
    }

    fn expire(&mut self, now: Timestamp) {
        for record in self.entries.values_mut() {
            if is_expired(record, now) {
                record.svid = None;
                self.changed.extend(self.subscribers.matching(&record.entry));
            }
        }
    }

    fn in_sync(&mut self, now: Timestamp, rng: &mut (impl RngCore + ?Sized)) {
        self.last_sync = Some(now);
        self.failing_sync = None;
        // A server that is back is asked for SVIDs at once.
        self.failing_mint = None;
        self.mint_due = self.mint_due.min(now);
        let mut interval = self.settings.sync_interval;
        if self.svid_count() == 0 {
            interval = interval.min(LONGEST_WAIT_WHEN_EMPTY);
        }
        let spread = interval.divided_by(10).as_secs();
        let wait = interval.as_secs().saturating_sub(spread) + renewal::below(rng, spread.saturating_mul(2));
        self.sync_due = now + Ttl::from_secs(wait.max(1));
    }

    fn replace_entries(&mut self, present: &BTreeSet<EntryId>, entries: Vec<RegistrationEntry>) {
        let gone: Vec<EntryId> =
            self.entries.iter().map(|(id, _)| id).filter(|id| !present.contains(id)).cloned().collect();
        for id in gone {
            if let Some(record) = self.entries.remove(&id) {
                tracing::debug!(entry_id = %id, spiffe_id = %record.entry.spiffe_id, "Entry removed");
                self.changed.extend(self.subscribers.matching(&record.entry));
            }
        }
        for entry in entries {
            let Some(id) = entry.id.clone().filter(|id| present.contains(id)) else { continue };
            match self.entries.get(&id) {
                Some(known) if *known.entry == entry => continue,
                Some(known) => {
                    tracing::debug!(entry_id = %id, spiffe_id = %entry.spiffe_id, "Entry updated");
                    self.changed.extend(self.subscribers.matching(&known.entry));
                }
                None => tracing::debug!(entry_id = %id, spiffe_id = %entry.spiffe_id, "Entry created"),
            }
            self.changed.extend(self.subscribers.matching(&entry));
            self.entries.insert(&id, Arc::new(entry));
        }
    }

    fn replace_bundles(&mut self, mut bundles: BundleSet) {
        // The own bundle is never lost, whatever a sync brings.
        if bundles.get(&self.settings.trust_domain).is_none()
            && let Some(own) = self.bundles.get(&self.settings.trust_domain)
        {
            bundles.insert(Arc::clone(own));
        }
        let trust_domains = self.bundles.iter().chain(bundles.iter()).map(|bundle| &bundle.trust_domain);
        let differing: BTreeSet<&TrustDomain> =
            trust_domains.filter(|trust_domain| self.bundles.get(trust_domain) != bundles.get(trust_domain)).collect();
        if differing.is_empty() {
            return;
        }
        if differing.contains(&self.settings.trust_domain) {
            self.changed.extend(self.subscribers.all());
        }
        for (_, record) in self.entries.iter() {
            if record.entry.federates_with.iter().any(|trust_domain| differing.contains(trust_domain)) {
                self.changed.extend(self.subscribers.matching(&record.entry));
            }
        }
        self.bundles = Arc::new(bundles);
    }

    /// Sees to it that SVIDs below authorities that have become tainted are replaced; they are served until then.
    fn mark_tainted(&mut self, now: Timestamp) {
        let Some(own) = self.bundles.get(&self.settings.trust_domain).cloned() else { return };
        let newly: Vec<_> = tainted_roots(&own)
            .filter(|root| self.tainted.insert(root.subject_key_id().unwrap_or_default().to_vec()))
            .collect();
        if newly.is_empty() {
            return;
        }
        for record in self.entries.values_mut() {
            if let Some(held) = &mut record.svid {
                held.outdated |= verify_chain(held.svid.chain(), newly.iter().copied(), now).is_ok();
            }
        }
    }

    fn minted(&mut self, now: Timestamp, minted: Vec<Minted>, rng: &mut (impl RngCore + ?Sized)) {
        self.failing_mint = None;
        self.batch = self.batch.saturating_mul(2).min(MAX_BATCH);
        let own = self.bundles.get(&self.settings.trust_domain).cloned();
        for Minted { id, revision, outcome } in minted {
            let Some(record) = self.entries.get_mut(&id) else { continue };
            let outcome = outcome.and_then(|svid| match svid.id() == &record.entry.spiffe_id {
                true => Ok(svid),
                false => Err(format!("server minted for {} instead", svid.id())),
            });
            let outcome = outcome.and_then(|svid| match renewal::expires_at(svid.chain()) > now {
                true => Ok(svid),
                false => Err("server minted an SVID that has expired already".to_owned()),
            });
            match outcome {
                Ok(svid) => {
                    let leaf = svid.leaf();
                    let target = self.settings.availability_target;
                    let renew_at = renewal::renew_at(leaf.not_before(), leaf.not_after(), target, rng);
                    // A server below others may not have another CA yet.
                    let too_early = own.as_ref().is_some_and(|own| is_below_tainted(svid.chain(), own, now));
                    record.svid = Some(Held {
                        renew_at: if too_early { renew_at.min(now + BELOW_TAINTED_FOR) } else { renew_at },
                        expires_at: renewal::expires_at(svid.chain()),
                        svid: Arc::new(svid),
                        revision,
                        outdated: false,
                    });
                    record.refused_until = None;
                }
                Err(reason) => {
                    let entry = &record.entry;
                    tracing::warn!(entry_id = %id, spiffe_id = %entry.spiffe_id, err = %reason, "Failed to mint X509 SVID");
                    record.refused_until = Some(now + REFUSED_FOR);
                }
            }
            self.changed.extend(self.subscribers.matching(&record.entry));
        }
    }

    /// Those to be minted for at `now`, as many as go into one request: first what somebody waits for, then what is
    /// due, then what may be wanted, as far as there is room.
    fn to_mint(&self, now: Timestamp) -> Vec<MintRequest> {
        let has_room = self.has_room();
        let (mut waited_for, mut due, mut ahead) = (Vec::new(), Vec::new(), Vec::new());
        for (id, record) in self.entries.iter() {
            if self.mint_at(record, has_room).is_none_or(|at| at > now) {
                continue;
            }
            let active = self.subscribers.is_active(&record.entry);
            let group = match (active, record.svid.is_some()) {
                (true, false) => &mut waited_for,
                (_, true) => &mut due,
                (false, false) => &mut ahead,
            };
            group.push(MintRequest::of(id, record));
        }
        let room = self.settings.max_x509_svids.saturating_sub(self.svid_count() + waited_for.len());
        ahead.truncate(room);
        waited_for.into_iter().chain(due).chain(ahead).take(self.batch).collect()
    }

    /// When an SVID should be minted for an entry; the past stands for "at once", `None` for "not at all".
    fn mint_at(&self, record: &Record, has_room: bool) -> Option<Timestamp> {
        let entry = &record.entry;
        if entry.store_svid {
            return None;
        }
        let on_demand = entry.additional.is_some_and(|additional| additional.disable_x509_svid_prefetch);
        let wanted = match record.svid {
            Some(_) => !on_demand || self.subscribers.is_active(entry),
            None => (!on_demand && has_room) || self.subscribers.is_active(entry),
        };
        let at = record.renew_at().unwrap_or(Timestamp::from_unix(i64::MIN));
        wanted.then(|| record.refused_until.map_or(at, |until| at.max(until)))
    }
}

fn is_expired(record: &Record, now: Timestamp) -> bool {
    record.svid.as_ref().is_some_and(|held| held.expires_at <= now)
}

/// Whether something tainted in `bundle` has signed `chain`.
pub(crate) fn is_below_tainted(chain: &[Certificate], bundle: &Bundle, now: Timestamp) -> bool {
    tainted_roots(bundle).next().is_some() && verify_chain(chain, tainted_roots(bundle), now).is_ok()
}

fn tainted_roots(bundle: &Bundle) -> impl Iterator<Item = &Certificate> {
    bundle.x509_authorities.iter().filter(|authority| authority.tainted).map(|authority| &authority.certificate)
}
