//! The server's half: redeems the token.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use spiffe_core::{Timestamp, TrustDomain};

use super::NAME;
use crate::{
    Error, JoinTokenError,
    node::{AttestRequest, Attested, Challenger, NodeAttestorServer, Verified, agent_id::agent_id},
};

/// What a token store may fail with.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// The tokens that can be redeemed; the server implements it over its datastore.
#[async_trait]
pub trait TokenStore: fmt::Debug + Send + Sync {
    /// Takes `token` out of the store, in one atomic step, and gives the time it expires at; `None` when there is no
    /// such token. Of any number of calls with one token, at the same time and on several servers, **one** gets it: a
    /// second winner would let a second node in under the same identity. An expired token is taken like any other.
    ///
    /// # Errors
    /// When the store cannot tell; the token may be gone or not.
    async fn take(&self, token: &str) -> Result<Option<Timestamp>, StoreError>;
}

/// Attests nodes by join tokens: `spiffe://<trust domain>/spire/agent/join_token/<token>`, no selectors.
#[derive(Debug)]
pub struct JoinTokenServer {
    trust_domain: TrustDomain,
    tokens: Arc<dyn TokenStore>,
}

impl JoinTokenServer {
    /// Redeems the tokens in `tokens` for identities in `trust_domain`.
    pub fn new(trust_domain: TrustDomain, tokens: Arc<dyn TokenStore>) -> Self {
        Self { trust_domain, tokens }
    }
}

#[async_trait]
impl NodeAttestorServer for JoinTokenServer {
    fn name(&self) -> &str {
        NAME
    }

    async fn attest(
        &self,
        request: AttestRequest<'_>,
        _challenger: &mut dyn Challenger,
    ) -> Result<Verified<Attested>, Error> {
        // What is no text, or longer than any token, was never stored.
        let token = std::str::from_utf8(request.payload).map_err(|_| JoinTokenError::Unknown)?;
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(JoinTokenError::Unknown.into());
        }
        let expires_at = self.tokens.take(token).await.map_err(JoinTokenError::Store)?;
        match expires_at {
            None => return Err(JoinTokenError::Unknown.into()),
            Some(expires_at) if expires_at < request.now => return Err(JoinTokenError::Expired.into()),
            Some(_) => {}
        }
        // The token is spent from here on, so that its part in the ID gives nothing away.
        let agent_id = agent_id(&self.trust_domain, &format!("/{NAME}/{token}"))?;
        Ok(Verified::vouch(Attested { agent_id, selectors: Vec::new(), can_reattest: false }))
    }
}

/// The longest token that is looked up; ours have 36 bytes, operators may choose their own.
const MAX_TOKEN_BYTES: usize = 1024;
