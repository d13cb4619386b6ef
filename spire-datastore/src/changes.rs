//! The ordered log: what changed, since when.

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

/// The ordered log.
#[async_trait]
pub trait Log {
    /// Everything, read at one revision.
    ///
    /// # Errors
    /// When the backend fails.
    async fn snapshot(&self) -> Result<Snapshot, Error>;

    /// What changed after `revision`, read at one revision.
    ///
    /// # Errors
    /// When the backend fails.
    async fn changes_since(&self, revision: Revision) -> Result<Changes, Error>;

    /// Shows the newest revision that this process knows of. A wake-up may be lost without harm: the next reader asks
    /// for what came after the revision it has.
    fn revisions(&self) -> watch::Receiver<Revision>;
}
