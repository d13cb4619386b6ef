//! The server's authorities, by hand.
//!
//! The driver of rotation does what is asked ([`crate::authority`]); here is how SPIRE words its refusals.

use spire_api::proto::localauthority as proto;
use spire_api::proto::localauthority::local_authority_server::LocalAuthority;
use spire_api::status::{code, invalid, status};
use spire_ca::AuthorityId;
use spire_ca::rotation::{CommandError, Kind};
use spire_types::ErrorKind;
use tonic::{Code, Request, Response, Status};

use crate::authority::{AuthorityError, AuthorityHandle, AuthorityState, AuthorityStates};

/// The service.
#[derive(Debug)]
pub(crate) struct LocalAuthorityService {
    authority: AuthorityHandle,
    jwt_svids: bool,
}

impl LocalAuthorityService {
    /// Commands `authority`; without `jwt_svids` there is nothing to ask of JWT keys.
    pub(crate) fn new(authority: AuthorityHandle, jwt_svids: bool) -> Self {
        Self { authority, jwt_svids }
    }

    /// JWT keys are asked for only where there are any; said before anything else.
    fn check(&self, kind: Kind) -> Result<(), Status> {
        if kind == Kind::Jwt && !self.jwt_svids {
            return Err(Status::unimplemented("JWT functionality is disabled"));
        }
        Ok(())
    }

    async fn states(&self, kind: Kind) -> Result<AuthorityStates, Status> {
        self.check(kind)?;
        let asked = self.authority.states(kind).await;
        let states = asked.map_err(|err| failed("failed to get authorities", &err))?;
        if states.active.is_none() {
            return Err(Status::unavailable("server is initializing"));
        }
        Ok(states)
    }

    async fn prepare(&self, kind: Kind) -> Result<Option<proto::AuthorityState>, Status> {
        self.check(kind)?;
        let prepared = self.authority.prepare(kind).await;
        let states = prepared.map_err(|err| failed(&format!("failed to prepare {}", name(kind)), &err))?;
        Ok(states.prepared.map(to_proto))
    }

    async fn activate(&self, kind: Kind, id: &str) -> Result<Option<proto::AuthorityState>, Status> {
        self.check(kind)?;
        let activated = self.authority.activate(kind, given(id)?).await;
        let states = activated.map_err(|err| failed(&format!("failed to activate {}", name(kind)), &err))?;
        Ok(states.active.map(to_proto))
    }

    async fn taint(&self, kind: Kind, id: &str) -> Result<Option<proto::AuthorityState>, Status> {
        self.check(kind)?;
        if kind == Kind::X509 && self.authority.has_upstream() {
            return Err(signed_upstream("tainted"));
        }
        let tainted = self.authority.taint(kind, given(id)?).await;
        let states = tainted.map_err(|err| failed(&format!("failed to taint {}", name(kind)), &err))?;
        tracing::info!(local_authority_id = id, "{} tainted successfully", name(kind));
        Ok(match kind {
            Kind::X509 => states.old.map(to_proto),
            Kind::Jwt => Some(named(id)),
        })
    }

    async fn revoke(&self, kind: Kind, id: &str) -> Result<Option<proto::AuthorityState>, Status> {
        self.check(kind)?;
        if kind == Kind::X509 && self.authority.has_upstream() {
            return Err(signed_upstream("revoked"));
        }
        if id.is_empty() {
            return Err(invalid(INVALID_ID, NO_ID));
        }
        match self.authority.revoke(kind, AuthorityId::new(id)).await {
            Ok(_) => {
                tracing::info!(local_authority_id = id, "{} revoked successfully", name(kind));
                Ok(Some(named(id)))
            }
            // Nobody's, unless it is that of the old key, which was revoked before.
            Err(AuthorityError::DataStore(err)) if kind == Kind::Jwt && err.kind() == ErrorKind::NotFound => {
                let old = self.states(kind).await?.old;
                Err(match old.filter(|old| old.id.as_str() == id) {
                    Some(_) => status(Code::Internal, "failed to revoke JWT authority", err),
                    None => invalid(INVALID_ID, "no JWT authority found with provided authority ID"),
                })
            }
            Err(err) => Err(not_revoked(kind, &err)),
        }
    }

    /// Taints or revokes what signed the old CA; `invalid_id` is how a name that does not fit is refused.
    async fn upstream(&self, id: &str, revoke: bool, invalid_id: &str) -> Result<String, Status> {
        if !self.authority.has_upstream() {
            return Err(Status::failed_precondition("upstream authority is not configured"));
        }
        if id.is_empty() {
            return Err(invalid(invalid_id, "no subject key ID provided"));
        }
        let id = AuthorityId::new(&id.to_ascii_lowercase());
        let (outcome, attempt) = if revoke {
            (self.authority.revoke_upstream(id.clone()).await, "failed to revoke X.509 upstream authority")
        } else {
            (self.authority.taint_upstream(id.clone()).await, "failed to taint upstream authority")
        };
        match outcome {
            Ok(_) => {
                let done = if revoke { "successfully revoked" } else { "tainted successfully" };
                tracing::info!(subject_key_id = %id, "X.509 upstream authority {done}");
                Ok(id.as_str().to_owned())
            }
            Err(err) if err.kind() == ErrorKind::InvalidArgument => Err(invalid(invalid_id, err)),
            Err(err) => Err(failed(attempt, &err)),
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::X509 => "X.509 authority",
        Kind::Jwt => "JWT authority",
    }
}

fn given(id: &str) -> Result<AuthorityId, Status> {
    if id.is_empty() { Err(Status::invalid_argument(NO_ID)) } else { Ok(AuthorityId::new(id)) }
}

fn named(id: &str) -> proto::AuthorityState {
    proto::AuthorityState { authority_id: id.to_owned(), ..proto::AuthorityState::default() }
}

fn to_proto(state: AuthorityState) -> proto::AuthorityState {
    proto::AuthorityState {
        authority_id: state.id.as_str().to_owned(),
        expires_at: state.expires_at.as_unix(),
        upstream_authority_subject_key_id: state.upstream_authority_id,
    }
}

fn signed_upstream(verb: &'static str) -> Status {
    Status::failed_precondition(AuthorityError::SignedUpstream { verb }.to_string())
}

/// Refusals speak for themselves; failures are worded by what was attempted.
fn failed(attempt: &str, err: &AuthorityError) -> Status {
    let code = code(err.kind());
    match err {
        AuthorityError::Refused(refused @ CommandError::NotPrepared) => {
            status(code, &refused.to_string(), unfit("OLD"))
        }
        AuthorityError::Refused(refused @ CommandError::NotOld { .. }) => {
            status(code, &refused.to_string(), unfit("PREPARED"))
        }
        AuthorityError::Refused(refused) => Status::new(code, refused.to_string()),
        AuthorityError::Ended | AuthorityError::JwtDisabled | AuthorityError::SignedUpstream { .. } => {
            Status::new(code, err.to_string())
        }
        _ => status(code, attempt, err),
    }
}

fn unfit(found: &str) -> String {
    format!("unsupported local authority status: {found}")
}

fn not_revoked(kind: Kind, err: &AuthorityError) -> Status {
    let unfit = match (kind, err) {
        (_, AuthorityError::Refused(CommandError::Current { .. })) => "unable to use current authority",
        (Kind::X509, AuthorityError::Refused(CommandError::NotOld { .. } | CommandError::UnexpectedAuthority)) => {
            "only Old local authority can be revoked"
        }
        (Kind::Jwt, AuthorityError::Refused(CommandError::NotOld { .. })) => "unable to use a prepared key",
        _ => return failed(&format!("failed to revoke {}", name(kind)), err),
    };
    invalid(INVALID_ID, unfit)
}

fn no_wit<T>() -> Result<Response<T>, Status> {
    Err(Status::new(Code::Unimplemented, "WIT-SVID functionality is not yet implemented"))
}

#[tonic::async_trait]
impl LocalAuthority for LocalAuthorityService {
    async fn get_jwt_authority_state(
        &self,
        _: Request<proto::GetJwtAuthorityStateRequest>,
    ) -> Result<Response<proto::GetJwtAuthorityStateResponse>, Status> {
        let AuthorityStates { active, prepared, old } = self.states(Kind::Jwt).await?;
        Ok(Response::new(proto::GetJwtAuthorityStateResponse {
            active: active.map(to_proto),
            prepared: prepared.map(to_proto),
            old: old.map(to_proto),
        }))
    }

    async fn prepare_jwt_authority(
        &self,
        _: Request<proto::PrepareJwtAuthorityRequest>,
    ) -> Result<Response<proto::PrepareJwtAuthorityResponse>, Status> {
        let prepared_authority = self.prepare(Kind::Jwt).await?;
        Ok(Response::new(proto::PrepareJwtAuthorityResponse { prepared_authority }))
    }

    async fn activate_jwt_authority(
        &self,
        request: Request<proto::ActivateJwtAuthorityRequest>,
    ) -> Result<Response<proto::ActivateJwtAuthorityResponse>, Status> {
        let activated_authority = self.activate(Kind::Jwt, &request.get_ref().authority_id).await?;
        Ok(Response::new(proto::ActivateJwtAuthorityResponse { activated_authority }))
    }

    async fn taint_jwt_authority(
        &self,
        request: Request<proto::TaintJwtAuthorityRequest>,
    ) -> Result<Response<proto::TaintJwtAuthorityResponse>, Status> {
        let tainted_authority = self.taint(Kind::Jwt, &request.get_ref().authority_id).await?;
        Ok(Response::new(proto::TaintJwtAuthorityResponse { tainted_authority }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<proto::RevokeJwtAuthorityRequest>,
    ) -> Result<Response<proto::RevokeJwtAuthorityResponse>, Status> {
        let revoked_authority = self.revoke(Kind::Jwt, &request.get_ref().authority_id).await?;
        Ok(Response::new(proto::RevokeJwtAuthorityResponse { revoked_authority }))
    }

    async fn get_x509_authority_state(
        &self,
        _: Request<proto::GetX509AuthorityStateRequest>,
    ) -> Result<Response<proto::GetX509AuthorityStateResponse>, Status> {
        let AuthorityStates { active, prepared, old } = self.states(Kind::X509).await?;
        Ok(Response::new(proto::GetX509AuthorityStateResponse {
            active: active.map(to_proto),
            prepared: prepared.map(to_proto),
            old: old.map(to_proto),
        }))
    }

    async fn prepare_x509_authority(
        &self,
        _: Request<proto::PrepareX509AuthorityRequest>,
    ) -> Result<Response<proto::PrepareX509AuthorityResponse>, Status> {
        let prepared_authority = self.prepare(Kind::X509).await?;
        Ok(Response::new(proto::PrepareX509AuthorityResponse { prepared_authority }))
    }

    async fn activate_x509_authority(
        &self,
        request: Request<proto::ActivateX509AuthorityRequest>,
    ) -> Result<Response<proto::ActivateX509AuthorityResponse>, Status> {
        let activated_authority = self.activate(Kind::X509, &request.get_ref().authority_id).await?;
        Ok(Response::new(proto::ActivateX509AuthorityResponse { activated_authority }))
    }

    async fn taint_x509_authority(
        &self,
        request: Request<proto::TaintX509AuthorityRequest>,
    ) -> Result<Response<proto::TaintX509AuthorityResponse>, Status> {
        let tainted_authority = self.taint(Kind::X509, &request.get_ref().authority_id).await?;
        Ok(Response::new(proto::TaintX509AuthorityResponse { tainted_authority }))
    }

    async fn taint_x509_upstream_authority(
        &self,
        request: Request<proto::TaintX509UpstreamAuthorityRequest>,
    ) -> Result<Response<proto::TaintX509UpstreamAuthorityResponse>, Status> {
        let id = &request.get_ref().subject_key_id;
        let upstream_authority_subject_key_id =
            self.upstream(id, false, "provided subject key id is not valid").await?;
        Ok(Response::new(proto::TaintX509UpstreamAuthorityResponse { upstream_authority_subject_key_id }))
    }

    async fn revoke_x509_authority(
        &self,
        request: Request<proto::RevokeX509AuthorityRequest>,
    ) -> Result<Response<proto::RevokeX509AuthorityResponse>, Status> {
        let revoked_authority = self.revoke(Kind::X509, &request.get_ref().authority_id).await?;
        Ok(Response::new(proto::RevokeX509AuthorityResponse { revoked_authority }))
    }

    async fn revoke_x509_upstream_authority(
        &self,
        request: Request<proto::RevokeX509UpstreamAuthorityRequest>,
    ) -> Result<Response<proto::RevokeX509UpstreamAuthorityResponse>, Status> {
        let id = &request.get_ref().subject_key_id;
        let upstream_authority_subject_key_id = self.upstream(id, true, "invalid subject key ID").await?;
        Ok(Response::new(proto::RevokeX509UpstreamAuthorityResponse { upstream_authority_subject_key_id }))
    }

    async fn get_wit_authority_state(
        &self,
        _: Request<proto::GetWitAuthorityStateRequest>,
    ) -> Result<Response<proto::GetWitAuthorityStateResponse>, Status> {
        no_wit()
    }

    async fn prepare_wit_authority(
        &self,
        _: Request<proto::PrepareWitAuthorityRequest>,
    ) -> Result<Response<proto::PrepareWitAuthorityResponse>, Status> {
        no_wit()
    }

    async fn activate_wit_authority(
        &self,
        _: Request<proto::ActivateWitAuthorityRequest>,
    ) -> Result<Response<proto::ActivateWitAuthorityResponse>, Status> {
        no_wit()
    }

    async fn taint_wit_authority(
        &self,
        _: Request<proto::TaintWitAuthorityRequest>,
    ) -> Result<Response<proto::TaintWitAuthorityResponse>, Status> {
        no_wit()
    }

    async fn revoke_wit_authority(
        &self,
        _: Request<proto::RevokeWitAuthorityRequest>,
    ) -> Result<Response<proto::RevokeWitAuthorityResponse>, Status> {
        no_wit()
    }
}

const NO_ID: &str = "no authority ID provided";
const INVALID_ID: &str = "invalid authority ID";

#[cfg(test)]
mod tests;
