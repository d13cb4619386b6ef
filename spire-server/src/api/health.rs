//! Whether the server works: it does when it can read its own bundle.
//!
//! `List`, which newer definitions of the service have, and `Watch` are not implemented, as with SPIRE.

use std::sync::Arc;

use spiffe_core::TrustDomain;
use spire_datastore::DataStore;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// The service.
#[derive(Debug)]
pub(crate) struct HealthService {
    trust_domain: TrustDomain,
    datastore: Arc<dyn DataStore>,
}

impl HealthService {
    /// Looks for the bundle of `trust_domain` in `datastore`.
    pub(crate) fn new(trust_domain: TrustDomain, datastore: Arc<dyn DataStore>) -> Self {
        Self { trust_domain, datastore }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::invalid_argument("per-service health is not supported"));
        }
        let status = match self.datastore.fetch_bundle(&self.trust_domain).await {
            Ok(Some(_)) => ServingStatus::Serving,
            Ok(None) => {
                tracing::warn!(reason = "bundle is missing", "Health check failed");
                ServingStatus::NotServing
            }
            Err(err) => {
                tracing::warn!(%err, reason = "unable to fetch bundle", "Health check failed");
                ServingStatus::NotServing
            }
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("method Watch not implemented"))
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::Bundle;
    use spire_datastore::{Bundles as _, SqliteStore};
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_server_serves_once_its_bundle_is_there() {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
        let service = HealthService::new(trust_domain.clone(), datastore.clone());
        let check =
            |service_name: &str| service.check(Request::new(HealthCheckRequest { service: service_name.to_owned() }));
        assert_eq!(check("").await.unwrap().get_ref().status(), ServingStatus::NotServing);
        datastore.set_bundle(Bundle::new(trust_domain)).await.unwrap();
        assert_eq!(check("").await.unwrap().get_ref().status(), ServingStatus::Serving);
        let refused = check("spire.api.server.entry.v1.Entry").await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "per-service health is not supported"));
        let refused = service.watch(Request::new(HealthCheckRequest::default())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
    }
}
