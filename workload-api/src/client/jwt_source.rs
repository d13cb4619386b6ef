//! JWT-SVIDs: fetched when they are needed, validated without a call.

use std::time::Duration;

use spiffe_core::jwt::JwtSvid;
use spiffe_core::{SpiffeId, Timestamp, Ttl};

use super::{Client, DEFAULT_INITIAL_TIMEOUT, JwtBundleSource};
use crate::address::Address;
use crate::context::JwtToken;
use crate::error::Error;

/// Fetches tokens for this workload, and validates those of others with bundles that are kept current.
#[derive(Clone, Debug)]
pub struct JwtSource {
    client: Client,
    bundles: JwtBundleSource,
}

impl JwtSource {
    /// Follows the endpoint at `address`, and waits up to [`DEFAULT_INITIAL_TIMEOUT`] for the first bundles.
    ///
    /// # Errors
    /// As [`super::Source::new`].
    pub async fn new(address: Address) -> Result<Self, Error> {
        Self::with_client(&Client::new(address), DEFAULT_INITIAL_TIMEOUT).await
    }

    /// Follows the endpoint of `client`, and waits up to `timeout` for the first bundles.
    ///
    /// # Errors
    /// As [`super::Source::new`].
    pub async fn with_client(client: &Client, timeout: Duration) -> Result<Self, Error> {
        let bundles = JwtBundleSource::with_client(client, timeout).await?;
        Ok(Self { client: client.clone(), bundles })
    }

    /// A new token of the default identity for `audience`, which must not be empty.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fetch(&self, audience: &[&str]) -> Result<JwtToken, Error> {
        let tokens = self.client.fetch_jwt_svids(audience, None).await?;
        tokens.into_iter().next().ok_or(Error::Missing { what: "JWT-SVID" })
    }

    /// A new token of one of this workload's identities.
    ///
    /// # Errors
    /// [`Error`]; [`Error::NoIdentity`] where it is none of this workload's.
    pub async fn fetch_for(&self, id: &SpiffeId, audience: &[&str]) -> Result<JwtToken, Error> {
        let tokens = self.client.fetch_jwt_svids(audience, Some(id)).await?;
        let own = |token: &JwtToken| token.id == *id;
        tokens.into_iter().find(own).ok_or(Error::Missing { what: "JWT-SVID of that identity" })
    }

    /// Validates a token for one audience, at `now`, with the bundle of its own trust domain and without leeway.
    ///
    /// Standard: JWT-SVID §4, §5.
    ///
    /// # Errors
    /// [`Error::Token`]; where there are no bundles, as [`super::Source::state`].
    pub fn validate(&self, token: &str, audience: &str, now: Timestamp) -> Result<JwtSvid, Error> {
        Ok(JwtSvid::verify(token, audience, &*self.bundles.state()?, now, Ttl::ZERO)?)
    }

    /// The bundles.
    #[must_use]
    pub fn bundles(&self) -> &JwtBundleSource {
        &self.bundles
    }
}
