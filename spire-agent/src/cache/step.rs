//! What there is to do, and what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use spiffe_core::x509::X509Svid;
use spiffe_core::{BundleSet, SpiffeId, Timestamp};
use spire_types::{EntryId, RegistrationEntry};

use super::entries::Record;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing outside: SVIDs have expired, and are to be withdrawn.
    Expire,
    /// Ask the server for entries and bundles.
    Sync,
    /// Make a key for each, and have the server mint.
    Mint(Vec<MintRequest>),
}

/// Which kind of step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// [`Step::Sync`].
    Sync,
    /// [`Step::Mint`].
    Mint,
}

/// What an SVID is to be minted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintRequest {
    /// The entry.
    pub id: EntryId,
    /// Its identity.
    pub spiffe_id: SpiffeId,
    /// Its revision.
    pub revision: i64,
    /// Whether there is an SVID already.
    pub renewal: bool,
}

impl MintRequest {
    pub(super) fn of(id: &EntryId, record: &Record) -> Self {
        Self {
            id: id.clone(),
            spiffe_id: record.entry.spiffe_id.clone(),
            revision: record.entry.revision_number,
            renewal: record.svid.is_some(),
        }
    }
}

/// A step that succeeded.
#[derive(Clone, Debug)]
pub enum Done {
    /// [`Step::Expire`].
    Expired,
    /// [`Step::Sync`].
    Synced(Synced),
    /// [`Step::Sync`], where the server tells of changes by itself, and has told of none.
    Current,
    /// [`Step::Mint`].
    Minted(Vec<Minted>),
}

/// What the server has for this agent.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    /// All entries of the agent; those known and not among them are gone.
    pub present: BTreeSet<EntryId>,
    /// Those of them that are new or changed.
    pub entries: Vec<RegistrationEntry>,
    /// All bundles.
    pub bundles: BundleSet,
}

/// What became of one [`MintRequest`].
#[derive(Clone, Debug)]
pub struct Minted {
    /// The entry.
    pub id: EntryId,
    /// The revision it was minted for.
    pub revision: i64,
    /// The SVID, or why there is none.
    pub outcome: Result<X509Svid, String>,
}

/// What tells whether an entry is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Grows with each update.
    pub number: i64,
    /// Differs where an entry was made again under the same ID.
    pub created_at: Timestamp,
}

impl Revision {
    pub(super) fn of(entry: &Arc<RegistrationEntry>) -> Self {
        Self { number: entry.revision_number, created_at: entry.created_at }
    }
}

/// The server does not do what it is asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Since when.
    pub since: Timestamp,
    /// What the last attempt failed with.
    pub reason: String,
}
