//! The ordered log: what changed, since when.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use spiffe_core::{Bundle, SpiffeId, TrustDomain};
use spire_types::{AttestedNode, EntryId, FederationRelationship, RegistrationEntry};
use tokio::sync::watch;

use crate::{Error, Revision};

/// Everything identities depend on, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The last change that is in it.
    pub revision: Revision,
    /// All entries.
    pub entries: Vec<RegistrationEntry>,
    /// All nodes.
    pub nodes: Vec<AttestedNode>,
    /// All bundles.
    pub bundles: Vec<Bundle>,
    /// All stored relationships.
    pub relationships: Vec<FederationRelationship>,
}

/// One thing that changed, as it is now; `None` when it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An entry.
    Entry(EntryId, Option<RegistrationEntry>),
    /// A node.
    Node(SpiffeId, Option<AttestedNode>),
    /// A bundle.
    Bundle(TrustDomain, Option<Bundle>),
    /// A relationship.
    Relationship(TrustDomain, Option<FederationRelationship>),
}

/// What changed after a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These things, each once and as it is at that revision.
    Since(Revision, Vec<Change>),
    /// More than the log still holds: take a snapshot.
    TooOld,
}

/// Takes entries one by one. Never waits for long: the database is held meanwhile.
pub type TakeEntry = Box<dyn FnMut(RegistrationEntry) + Send>;

/// The ordered log.
#[async_trait]
pub trait Log {
    /// Everything, read at one revision: hands each entry to `take`, in the order of their creation, and returns the
    /// rest. A million entries at once would take much room.
    ///
    /// # Errors
    /// When the backend fails.
    async fn read_all(&self, take: TakeEntry) -> Result<Snapshot, Error>;

    /// Everything at once.
    ///
    /// # Errors
    /// When the backend fails.
    async fn snapshot(&self) -> Result<Snapshot, Error> {
        let entries = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&entries);
        let take = move |entry| taken.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        let rest = self.read_all(Box::new(take)).await?;
        let entries = std::mem::take(&mut *entries.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Snapshot { entries, ..rest })
    }

    /// What changed after `revision`, read at one revision.
    ///
    /// # Errors
    /// When the backend fails.
    async fn changes_since(&self, revision: Revision) -> Result<Changes, Error>;

    /// What has changed after `revision`, as far as this process made the changes itself and knows them without asking
    /// the database; `None` where it does not, or where something is missing in between. Given once. The newest changes
    /// may not be there yet.
    fn recent_changes(&self, revision: Revision) -> Option<Changes> {
        let _ = revision;
        None
    }

    /// Shows the newest revision that this process knows of. A wake-up may be lost without harm: the next reader asks
    /// for what came after the revision it has.
    fn revisions(&self) -> watch::Receiver<Revision>;
}
