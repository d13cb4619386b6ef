//! The agent's half: shows the token it was given.

use std::fmt;

use async_trait::async_trait;
use rand_core::CryptoRng;

use super::NAME;
use crate::{
    Error, JoinTokenError,
    node::{NodeAttestorAgent, NodeEvidence},
};

/// Attests with a join token.
pub struct JoinTokenAgent {
    token: Option<String>,
}

impl JoinTokenAgent {
    /// Shows `token` (from the command line or the configuration).
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: Some(token.into()).filter(|token| !token.is_empty()) }
    }

    /// Configured without a token: every attestation fails with a sentence that says so.
    #[must_use]
    pub fn without_token() -> Self {
        Self { token: None }
    }
}

impl fmt::Debug for JoinTokenAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinTokenAgent").finish_non_exhaustive()
    }
}

#[async_trait]
impl NodeAttestorAgent for JoinTokenAgent {
    fn name(&self) -> &str {
        NAME
    }

    async fn begin(&self) -> Result<Box<dyn NodeEvidence>, Error> {
        let token = self.token.clone().ok_or(JoinTokenError::NotProvided)?;
        Ok(Box::new(TokenEvidence(token.into_bytes())))
    }
}

struct TokenEvidence(Vec<u8>);

#[async_trait]
impl NodeEvidence for TokenEvidence {
    fn payload(&self) -> &[u8] {
        &self.0
    }

    async fn answer(&mut self, _challenge: &[u8], _rng: &mut (dyn CryptoRng + Send)) -> Result<Vec<u8>, Error> {
        Err(Error::UnexpectedChallenge { attestor: NAME })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_token_the_operator_is_told() {
        for agent in [JoinTokenAgent::without_token(), JoinTokenAgent::new("")] {
            let error = agent.begin().await.err().unwrap();
            assert_eq!(error.to_string(), "join token was not provided");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        assert!(!format!("{:?}", JoinTokenAgent::new("s3cret")).contains("s3cret"));
    }
}
