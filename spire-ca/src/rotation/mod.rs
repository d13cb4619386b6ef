//! Rotation: when authorities are prepared, activated and forgotten.
//!
//! Pure: it is asked for the next step and told what was done; a driver does it. What is not told done is offered
//! again, which is the whole of what a crash or a failure needs. Two slots for each kind of authority, and SPIRE's
//! thresholds: a successor is published at half of the life and signs from five sixths on, so that it is known
//! everywhere before it is used.

pub mod policy;

mod command;
mod journal;
mod slot;
mod step;

use spiffe_core::{Bundle, PublicKey, Timestamp, Ttl};

pub use command::CommandError;
pub use journal::Journal;
pub use policy::{Policy, Publication};
pub use slot::{Held, JwtRecord, MIN_LIFETIME, Record, SlotId, Slots, Status, X509Record};
pub use step::{Done, Kind, Step};

use crate::upstream::follow;
use slot::Due;

/// Decides the rotation of one server's authorities.
#[derive(Clone, Debug)]
pub struct Rotation {
    policy: Policy,
    publication: Publication,
    /// Whether there is an upstream's bundle to follow.
    follows: bool,
    follow_at: Timestamp,
    x509: Slots<X509Record>,
    jwt: Slots<JwtRecord>,
    journal: Journal,
    /// Grows with every change of the journal.
    generation: u64,
    saved_generation: u64,
    retries: Retries,
    prune_bundle_at: Timestamp,
    prune_journals_at: Timestamp,
}

/// When what failed is offered again.
#[derive(Clone, Copy, Debug)]
struct Retries {
    x509: Timestamp,
    jwt: Timestamp,
    journal: Timestamp,
    bundle: Timestamp,
    journals: Timestamp,
}

/// What there is at start, beside the journal: by it, entries of the journal are found usable or not.
#[derive(Clone, Copy, Debug)]
pub struct Inventory<'a> {
    /// The public key under [`Kind::key_id`] of each slot.
    pub key: &'a dyn KeyLookup,
    /// The trust domain's own bundle, if there is one.
    pub bundle: Option<&'a Bundle>,
    /// Whether CAs are signed upstream, and so are not roots in the bundle.
    pub upstream: bool,
}

/// Looks up the public keys of slots.
pub trait KeyLookup: std::fmt::Debug {
    /// The key of a slot; `None` where there is none.
    fn public_key(&self, kind: Kind, slot: SlotId) -> Option<PublicKey>;
}

impl Rotation {
    /// Without authorities: the first steps make them.
    #[must_use]
    pub fn new(policy: Policy, now: Timestamp) -> Self {
        let retries = Retries {
            x509: Timestamp::MIN,
            jwt: Timestamp::MIN,
            journal: Timestamp::MIN,
            bundle: Timestamp::MIN,
            journals: Timestamp::MIN,
        };
        Self {
            policy,
            publication: Publication::default().within(policy.ca_ttl),
            follows: false,
            follow_at: now,
            x509: Slots::default(),
            jwt: Slots::default(),
            journal: Journal::default(),
            generation: 0,
            saved_generation: 0,
            retries,
            prune_bundle_at: now + policy::PRUNE_BUNDLE_EVERY,
            prune_journals_at: now + policy::PRUNE_JOURNALS_EVERY,
        }
    }

    /// With the authorities of a journal that are still usable: not expired, their key is the one in the key manager,
    /// and they are published in the bundle.
    #[must_use]
    pub fn restore(policy: Policy, journal: Journal, inventory: Inventory<'_>, now: Timestamp) -> Self {
        let mut rotation = Self::new(policy, now);
        rotation.x509 = usable(journal.x509(), now, |held| {
            let key = inventory.key.public_key(Kind::X509, held.slot);
            let certificate = &held.record.certificate;
            key.as_ref() == Some(certificate.public_key())
                && (inventory.upstream
                    || inventory.bundle.is_some_and(|bundle| bundle.x509_roots().any(|root| root == certificate)))
        });
        if policy.jwt_svids {
            rotation.jwt = usable(journal.jwt(), now, |held| {
                let key = inventory.key.public_key(Kind::Jwt, held.slot);
                let id = held.record.authority_id.as_str();
                key.as_ref() == Some(&held.record.public_key)
                    && inventory.bundle.is_some_and(|bundle| bundle.jwt_authority(id).is_some())
            });
        }
        rotation.journal = journal;
        rotation
    }

    /// With another time between publishing and signing.
    #[must_use]
    pub fn with_publication(mut self, publication: Publication) -> Self {
        self.publication = publication.within(self.policy.ca_ttl);
        self
    }

    /// Below an upstream whose bundle is followed, and which passes JWT keys on: they are given time to be.
    #[must_use]
    pub fn following(mut self) -> Self {
        self.follows = true;
        self
    }

    /// The next thing to do at `now`, or `None` until [`Self::next_wakeup`]. Asking changes nothing.
    #[must_use]
    pub fn next_step(&self, now: Timestamp) -> Option<Step> {
        let x509 = self
            .x509
            .due(now, self.x509_publication())
            .filter(|_| now >= self.retries.x509)
            .map(|due| step(Kind::X509, due));
        let jwt = || {
            let wanted = self.rotates_jwt(now) && now >= self.retries.jwt;
            wanted.then(|| self.jwt.due(now, self.jwt_publication())).flatten().map(|due| step(Kind::Jwt, due))
        };
        let save = || (self.has_news() && now >= self.retries.journal).then_some(Step::SaveJournal);
        let bundle = || (now >= self.prune_bundle_at.max(self.retries.bundle)).then_some(Step::PruneBundle);
        let journals = || (now >= self.prune_journals_at.max(self.retries.journals)).then_some(Step::PruneJournals);
        let follow = || (now >= self.follow_wakeup()).then_some(Step::FollowUpstream);
        x509.or_else(jwt).or_else(save).or_else(follow).or_else(bundle).or_else(journals)
    }

    /// Records that a step succeeded.
    pub fn completed(&mut self, now: Timestamp, done: Done) {
        match done {
            Done::PreparedX509 { slot, record } => {
                self.journal.push_x509(slot, &record);
                self.x509.put(slot, Status::Prepared, record);
                self.generation += 1;
            }
            Done::PreparedJwt { slot, record } => {
                self.journal.push_jwt(slot, &record);
                self.jwt.put(slot, Status::Prepared, record);
                self.generation += 1;
            }
            Done::Activated { kind, authority_id } => {
                let replaced = match kind {
                    Kind::X509 => self.x509.activate(&authority_id),
                    Kind::Jwt => self.jwt.activate(&authority_id),
                };
                if let Some(replaced) = replaced {
                    self.journal.set_status(kind, &replaced, Status::Old);
                }
                self.journal.set_status(kind, &authority_id, Status::Active);
                self.generation += 1;
            }
            Done::SavedJournal { generation } => self.saved_generation = self.saved_generation.max(generation),
            Done::Tainted | Done::Revoked => {}
            Done::FollowedUpstream => self.follow_at = now + follow::EVERY,
            Done::PrunedBundle => self.prune_bundle_at = now + policy::PRUNE_BUNDLE_EVERY,
            Done::PrunedJournals => self.prune_journals_at = now + policy::PRUNE_JOURNALS_EVERY,
        }
    }

    /// Records that a step failed: it is offered again after [`policy::RETRY_AFTER`], or when it was pruning after
    /// [`policy::RETRY_PRUNING_AFTER`], and meanwhile the others are.
    pub fn failed(&mut self, now: Timestamp, step: &Step) {
        let (retry, after) = match step {
            Step::Prepare { kind: Kind::X509, .. } | Step::Activate { kind: Kind::X509, .. } => {
                (&mut self.retries.x509, policy::RETRY_AFTER)
            }
            Step::Prepare { kind: Kind::Jwt, .. } | Step::Activate { kind: Kind::Jwt, .. } => {
                (&mut self.retries.jwt, policy::RETRY_AFTER)
            }
            Step::SaveJournal => (&mut self.retries.journal, policy::RETRY_AFTER),
            Step::PruneBundle => (&mut self.retries.bundle, policy::RETRY_PRUNING_AFTER),
            Step::PruneJournals => (&mut self.retries.journals, policy::RETRY_PRUNING_AFTER),
            Step::FollowUpstream => (&mut self.follow_at, follow::EVERY),
            Step::Taint { .. } | Step::Revoke { .. } => return,
        };
        *retry = now + after;
    }

    /// Records that the key of a slot is lost, as it may be when preparing another one fails half way: what was prepared
    /// with it cannot be activated any more, and so another one is prepared.
    pub fn key_lost(&mut self, kind: Kind, slot: SlotId) {
        match kind {
            Kind::X509 => self.x509.drop_prepared(slot),
            Kind::Jwt => self.jwt.drop_prepared(slot),
        }
    }

    /// Records that what has signed the active X.509 CA is not to be trusted any more: the CA is replaced as soon as it can
    /// be. What is prepared is dropped where that holds for it, too, as `is_tainted` says.
    pub fn x509_tainted(&mut self, is_tainted: impl Fn(&X509Record) -> bool) {
        let prepared = self.x509.other().filter(|held| held.status == Status::Prepared && is_tainted(held.record));
        if let Some(slot) = prepared.map(|held| held.slot) {
            self.x509.drop_prepared(slot);
        }
        if self.x509.active().is_some_and(|active| is_tainted(active.record)) {
            self.x509.replace_active();
        }
    }

    /// When [`Self::next_step`] could next answer differently.
    #[must_use]
    pub fn next_wakeup(&self) -> Timestamp {
        let mut wakeup = self.x509.next_change(self.x509_publication()).max(self.retries.x509);
        if self.policy.jwt_svids && self.x509.active().is_some() {
            wakeup = wakeup.min(self.jwt.next_change(self.jwt_publication()).max(self.retries.jwt));
        }
        if self.has_news() {
            wakeup = wakeup.min(self.retries.journal);
        }
        wakeup = wakeup.min(self.follow_wakeup());
        wakeup.min(self.prune_bundle_at.max(self.retries.bundle)).min(self.prune_journals_at.max(self.retries.journals))
    }

    /// What an operator decided.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The slots of X.509 CAs.
    #[must_use]
    pub fn x509(&self) -> &Slots<X509Record> {
        &self.x509
    }

    /// The slots of JWT keys.
    #[must_use]
    pub fn jwt(&self) -> &Slots<JwtRecord> {
        &self.jwt
    }

    /// What is to be stored.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// How often the journal has changed since the start.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A first CA signs at once: below an upstream its root has long been published, and a root of the server's own is one
    /// that agents have to be told by hand anyway.
    fn x509_publication(&self) -> Publication {
        Publication { first: Ttl::ZERO, ..self.publication }
    }

    /// Where no upstream passes keys on, nobody has to learn a first key.
    fn jwt_publication(&self) -> Publication {
        if self.follows { self.publication } else { self.x509_publication() }
    }

    fn follow_wakeup(&self) -> Timestamp {
        if self.follows && self.x509.active().is_some() { self.follow_at } else { Timestamp::MAX }
    }

    /// Without an X.509 CA, a JWT key would be of no use: no agent could connect to ask for tokens.
    fn rotates_jwt(&self, now: Timestamp) -> bool {
        self.policy.jwt_svids && self.x509.has_valid_active(now)
    }

    /// A journal is found by the active CA, and so is not stored before there is one.
    fn has_news(&self) -> bool {
        self.generation > self.saved_generation && self.x509.active().is_some()
    }
}

fn step(kind: Kind, due: Due) -> Step {
    match due {
        Due::Prepare(slot) => Step::Prepare { kind, slot },
        Due::Activate(authority_id) => Step::Activate { kind, authority_id },
    }
}

/// The newest active entry that is usable, and the newest other one beside it.
fn usable<R: Record>(newest_first: Vec<Held<R>>, now: Timestamp, is_usable: impl Fn(&Held<R>) -> bool) -> Slots<R> {
    let mut slots = Slots::default();
    for held in newest_first {
        if now >= held.record.not_after() || !is_usable(&held) || slots.get(held.slot).is_some() {
            continue;
        }
        // Of two active ones, the older was replaced by a server that could not store it any more.
        let status = match held.status {
            Status::Active if slots.active().is_some() => Status::Old,
            status => status,
        };
        slots.put(held.slot, status, held.record);
    }
    slots
}

#[cfg(test)]
mod tests;
