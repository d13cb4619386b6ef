//! One attestation: evidence, challenges, and at the end an SVID.
//!
//! Runs inside the stream of answers, so that it ends with the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use rand_core::{OsRng, TryRngCore as _};
use spire_api::proto::agent::attest_agent_request::{Params, Step as Asked};
use spire_api::proto::agent::attest_agent_response::{Result as Outcome, Step as Answered};
use spire_api::proto::agent::{AttestAgentRequest, AttestAgentResponse};
use spire_api::status;
use spire_attestation::node::{AttestRequest, Attested, Challenger};
use spire_attestation::{Error, JoinTokenError};
use spire_runtime::MoreFields;
use spire_types::{AttestedNode, Revision, Selector};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use super::{AgentParts, svid};
use crate::api::store_failed;
use crate::audit::Note;
use crate::caller::Caller;

/// How long an agent may take to send its evidence, or to answer a challenge: it is nobody yet.
const PATIENCE: Duration = Duration::from_secs(60);
/// The attestor that is there whether configured or not, and whose errors SPIRE does not put down to a plugin.
const JOIN_TOKEN: &str = "join_token";

/// What the agent gets to hear.
pub(crate) type AttestStream = Pin<Box<dyn Stream<Item = Result<AttestAgentResponse, Status>> + Send + 'static>>;

/// An attestation that is about to begin.
pub(super) struct Attestation {
    parts: Arc<AgentParts>,
    caller: Caller,
    note: Option<Note>,
    requests: Streaming<AttestAgentRequest>,
}

impl Attestation {
    /// How it ends goes into `note`, if there is one.
    pub(super) fn new(
        parts: Arc<AgentParts>,
        caller: Caller,
        note: Option<Note>,
        requests: Streaming<AttestAgentRequest>,
    ) -> Self {
        Self { parts, caller, note, requests }
    }

    /// Waits for what comes first, a challenge or the end: an attestation that fails at once fails as a whole.
    pub(super) async fn answer(self) -> Result<Response<AttestStream>, Status> {
        let (challenges, sent) = mpsc::channel(1);
        let outcome = stream::once(self.run(challenges));
        let mut answers: AttestStream = Box::pin(stream::select(ReceiverStream::new(sent), outcome));
        match answers.next().await {
            Some(Err(failed)) => Err(failed),
            first => Ok(Response::new(Box::pin(stream::iter(first).chain(answers)))),
        }
    }

    async fn run(mut self, challenges: mpsc::Sender<Answer>) -> Answer {
        let mut said = MoreFields::default();
        let answer = self.attest_and_sign(challenges, &mut said).await;
        if let Some(note) = &self.note {
            let failure = answer.as_ref().err();
            note.write(&said, failure.map_or(Code::Ok, Status::code), failure.map_or("", Status::message));
        }
        answer
    }

    async fn attest_and_sign(&mut self, challenges: mpsc::Sender<Answer>, said: &mut MoreFields) -> Answer {
        let params = self.params().await?;
        let (data, csr) = check(&params)?;
        said.set("node_attestor_type", &data.r#type);
        let attested = self.attest(&data.r#type, &data.payload, challenges).await?;
        let agent_id = attested.agent_id.clone();
        // The ID holds the token, which is nobody's matter before it is spent.
        if attested.join_token.is_none() {
            said.set("agent_id", &agent_id);
        }
        if self.parts.cache.current().node(&agent_id).is_some_and(|node| node.is_banned()) {
            tracing::warn!(%agent_id, "Agent is banned");
            return Err(banned());
        }
        let minted = self.parts.sign(&agent_id, csr).await?;
        let svid = svid::to_proto(&agent_id, &minted, "");
        let reattestable = attested.can_reattest;
        let node = AttestedNode {
            selectors: self.selectors(&attested),
            spiffe_id: agent_id.clone(),
            attestation_type: data.r#type.clone(),
            serial: Some(minted.serial.to_string()),
            not_after: minted.not_after,
            new_serial: None,
            new_not_after: None,
            can_reattest: reattestable,
            agent_version: String::new(),
        };
        let revision = self.record(node, attested.join_token.as_deref()).await?;
        said.set("agent_id", &agent_id);
        self.parts.reach(revision).await?;
        tracing::info!(%agent_id, node_attestor_type = %data.r#type, expires_at = %minted.not_after, "Agent attestation request completed");
        Ok(AttestAgentResponse { step: Some(Answered::Result(Outcome { svid: Some(svid), reattestable })) })
    }

    /// Records the agent, and spends its token if it came with one.
    async fn record(&self, node: AttestedNode, join_token: Option<&str>) -> Result<Revision, Status> {
        let store = &self.parts.store;
        let recorded = match join_token {
            None => store.attest_node(node).await.map(Some),
            Some(token) => store.redeem_join_token(token, node).await,
        };
        let recorded = recorded.map_err(|err| match err {
            spire_datastore::Error::Banned => banned(),
            err => store_failed("failed to record agent", &err),
        })?;
        // Another one was faster.
        recorded.ok_or_else(|| refused(JOIN_TOKEN, &JoinTokenError::Unknown.into()))
    }

    async fn params(&mut self) -> Result<Params, Status> {
        let failed = |err: &dyn std::fmt::Display| status::invalid("failed to receive request from stream", err);
        let first = tokio::time::timeout(PATIENCE, self.requests.message()).await;
        let first = first.map_err(|_| failed(&"nothing came"))?.map_err(|err| failed(&err.message()))?;
        match first.ok_or_else(|| failed(&"EOF"))?.step {
            Some(Asked::Params(params)) => Ok(params),
            _ => Err(status::invalid("malformed param", "missing params")),
        }
    }

    async fn attest(
        &mut self,
        attestor_type: &str,
        payload: &[u8],
        challenges: mpsc::Sender<Answer>,
    ) -> Result<Attested, Status> {
        let attestor = self.parts.attestors.get(attestor_type).ok_or_else(|| {
            let cause = format!("could not find node attestor type {attestor_type:?}");
            status::status(Code::FailedPrecondition, "error getting node attestor", cause)
        })?;
        let mut rng = OsRng.unwrap_err();
        let request = AttestRequest {
            payload,
            now: self.parts.clock.now(),
            client_ip: self.caller.address().map(|address| address.ip()),
            rng: &mut rng,
        };
        let mut agent = Agent { challenges, answers: &mut self.requests, failure: None };
        let attested = attestor.attest(request, &mut agent).await;
        if let Some(failure) = agent.failure {
            return Err(failure);
        }
        let attested = attested.map_err(|err| refused(attestor_type, &err))?.into_inner();
        let server_path = "/spire/server";
        if !attested.agent_id.is_member_of(&self.parts.trust_domain) {
            return Err(status::status(Code::Internal, "invalid agent ID", &attested.agent_id));
        }
        if attested.agent_id.path() == server_path {
            return Err(Status::internal("agent ID cannot collide with the server ID"));
        }
        Ok(attested)
    }

    /// The attestor's, each once, and where it is configured the agent's own ID.
    fn selectors(&self, attested: &Attested) -> Vec<Selector> {
        let mut selectors: Vec<Selector> = Vec::new();
        let own_id = Selector::new("spiffe_id", attested.agent_id.as_str()).ok();
        let own_id = own_id.filter(|_| self.parts.id_as_selector);
        for selector in attested.selectors.iter().chain(&own_id) {
            if !selectors.contains(selector) {
                selectors.push(selector.clone());
            }
        }
        selectors
    }
}

type Answer = Result<AttestAgentResponse, Status>;

fn banned() -> Status {
    Status::permission_denied("failed to attest: agent is banned")
}

fn refused(attestor: &str, err: &Error) -> Status {
    tracing::warn!(attestor, %err, "Agent attestation failed");
    let code = status::code(err.kind());
    if attestor == JOIN_TOKEN {
        return Status::new(code, err.to_string());
    }
    Status::new(code, format!("failed to attest: nodeattestor({attestor}): {err}"))
}

fn check(params: &Params) -> Result<(&spire_api::proto::types::AttestationData, &[u8]), Status> {
    let malformed = |what: &str| status::invalid("malformed param", what);
    let data = params.data.as_ref().ok_or_else(|| malformed("missing attestation data"))?;
    let svid = params.params.as_ref().ok_or_else(|| malformed("missing X509-SVID parameters"))?;
    if svid.csr.is_empty() {
        return Err(malformed("missing CSR"));
    }
    if data.r#type.is_empty() {
        return Err(malformed("missing attestation data type"));
    }
    if data.payload.is_empty() {
        return Err(malformed("missing attestation data payload"));
    }
    Ok((data, &svid.csr))
}

/// The agent at the other end of the stream.
struct Agent<'a> {
    challenges: mpsc::Sender<Answer>,
    answers: &'a mut Streaming<AttestAgentRequest>,
    /// Why the exchange failed, in the words of the API.
    failure: Option<Status>,
}

impl Agent<'_> {
    async fn exchange(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Status> {
        let step = Some(Answered::Challenge(challenge.to_vec().into()));
        let sent = self.challenges.send(Ok(AttestAgentResponse { step })).await;
        sent.map_err(|_| Status::internal("failed to send challenge to agent"))?;
        let failed = |err: &str| status::status(Code::Internal, "failed to receive challenge from agent", err);
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        let answer = answer.map_err(|_| failed("no answer came"))?.map_err(|err| failed(err.message()))?;
        match answer.ok_or_else(|| failed("EOF"))?.step {
            Some(Asked::ChallengeResponse(response)) => Ok(response.to_vec()),
            _ => Err(failed("message is no challenge response")),
        }
    }
}

#[async_trait::async_trait]
impl Challenger for Agent<'_> {
    async fn challenge(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Error> {
        self.exchange(challenge).await.map_err(|status| {
            let message = status.message().to_owned();
            self.failure = Some(status);
            Error::Exchange(message)
        })
    }
}
