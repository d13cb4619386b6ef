//! Joins the two halves of a method in memory, for tests of methods and of those who use them.

use std::net::IpAddr;

use async_trait::async_trait;
use rand_core::CryptoRng;
use spiffe_core::Timestamp;

use super::{AttestRequest, Attested, Challenger, NodeAttestorAgent, NodeAttestorServer, NodeEvidence, Verified};
use crate::Error;

/// Two halves of a method and the circumstances they meet in.
#[derive(Debug)]
pub struct Meeting<'a> {
    /// The agent's half.
    pub agent: &'a dyn NodeAttestorAgent,
    /// The server's half.
    pub server: &'a dyn NodeAttestorServer,
    /// The time of the server.
    pub now: Timestamp,
    /// The address the server sees the agent at.
    pub client_ip: Option<IpAddr>,
}

impl Meeting<'_> {
    /// Runs one attestation from payload to outcome; each half draws from its own randomness.
    ///
    /// # Errors
    /// What either half fails with; the agent's failures reach the server as [`Error::Exchange`], as they would over a
    /// stream.
    pub async fn attest(
        &self,
        agent_rng: &mut (dyn CryptoRng + Send),
        server_rng: &mut (dyn CryptoRng + Send),
    ) -> Result<Verified<Attested>, Error> {
        let mut evidence = self.agent.begin().await?;
        let payload = evidence.payload().to_vec();
        let request = AttestRequest { payload: &payload, now: self.now, client_ip: self.client_ip, rng: server_rng };
        self.server.attest(request, &mut InMemory { evidence: &mut *evidence, rng: agent_rng }).await
    }
}

struct InMemory<'a> {
    evidence: &'a mut dyn NodeEvidence,
    rng: &'a mut (dyn CryptoRng + Send),
}

#[async_trait]
impl Challenger for InMemory<'_> {
    async fn challenge(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Error> {
        self.evidence.answer(challenge, self.rng).await.map_err(|error| Error::Exchange(error.to_string()))
    }
}
