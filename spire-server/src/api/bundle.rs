//! Bundles: the own one and those of other trust domains.

use std::fmt::{self, Debug};
use std::sync::Arc;

use spiffe_core::{Bundle as CoreBundle, TrustDomain};
use spire_api::convert;
use spire_api::proto::bundle::batch_delete_federated_bundle_request::Mode;
use spire_api::proto::bundle::bundle_server::Bundle;
use spire_api::proto::bundle::{
    AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
    BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse, BatchSetFederatedBundleRequest,
    BatchSetFederatedBundleResponse, BatchUpdateFederatedBundleRequest, BatchUpdateFederatedBundleResponse,
    CountBundlesRequest, CountBundlesResponse, GetBundleRequest, GetFederatedBundleRequest,
    ListFederatedBundlesRequest, ListFederatedBundlesResponse, PublishJwtAuthorityRequest, PublishJwtAuthorityResponse,
    PublishWitAuthorityRequest, PublishWitAuthorityResponse, batch_create_federated_bundle_response,
    batch_delete_federated_bundle_response, batch_set_federated_bundle_response,
    batch_update_federated_bundle_response,
};
use spire_api::proto::types;
use spire_api::status::{batch_error, batch_ok, invalid, status};
use spire_ca::upstream::UpstreamAuthority;
use spire_datastore::DataStore;
use spire_types::{BundleMask, DeleteMode, ErrorKind, Revision};
use tonic::{Code, Request, Response, Status};

use super::{await_revision, caller, store_failed};
use crate::entries::EntryCache;
use crate::federation::StoredOwnBundle;
use crate::ratelimit::RateLimiters;

/// The service.
pub(crate) struct BundleService {
    trust_domain: TrustDomain,
    datastore: Arc<dyn DataStore>,
    own: Arc<StoredOwnBundle>,
    cache: Arc<EntryCache>,
    upstream: Option<Arc<dyn UpstreamAuthority>>,
    limits: Arc<RateLimiters>,
}

impl BundleService {
    /// Bundles in `datastore`; `own` is that of `trust_domain`. JWT keys of downstream servers go to `upstream`, where
    /// there is one that takes them.
    pub(crate) fn new(
        trust_domain: TrustDomain,
        datastore: Arc<dyn DataStore>,
        own: Arc<StoredOwnBundle>,
        cache: Arc<EntryCache>,
        upstream: Option<Arc<dyn UpstreamAuthority>>,
        limits: Arc<RateLimiters>,
    ) -> Self {
        Self { trust_domain, datastore, own, cache, upstream, limits }
    }

    /// The trust domain of a bundle that is not the own one; `doing` is what must not be done to the own one.
    fn federated(&self, name: &str, doing: &str) -> Result<TrustDomain, Status> {
        let trust_domain = TrustDomain::parse_name_or_id(name).map_err(|err| invalid(BAD_TRUST_DOMAIN, err))?;
        if trust_domain == self.trust_domain {
            return Err(Status::invalid_argument(format!("{doing} is not allowed")));
        }
        Ok(trust_domain)
    }

    /// A bundle of another trust domain that a request holds.
    fn given(&self, wire: &types::Bundle, doing: &str) -> Result<CoreBundle, Status> {
        self.federated(&wire.trust_domain, &format!("{doing} a federated bundle for the server's own trust domain"))?;
        convert::bundle::from_request(wire).map_err(|err| invalid("failed to convert bundle", err))
    }

    async fn create(&self, wire: &types::Bundle) -> Result<CoreBundle, Status> {
        match self.datastore.create_bundle(self.given(wire, "creating")?).await {
            Ok((bundle, _)) => Ok(bundle),
            Err(err) if err.kind() == ErrorKind::AlreadyExists => Err(Status::already_exists("bundle already exists")),
            Err(err) => Err(store_failed("unable to create bundle", &err)),
        }
    }

    async fn update(&self, wire: &types::Bundle, mask: BundleMask) -> Result<CoreBundle, Status> {
        match self.datastore.update_bundle(self.given(wire, "updating")?, mask).await {
            Ok((bundle, _)) => Ok(bundle),
            Err(err) if err.kind() == ErrorKind::NotFound => Err(Status::not_found(NOT_FOUND)),
            Err(err) => Err(store_failed("failed to update bundle", &err)),
        }
    }

    async fn set(&self, wire: &types::Bundle) -> Result<CoreBundle, Status> {
        let set = self.datastore.set_bundle(self.given(wire, "setting")?).await;
        set.map(|(bundle, _)| bundle).map_err(|err| store_failed("failed to set bundle", &err))
    }

    async fn delete(&self, name: &str, mode: DeleteMode) -> Result<Revision, Status> {
        let trust_domain = self.federated(name, "removing the bundle for the server trust domain")?;
        match self.datastore.delete_bundle(&trust_domain, mode).await {
            Ok(revision) => Ok(revision),
            Err(err) if err.kind() == ErrorKind::NotFound => Err(Status::not_found(NOT_FOUND)),
            Err(err) => Err(store_failed("failed to delete federated bundle", &err)),
        }
    }
}

#[tonic::async_trait]
impl Bundle for BundleService {
    async fn count_bundles(&self, _: Request<CountBundlesRequest>) -> Result<Response<CountBundlesResponse>, Status> {
        let counted = self.datastore.count_bundles().await;
        let count = counted.map_err(|err| store_failed("failed to count bundles", &err))?;
        Ok(Response::new(CountBundlesResponse { count: convert::count_to_proto(count) }))
    }

    async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let fetched = self.own.fetch().await.map_err(|err| store_failed(FETCH_FAILED, &err))?;
        let bundle = fetched.ok_or_else(|| Status::not_found(NOT_FOUND))?;
        Ok(Response::new(convert::bundle::to_proto(&bundle, request.get_ref().output_mask.as_ref())))
    }

    async fn append_bundle(&self, request: Request<AppendBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let AppendBundleRequest { x509_authorities, jwt_authorities, output_mask, wit_authorities: _ } =
            request.into_inner();
        if x509_authorities.is_empty() && jwt_authorities.is_empty() {
            return Err(Status::invalid_argument("no authorities to append"));
        }
        let mut jwt = convert::bundle::jwt_authorities(&jwt_authorities)
            .map_err(|err| invalid("failed to convert JWT authority", err))?;
        let mut x509 = convert::bundle::x509_authorities(&x509_authorities)
            .map_err(|err| invalid("failed to convert X.509 authority", err))?;
        // Tainting is the server's own to say.
        jwt.iter_mut().for_each(|authority| authority.tainted = false);
        x509.iter_mut().for_each(|authority| authority.tainted = false);
        let appended = self.datastore.append_bundle(&self.trust_domain, x509, jwt).await;
        let (bundle, _) = appended.map_err(|err| store_failed("failed to append bundle", &err))?;
        Ok(Response::new(convert::bundle::to_proto(&bundle, output_mask.as_ref())))
    }

    async fn publish_jwt_authority(
        &self,
        request: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        const ATTEMPT: &str = "failed to publish JWT key";
        self.limits.push_key.spend("bundle.v1.bundle.publish_jwt_authority", caller(request.extensions())?, 1).await?;
        let wire = request.into_inner().jwt_authority;
        let wire = wire.ok_or_else(|| Status::invalid_argument("missing JWT authority"))?;
        let mut key = convert::bundle::jwt_authority(&wire).map_err(|err| invalid("invalid JWT authority", err))?;
        key.tainted = false;
        let published = match &self.upstream {
            Some(upstream) => upstream.publish_jwt_key(&key).await,
            None => Ok(None),
        };
        let published = published.map_err(|err| status(Code::Internal, ATTEMPT, err))?;
        let keys = published.unwrap_or_else(|| vec![key]);
        let appended = self.datastore.append_bundle(&self.trust_domain, Vec::new(), keys).await;
        let (bundle, _) = appended.map_err(|err| store_failed(ATTEMPT, &err))?;
        let jwt_authorities = bundle.jwt_authorities.iter().map(convert::bundle::jwt_authority_to_proto).collect();
        Ok(Response::new(PublishJwtAuthorityResponse { jwt_authorities }))
    }

    async fn publish_wit_authority(
        &self,
        _: Request<PublishWitAuthorityRequest>,
    ) -> Result<Response<PublishWitAuthorityResponse>, Status> {
        Err(Status::unimplemented("WIT-SVID functionality is not yet implemented"))
    }

    async fn list_federated_bundles(
        &self,
        request: Request<ListFederatedBundlesRequest>,
    ) -> Result<Response<ListFederatedBundlesResponse>, Status> {
        let ListFederatedBundlesRequest { output_mask, page_size, page_token } = request.into_inner();
        let listed = self.datastore.list_bundles(convert::page_from_proto(page_size, page_token)).await;
        let page = listed.map_err(|err| store_failed("failed to list bundles", &err))?;
        let others = page.items.iter().filter(|bundle| bundle.trust_domain != self.trust_domain);
        let bundles = others.map(|bundle| convert::bundle::to_proto(bundle, output_mask.as_ref())).collect();
        Ok(Response::new(ListFederatedBundlesResponse { bundles, next_page_token: page.next_token }))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let GetFederatedBundleRequest { trust_domain, output_mask } = request.get_ref();
        let trust_domain =
            self.federated(trust_domain, "getting a federated bundle for the server's own trust domain")?;
        let fetched = self.datastore.fetch_bundle(&trust_domain).await;
        let fetched = fetched.map_err(|err| store_failed(FETCH_FAILED, &err))?;
        let bundle = fetched.ok_or_else(|| Status::not_found(NOT_FOUND))?;
        Ok(Response::new(convert::bundle::to_proto(&bundle, output_mask.as_ref())))
    }

    async fn batch_create_federated_bundle(
        &self,
        request: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        let BatchCreateFederatedBundleRequest { bundle, output_mask } = request.into_inner();
        let mut results = Vec::with_capacity(bundle.len());
        for wire in &bundle {
            let (status, bundle) = outcome(&self.create(wire).await, output_mask.as_ref());
            results.push(batch_create_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchCreateFederatedBundleResponse { results }))
    }

    async fn batch_update_federated_bundle(
        &self,
        request: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        let BatchUpdateFederatedBundleRequest { bundle, input_mask, output_mask } = request.into_inner();
        let mask = convert::bundle::mask_from_proto(input_mask.as_ref());
        let mut results = Vec::with_capacity(bundle.len());
        for wire in &bundle {
            let (status, bundle) = outcome(&self.update(wire, mask).await, output_mask.as_ref());
            results.push(batch_update_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchUpdateFederatedBundleResponse { results }))
    }

    async fn batch_set_federated_bundle(
        &self,
        request: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        let BatchSetFederatedBundleRequest { bundle, output_mask } = request.into_inner();
        let mut results = Vec::with_capacity(bundle.len());
        for wire in &bundle {
            let (status, bundle) = outcome(&self.set(wire).await, output_mask.as_ref());
            results.push(batch_set_federated_bundle_response::Result { status, bundle });
        }
        Ok(Response::new(BatchSetFederatedBundleResponse { results }))
    }

    async fn batch_delete_federated_bundle(
        &self,
        request: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        let BatchDeleteFederatedBundleRequest { trust_domains, mode } = request.into_inner();
        let mode = delete_mode(mode)?;
        let mut results = Vec::with_capacity(trust_domains.len());
        let mut newest = None;
        for trust_domain in trust_domains {
            let deleted = self.delete(&trust_domain, mode).await;
            newest = newest.max(deleted.as_ref().ok().copied());
            let status = Some(deleted.as_ref().map_or_else(batch_error, |_| batch_ok()));
            results.push(batch_delete_federated_bundle_response::Result { status, trust_domain });
        }
        // Entries may have gone with it.
        await_revision(&self.cache, newest).await;
        Ok(Response::new(BatchDeleteFederatedBundleResponse { results }))
    }
}

fn outcome(
    outcome: &Result<CoreBundle, Status>,
    mask: Option<&types::BundleMask>,
) -> (Option<types::Status>, Option<types::Bundle>) {
    match outcome {
        Ok(bundle) => (Some(batch_ok()), Some(convert::bundle::to_proto(bundle, mask))),
        Err(status) => (Some(batch_error(status)), None),
    }
}

fn delete_mode(wire: i32) -> Result<DeleteMode, Status> {
    match Mode::try_from(wire) {
        Ok(Mode::Restrict) => Ok(DeleteMode::Restrict),
        Ok(Mode::Delete) => Ok(DeleteMode::Delete),
        Ok(Mode::Dissociate) => Ok(DeleteMode::Dissociate),
        Err(_) => Err(invalid("failed to parse deletion mode", format!("unhandled delete mode \"{wire}\""))),
    }
}

impl Debug for BundleService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleService").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

const BAD_TRUST_DOMAIN: &str = "trust domain argument is not valid";
const FETCH_FAILED: &str = "failed to fetch bundle";
const NOT_FOUND: &str = "bundle not found";

#[cfg(test)]
mod tests;
