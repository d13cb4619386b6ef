//! Node attestation: an agent shows evidence of the machine it runs on, a server checks it.
//!
//! One attestation is: the agent's half is asked to [`begin`](NodeAttestorAgent::begin) and gives a payload; the
//! server's half gets it in [`attest`](NodeAttestorServer::attest) and may send challenges through a [`Challenger`],
//! each answered by the agent's [`NodeEvidence`]; the server's half ends with [`Verified`]`<`[`Attested`]`>`.

use std::{fmt::Debug, net::IpAddr};

use async_trait::async_trait;
use rand_core::CryptoRng;
use spiffe_core::{SpiffeId, Timestamp};
use spire_types::Selector;

use crate::Error;

pub mod agent_id;
pub mod join_token;
#[cfg(all(feature = "agent", feature = "server"))]
pub mod testing;
#[cfg(any(feature = "agent", feature = "server"))]
pub mod x509pop;

/// The agent's half of a method of node attestation. One value serves all attestations of the process; they may run
/// at the same time.
#[async_trait]
pub trait NodeAttestorAgent: Debug + Send + Sync {
    /// The method, as it stands in `AttestationData.type` on the wire and in the configuration: `join_token`.
    fn name(&self) -> &str;

    /// Gathers the evidence anew (files are read again) for one attestation.
    ///
    /// # Errors
    /// When the evidence cannot be had.
    async fn begin(&self) -> Result<Box<dyn NodeEvidence>, Error>;
}

/// The evidence of one attestation: the payload, and what is needed to answer challenges about it.
#[async_trait]
pub trait NodeEvidence: Send {
    /// What opens the attestation. Never empty.
    fn payload(&self) -> &[u8];

    /// Answers a challenge. Challenges come one after the other.
    ///
    /// # Errors
    /// When the method has no challenge, or this one is malformed or for another kind of key. The attestation has
    /// failed then.
    async fn answer(&mut self, challenge: &[u8], rng: &mut (dyn CryptoRng + Send)) -> Result<Vec<u8>, Error>;
}

/// The server's half of a method of node attestation. Attestations run at the same time.
#[async_trait]
pub trait NodeAttestorServer: Debug + Send + Sync {
    /// The method, as it stands in `AttestationData.type` on the wire and in the configuration: `join_token`.
    fn name(&self) -> &str;

    /// Verifies the evidence of `request`, asking the agent through `challenger` where the method needs it.
    ///
    /// Everything in the request comes from a party that is not authenticated yet: work done before the evidence holds
    /// is bounded. A ban of the agent is not looked at here, but by the caller, with the agent ID of the outcome.
    ///
    /// # Errors
    /// When the evidence does not hold; [`Error::kind`] is what the caller of the API is told.
    async fn attest(
        &self,
        request: AttestRequest<'_>,
        challenger: &mut dyn Challenger,
    ) -> Result<Verified<Attested>, Error>;
}

/// What a server's half gets to see of one attestation.
pub struct AttestRequest<'a> {
    /// The agent's payload, not yet looked at; the API refuses an empty one.
    pub payload: &'a [u8],
    /// The time of the attestation.
    pub now: Timestamp,
    /// The address the agent calls from, where the transport has one.
    pub client_ip: Option<IpAddr>,
    /// Where nonces come from.
    pub rng: &'a mut (dyn CryptoRng + Send),
}

impl Debug for AttestRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttestRequest")
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("now", &self.now)
            .field("client_ip", &self.client_ip)
            .finish_non_exhaustive()
    }
}

/// The way to the agent while it is being attested.
#[async_trait]
pub trait Challenger: Send {
    /// Sends `challenge` to the agent and waits for its answer, which may be empty and is not trusted.
    ///
    /// # Errors
    /// [`Error::Exchange`] when the agent is gone or says something else; attestors pass it on as it is.
    async fn challenge(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Error>;
}

/// What has been found out about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The agent's ID, in the server's trust domain and below `/spire/agent/`.
    pub agent_id: SpiffeId,
    /// The node's selectors; their type is the method's name. They replace those of earlier attestations.
    pub selectors: Vec<Selector>,
    /// Whether the agent may show the same evidence again: such an agent re-attests where others renew.
    pub can_reattest: bool,
    /// Evidence that holds once: whoever records the node takes this token out of the store in the same step, and records
    /// none where it is not there any more. Until then the agent's ID gives the token away.
    pub join_token: Option<String>,
}

/// Holds what a check has returned, so that later steps can demand the checked value and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// States that `value` has been verified. For implementations of [`NodeAttestorServer`], after their last check: a
    /// wrong call here lets a node in that it should not.
    pub fn vouch(value: T) -> Self {
        Self(value)
    }

    /// The verified value.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The verified value.
    pub fn into_inner(self) -> T {
        self.0
    }
}
