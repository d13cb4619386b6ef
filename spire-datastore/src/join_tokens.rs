//! Join tokens.

use async_trait::async_trait;
use spiffe_core::Timestamp;
use spire_types::JoinToken;

use crate::Error;

/// Join tokens. Backends keep a digest, not the token.
#[async_trait]
pub trait JoinTokens {
    /// Stores a token.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]
    async fn create_join_token(&self, token: JoinToken) -> Result<(), Error>;

    /// Takes a token out: of any number of concurrent calls one gets it, with the time at which it ends or ended. After a
    /// loss of power the token may be back, but then nothing that was written after the call is there either.
    ///
    /// # Errors
    /// When the backend fails.
    async fn redeem_join_token(&self, value: &str) -> Result<Option<JoinToken>, Error>;

    /// Deletes tokens that ended before `now`.
    ///
    /// # Errors
    /// When the backend fails.
    async fn prune_join_tokens(&self, now: Timestamp) -> Result<(), Error>;
}
