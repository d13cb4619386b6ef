//! Federation relationships.
//!
//! Those of the configuration never appear here, but may be refreshed.

use std::fmt::{self, Debug};
use std::sync::Arc;

use spiffe_core::{Bundle, TrustDomain};
use spire_api::convert::federation as wire;
use spire_api::proto::trustdomain::trust_domain_server::TrustDomain as Service;
use spire_api::proto::trustdomain::{
    BatchCreateFederationRelationshipRequest, BatchCreateFederationRelationshipResponse,
    BatchDeleteFederationRelationshipRequest, BatchDeleteFederationRelationshipResponse,
    BatchUpdateFederationRelationshipRequest, BatchUpdateFederationRelationshipResponse,
    GetFederationRelationshipRequest, ListFederationRelationshipsRequest, ListFederationRelationshipsResponse,
    RefreshBundleRequest, batch_create_federation_relationship_response, batch_delete_federation_relationship_response,
    batch_update_federation_relationship_response,
};
use spire_api::proto::types;
use spire_api::status::{batch_error, batch_ok, invalid};
use spire_api::{convert, status};
use spire_datastore::DataStore;
use spire_types::{EndpointProfile, ErrorKind, FederationRelationship};
use tonic::{Code, Request, Response, Status};

use super::{internal, store_failed};
use crate::federation::FederationHandle;

/// The service.
pub(crate) struct TrustDomainService {
    trust_domain: TrustDomain,
    datastore: Arc<dyn DataStore>,
    federation: FederationHandle,
}

type Mask = types::FederationRelationshipMask;

impl TrustDomainService {
    /// Relationships of `trust_domain` in `datastore`, which `federation` keeps fresh.
    pub(crate) fn new(trust_domain: TrustDomain, datastore: Arc<dyn DataStore>, federation: FederationHandle) -> Self {
        Self { trust_domain, datastore, federation }
    }

    /// To the wire, with the bundle if `mask` wants it and there is one.
    async fn answer(
        &self,
        relationship: &FederationRelationship,
        mask: Option<&Mask>,
    ) -> Result<types::FederationRelationship, spire_datastore::Error> {
        let bundle = match mask {
            Some(mask) if !mask.trust_domain_bundle => None,
            _ => self.datastore.fetch_bundle(&relationship.trust_domain).await?,
        };
        Ok(wire::to_proto(relationship, bundle.as_ref(), mask))
    }

    async fn create(
        &self,
        given: &types::FederationRelationship,
        mask: Option<&Mask>,
    ) -> Result<types::FederationRelationship, Status> {
        let (relationship, bundle) = wire::from_proto(given).map_err(|err| invalid(CONVERT_FAILED, err))?;
        if relationship.trust_domain == self.trust_domain {
            return Err(Status::invalid_argument("unable to create federation relationship for server trust domain"));
        }
        let created = self.datastore.create_relationship(relationship.clone(), bundle.clone()).await;
        created.map_err(|err| internal("failed to create federation relationship", &err))?;
        self.warn_without_bundle(&relationship, bundle.as_ref()).await;
        let answer = self.answer(&relationship, mask).await;
        answer.map_err(|err| internal("failed to convert datastore response", &err))
    }

    async fn update(
        &self,
        given: &types::FederationRelationship,
        changed: Option<&Mask>,
        mask: Option<&Mask>,
    ) -> Result<types::FederationRelationship, Status> {
        // Whole even where the mask leaves parts out, as SPIRE has it.
        let (relationship, bundle) = wire::from_proto(given).map_err(|err| invalid(CONVERT_FAILED, err))?;
        let bundle = bundle.filter(|_| changed.is_none_or(|mask| mask.trust_domain_bundle));
        let parts = wire::mask_from_proto(changed);
        let updated = self.datastore.update_relationship(relationship, parts, bundle.clone()).await;
        let (relationship, _) = updated.map_err(|err| match err.kind() {
            ErrorKind::NotFound => status::status(
                Code::Internal,
                UPDATE_FAILED,
                "unable to fetch federation relationship: record not found",
            ),
            _ => internal(UPDATE_FAILED, &err),
        })?;
        self.warn_without_bundle(&relationship, bundle.as_ref()).await;
        let answer = self.answer(&relationship, mask).await;
        answer.map_err(|err| internal("failed to convert federation relationship to proto", &err))
    }

    async fn delete(&self, trust_domain: &TrustDomain) -> Result<(), Status> {
        match self.datastore.delete_relationship(trust_domain).await {
            Ok(_) => Ok(()),
            Err(err) if err.kind() == ErrorKind::NotFound => {
                Err(Status::not_found("federation relationship not found"))
            }
            Err(err) => Err(store_failed("failed to delete federation relationship", &err)),
        }
    }

    /// An https_spiffe endpoint cannot be believed before the bundle of its trust domain is there.
    async fn warn_without_bundle(&self, relationship: &FederationRelationship, given: Option<&Bundle>) {
        let EndpointProfile::HttpsSpiffe { endpoint_id } = &relationship.profile else { return };
        let endpoint = endpoint_id.trust_domain();
        if given.is_none() && matches!(self.datastore.fetch_bundle(&endpoint).await, Ok(None)) {
            tracing::warn!(
                trust_domain = %relationship.trust_domain,
                endpoint_spiffe_id = %endpoint_id,
                "Bundle not found for the endpoint SPIFFE ID trust domain: set it, or the endpoint cannot be authenticated"
            );
        }
    }
}

#[tonic::async_trait]
impl Service for TrustDomainService {
    async fn list_federation_relationships(
        &self,
        request: Request<ListFederationRelationshipsRequest>,
    ) -> Result<Response<ListFederationRelationshipsResponse>, Status> {
        const ATTEMPT: &str = "failed to list federation relationships";
        let ListFederationRelationshipsRequest { output_mask, page_size, page_token } = request.into_inner();
        let listed = self.datastore.list_relationships(convert::page_from_proto(page_size, page_token)).await;
        let page = listed.map_err(|err| store_failed(ATTEMPT, &err))?;
        let mut federation_relationships = Vec::with_capacity(page.items.len());
        for relationship in &page.items {
            let answer = self.answer(relationship, output_mask.as_ref()).await;
            federation_relationships.push(answer.map_err(|err| store_failed(ATTEMPT, &err))?);
        }
        let next_page_token = page.next_token;
        Ok(Response::new(ListFederationRelationshipsResponse { federation_relationships, next_page_token }))
    }

    async fn get_federation_relationship(
        &self,
        request: Request<GetFederationRelationshipRequest>,
    ) -> Result<Response<types::FederationRelationship>, Status> {
        const ATTEMPT: &str = "failed to fetch federation relationship";
        let GetFederationRelationshipRequest { trust_domain, output_mask } = request.get_ref();
        let trust_domain = parse(trust_domain)?;
        let fetched = self.datastore.fetch_relationship(&trust_domain).await;
        let fetched = fetched.map_err(|err| store_failed(ATTEMPT, &err))?;
        let relationship = fetched.ok_or_else(|| Status::not_found("federation relationship does not exist"))?;
        let answer = self.answer(&relationship, output_mask.as_ref()).await;
        answer.map(Response::new).map_err(|err| store_failed(ATTEMPT, &err))
    }

    async fn batch_create_federation_relationship(
        &self,
        request: Request<BatchCreateFederationRelationshipRequest>,
    ) -> Result<Response<BatchCreateFederationRelationshipResponse>, Status> {
        let BatchCreateFederationRelationshipRequest { federation_relationships, output_mask } = request.into_inner();
        let mut results = Vec::with_capacity(federation_relationships.len());
        for given in &federation_relationships {
            let (status, federation_relationship) = outcome(self.create(given, output_mask.as_ref()).await);
            results.push(batch_create_federation_relationship_response::Result { status, federation_relationship });
        }
        self.federation.reload();
        Ok(Response::new(BatchCreateFederationRelationshipResponse { results }))
    }

    async fn batch_update_federation_relationship(
        &self,
        request: Request<BatchUpdateFederationRelationshipRequest>,
    ) -> Result<Response<BatchUpdateFederationRelationshipResponse>, Status> {
        let BatchUpdateFederationRelationshipRequest { federation_relationships, input_mask, output_mask } =
            request.into_inner();
        let mut results = Vec::with_capacity(federation_relationships.len());
        let mut fetched_again = Vec::new();
        for given in &federation_relationships {
            let updated = self.update(given, input_mask.as_ref(), output_mask.as_ref()).await;
            if updated.is_ok() {
                fetched_again.extend(TrustDomain::parse_name_or_id(&given.trust_domain));
            }
            let (status, federation_relationship) = outcome(updated);
            results.push(batch_update_federation_relationship_response::Result { status, federation_relationship });
        }
        self.federation.updated(fetched_again);
        Ok(Response::new(BatchUpdateFederationRelationshipResponse { results }))
    }

    async fn batch_delete_federation_relationship(
        &self,
        request: Request<BatchDeleteFederationRelationshipRequest>,
    ) -> Result<Response<BatchDeleteFederationRelationshipResponse>, Status> {
        let names = request.into_inner().trust_domains;
        let mut results = Vec::with_capacity(names.len());
        for name in names {
            let (trust_domain, deleted) = match name.as_str() {
                "" => (name, Err(Status::invalid_argument("missing trust domain"))),
                given => match parse(given) {
                    Ok(trust_domain) => (trust_domain.as_str().to_owned(), self.delete(&trust_domain).await),
                    Err(status) => (name, Err(status)),
                },
            };
            let status = Some(deleted.as_ref().map_or_else(batch_error, |()| batch_ok()));
            results.push(batch_delete_federation_relationship_response::Result { status, trust_domain });
        }
        self.federation.reload();
        Ok(Response::new(BatchDeleteFederationRelationshipResponse { results }))
    }

    async fn refresh_bundle(&self, request: Request<RefreshBundleRequest>) -> Result<Response<()>, Status> {
        let trust_domain = parse(&request.get_ref().trust_domain)?;
        let refreshed = self.federation.refresh(&trust_domain).await;
        refreshed.map(Response::new).map_err(|err| Status::new(status::code(err.kind()), err.to_string()))
    }
}

fn parse(name: &str) -> Result<TrustDomain, Status> {
    TrustDomain::parse_name_or_id(name).map_err(|err| invalid("failed to parse trust domain", err))
}

fn outcome(
    outcome: Result<types::FederationRelationship, Status>,
) -> (Option<types::Status>, Option<types::FederationRelationship>) {
    match outcome {
        Ok(relationship) => (Some(batch_ok()), Some(relationship)),
        Err(status) => (Some(batch_error(&status)), None),
    }
}

impl Debug for TrustDomainService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustDomainService").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

const CONVERT_FAILED: &str = "failed to convert federation relationship";
const UPDATE_FAILED: &str = "failed to update federation relationship";

#[cfg(test)]
mod tests;
