//! What an agent is told: plain values, section by section, as the configuration file of SPIRE names them.
//!
//! An embedder fills in a [`Config`] by hand, beginning with [`Config::new`]. The module `file`, behind the feature
//! `config-file`, reads one from `agent.conf`.

mod bootstrap;
#[cfg(feature = "config-file")]
pub mod file;
mod plugins;
mod workload_api;

use std::path::PathBuf;
use std::time::Duration;

use spiffe_core::{KeyType, SpiffeId, TrustDomain, Ttl};
use spire_runtime::health::HealthConfig;
use spire_runtime::log::LogConfig;
use spire_runtime::telemetry::TelemetryConfig;

pub use bootstrap::{Bootstrap, BundleFormat, Rebootstrap, RebootstrapMode};
pub use plugins::{DockerConfig, JoinToken, KeyManager, NodeAttestor, Plugins, WorkloadAttestor};
pub use workload_api::{WorkloadApiConfig, WorkloadApiRateLimits};

/// Where the Workload API is served when nothing is configured.
pub const DEFAULT_SOCKET_PATH: &str = "/tmp/spire-agent/public/api.sock";

/// Everything an agent is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `trust_domain`
    pub trust_domain: TrustDomain,
    /// `server_address`: an IP address or a DNS name.
    pub server_address: String,
    /// `server_port`
    pub server_port: u16,
    /// `data_dir`: the agent's SVID, bundle and keys.
    pub data_dir: PathBuf,
    /// Whom the agent trusts to be the server, the first time.
    pub bootstrap: Bootstrap,
    /// Whether it may begin anew when it does not trust the server any more.
    pub rebootstrap: Rebootstrap,
    /// `socket_path` and what is served there.
    pub workload_api: WorkloadApiConfig,
    /// `admin_socket_path`: the administrators' socket, not below the directory of `socket_path`; `None` opens none.
    pub admin_socket_path: Option<PathBuf>,
    /// `authorized_delegates`: who may use the Delegated Identity API; all of the own trust domain.
    pub authorized_delegates: Vec<SpiffeId>,
    /// `experimental.sync_interval`: how often a server that does not push is asked what has changed.
    pub sync_interval: Duration,
    /// `workload_x509_svid_key_type`
    pub workload_key_type: KeyType,
    /// `availability_target`: an SVID is renewed when it has this much left, where its life is at least twice that;
    /// `None` renews at half of its life.
    pub availability_target: Option<Ttl>,
    /// `x509_svid_cache_max_size`: how many X.509-SVIDs nobody subscribes to are kept.
    pub x509_svid_cache_max_size: usize,
    /// `jwt_svid_cache_max_size`
    pub jwt_svid_cache_max_size: usize,
    /// `experimental.jwt_svid_cache_hit_timeout`: how long the server is asked for a fresh JWT-SVID before the one at
    /// hand is given, where that is past half of its life.
    pub jwt_svid_cache_hit_timeout: Duration,
    /// `plugins`
    pub plugins: Plugins,
    /// `health_checks`; `None` opens no listener.
    pub health_checks: Option<HealthConfig>,
    /// `telemetry`
    pub telemetry: TelemetryConfig,
    /// `log_file` and its companions, for the binary: the library leaves the process's log alone.
    pub log: LogConfig,
}

impl Config {
    /// `experimental.sync_interval` where it is missing.
    pub const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(5);
    /// `x509_svid_cache_max_size` and `jwt_svid_cache_max_size` where they are missing or zero.
    pub const DEFAULT_CACHE_SIZE: usize = 1000;
    /// `experimental.jwt_svid_cache_hit_timeout` where it is missing.
    pub const DEFAULT_JWT_CACHE_HIT_TIMEOUT: Duration = Duration::from_secs(30);
    /// Least `availability_target`.
    pub const MIN_AVAILABILITY_TARGET: Ttl = Ttl::from_hours(24);

    /// SPIRE's defaults; keys on disk in `data_dir`, attestation by join token, workloads told apart by `unix`.
    #[must_use]
    pub fn new(
        trust_domain: TrustDomain,
        server: (impl Into<String>, u16),
        data_dir: impl Into<PathBuf>,
        bootstrap: Bootstrap,
    ) -> Self {
        let data_dir = data_dir.into();
        Self {
            workload_api: WorkloadApiConfig::new(&trust_domain),
            trust_domain,
            server_address: server.0.into(),
            server_port: server.1,
            bootstrap,
            rebootstrap: Rebootstrap::default(),
            admin_socket_path: None,
            authorized_delegates: Vec::new(),
            sync_interval: Self::DEFAULT_SYNC_INTERVAL,
            workload_key_type: KeyType::EcP256,
            availability_target: None,
            x509_svid_cache_max_size: Self::DEFAULT_CACHE_SIZE,
            jwt_svid_cache_max_size: Self::DEFAULT_CACHE_SIZE,
            jwt_svid_cache_hit_timeout: Self::DEFAULT_JWT_CACHE_HIT_TIMEOUT,
            plugins: Plugins::in_directory(&data_dir),
            data_dir,
            health_checks: None,
            telemetry: TelemetryConfig::new("spire_agent"),
            log: LogConfig::default(),
        }
    }
}
