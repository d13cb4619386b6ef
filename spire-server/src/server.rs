//! Composition: from a configuration to a server that runs.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::tls::{Live, Settings};
use spire_api::proto::agent::agent_server::AgentServer;
use spire_api::proto::bundle::bundle_server::BundleServer;
use spire_api::proto::debug::debug_server::DebugServer;
use spire_api::proto::entry::entry_server::EntryServer;
use spire_api::proto::ext_registry::registry_server::RegistryServer;
use spire_api::proto::localauthority::local_authority_server::LocalAuthorityServer;
use spire_api::proto::logger::logger_server::LoggerServer;
use spire_api::proto::svid::svid_server::SvidServer;
use spire_api::proto::trustdomain::trust_domain_server::TrustDomainServer;
use spire_ca::rotation::Policy;
use spire_ca::upstream::UpstreamAuthority;
use spire_datastore::DataStore;
use spire_runtime::telemetry::{self, Metrics};
use spire_runtime::{Clock, Logging, SystemClock, Tasks, rustls_time};
use spire_types::entry::uuid_v4;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::api::agent::{AgentParts, AgentService};
use crate::api::authorized_entries::AuthorizedEntries;
use crate::api::bundle::BundleService;
use crate::api::debug::DebugService;
use crate::api::entry::EntryService;
use crate::api::follow::FollowService;
use crate::api::health::HealthService;
use crate::api::local_authority::LocalAuthorityService;
use crate::api::logger::LoggerService;
use crate::api::svid::SvidService;
use crate::api::trust_domain::TrustDomainService;
use crate::authority::{self, AuthorityConfig, AuthorityHandle, AuthorityParts};
use crate::catalog::{self, Attestors};
use crate::config::Config;
use crate::endpoints::guard::Guard;
use crate::endpoints::tls::{ServerIdentity, grpc_config};
use crate::endpoints::uds::UdsListener;
use crate::endpoints::{self, Ends, tcp};
use crate::entries::EntryCache;
use crate::error::Error;
use crate::federation::{self, FederationHandle, StoredFederation, StoredOwnBundle};
use crate::health;
use crate::metered_store::metered;
use crate::prune;
use crate::ratelimit::{RateLimiters, RateLimits};

/// A server that runs. Dropping it ends it at once; [`Self::shutdown`] lets calls under way finish.
pub struct Server {
    tcp_address: SocketAddr,
    bundle_endpoint_address: Option<SocketAddr>,
    socket_path: PathBuf,
    tasks: Tasks,
    cut: CancellationToken,
    _end_when_dropped: (DropGuard, DropGuard),
}

impl Server {
    /// Begins with what a server is told.
    #[must_use]
    pub fn builder(config: Config) -> ServerBuilder {
        ServerBuilder { config, clock: Arc::new(SystemClock), logging: None }
    }

    /// Where agents call: the port is the one taken where the configuration said 0.
    #[must_use]
    pub fn tcp_address(&self) -> SocketAddr {
        self.tcp_address
    }

    /// Where other trust domains fetch the bundle, if the configuration has that served.
    #[must_use]
    pub fn bundle_endpoint_address(&self) -> Option<SocketAddr> {
        self.bundle_endpoint_address
    }

    /// Where administrators call.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        &self.socket_path
    }

    /// Waits until a part of the server has failed, and the whole of it with it; forever where none does.
    pub async fn ended(&self) {
        self.tasks.ended().await;
    }

    /// Ends the server. Calls under way may take until `deadline`; then their connections are cut.
    ///
    /// # Errors
    /// [`Error::Ended`] with the failure that had ended the server before.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), Error> {
        let mut ended = pin!(self.tasks.shutdown(deadline + CUT_GRACE));
        let ended = tokio::select! {
            ended = &mut ended => ended,
            () = tokio::time::sleep(deadline) => {
                self.cut.cancel();
                ended.await
            }
        };
        ended.map_err(Error::Ended)
    }
}

/// What the server calls its version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long tasks may take after connections were cut.
const CUT_GRACE: Duration = Duration::from_secs(2);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("tcp_address", &self.tcp_address)
            .field("socket_path", &self.socket_path)
            .finish_non_exhaustive()
    }
}

/// What a server is made from.
#[derive(Debug)]
pub struct ServerBuilder {
    config: Config,
    clock: Arc<dyn Clock>,
    logging: Option<Logging>,
}

impl ServerBuilder {
    /// The log whose level administrators may change; without one they cannot.
    #[must_use]
    pub fn logging(mut self, logging: Logging) -> Self {
        self.logging = Some(logging);
        self
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the server. When this returns it answers on both endpoints.
    ///
    /// # Errors
    /// [`Error`] says what keeps it from starting. Nothing runs then, and what was bound is free again.
    pub async fn start(self) -> Result<Server, Error> {
        let tasks = Tasks::new();
        let cut = CancellationToken::new();
        // Before anything is written: a second server on the same data is stopped by its socket or port.
        let listeners = Listeners::bind(&self.config).await?;
        let ends = (tasks.shutdown_token().drop_guard(), cut.clone().drop_guard());
        let socket_path = self.config.socket_path.clone();
        let tcp_address = listeners.tcp_address;
        let parts = tokio::select! {
            parts = Parts::open(self.config, self.clock, self.logging, &tasks) => parts?,
            never = listeners.turn_away() => match never {},
        };
        let bundle_endpoint_address = parts.serve(listeners, &tasks, &cut).await?;
        // Once for each, as scripts count them.
        tracing::info!(address = %tcp_address, network = "tcp", "Starting Server APIs");
        tracing::info!(address = %socket_path.display(), network = "unix", "Starting Server APIs");
        Ok(Server { tcp_address, bundle_endpoint_address, socket_path, tasks, cut, _end_when_dropped: ends })
    }
}

struct Listeners {
    tcp: TcpListener,
    tcp_address: SocketAddr,
    uds: UdsListener,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, Error> {
        let tcp = tcp::bind(&config.bind_address, config.bind_port).await?;
        let failed = |source| Error::Bind { address: config.bind_address.clone(), source };
        let tcp_address = tcp.local_addr().map_err(failed)?;
        let uds = UdsListener::bind(&config.socket_path).await?;
        Ok(Self { tcp, tcp_address, uds })
    }

    /// Hangs up on whoever calls, and would wait otherwise: a nested server may take long to start.
    async fn turn_away(&self) -> Infallible {
        let cut = CancellationToken::new();
        loop {
            let called = tokio::select! {
                called = self.tcp.accept() => called.map(drop),
                called = self.uds.accept(&cut) => called.map(drop),
            };
            if called.is_err() {
                tokio::time::sleep(AFTER_FAILED_CALL).await;
            }
        }
    }
}

/// Descriptors may be short for a moment.
const AFTER_FAILED_CALL: Duration = Duration::from_millis(100);

/// What services and drivers share.
struct Parts {
    config: Config,
    clock: Arc<dyn Clock>,
    store: Arc<dyn DataStore>,
    authority: AuthorityHandle,
    cache: Arc<EntryCache>,
    attestors: Attestors,
    limits: Arc<RateLimiters>,
    upstream: Option<Arc<dyn UpstreamAuthority>>,
    own_bundle: Arc<StoredOwnBundle>,
    logging: Option<Logging>,
    metrics: Metrics,
}

impl Parts {
    async fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        logging: Option<Logging>,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        make_data_dir(&config.data_dir)?;
        let metrics = start_telemetry(&config, &clock, tasks).await?;
        let store = metered(catalog::datastore(&config.plugins.datastore).await?, &metrics);
        let attestors = Attestors::open(&config.plugins.node_attestors, &config.trust_domain, &store).await?;
        let upstream = config.plugins.upstream_authority.as_ref();
        let upstream = catalog::upstream(upstream, &config.trust_domain, &clock).await?;
        let authority_parts = AuthorityParts {
            key_manager: catalog::key_manager(&config.plugins.key_manager).await?,
            datastore: Arc::clone(&store),
            clock: Arc::clone(&clock),
            rng: Box::new(OsRng.unwrap_err()),
            composers: catalog::composers(&config.plugins.composers),
            upstream: upstream.clone(),
            metrics: metrics.clone(),
        };
        let authority = authority::start(authority_config(&config), authority_parts, tasks).await?;
        let cache = EntryCache::load(Arc::clone(&store), config.trust_domain.clone()).await?;
        let cache = Arc::new(cache.with_metrics(metrics.clone()));
        let limits = RateLimits { attestation: config.rate_limits.attestation, signing: config.rate_limits.signing };
        let limits = Arc::new(RateLimiters::new(limits, &metrics));
        let own_bundle = Arc::new(StoredOwnBundle::new(Arc::clone(&store), config.trust_domain.clone()));
        Ok(Self { config, clock, store, authority, cache, attestors, limits, upstream, own_bundle, logging, metrics })
    }

    /// Starts every loop and all endpoints. Returns the bundle endpoint's address, if there is one.
    async fn serve(
        self,
        listeners: Listeners,
        tasks: &Tasks,
        cut: &CancellationToken,
    ) -> Result<Option<SocketAddr>, Error> {
        let metrics = self.metrics.clone();
        let identity = ServerIdentity::start(
            &self.config.trust_domain,
            self.config.svids.x509_ttl,
            self.config.ca.key_type,
            self.authority.clone(),
            Arc::clone(&self.cache),
            Arc::clone(&self.clock),
            metrics.clone(),
        )
        .await?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = Settings::new(provider, rustls_time(Arc::clone(&self.clock)));
        let (trust_domain, admin_ids) = (self.config.trust_domain.clone(), self.config.admin_ids.clone());
        let tls = grpc_config(identity.source(), trust_domain, admin_ids, &settings)?;
        let own = identity.source();
        tasks.spawn_until_shutdown(identity.run());

        let federation = federation::start_driver(
            self.config.federation.federates_with.clone(),
            StoredFederation::new(Arc::clone(&self.store), Arc::clone(&self.cache)),
            &settings,
            Arc::clone(&self.clock),
            Box::new(OsRng.unwrap_err()),
            metrics.clone(),
            tasks,
        );
        let bundle_endpoint_address = match &self.config.federation.bundle_endpoint {
            Some(config) => {
                let (bundle, clock) = (Arc::clone(&self.own_bundle), Arc::clone(&self.clock));
                Some(
                    federation::start_endpoint(
                        config,
                        bundle,
                        own.clone(),
                        &settings,
                        clock,
                        &self.config.data_dir,
                        tasks,
                    )
                    .await?,
                )
            }
            None => None,
        };

        let (cache, clock) = (Arc::clone(&self.cache), Arc::clone(&self.clock));
        let interval = self.config.cache.reload_interval;
        tasks.spawn_until_shutdown(async move { cache.follow(clock.as_ref(), interval).await });
        let nodes = self.config.prune_nodes;
        tasks.spawn_until_shutdown(prune::run(
            Arc::clone(&self.store),
            nodes,
            Arc::clone(&self.clock),
            metrics.clone(),
        ));

        let guard = Arc::new(Guard {
            cache: Arc::clone(&self.cache),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            admin_ids: self.config.admin_ids.clone(),
            audit: self.config.audit_log,
            metrics,
        });
        let ends = Ends { shutdown: tasks.shutdown_token(), cut: cut.clone() };
        let agents = self.routes(&federation).add_service(RegistryServer::new(FollowService::new(
            Arc::clone(&self.cache),
            Arc::clone(&self.clock),
            tasks.shutdown_token(),
            uuid_v4(&mut OsRng.unwrap_err()),
        )));
        let administrators = self.local_routes(&federation, own);
        let serving = endpoints::serve_tcp(listeners.tcp, tls, agents, Arc::clone(&guard), ends.clone());
        tasks.spawn("TCP endpoint", serving);
        tasks.spawn("socket endpoint", endpoints::serve_uds(listeners.uds, administrators, guard, ends));
        self.health_checks(tasks).await?;
        Ok(bundle_endpoint_address)
    }

    async fn health_checks(&self, tasks: &Tasks) -> Result<(), Error> {
        let Some(config) = &self.config.health_checks else { return Ok(()) };
        let (socket, trust_domain) = (self.config.socket_path.clone(), &self.config.trust_domain);
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let checks = health::checks(socket, trust_domain, &self.authority, store, Arc::clone(&clock))?;
        let started = spire_runtime::health::start(config, checks, clock, tasks).await;
        started.map_err(|source| Error::Bind { address: "health_checks".to_owned(), source })
    }

    /// The services of both endpoints.
    fn routes(&self, federation: &FederationHandle) -> Routes {
        let agent = AgentService::new(AgentParts {
            trust_domain: self.config.trust_domain.clone(),
            store: Arc::clone(&self.store),
            cache: Arc::clone(&self.cache),
            authority: self.authority.clone(),
            clock: Arc::clone(&self.clock),
            attestors: self.attestors.clone(),
            limits: Arc::clone(&self.limits),
            ttl: self.config.svids.agent_ttl,
            id_as_selector: self.config.agent_spiffe_id_as_selector,
        });
        let svid = SvidService {
            trust_domain: self.config.trust_domain.clone(),
            cache: Arc::clone(&self.cache),
            authority: self.authority.clone(),
            clock: Arc::clone(&self.clock),
            limits: Arc::clone(&self.limits),
            defaults: self.config.svids.clone(),
            ca_ttl: self.config.ca.ttl,
        };
        let entry = EntryService::new(
            self.config.trust_domain.clone(),
            Arc::clone(&self.store),
            Arc::clone(&self.cache),
            AuthorizedEntries::new(Arc::clone(&self.cache), Arc::clone(&self.clock)),
            Arc::clone(&self.clock),
            Box::new(OsRng.unwrap_err()),
        );
        let bundle = BundleService::new(
            self.config.trust_domain.clone(),
            Arc::clone(&self.store),
            Arc::clone(&self.own_bundle),
            Arc::clone(&self.cache),
            self.upstream.clone(),
            Arc::clone(&self.limits),
        );
        let trust_domain =
            TrustDomainService::new(self.config.trust_domain.clone(), Arc::clone(&self.store), federation.clone());
        let authority = LocalAuthorityService::new(self.authority.clone(), self.config.svids.jwt_svids);
        Routes::new(AgentServer::new(agent))
            .add_service(SvidServer::new(svid))
            .add_service(EntryServer::new(entry))
            .add_service(BundleServer::new(bundle))
            .add_service(TrustDomainServer::new(trust_domain))
            .add_service(LocalAuthorityServer::new(authority))
    }

    /// Those, and the ones that only administrators on the machine reach.
    fn local_routes(&self, federation: &FederationHandle, own: Live) -> Routes {
        let (trust_domain, store) = (self.config.trust_domain.clone(), Arc::clone(&self.store));
        let health = HealthService::new(trust_domain.clone(), Arc::clone(&store));
        let debug = DebugService::new(trust_domain, store, Arc::new(own), Arc::clone(&self.clock));
        let routes =
            self.routes(federation).add_service(HealthServer::new(health)).add_service(DebugServer::new(debug));
        match &self.logging {
            Some(logging) => routes.add_service(LoggerServer::new(LoggerService::new(logging.clone()))),
            None => routes,
        }
    }
}

async fn start_telemetry(config: &Config, clock: &Arc<dyn Clock>, tasks: &Tasks) -> Result<Metrics, Error> {
    let trust_domain = config.trust_domain.as_str();
    let started = telemetry::start(&config.telemetry, VERSION, trust_domain, Arc::clone(clock), tasks).await;
    started.map_err(|source| Error::Bind { address: "telemetry.Prometheus".to_owned(), source })
}

fn authority_config(config: &Config) -> AuthorityConfig {
    AuthorityConfig {
        trust_domain: config.trust_domain.clone(),
        policy: Policy { ca_ttl: config.ca.ttl, jwt_svids: config.svids.jwt_svids },
        ca_key_type: config.ca.key_type,
        jwt_key_type: config.ca.jwt_key_type,
        ca_subject: config.ca.subject.clone(),
        publication: config.ca.publication,
    }
}

/// Makes the folder where it is absent, and makes sure that we may write there.
fn make_data_dir(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::DataDir { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed)?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(path, access).map_err(|err| failed(err.into()))
}
