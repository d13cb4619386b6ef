//! Join tokens.

use async_trait::async_trait;
use spiffe_core::Timestamp;
use spire_types::{AttestedNode, JoinToken};

use crate::{Error, Revision};

/// Join tokens. Backends keep a digest, not the token.
#[async_trait]
pub trait JoinTokens {
    /// Stores a token.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]
    async fn create_join_token(&self, token: JoinToken) -> Result<(), Error>;

    /// The token, if it is there; it may be gone by the time that it is redeemed.
    ///
    /// # Errors
    /// When the backend fails.
    async fn find_join_token(&self, value: &str) -> Result<Option<JoinToken>, Error>;

    /// Takes a token out and records the node that joins with it, in one step: of any number of concurrent calls one gets
    /// the token. `None`, and nothing is recorded, where it is not there (any more).
    ///
    /// # Errors
    /// As [`crate::Nodes::attest_node`]; the token stays.
    async fn redeem_join_token(&self, value: &str, node: AttestedNode) -> Result<Option<Revision>, Error>;

    /// Deletes tokens that ended before `now`.
    ///
    /// # Errors
    /// When the backend fails.
    async fn prune_join_tokens(&self, now: Timestamp) -> Result<(), Error>;
}
