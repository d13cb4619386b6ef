//! Agents: attestation, renewal, and their records.

mod attest;

use std::sync::Arc;

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::x509::Csr;
use spiffe_core::{SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_api::convert::{agent as convert, id};
use spire_api::proto::agent::agent_server::Agent;
use spire_api::proto::agent::{
    AgentX509svidParams, AttestAgentRequest, BanAgentRequest, CountAgentsRequest, CountAgentsResponse,
    CreateJoinTokenRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, ListAgentsResponse,
    PostStatusRequest, PostStatusResponse, RenewAgentRequest, RenewAgentResponse,
};
use spire_api::proto::types;
use spire_api::proto::types::permission_denied_details::Reason;
use spire_api::status;
use spire_ca::{MintedX509Svid, X509SvidParams, mint_x509_svid};
use spire_datastore::{Created, DataStore, Revision};
use spire_runtime::Clock;
use spire_types::entry::uuid_v4;
use spire_types::{EntryId, JoinToken, PageRequest, RegistrationEntry, Selector};
use tonic::{Code, Extensions, Request, Response, Status, Streaming};

use super::{caller, internal, role, store_failed, svid};
use crate::audit::Note;
use crate::authority::AuthorityHandle;
use crate::authz::Role;
use crate::catalog::Attestors;
use crate::entries::EntryCache;
use crate::ratelimit::RateLimiters;
use attest::{AttestStream, Attestation};

/// Longest version that an agent may report, in characters.
const MAX_VERSION_LENGTH: usize = 255;

/// What the service works with.
#[derive(Clone, Debug)]
pub(crate) struct AgentParts {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) store: Arc<dyn DataStore>,
    pub(crate) cache: Arc<EntryCache>,
    pub(crate) authority: AuthorityHandle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) attestors: Attestors,
    pub(crate) limits: Arc<RateLimiters>,
    /// Lifetime of agents' SVIDs.
    pub(crate) ttl: Ttl,
    /// `experimental.agent_spiffe_id_as_selector`
    pub(crate) id_as_selector: bool,
}

/// `spire.api.server.agent.v1.Agent`
#[derive(Clone, Debug)]
pub(crate) struct AgentService(Arc<AgentParts>);

impl AgentService {
    pub(crate) fn new(parts: AgentParts) -> Self {
        Self(Arc::new(parts))
    }

    fn agent_id(&self, id: Option<&types::Spiffeid>) -> Result<SpiffeId, Status> {
        id::agent(id, &self.0.trust_domain).map_err(|err| status::invalid("invalid agent ID", err))
    }
}

impl AgentParts {
    /// Has the index show what was written before anybody is told of it.
    async fn reach(&self, revision: Revision) -> Result<(), Status> {
        self.cache.reach(revision).await.map_err(|err| store_failed("failed to read what was written", &err))
    }

    /// Signs an agent's SVID. Of the request only the key is taken.
    async fn sign(&self, agent_id: &SpiffeId, csr: &[u8]) -> Result<MintedX509Svid, Status> {
        let csr = Csr::from_der(csr).map_err(|err| status::invalid("failed to parse CSR", err))?;
        let params = X509SvidParams {
            spiffe_id: agent_id,
            public_key: csr.public_key(),
            ttl: self.ttl,
            dns_names: &[],
            subject: None,
        };
        let minted =
            mint_x509_svid(&self.authority.current(), &params, self.clock.now(), &mut OsRng.unwrap_err()).await;
        let minted = minted.map_err(|err| status::status(Code::Internal, "failed to sign X509 SVID", err))?;
        self.authority.count_signed("x509_svid");
        Ok(minted)
    }
}

fn calling_agent(extensions: &Extensions) -> Result<SpiffeId, Status> {
    match role(extensions)? {
        Role::Agent(id) => Ok(id.clone()),
        _ => Err(Status::internal("caller is not an agent")),
    }
}

fn request_csr(params: Option<&AgentX509svidParams>) -> Result<&[u8], Status> {
    let params = params.ok_or_else(|| Status::invalid_argument("params cannot be nil"))?;
    if params.csr.is_empty() {
        return Err(Status::invalid_argument("missing CSR"));
    }
    Ok(&params.csr)
}

#[tonic::async_trait]
impl Agent for AgentService {
    type AttestAgentStream = AttestStream;

    async fn attest_agent(
        &self,
        request: Request<Streaming<AttestAgentRequest>>,
    ) -> Result<Response<AttestStream>, Status> {
        let caller = caller(request.extensions())?.clone();
        // Before anything is read.
        self.0.limits.attest.spend("agent.v1.agent.attest_agent", &caller, 1).await?;
        let note = Note::take(request.extensions());
        Attestation::new(Arc::clone(&self.0), caller, note, request.into_inner()).answer().await
    }

    async fn renew_agent(&self, request: Request<RenewAgentRequest>) -> Result<Response<RenewAgentResponse>, Status> {
        let agent_id = calling_agent(request.extensions())?;
        self.0.limits.csr.spend("agent.v1.agent.renew_agent", caller(request.extensions())?, 1).await?;
        let node = self.0.cache.current().node(&agent_id).map(Arc::clone);
        let node = node.ok_or_else(|| Status::not_found("agent not found"))?;
        if node.can_reattest {
            return Err(status::permission_denied("agent must reattest instead of renew", Reason::AgentMustReattest));
        }
        let minted = self.0.sign(&agent_id, request_csr(request.get_ref().params.as_ref())?).await?;
        let renewed = self.0.store.renew_node(&agent_id, minted.serial.to_string(), minted.not_after).await;
        self.0.reach(renewed.map_err(|err| store_failed("failed to update agent", &err))?).await?;
        tracing::info!(%agent_id, expires_at = %minted.not_after, "Renewed agent SVID");
        Ok(Response::new(RenewAgentResponse { svid: Some(svid::to_proto(&agent_id, &minted, "")) }))
    }

    async fn post_status(&self, request: Request<PostStatusRequest>) -> Result<Response<PostStatusResponse>, Status> {
        let agent_id = calling_agent(request.extensions())?;
        self.0.limits.post_status.spend("agent.v1.agent.post_status", caller(request.extensions())?, 1).await?;
        let version = &request.get_ref().agent_version;
        let length = version.chars().count();
        if length > MAX_VERSION_LENGTH {
            let cause = format!("{length} characters are more than {MAX_VERSION_LENGTH}");
            return Err(status::invalid("agent version is too long", cause));
        }
        if !version.is_empty() {
            let noted = self.0.store.set_agent_version(&agent_id, version).await;
            noted.map_err(|err| store_failed("failed to update agent version", &err))?;
        }
        Ok(Response::new(PostStatusResponse {}))
    }

    async fn count_agents(
        &self,
        request: Request<CountAgentsRequest>,
    ) -> Result<Response<CountAgentsResponse>, Status> {
        let filter = convert::count_filter_from_proto(request.get_ref().filter.as_ref());
        let filter = filter.map_err(|err| Status::invalid_argument(err.to_string()))?;
        let count =
            self.0.store.count_nodes(filter).await.map_err(|err| store_failed("failed to count agents", &err))?;
        Ok(Response::new(CountAgentsResponse { count: i32::try_from(count).unwrap_or(i32::MAX) }))
    }

    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let filter = convert::filter_from_proto(request.filter.as_ref());
        let filter = filter.map_err(|err| Status::invalid_argument(err.to_string()))?;
        let size = usize::try_from(request.page_size).ok().filter(|size| *size > 0);
        let page = self.0.store.list_nodes(filter, PageRequest { size, token: request.page_token }).await;
        let page = page.map_err(|err| store_failed("failed to list agents", &err))?;
        let mask = request.output_mask.as_ref();
        let agents = page.items.iter().map(|node| convert::to_proto(node, mask)).collect();
        Ok(Response::new(ListAgentsResponse { agents, next_page_token: page.next_token }))
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<types::Agent>, Status> {
        let agent_id = self.agent_id(request.get_ref().id.as_ref())?;
        let node = self.0.store.fetch_node(&agent_id).await;
        let node = node.map_err(|err| store_failed("failed to fetch agent", &err))?;
        let node = node.ok_or_else(|| Status::not_found("agent not found"))?;
        Ok(Response::new(convert::to_proto(&node, request.get_ref().output_mask.as_ref())))
    }

    async fn delete_agent(&self, request: Request<DeleteAgentRequest>) -> Result<Response<()>, Status> {
        let agent_id = self.agent_id(request.get_ref().id.as_ref())?;
        let deleted = self.0.store.delete_node(&agent_id).await;
        self.0.reach(deleted.map_err(|err| not_found_or(&err, "failed to remove agent"))?).await?;
        tracing::info!(spiffe_id = %agent_id, "Agent deleted");
        Ok(Response::new(()))
    }

    async fn ban_agent(&self, request: Request<BanAgentRequest>) -> Result<Response<()>, Status> {
        let agent_id = self.agent_id(request.get_ref().id.as_ref())?;
        let banned = self.0.store.ban_node(&agent_id).await;
        self.0.reach(banned.map_err(|err| not_found_or(&err, "failed to ban agent"))?).await?;
        tracing::info!(spiffe_id = %agent_id, "Agent banned");
        Ok(Response::new(()))
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<types::JoinToken>, Status> {
        let request = request.into_inner();
        let ttl = u64::try_from(request.ttl).ok().filter(|ttl| *ttl > 0);
        let ttl = ttl.ok_or_else(|| Status::invalid_argument("ttl is required, you must provide one"))?;
        let alias = request.agent_id.as_ref().map(|id| id::workload(Some(id), &self.0.trust_domain)).transpose();
        let alias = alias.map_err(|err| status::invalid("invalid agent ID", err))?;
        let value = match request.token {
            token if token.is_empty() => uuid_v4(&mut OsRng.unwrap_err()),
            token => token,
        };
        let now = self.0.clock.now();
        let alias = alias.map(|id| self.alias_entry(&value, id)).transpose()?;
        let token = JoinToken { value: value.clone(), expires_at: now + Ttl::from_secs(ttl) };
        let expires_at = token.expires_at.as_unix();
        let created = self.0.store.create_join_token(token).await;
        created.map_err(|err| internal("failed to create token", &err))?;
        if let Some(alias) = alias {
            self.create_alias(alias, now).await?;
        }
        Ok(Response::new(types::JoinToken { value, expires_at }))
    }
}

impl AgentService {
    /// The entry by which the agent that joins with `token` has a name that was chosen.
    fn alias_entry(&self, token: &str, name: SpiffeId) -> Result<RegistrationEntry, Status> {
        let failed =
            |err: &dyn std::fmt::Display| status::invalid("failed to create join token registration entry", err);
        let agent =
            self.0.trust_domain.join(&format!("/spire/agent/join_token/{token}")).map_err(|err| failed(&err))?;
        let selector = Selector::new("spiffe_id", agent.as_str()).map_err(|err| failed(&err))?;
        Ok(RegistrationEntry::new(name, agent, vec![selector]))
    }

    async fn create_alias(&self, alias: RegistrationEntry, now: Timestamp) -> Result<(), Status> {
        let id = EntryId::new_at(now, &mut OsRng.unwrap_err());
        let created = self.0.store.create_entry(alias, id, now).await;
        match created.map_err(|err| internal("failed to create join token registration entry", &err))? {
            Created::New(_, revision) => self.0.reach(revision).await,
            Created::Similar(_) => Ok(()),
        }
    }
}

fn not_found_or(err: &spire_datastore::Error, attempt: &str) -> Status {
    match status::code(err.kind()) {
        Code::NotFound => Status::not_found("agent not found"),
        _ => store_failed(attempt, err),
    }
}
