//! The sockets that the agent serves: the public one for workloads, and the administrators'.
//!
//! Start at [`Endpoints`].

mod counted;
mod debug;
mod delegated_identity;
mod health;
mod logger;
mod on_demand;
mod push;
mod rate_limits;
pub mod sds;
mod source;
mod workload;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::{SpiffeId, Timestamp};
use spire_runtime::telemetry::Metrics;
use spire_runtime::{Clock, Logging};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tonic_reflection::server::v1alpha;
use workload_api::server::{
    ADMIN_SOCKET_MODE, Gate, Limits, ListenError, PUBLIC_SOCKET_MODE, UnixSocket, serve, workload_api_service,
};

use self::counted::Counted;
pub use self::health::HealthProbe;
use self::on_demand::OnDemand;
pub use self::source::Source;
use crate::config::WorkloadApiConfig;
use crate::workload::Attestors;

/// How long calls may take to end once an endpoint is to stop.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

/// What endpoints serve, and how they find out who calls.
#[derive(Clone, Debug)]
pub struct Endpoints<S> {
    /// Identities and bundles: [`crate::Manager`].
    pub source: Arc<S>,
    /// Tell who calls.
    pub attestors: Attestors,
    /// The agent's clock.
    pub clock: Arc<dyn Clock>,
    /// When the agent was started.
    pub started: Timestamp,
    /// The process's log, for administrators to turn up and down; `None` where the agent does not own it.
    pub logging: Option<Logging>,
    /// Where calls are counted.
    pub metrics: Metrics,
}

impl<S: Source> Endpoints<S> {
    /// Opens the public socket and serves on it until `closing`: the Workload API, Envoy's secret discovery, health and
    /// reflection. `None` where both of the first are disabled. The socket is there when this returns; it is answered as
    /// soon as the future is polled.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn public(
        &self,
        config: &WorkloadApiConfig,
        closing: CancellationToken,
    ) -> Result<Option<impl Future<Output = Result<(), tonic::transport::Error>> + Send + use<S>>, ListenError> {
        if !config.enabled && config.sds.is_none() {
            tracing::info!("Workload API and SDS API are disabled");
            return Ok(None);
        }
        let socket = UnixSocket::bind(&config.socket_path, PUBLIC_SOCKET_MODE)?;
        let apis = match (config.enabled, config.sds.is_some()) {
            (true, true) => "Workload and SDS APIs",
            (true, false) => "Workload API",
            (false, _) => "SDS API",
        };
        tracing::info!(network = "unix", address = %config.socket_path.display(), apis, "Starting agent APIs");
        Ok(Some(listen(socket, self.public_services(config, closing.clone()), closing)))
    }

    /// Opens the administrators' socket and serves on it until `closing`: debugging, logs and delegated identity. As
    /// [`Self::public`].
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn admin(
        &self,
        path: &Path,
        delegates: &[SpiffeId],
        closing: CancellationToken,
    ) -> Result<impl Future<Output = Result<(), tonic::transport::Error>> + Send + use<S>, ListenError> {
        let socket = UnixSocket::bind(path, ADMIN_SOCKET_MODE)?;
        tracing::info!(network = "unix", address = %path.display(), "Starting Admin APIs");
        Ok(listen(socket, self.admin_services(delegates, closing.clone()), closing))
    }

    /// Asks the agent how it does, over the socket that [`Self::public`] opens.
    #[must_use]
    pub fn health(config: &WorkloadApiConfig) -> HealthProbe {
        HealthProbe::new(config.enabled.then(|| config.socket_path.clone()))
    }

    fn public_services(&self, config: &WorkloadApiConfig, closing: CancellationToken) -> Router {
        let (source, attestors, clock) = (Arc::clone(&self.source), self.attestors.clone(), Arc::clone(&self.clock));
        let identities = workload::WorkloadIdentities::new(source, attestors, config, clock, closing.clone());
        let (identities, gate) = (Arc::new(identities), Gate::new(Limits::default()));
        let metrics = &self.metrics;
        let sds = config
            .sds
            .as_ref()
            .map(|sds| sds::sds_service(Arc::clone(&identities), sds.clone(), gate.clone(), closing.clone()));
        let workload_api = config.enabled.then(|| workload_api_service(identities, gate, closing));
        builder()
            .add_service(Counted::new(health::health_service(Self::health(config)), metrics))
            .add_optional_service(workload_api.map(|it| Counted::with_connections(it, metrics, "workload_api")))
            .add_optional_service(sds.map(|it| Counted::with_connections(it, metrics, "sds_api")))
            .add_service(reflection(config))
            .add_service(reflection_alpha(config))
    }

    fn admin_services(&self, delegates: &[SpiffeId], closing: CancellationToken) -> Router {
        let (source, attestors) = (Arc::clone(&self.source), self.attestors.clone());
        let debug = debug::debug_service(Arc::clone(&source), Arc::clone(&self.clock), self.started);
        let delegated = delegated_identity::delegated_identity_service(source, attestors, delegates, closing);
        let logger = self.logging.clone().map(logger::logger_service);
        let metrics = &self.metrics;
        builder()
            .add_service(Counted::with_connections(debug, metrics, "debug_api"))
            .add_service(Counted::with_connections(delegated, metrics, "delegated_identity_api"))
            .add_optional_service(logger.map(|it| Counted::with_connections(it, metrics, "logger_api")))
    }
}

fn builder() -> Server {
    Server::builder().max_concurrent_streams(Limits::default().calls_per_connection)
}

async fn listen(socket: UnixSocket, router: Router, closing: CancellationToken) -> Result<(), tonic::transport::Error> {
    serve(router, socket.incoming(), Limits::default(), closing.cancelled_owned(), SHUTDOWN_DEADLINE).await
}

/// The services that are turned on, by what defines them.
fn reflected((workload_api, sds): (bool, bool)) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(workload_api::proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(spire_api::proto::envoy::DESCRIPTORS)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection");
    let builder = if workload_api { builder.with_service_name("SpiffeWorkloadAPI") } else { builder };
    if sds { builder.with_service_name("envoy.service.secret.v3.SecretDiscoveryService") } else { builder }
}

/// For `grpcurl` and its like; without it everything else still works.
fn reflection(config: &WorkloadApiConfig) -> OnDemand<ServerReflectionServer<impl ServerReflection + use<>>> {
    let apis = (config.enabled, config.sds.is_some());
    OnDemand::new(move || reflected(apis).build_v1().inspect_err(|err| tracing::warn!(%err, "no reflection")).ok())
}

fn reflection_alpha(
    config: &WorkloadApiConfig,
) -> OnDemand<v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection + use<>>> {
    let apis = (config.enabled, config.sds.is_some());
    OnDemand::new(move || reflected(apis).build_v1alpha().inspect_err(|err| tracing::warn!(%err, "no reflection")).ok())
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
