//! SVIDs: for agents' workloads, for downstream servers, and by hand.

use std::sync::Arc;

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::x509::{Csr, X509Error};
use spiffe_core::{SpiffeId, TrustDomain, Ttl};
use spire_api::convert::{entry, id, svid as convert};
use spire_api::proto::svid::batch_new_x509svid_response::Result as BatchResult;
use spire_api::proto::svid::svid_server::Svid;
use spire_api::proto::svid::{
    BatchNewWitsvidRequest, BatchNewWitsvidResponse, BatchNewX509svidRequest, BatchNewX509svidResponse,
    MintJwtsvidRequest, MintJwtsvidResponse, MintWitsvidRequest, MintWitsvidResponse, MintX509svidRequest,
    MintX509svidResponse, NewDownstreamX509caRequest, NewDownstreamX509caResponse, NewJwtsvidRequest,
    NewJwtsvidResponse, NewX509svidParams,
};
use spire_api::proto::types;
use spire_api::status;
use spire_ca::{
    DistinguishedName, DownstreamCaParams, JwtSvidParams, MintedX509Svid, X509SvidParams, mint_downstream_ca,
    mint_jwt_svid, mint_x509_svid,
};
use spire_runtime::Clock;
use spire_types::{EntryId, RegistrationEntry};
use tonic::{Code, Extensions, Request, Response, Status};

use super::{caller, role};
use crate::authority::AuthorityHandle;
use crate::authz::Role;
use crate::config::SvidConfig;
use crate::entries::{EntryCache, EntryIndex};
use crate::ratelimit::RateLimiters;

/// `spire.api.server.svid.v1.SVID`
#[derive(Clone, Debug)]
pub(crate) struct SvidService {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) cache: Arc<EntryCache>,
    pub(crate) authority: AuthorityHandle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Arc<RateLimiters>,
    /// What SVIDs are like where neither entry nor request says.
    pub(crate) defaults: SvidConfig,
    /// Lifetime of downstream CAs that prefer none.
    pub(crate) ca_ttl: Ttl,
}

/// An X.509-SVID to the wire.
pub(crate) fn to_proto(spiffe_id: &SpiffeId, minted: &MintedX509Svid, hint: &str) -> types::X509svid {
    types::X509svid {
        cert_chain: minted.chain().into_iter().map(Into::into).collect(),
        id: Some(id::to_proto(spiffe_id)),
        expires_at: minted.not_after.as_unix(),
        hint: hint.to_owned(),
    }
}

fn calling_agent(extensions: &Extensions) -> Result<&SpiffeId, Status> {
    match role(extensions)? {
        Role::Agent(id) => Ok(id),
        _ => Err(Status::internal("caller is not an agent")),
    }
}

/// Seconds as requested; what is not positive takes the default.
fn ttl_or(seconds: i32, default: Ttl) -> Ttl {
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map_or(default, Ttl::from_secs)
}

fn no_entry() -> Status {
    Status::not_found("entry not found or not authorized")
}

/// A request's key, whose possession is proven.
fn request_key(csr: &[u8]) -> Result<Csr, Status> {
    Csr::from_der(csr).map_err(|err| match err {
        X509Error::RequestSignature => status::invalid("invalid CSR signature", err),
        err => status::invalid("malformed CSR", err),
    })
}

impl SvidService {
    async fn sign_x509(&self, params: &X509SvidParams<'_>) -> Result<MintedX509Svid, Status> {
        let minted = mint_x509_svid(&self.authority.current(), params, self.clock.now(), &mut OsRng.unwrap_err()).await;
        let minted = minted.map_err(|err| status::status(Code::Internal, "failed to sign X509-SVID", err))?;
        self.authority.count_signed("x509_svid");
        Ok(minted)
    }

    /// One member of a batch.
    async fn new_x509(
        &self,
        index: &EntryIndex,
        agent: &SpiffeId,
        params: &NewX509svidParams,
    ) -> Result<types::X509svid, Status> {
        if params.entry_id.is_empty() {
            return Err(Status::invalid_argument("missing entry ID"));
        }
        if params.csr.is_empty() {
            return Err(Status::invalid_argument("missing CSR"));
        }
        let entry = self.authorized(index, agent, &params.entry_id)?;
        let csr = request_key(&params.csr)?;
        let entry_id = params.entry_id.as_str();
        let params = X509SvidParams {
            spiffe_id: &entry.spiffe_id,
            public_key: csr.public_key(),
            ttl: entry.x509_svid_ttl.unwrap_or(self.defaults.x509_ttl),
            dns_names: &entry.dns_names,
            subject: None,
        };
        let minted = self.sign_x509(&params).await?;
        tracing::debug!(
            agent_id = %agent, entry_id, spiffe_id = %entry.spiffe_id, expires_at = %minted.not_after,
            "Signed X509 SVID"
        );
        Ok(to_proto(&entry.spiffe_id, &minted, ""))
    }

    fn authorized(&self, index: &EntryIndex, agent: &SpiffeId, id: &str) -> Result<Arc<RegistrationEntry>, Status> {
        let id = EntryId::parse(id).map_err(|_| no_entry())?;
        index.authorized_entry(agent, &id, self.clock.now()).ok_or_else(no_entry)
    }

    fn check_jwt_enabled(&self) -> Result<(), Status> {
        if self.defaults.jwt_svids {
            return Ok(());
        }
        Err(Status::unimplemented("JWT functionality is disabled"))
    }

    async fn sign_jwt(
        &self,
        spiffe_id: &SpiffeId,
        audience: &[String],
        ttl: Ttl,
        include_jti: bool,
    ) -> Result<types::Jwtsvid, Status> {
        id::check_workload(spiffe_id, &self.trust_domain).map_err(|err| status::invalid("invalid SPIFFE ID", err))?;
        if audience.iter().all(String::is_empty) {
            return Err(Status::invalid_argument("at least one audience is required"));
        }
        let issuer = self.defaults.jwt_issuer.as_deref();
        let params = JwtSvidParams { spiffe_id, audience, ttl, include_jti, issuer };
        let authority = self.authority.with_jwt_key().await;
        let minted = mint_jwt_svid(&authority, &params, self.clock.now(), &mut OsRng.unwrap_err()).await;
        let minted = minted.map_err(|err| status::status(Code::Internal, "failed to sign JWT-SVID", err))?;
        self.authority.count_signed("jwt_svid");
        tracing::debug!(%spiffe_id, expires_at = %minted.expires_at, "Server CA successfully signed JWT SVID");
        Ok(convert::jwt_to_proto(spiffe_id, minted.token, minted.issued_at, minted.expires_at))
    }
}

#[tonic::async_trait]
impl Svid for SvidService {
    async fn mint_x509svid(
        &self,
        request: Request<MintX509svidRequest>,
    ) -> Result<Response<MintX509svidResponse>, Status> {
        let request = request.get_ref();
        if request.csr.is_empty() {
            return Err(Status::invalid_argument("missing CSR"));
        }
        let csr = Csr::from_der(&request.csr).map_err(|err| match err {
            X509Error::RequestSignature => status::invalid("failed to verify CSR signature", err),
            err => status::invalid("malformed CSR", err),
        })?;
        let spiffe_id = requested_id(&csr, &self.trust_domain)?;
        check_requested_names(csr.dns_sans())?;
        let subject = DistinguishedName::from_der(csr.subject_der());
        let subject = subject.map_err(|err| status::invalid("malformed CSR", err))?;
        let params = X509SvidParams {
            spiffe_id: &spiffe_id,
            public_key: csr.public_key(),
            ttl: ttl_or(request.ttl, self.defaults.x509_ttl),
            dns_names: csr.dns_sans(),
            subject: Some(&subject),
        };
        let minted = self.sign_x509(&params).await?;
        Ok(Response::new(MintX509svidResponse { svid: Some(to_proto(&spiffe_id, &minted, "")) }))
    }

    async fn mint_jwtsvid(
        &self,
        request: Request<MintJwtsvidRequest>,
    ) -> Result<Response<MintJwtsvidResponse>, Status> {
        self.check_jwt_enabled()?;
        let request = request.get_ref();
        let spiffe_id = id::from_proto(request.id.as_ref());
        let spiffe_id = spiffe_id.map_err(|err| status::invalid("invalid SPIFFE ID", err))?;
        let ttl = ttl_or(request.ttl, self.defaults.jwt_ttl);
        let svid = self.sign_jwt(&spiffe_id, &request.audience, ttl, false).await?;
        Ok(Response::new(MintJwtsvidResponse { svid: Some(svid) }))
    }

    async fn batch_new_x509svid(
        &self,
        request: Request<BatchNewX509svidRequest>,
    ) -> Result<Response<BatchNewX509svidResponse>, Status> {
        let params = &request.get_ref().params;
        if params.is_empty() {
            return Err(Status::invalid_argument("missing parameters"));
        }
        self.limits.csr.spend("svid.v1.svid.batch_new_x509svid", caller(request.extensions())?, params.len()).await?;
        let agent = calling_agent(request.extensions())?;
        let index = self.cache.current();
        let mut results = Vec::with_capacity(params.len());
        for params in params {
            results.push(match self.new_x509(&index, agent, params).await {
                Ok(svid) => BatchResult { status: Some(status::batch_ok()), svid: Some(svid) },
                Err(refused) => BatchResult { status: Some(status::batch_error(&refused)), svid: None },
            });
            // Signing many must not keep others waiting.
            tokio::task::yield_now().await;
        }
        Ok(Response::new(BatchNewX509svidResponse { results }))
    }

    async fn new_jwtsvid(&self, request: Request<NewJwtsvidRequest>) -> Result<Response<NewJwtsvidResponse>, Status> {
        self.limits.jsr.spend("svid.v1.svid.new_jwtsvid", caller(request.extensions())?, 1).await?;
        self.check_jwt_enabled()?;
        let (agent, asked) = (calling_agent(request.extensions())?, request.get_ref());
        let entry = self.authorized(&self.cache.current(), agent, &asked.entry_id)?;
        let include_jti = entry.additional.is_some_and(|additional| additional.jwt_svid_include_jti);
        let ttl = entry.jwt_svid_ttl.unwrap_or(self.defaults.jwt_ttl);
        let svid = self.sign_jwt(&entry.spiffe_id, &asked.audience, ttl, include_jti).await?;
        Ok(Response::new(NewJwtsvidResponse { svid: Some(svid) }))
    }

    async fn new_downstream_x509ca(
        &self,
        request: Request<NewDownstreamX509caRequest>,
    ) -> Result<Response<NewDownstreamX509caResponse>, Status> {
        let Role::Downstream(entry) = role(request.extensions())? else {
            return Err(Status::internal("caller is not a downstream workload"));
        };
        self.limits.csr.spend("svid.v1.svid.new_downstream_x509ca", caller(request.extensions())?, 1).await?;
        let request_csr = request_key(&request.get_ref().csr)?;
        let ttl = ttl_or(request.get_ref().preferred_ttl, self.ca_ttl);
        let params = DownstreamCaParams { public_key: request_csr.public_key(), ttl };
        let now = self.clock.now();
        let minted = mint_downstream_ca(&self.authority.current(), &params, now, &mut OsRng.unwrap_err()).await;
        let minted = minted.map_err(|err| status::status(Code::Internal, "failed to sign downstream X.509 CA", err))?;
        self.authority.count_signed("x509_ca_svid");
        let index = self.cache.current();
        let bundle = index.bundle(&self.trust_domain).ok_or_else(|| Status::not_found("bundle not found"))?;
        tracing::info!(spiffe_id = %entry.spiffe_id, expires_at = %minted.not_after, "Signed downstream X.509 CA");
        Ok(Response::new(NewDownstreamX509caResponse {
            ca_cert_chain: minted.chain().into_iter().map(Into::into).collect(),
            x509_authorities: bundle.x509_roots().map(|root| root.der().to_vec().into()).collect(),
        }))
    }

    async fn mint_witsvid(&self, _: Request<MintWitsvidRequest>) -> Result<Response<MintWitsvidResponse>, Status> {
        Err(wit_disabled())
    }

    async fn batch_new_witsvid(
        &self,
        _: Request<BatchNewWitsvidRequest>,
    ) -> Result<Response<BatchNewWitsvidResponse>, Status> {
        Err(wit_disabled())
    }
}

fn wit_disabled() -> Status {
    Status::unimplemented("WIT functionality is disabled")
}

/// The one ID that an administrator's request names.
fn requested_id(csr: &Csr, trust_domain: &TrustDomain) -> Result<SpiffeId, Status> {
    let uri = match csr.uri_sans() {
        [] => return Err(Status::invalid_argument("CSR URI SAN is required")),
        [uri] => uri,
        _ => return Err(Status::invalid_argument("only one URI SAN is expected")),
    };
    let invalid = |err: &dyn std::fmt::Display| status::invalid("CSR URI SAN is invalid", err);
    let spiffe_id = SpiffeId::parse(uri).map_err(|err| invalid(&err))?;
    id::check_workload(&spiffe_id, trust_domain).map_err(|err| invalid(&err))?;
    Ok(spiffe_id)
}

fn check_requested_names(names: &[String]) -> Result<(), Status> {
    for name in names {
        entry::check_dns_name(name).map_err(|err| status::invalid("CSR DNS name is invalid", err))?;
    }
    let covers = |wildcard: &str, name: &str| name.split_once('.').is_some_and(|(_, rest)| rest == wildcard);
    for wildcard in names.iter().filter_map(|name| name.strip_prefix("*.")) {
        if let Some(name) = names.iter().find(|name| !name.starts_with("*.") && covers(wildcard, name)) {
            return Err(status::invalid(
                "CSR DNS name contains a wildcard that covers another non-wildcard name",
                format!("name {name:?} overlaps with an existing wildcard name in the list: wildcard overlap"),
            ));
        }
    }
    Ok(())
}
