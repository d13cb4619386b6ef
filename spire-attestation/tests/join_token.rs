//! Join tokens: both halves joined.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

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
struct Tokens(Mutex<HashMap<String, Timestamp>>);

#[async_trait]
impl TokenStore for Tokens {
    async fn take(&self, token: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.0.lock().unwrap().remove(token))
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
    JoinTokenServer::new(TrustDomain::parse("example.org").unwrap(), Arc::new(Tokens(Mutex::new(tokens))))
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
}

#[tokio::test]
async fn a_token_works_once() {
    let server = server_with(&[("abc", NOW)]);
    attest(&JoinTokenAgent::new("abc"), &server).await.unwrap();
    let error = attest(&JoinTokenAgent::new("abc"), &server).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to attest: join token does not exist or has already been used");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn of_a_thousand_redemptions_at_once_one_wins() {
    let server = Arc::new(server_with(&[("abc", NOW)]));
    let redemptions: Vec<_> = (0..1000)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { redeem(&server, b"abc").await.is_ok() })
        })
        .collect();
    let mut winners = 0;
    for redemption in redemptions {
        winners += u32::from(redemption.await.unwrap());
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn an_expired_token_is_refused_and_gone() {
    let server = server_with(&[("abc", Timestamp::from_unix(NOW.as_unix() - 1))]);
    let error = redeem(&server, b"abc").await.unwrap_err();
    assert_eq!(error.to_string(), "join token expired");
    let error = redeem(&server, b"abc").await.unwrap_err();
    assert!(matches!(error, Error::JoinToken(JoinTokenError::Unknown)), "{error}");
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
