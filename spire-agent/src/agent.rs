//! Composition: from a configuration to an agent that runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::tls::{Live, Settings};
use spiffe_core::{BundleSet, SpiffeId, Ttl};
use spire_runtime::health::HealthCheck;
use spire_runtime::telemetry::Metrics;
use spire_runtime::{Backoff, Clock, Logging, SystemClock, Tasks, rustls_time};
use tokio_util::sync::DropGuard;
use tonic::Code;

use crate::attest::fetch_bundle;
use crate::bootstrap::{Distrust, Trust, first_bundle, of_roots};
use crate::cache;
use crate::catalog;
use crate::client::{Connector, Dial, ServerClient, Tcp};
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::health;
use crate::identity::{AgentSvid, Identity, Means};
use crate::manager::{Manager, Parts};
use crate::storage::Storage;
use crate::sync::Driver;
use crate::telemetry;
use crate::workload::Attestors;

/// How long attestation is tried for before the agent gives up.
const ATTESTATION_BUDGET: Ttl = Ttl::from_minutes(1);
/// The same where the agent may begin anew when it does not trust the server.
const PATIENT_BUDGET: Ttl = Ttl::from_hours(24);
/// What the agent calls its version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// An agent that runs. Dropping it ends it at once; [`Self::shutdown`] lets calls under way finish.
pub struct Agent {
    manager: Manager,
    socket_path: PathBuf,
    tasks: Tasks,
    _end_when_dropped: DropGuard,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("agent_id", &self.agent_id()).finish_non_exhaustive()
    }
}

impl Agent {
    /// Begins with what an agent is told.
    #[must_use]
    pub fn builder(config: Config) -> AgentBuilder {
        let tcp = Tcp { server: (config.server_address.clone(), config.server_port) };
        AgentBuilder { config, clock: Arc::new(SystemClock), dial: Arc::new(tcp), logging: None }
    }

    /// The agent's ID.
    #[must_use]
    pub fn agent_id(&self) -> SpiffeId {
        self.manager.agent_id()
    }

    /// What the agent has for workloads, for an embedder who serves it himself.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Where workloads call.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        &self.socket_path
    }

    /// Waits until a part of the agent has failed, and the whole of it with it; forever where none does.
    pub async fn ended(&self) {
        self.tasks.ended().await;
    }

    /// Ends the agent. Calls under way may take until `deadline`.
    ///
    /// # Errors
    /// [`Error::Ended`] with the failure that had ended the agent before.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), Error> {
        self.tasks.shutdown(deadline).await.map_err(Error::Ended)
    }
}

/// What an agent is made from.
pub struct AgentBuilder {
    config: Config,
    clock: Arc<dyn Clock>,
    dial: Arc<dyn Dial>,
    logging: Option<Logging>,
}

impl fmt::Debug for AgentBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl AgentBuilder {
    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another way to the server than TCP.
    #[must_use]
    pub fn dial(mut self, dial: Arc<dyn Dial>) -> Self {
        self.dial = dial;
        self
    }

    /// The process's log, for administrators to turn up and down.
    #[must_use]
    pub fn logging(mut self, logging: Logging) -> Self {
        self.logging = Some(logging);
        self
    }

    /// Attests where there is no SVID from before, syncs, and serves. When this returns, workloads are answered.
    ///
    /// A server that does not answer is tried for a minute, twice: for attestation, and for the first sync.
    ///
    /// # Errors
    /// [`Error`] says what keeps it from starting. Nothing runs then.
    pub async fn start(self) -> Result<Agent, Error> {
        let started = self.clock.now();
        let tasks = Tasks::new();
        let end_when_dropped = tasks.shutdown_token().drop_guard();
        let metrics = self.telemetry(&tasks).await?;
        let attestors = Attestors::from_config(&self.config.plugins.workload_attestors)?.with_metrics(metrics.clone());
        let storage = Storage::open(&self.config.data_dir).await?;
        let mut distrust = Distrust::new(self.config.rebootstrap, storage.clone(), Arc::clone(&self.clock));
        let means = self.means(storage, metrics.clone()).await?;
        if let (Some(_), reattestable) = (&means.storage.data().svid, means.storage.data().reattestable) {
            distrust.check(reattestable)?;
        }
        let svid = self.obtain(&means, &mut distrust).await?;
        distrust.check(svid.reattestable)?;
        let identity = Arc::new(Identity::new(means.clone(), svid).await?);
        let manager = self.manager(&means, &identity);
        let (key_type, interval) = (self.config.workload_key_type, self.config.sync_interval);
        let mut driver =
            Driver::new(manager.clone(), Arc::clone(&identity), means.storage, distrust, key_type, interval);
        driver.initialize().await?;

        let endpoints = Endpoints {
            source: Arc::new(manager.clone()),
            attestors,
            clock: self.clock,
            started,
            logging: self.logging,
            metrics: metrics.clone(),
        };
        let closing = tasks.shutdown_token();
        let failed = |err: &dyn fmt::Display| Error::Config { section: "socket_path", reason: err.to_string() };
        if let Some(path) = &self.config.admin_socket_path {
            let admin = endpoints.admin(path, &self.config.authorized_delegates, closing.clone());
            tasks.spawn("admin endpoint", admin.map_err(|err| failed(&err))?);
        }
        let public = endpoints.public(&self.config.workload_api, closing.clone()).map_err(|err| failed(&err))?;
        if let Some(public) = public {
            tasks.spawn("workload endpoint", public);
        }
        tasks.spawn("sync", driver.run(closing.clone()));
        let bundles = manager.bundles();
        tasks.spawn("agent SVID", async move {
            tokio::select! {
                () = closing.cancelled() => Ok(()),
                ended = identity.run(bundles) => ended,
            }
        });
        tasks.spawn_until_shutdown(manager.clone().follow_agent());
        let (clock, counted) = (Arc::clone(&endpoints.clock), manager.clone());
        tasks.spawn_until_shutdown(telemetry::report_counts(metrics, counted, Arc::clone(&clock)));
        if let Some(health_checks) = &self.config.health_checks {
            let check: Arc<dyn HealthCheck> = Arc::new(health::WorkloadApi::new(&self.config.workload_api));
            let started = spire_runtime::health::start(health_checks, vec![check], clock, &tasks).await;
            started.map_err(|err| Error::Config { section: "health_checks", reason: err.to_string() })?;
        }
        Ok(Agent {
            manager,
            socket_path: self.config.workload_api.socket_path,
            tasks,
            _end_when_dropped: end_when_dropped,
        })
    }

    async fn telemetry(&self, tasks: &Tasks) -> Result<Metrics, Error> {
        let (config, clock) = (&self.config.telemetry, Arc::clone(&self.clock));
        let trust_domain = self.config.trust_domain.as_str();
        let started = spire_runtime::telemetry::start(config, VERSION, trust_domain, clock, tasks).await;
        started.map_err(|err| Error::Config { section: "telemetry.Prometheus", reason: err.to_string() })
    }

    async fn means(&self, storage: Storage, metrics: Metrics) -> Result<Means, Error> {
        let trust_domain = self.config.trust_domain.clone();
        let server_id = trust_domain.join("/spire/server");
        let server_id = server_id.map_err(|err| Error::Config { section: "trust_domain", reason: err.to_string() })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = Settings::new(provider, rustls_time(Arc::clone(&self.clock)));
        let connector = Connector::new(Arc::clone(&self.dial), settings, server_id);
        Ok(Means {
            trust_domain,
            keys: catalog::key_manager(&self.config.plugins.key_manager).await?,
            attestor: catalog::node_attestor(&self.config.plugins.node_attestor),
            storage,
            client: ServerClient::new(connector, Live::default())?,
            clock: Arc::clone(&self.clock),
            availability_target: self.config.availability_target,
            metrics,
        })
    }

    fn manager(&self, means: &Means, identity: &Identity) -> Manager {
        let config = &self.config;
        Manager::new(Parts {
            settings: cache::Settings {
                trust_domain: config.trust_domain.clone(),
                sync_interval: Ttl::from(config.sync_interval),
                max_x509_svids: config.x509_svid_cache_max_size,
                availability_target: config.availability_target,
            },
            max_jwt_svids: config.jwt_svid_cache_max_size,
            jwt_cache_hit_timeout: config.jwt_svid_cache_hit_timeout,
            clock: Arc::clone(&self.clock),
            client: means.client.clone(),
            agent: identity.watch(),
            metrics: means.metrics.clone(),
        })
    }

    /// Loads the SVID or attests, again and again.
    async fn obtain(&self, means: &Means, distrust: &mut Distrust) -> Result<AgentSvid, Error> {
        let (mut backoff, mut rng) = (Backoff::new(FIRST_RETRY, FIRST_RETRY * 24), OsRng.unwrap_err());
        let budget = if distrust.is_patient() { PATIENT_BUDGET } else { ATTESTATION_BUDGET };
        let started = self.clock.now();
        telemetry::begin_bootstrap(&means.metrics, started);
        let mut attempts = 0_u32;
        loop {
            attempts += 1;
            telemetry::count_attempts(&means.metrics, attempts);
            let bundled = means.storage.data().bundle.is_some();
            let err = match self.load_or_attest(means).await {
                Ok(svid) => {
                    telemetry::end_bootstrap(&means.metrics);
                    return Ok(svid);
                }
                Err(err) if err.code() == Some(Code::PermissionDenied) => return Err(err),
                Err(err) => err,
            };
            if bundled {
                match distrust.observe(&err).await {
                    // What was known of the server is forgotten: the source is asked anew.
                    Ok(()) | Err(Error::Rebootstrap) => {}
                    Err(err) => return Err(err),
                }
            }
            let wait = backoff.next(&mut rng);
            if self.clock.now() + Ttl::from(wait) > started + budget {
                return Err(err);
            }
            tracing::warn!(%err, retry_interval = ?wait, "Failed to retrieve attestation result");
            self.clock.sleep(wait).await;
        }
    }

    async fn load_or_attest(&self, means: &Means) -> Result<AgentSvid, Error> {
        let stored = means.storage.data().bundle.map(|roots| of_roots(&means.trust_domain, roots));
        if let Some(svid) = means.load().await? {
            let bundle = stored.ok_or(Error::NoBundle)?;
            means.client.source().set_bundles(BundleSet::from_iter([bundle]));
            tracing::info!(spiffe_id = %svid.id, trust_domain = %means.trust_domain, "SVID loaded");
            return Ok(svid);
        }
        tracing::info!(trust_domain = %means.trust_domain, "SVID is not found. Starting node attestation");
        let trust = match stored {
            Some(bundle) => Trust::Bundle(bundle),
            None => first_bundle(&self.config.bootstrap, &means.trust_domain, Arc::clone(&self.clock)).await?,
        };
        let channel = match trust {
            Trust::Bundle(bundle) => {
                let anonymous = Live::new(None, BundleSet::from_iter([bundle]));
                means.client.connector().verified(&anonymous)?
            }
            Trust::Nobody => {
                tracing::warn!("Insecure bootstrap enabled; skipping server certificate verification");
                means.client.connector().insecure()?
            }
        };
        let svid = means.attest(&channel, None).await?;
        let bundle = fetch_bundle(&channel, &means.trust_domain).await?;
        let roots = bundle.x509_roots().cloned().collect();
        means.client.source().set_bundles(BundleSet::from_iter([bundle]));
        means.storage.update(|data| data.bundle = Some(roots)).await?;
        tracing::info!(
            spiffe_id = %svid.id,
            trust_domain = %means.trust_domain,
            reattestable = svid.reattestable,
            "Node attestation was successful"
        );
        Ok(svid)
    }
}
