//! Attested nodes.

use async_trait::async_trait;
use spiffe_core::{SpiffeId, Timestamp};
use spire_types::{AttestedNode, NodeFilter, Page, PageRequest};

use crate::{Error, Revision};

/// Attested nodes.
#[async_trait]
pub trait Nodes {
    /// Records an attestation: a new node, or a new SVID and selectors of one on record.
    ///
    /// # Errors
    /// [`Error::Banned`]: a banned node is not overwritten. [`Error::Invalid`] for one without a serial number.
    async fn attest_node(&self, node: AttestedNode) -> Result<Revision, Error>;

    /// Records a renewed SVID, which counts once it is used; the current one stays.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Banned`].
    async fn renew_node(&self, id: &SpiffeId, serial: String, not_after: Timestamp) -> Result<Revision, Error>;

    /// Makes the renewed SVID of that serial number the current one; nothing happens, and `None` is
    /// the revision, if it is not on record.
    ///
    /// # Errors
    /// When the backend fails.
    async fn promote_node(&self, id: &SpiffeId, serial: &str) -> Result<Option<Revision>, Error>;

    /// Clears the serial numbers: the agent is refused from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    async fn ban_node(&self, id: &SpiffeId) -> Result<Revision, Error>;

    /// Forgets a node, and for one that joined by token also the entry that was made for the token.
    ///
    /// # Errors
    /// [`Error::NotFound`]
    async fn delete_node(&self, id: &SpiffeId) -> Result<Revision, Error>;

    /// Forgets nodes whose SVID ended before `expired_before`, but for banned ones; those that cannot attest again only
    /// with `include_tofu`. Returns their IDs.
    ///
    /// # Errors
    /// When the backend fails.
    async fn prune_nodes(&self, expired_before: Timestamp, include_tofu: bool) -> Result<Vec<SpiffeId>, Error>;

    /// Notes what an agent said of its version. Not an identity's matter: it is not in the log.
    ///
    /// # Errors
    /// When the backend fails.
    async fn set_agent_version(&self, id: &SpiffeId, version: &str) -> Result<(), Error>;

    /// The node of that ID.
    ///
    /// # Errors
    /// When the backend fails.
    async fn fetch_node(&self, id: &SpiffeId) -> Result<Option<AttestedNode>, Error>;

    /// The nodes that are meant, in the order of their first attestation.
    ///
    /// # Errors
    /// [`Error::PageToken`], or when the backend fails.
    async fn list_nodes(&self, filter: NodeFilter, page: PageRequest) -> Result<Page<AttestedNode>, Error>;

    /// How many nodes are meant.
    ///
    /// # Errors
    /// When the backend fails.
    async fn count_nodes(&self, filter: NodeFilter) -> Result<usize, Error>;
}
