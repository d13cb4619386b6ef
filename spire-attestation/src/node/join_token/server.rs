//! The server's half: looks the token up.

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
    /// The time that `token` expires at; `None` when there is no such token. It stays where it is: [`Attested::join_token`]
    /// has it taken out together with what is recorded of the node, in one atomic step that **one** node survives.
    ///
    /// # Errors
    /// When the store cannot tell.
    async fn find(&self, token: &str) -> Result<Option<Timestamp>, StoreError>;
}

/// Attests nodes by join tokens: `spiffe://<trust domain>/spire/agent/join_token/<token>`, no selectors.
#[derive(Debug)]
pub struct JoinTokenServer {
    trust_domain: TrustDomain,
    tokens: Arc<dyn TokenStore>,
}

impl JoinTokenServer {
    /// Gives identities in `trust_domain` for the tokens in `tokens`.
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
        let expires_at = self.tokens.find(token).await.map_err(JoinTokenError::Store)?;
        match expires_at {
            None => return Err(JoinTokenError::Unknown.into()),
            Some(expires_at) if expires_at < request.now => return Err(JoinTokenError::Expired.into()),
            Some(_) => {}
        }
        let agent_id = agent_id(&self.trust_domain, &format!("/{NAME}/{token}"))?;
        let join_token = Some(token.to_owned());
        Ok(Verified::vouch(Attested { agent_id, selectors: Vec::new(), can_reattest: false, join_token }))
    }
}

/// The longest token that is looked up; ours have 36 bytes, operators may choose their own.
const MAX_TOKEN_BYTES: usize = 1024;
