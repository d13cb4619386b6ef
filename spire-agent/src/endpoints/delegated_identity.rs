//! `spire.api.agent.delegatedidentity.v1.DelegatedIdentity`: a trusted process gets the identities of others, whom it
//! names by their selectors or by their process.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::try_join_all;
use spiffe_core::{BundleSet, SpiffeId};
use spire_api::convert::{selector, svid};
use spire_api::proto::delegated_identity as proto;
use spire_api::proto::delegated_identity::delegated_identity_server::{DelegatedIdentity, DelegatedIdentityServer};
use spire_api::proto::types;
use spire_types::Selector;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use workload_api::server::{Caller, IdentityError, Process};

use super::push::{Pushes, pushes};
use super::source::Source;
use crate::cache::{WorkloadIdentity, WorkloadUpdate};
use crate::workload::Attestors;

/// The service for a tonic router whose connections are [`workload_api::server::Connection`]s.
pub(super) fn delegated_identity_service<S: Source>(
    source: Arc<S>,
    attestors: Attestors,
    delegates: &[SpiffeId],
    closing: CancellationToken,
) -> DelegatedIdentityServer<Delegation<S>> {
    let delegates = delegates.iter().cloned().collect();
    DelegatedIdentityServer::new(Delegation {
        authority: Arc::new(Authority { source, delegates }),
        attestors,
        closing,
    })
}

/// The RPCs.
#[derive(Debug)]
pub(super) struct Delegation<S> {
    authority: Arc<Authority<S>>,
    attestors: Attestors,
    closing: CancellationToken,
}

/// Who may ask for others.
#[derive(Debug)]
struct Authority<S> {
    source: Arc<S>,
    delegates: BTreeSet<SpiffeId>,
}

impl<S: Source> Authority<S> {
    /// Checks that the caller with these selectors is a delegate, as things stand.
    fn check(&self, caller: &BTreeSet<Selector>) -> Result<(), Status> {
        let entries = self.source.matching(caller);
        if entries.is_empty() {
            tracing::error!("No identity issued to the caller of the delegated identity API");
            return Err(IdentityError::NoIdentity.into());
        }
        if entries.iter().any(|entry| self.delegates.contains(&entry.spiffe_id)) {
            return Ok(());
        }
        tracing::error!(caller = %entries.iter().map(|entry| entry.spiffe_id.as_str()).collect::<Vec<_>>().join(","),
            "Permission denied; caller not configured as an authorized delegate");
        Err(Status::permission_denied("caller not configured as an authorized delegate"))
    }
}

#[tonic::async_trait]
impl<S: Source> DelegatedIdentity for Delegation<S> {
    type SubscribeToX509SVIDsStream = Pushes<proto::SubscribeToX509sviDsResponse, Status>;
    type SubscribeToX509BundlesStream = Pushes<proto::SubscribeToX509BundlesResponse, Status>;
    type SubscribeToJWTBundlesStream = Pushes<proto::SubscribeToJwtBundlesResponse, Status>;

    async fn subscribe_to_x509svi_ds(
        &self,
        request: Request<proto::SubscribeToX509sviDsRequest>,
    ) -> Result<Response<Self::SubscribeToX509SVIDsStream>, Status> {
        let caller = self.admit(&request, "SubscribeToX509SVIDs").await?;
        let request = request.into_inner();
        let selectors = self.selectors(&request.selectors, request.pid).await?;
        let mut updates = self.source().subscribe(selectors);
        let first = self.source().complete(&mut updates).await.map_err(|err| Status::unavailable(err.to_string()))?;
        let authority = Arc::clone(&self.authority);
        let answer = move |update: Arc<WorkloadUpdate>| {
            authority.check(&caller)?;
            Ok(update.is_complete().then(|| x509_response(&update, authority.source.as_ref())))
        };
        Ok(Response::new(pushes(first, updates, self.closing.clone(), answer)))
    }

    async fn subscribe_to_x509_bundles(
        &self,
        request: Request<proto::SubscribeToX509BundlesRequest>,
    ) -> Result<Response<Self::SubscribeToX509BundlesStream>, Status> {
        let answer = |bundles: &BundleSet| {
            let ders =
                bundles.iter().map(|bundle| (bundle.trust_domain.id().to_string(), bundle.x509_roots_der().into()));
            proto::SubscribeToX509BundlesResponse { ca_certificates: ders.collect() }
        };
        self.follow_bundles(&request, "SubscribeToX509Bundles", answer).await
    }

    async fn fetch_jwtsvi_ds(
        &self,
        request: Request<proto::FetchJwtsviDsRequest>,
    ) -> Result<Response<proto::FetchJwtsviDsResponse>, Status> {
        if request.get_ref().audience.is_empty() {
            return Err(Status::invalid_argument("audience must be specified"));
        }
        self.admit(&request, "FetchJWTSVIDs").await?;
        let request = request.into_inner();
        let selectors = self.selectors(&request.selectors, request.pid).await?;
        let mut entries = self.source().matching(&selectors);
        entries.retain(|entry| !entry.admin && !entry.downstream);
        if entries.is_empty() {
            tracing::error!(registered = false, "No identity issued");
            return Err(IdentityError::NoIdentity.into());
        }
        let audience = &request.audience;
        let svids = entries.iter().map(|entry| async move {
            let token = self.source().fetch_jwt_svid(entry, audience).await;
            let token = token.map_err(|err| Status::unavailable(format!("could not fetch JWT-SVID: {err}")))?;
            let svid = svid::jwt_to_proto(&token.id, token.token.clone(), token.issued_at, token.expires_at);
            Ok::<_, Status>(types::Jwtsvid { hint: entry.hint.clone(), ..svid })
        });
        Ok(Response::new(proto::FetchJwtsviDsResponse { svids: try_join_all(svids).await? }))
    }

    async fn subscribe_to_jwt_bundles(
        &self,
        request: Request<proto::SubscribeToJwtBundlesRequest>,
    ) -> Result<Response<Self::SubscribeToJWTBundlesStream>, Status> {
        let answer = |bundles: &BundleSet| {
            let jwks = bundles.iter().map(|bundle| (bundle.trust_domain.id().to_string(), bundle.to_jwks().into()));
            proto::SubscribeToJwtBundlesResponse { bundles: jwks.collect() }
        };
        self.follow_bundles(&request, "SubscribeToJWTBundles", answer).await
    }
}

impl<S: Source> Delegation<S> {
    fn source(&self) -> &S {
        &self.authority.source
    }

    /// The caller's selectors, once it is known to be a delegate.
    async fn admit<T>(&self, request: &Request<T>, method: &'static str) -> Result<BTreeSet<Selector>, Status> {
        let caller = Caller::of_request(request, method)?;
        let process = caller.process().ok_or(IdentityError::AttestationFailed)?;
        let selectors = self.attestors.attest_peer(process).await?;
        if let Err(err) = process.check() {
            tracing::warn!(%err, method, "caller has gone");
            return Err(IdentityError::AttestationFailed.into());
        }
        self.authority.check(&selectors)?;
        Ok(selectors)
    }

    /// Whom the request is about.
    async fn selectors(&self, selectors: &[types::Selector], pid: i32) -> Result<BTreeSet<Selector>, Status> {
        match (selectors, pid) {
            ([], 0) | ([_, ..], 1.. | ..=-1) => {
                let message = "must provide either selectors or non-zero PID, but not both";
                Err(Status::invalid_argument(message))
            }
            // Whether the number is still that of the process that is meant, is for the delegate to know.
            ([], pid) => {
                let process = Process::of_pid(pid).map_err(|_| IdentityError::AttestationFailed)?;
                Ok(self.attestors.attest_peer(&Arc::new(process)).await?)
            }
            (selectors, _) => match selector::many_from_proto(selectors) {
                Ok(selectors) => Ok(selectors.into_iter().collect()),
                Err(err) => {
                    tracing::error!(%err, "Invalid argument; could not parse provided selectors");
                    Err(Status::invalid_argument("could not parse provided selectors"))
                }
            },
        }
    }

    /// All bundles that the agent has, as long as the caller is a delegate.
    async fn follow_bundles<T, M: Send + 'static>(
        &self,
        request: &Request<T>,
        method: &'static str,
        answer: impl Fn(&BundleSet) -> M + Send + 'static,
    ) -> Result<Response<Pushes<M, Status>>, Status> {
        let caller = self.admit(request, method).await?;
        let mut bundles = self.source().bundles();
        let first = Arc::clone(&bundles.borrow_and_update());
        let authority = Arc::clone(&self.authority);
        let answer = move |bundles: Arc<BundleSet>| {
            authority.check(&caller)?;
            Ok(Some(answer(&bundles)))
        };
        Ok(Response::new(pushes(first, bundles, self.closing.clone(), answer)))
    }
}

fn x509_response(update: &WorkloadUpdate, source: &impl Source) -> proto::SubscribeToX509sviDsResponse {
    let served = update.identities.iter().filter(|identity| !identity.entry.admin && !identity.entry.downstream);
    let others = update.bundles.iter().filter(|bundle| bundle.trust_domain != *source.trust_domain());
    proto::SubscribeToX509sviDsResponse {
        x509_svids: served.map(x509_svid).collect(),
        federates_with: others.map(|bundle| bundle.trust_domain.id().to_string()).collect(),
    }
}

fn x509_svid(identity: &WorkloadIdentity) -> proto::X509svidWithKey {
    let (id, chain) = (identity.svid.id(), identity.svid.chain());
    let svid = svid::x509_to_proto(id, chain, identity.svid.leaf().not_after());
    proto::X509svidWithKey {
        x509_svid: Some(types::X509svid { hint: identity.entry.hint.clone(), ..svid }),
        x509_svid_key: identity.svid.private_key().to_pkcs8_der().to_vec().into(),
    }
}
