//! Two places for authorities of one kind: one signs, the other is being prepared or was active before.

use std::fmt;

use spiffe_core::x509::Certificate;
use spiffe_core::{PublicKey, Timestamp, Ttl};

use super::policy::{self, Publication};
use crate::authority::AuthorityId;

/// Names one of the two places, and with it a key of the key manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotId {
    /// `A`
    A,
    /// `B`
    B,
}

impl SlotId {
    /// As the journal writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// As the journal writes it; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "A" => Some(Self::A),
            "B" => Some(Self::B),
            _ => None,
        }
    }
}

/// What an authority is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Published, and waiting.
    Prepared,
    /// It signs.
    Active,
    /// It signed, and what it signed is still about.
    Old,
}

/// What an authority's record tells.
pub trait Record: Clone + fmt::Debug {
    /// Its name.
    fn authority_id(&self) -> &AuthorityId;
    /// When it was prepared.
    fn issued_at(&self) -> Timestamp;
    /// End of its validity.
    fn not_after(&self) -> Timestamp;
}

/// An X.509 CA, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Record {
    /// Its name.
    pub authority_id: AuthorityId,
    /// When it was prepared.
    pub issued_at: Timestamp,
    /// Its certificate.
    pub certificate: Certificate,
    /// Empty for a self-signed CA; otherwise the certificate itself and those above it, without the root.
    pub upstream_chain: Vec<Certificate>,
    /// The lower-case hex of its issuer's key id; empty for a self-signed CA.
    pub upstream_authority_id: String,
}

impl X509Record {
    /// Of a CA that was just prepared.
    #[must_use]
    pub fn new(certificate: Certificate, upstream_chain: Vec<Certificate>, issued_at: Timestamp) -> Self {
        let upstream_authority_id = certificate.authority_key_id().map(crate::authority::hex).unwrap_or_default();
        let authority_id = AuthorityId::of_certificate(&certificate);
        Self { authority_id, issued_at, certificate, upstream_chain, upstream_authority_id }
    }
}

impl Record for X509Record {
    fn authority_id(&self) -> &AuthorityId {
        &self.authority_id
    }

    fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    fn not_after(&self) -> Timestamp {
        self.certificate.not_after()
    }
}

/// A key that signs JWT-SVIDs, without its private half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRecord {
    /// Its key id (`kid`).
    pub authority_id: AuthorityId,
    /// When it was prepared.
    pub issued_at: Timestamp,
    /// Nothing it signs lives longer.
    pub not_after: Timestamp,
    /// The public half.
    pub public_key: PublicKey,
}

impl Record for JwtRecord {
    fn authority_id(&self) -> &AuthorityId {
        &self.authority_id
    }

    fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// What stands in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<R> {
    /// In which slot.
    pub slot: SlotId,
    /// What it is at the moment.
    pub status: Status,
    /// The authority.
    pub record: R,
}

/// The two slots of one kind of authority.
#[derive(Clone, Debug)]
pub struct Slots<R> {
    a: Option<(Status, R)>,
    b: Option<(Status, R)>,
    /// The active one should not sign any more.
    replace_active: bool,
}

/// What is to be done about one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Prepare(SlotId),
    Activate(AuthorityId),
}

impl<R> Default for Slots<R> {
    fn default() -> Self {
        Self { a: None, b: None, replace_active: false }
    }
}

impl<R: Record> Slots<R> {
    /// What stands in a slot.
    #[must_use]
    pub fn get(&self, slot: SlotId) -> Option<Held<&R>> {
        let (status, record) = match slot {
            SlotId::A => self.a.as_ref()?,
            SlotId::B => self.b.as_ref()?,
        };
        Some(Held { slot, status: *status, record })
    }

    fn all(&self) -> impl Iterator<Item = Held<&R>> {
        [SlotId::A, SlotId::B].into_iter().filter_map(|slot| self.get(slot))
    }

    /// The authority that signs; `None` before the first one.
    #[must_use]
    pub fn active(&self) -> Option<Held<&R>> {
        self.all().find(|held| held.status == Status::Active)
    }

    /// The other authority: prepared or old.
    #[must_use]
    pub fn other(&self) -> Option<Held<&R>> {
        self.get(self.next_slot())
    }

    /// Where the next authority goes: beside the active one; without one, where something is prepared, or free.
    #[must_use]
    pub fn next_slot(&self) -> SlotId {
        match (&self.a, &self.b) {
            (Some((Status::Active, _)), _) => SlotId::B,
            (_, Some((Status::Active, _))) => SlotId::A,
            (Some((Status::Prepared, _)), _) => SlotId::A,
            (_, Some((Status::Prepared, _))) => SlotId::B,
            (Some(_), None) => SlotId::B,
            _ => SlotId::A,
        }
    }

    /// Puts a prepared authority into its slot, over what is there.
    pub(super) fn put(&mut self, slot: SlotId, status: Status, record: R) {
        match slot {
            SlotId::A => self.a = Some((status, record)),
            SlotId::B => self.b = Some((status, record)),
        }
    }

    /// Empties a slot in which something is prepared.
    pub(super) fn drop_prepared(&mut self, slot: SlotId) {
        let held = match slot {
            SlotId::A => &mut self.a,
            SlotId::B => &mut self.b,
        };
        if matches!(held, Some((Status::Prepared, _))) {
            *held = None;
        }
    }

    /// Makes the authority of that name the active one, and the active one old: its name is returned.
    pub(super) fn activate(&mut self, id: &AuthorityId) -> Option<AuthorityId> {
        self.replace_active = false;
        let mut replaced = None;
        for (status, record) in [&mut self.a, &mut self.b].into_iter().flatten() {
            if record.authority_id() == id {
                *status = Status::Active;
            } else if *status == Status::Active {
                *status = Status::Old;
                replaced = Some(record.authority_id().clone());
            }
        }
        replaced
    }

    pub(super) fn has_valid_active(&self, now: Timestamp) -> bool {
        self.active().is_some_and(|active| now <= active.record.not_after())
    }

    pub(super) fn due(&self, now: Timestamp, publication: Publication) -> Option<Due> {
        match self.prepared().filter(|prepared| now < prepared.not_after()) {
            None => (now >= self.prepare_at()).then(|| Due::Prepare(self.next_slot())),
            Some(prepared) => {
                (now >= self.activate_at(prepared, publication)).then(|| Due::Activate(prepared.authority_id().clone()))
            }
        }
    }

    /// When [`Self::due`] could next answer differently, should it answer `None` now.
    pub(super) fn next_change(&self, publication: Publication) -> Timestamp {
        match self.prepared() {
            None => self.prepare_at(),
            Some(prepared) => self.activate_at(prepared, publication).min(self.prepare_at().max(prepared.not_after())),
        }
    }

    fn prepare_at(&self) -> Timestamp {
        match self.active().map(|held| held.record) {
            Some(active) if !self.replace_active => policy::prepare_at(active.issued_at(), active.not_after()),
            _ => Timestamp::MIN,
        }
    }

    /// From when on `prepared` signs: its readers have had time to see it. While the active one lives that costs nothing;
    /// beyond its end, only the shorter time is waited for.
    fn activate_at(&self, prepared: &R, publication: Publication) -> Timestamp {
        let earliest = prepared.issued_at() + publication.first;
        match self.active().map(|held| held.record) {
            Some(active) if !self.replace_active => policy::activate_at(active.issued_at(), active.not_after())
                .max(prepared.issued_at() + publication.successor)
                .min(active.not_after().max(earliest)),
            _ => earliest,
        }
    }

    /// Has the active authority replaced as soon as there is another.
    pub(super) fn replace_active(&mut self) {
        self.replace_active = true;
    }

    fn prepared(&self) -> Option<&R> {
        self.other().filter(|held| held.status == Status::Prepared).map(|held| held.record)
    }
}

/// The shortest life that an authority may have: below, each would be due for replacement at once.
pub const MIN_LIFETIME: Ttl = Ttl::from_secs(2);
