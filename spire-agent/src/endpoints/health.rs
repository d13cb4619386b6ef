//! Whether the agent does its work: it asks itself, over its own socket, as a workload would.

use std::path::PathBuf;
use std::time::Duration;

use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use workload_api::{Address, Client, Error};

/// How long the agent may take to answer itself.
const DEADLINE: Duration = Duration::from_secs(10);

/// Asks the Workload API of this agent. Clones ask the same.
#[derive(Clone, Debug)]
pub struct HealthProbe {
    /// `None` where there is no Workload API to ask.
    socket: Option<PathBuf>,
}

impl HealthProbe {
    /// Of the agent at this socket; `None` where its Workload API is disabled, which is healthy.
    #[must_use]
    pub fn new(socket: Option<PathBuf>) -> Self {
        Self { socket }
    }

    /// Asks for X.509-SVIDs. That this process has no identity is an answer like another.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn check(&self) -> Result<(), String> {
        let Some(socket) = &self.socket else { return Ok(()) };
        // Anew each time: what is asked is whether somebody can connect.
        let client = Client::new(Address::unix(socket));
        match tokio::time::timeout(DEADLINE, client.fetch_x509_context()).await {
            Ok(Ok(_) | Err(Error::NoIdentity { .. })) => Ok(()),
            Ok(Err(err)) => Err(err.to_string()),
            Err(_) => Err(format!("workload API did not answer within {} s", DEADLINE.as_secs())),
        }
    }
}

/// The service for a tonic router.
pub(super) fn health_service(probe: HealthProbe) -> HealthServer<HealthService> {
    HealthServer::new(HealthService { probe })
}

/// `grpc.health.v1.Health`, for the agent as a whole.
#[derive(Debug)]
pub(super) struct HealthService {
    probe: HealthProbe,
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = futures_util::stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::invalid_argument("per-service health is not supported"));
        }
        let status = match self.probe.check().await {
            Ok(()) => ServingStatus::Serving,
            Err(err) => {
                tracing::warn!(%err, "Health check has failed");
                ServingStatus::NotServing
            }
        };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("unimplemented"))
    }
}
