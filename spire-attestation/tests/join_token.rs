//! Join tokens: both halves joined.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use spiffe_core::{Timestamp, TrustDomain};
use spire_attestation::{
    Error, JoinTokenError,
    node::{
        AttestRequest, Attested, Challenger, NodeAttestorAgent, NodeAttestorServer, Verified,
        join_token::{JoinTokenAgent, JoinTokenServer, StoreError, TokenStore},
        testing::Meeting,
    },
};
use spire_types::ErrorKind;

#[derive(Debug, Default)]
struct Tokens(HashMap<String, Timestamp>);

#[async_trait]
impl TokenStore for Tokens {
    async fn find(&self, token: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.0.get(token).copied())
    }
}

struct NoChallenges;

#[async_trait]
impl Challenger for NoChallenges {
    async fn challenge(&mut self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Err(Error::Exchange("join tokens have no challenge".to_owned()))
    }
}

const NOW: Timestamp = Timestamp::from_unix(1_700_000_000);

fn server_with(tokens: &[(&str, Timestamp)]) -> JoinTokenServer {
    let tokens = tokens.iter().map(|(token, expires_at)| ((*token).to_owned(), *expires_at)).collect();
    JoinTokenServer::new(TrustDomain::parse("example.org").unwrap(), Arc::new(Tokens(tokens)))
}

async fn attest(agent: &JoinTokenAgent, server: &JoinTokenServer) -> Result<Verified<Attested>, Error> {
    let mut rngs = [ChaCha8Rng::seed_from_u64(1), ChaCha8Rng::seed_from_u64(2)];
    let [agent_rng, server_rng] = &mut rngs;
    Meeting { agent, server, now: NOW, client_ip: None }.attest(agent_rng, server_rng).await
}

async fn redeem(server: &JoinTokenServer, payload: &[u8]) -> Result<Verified<Attested>, Error> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let request = AttestRequest { payload, now: NOW, client_ip: None, rng: &mut rng };
    server.attest(request, &mut NoChallenges).await
}

#[tokio::test]
async fn a_token_names_the_agent() {
    let server = server_with(&[("abc-123", NOW)]);
    let attested = attest(&JoinTokenAgent::new("abc-123"), &server).await.unwrap().into_inner();
    assert_eq!(attested.agent_id.as_str(), "spiffe://example.org/spire/agent/join_token/abc-123");
    assert!(attested.selectors.is_empty());
    assert!(!attested.can_reattest);
    assert_eq!(attested.join_token.as_deref(), Some("abc-123"), "it is to be spent");
}

#[tokio::test]
async fn a_token_that_is_not_there_is_refused() {
    let error = attest(&JoinTokenAgent::new("abc"), &server_with(&[])).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to attest: join token does not exist or has already been used");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let server = server_with(&[("abc", Timestamp::from_unix(NOW.as_unix() - 1))]);
    let error = redeem(&server, b"abc").await.unwrap_err();
    assert_eq!(error.to_string(), "join token expired");
}

#[tokio::test]
async fn what_is_no_token_is_unknown() {
    let server = server_with(&[("abc", NOW)]);
    let long = vec![b'a'; 100_000];
    for payload in [&b""[..], b"\xff\xfe", b"ABC", b"abc ", &long] {
        let error = redeem(&server, payload).await.unwrap_err();
        assert!(matches!(error, Error::JoinToken(JoinTokenError::Unknown)), "{error}");
    }
}

#[tokio::test]
async fn a_challenge_to_a_token_is_an_error() {
    let mut evidence = JoinTokenAgent::new("abc").begin().await.unwrap();
    assert_eq!(evidence.payload(), b"abc");
    assert!(evidence.answer(b"?", &mut ChaCha8Rng::seed_from_u64(4)).await.is_err());
}
