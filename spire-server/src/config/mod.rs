//! What a server is told: plain values, section by section, as the configuration file of SPIRE names them.
//!
//! An embedder fills in a [`Config`] by hand, beginning with [`Config::new`]. The module `file`, behind the feature
//! `config-file`, reads one from `server.conf`.

mod ca;
mod federation;
#[cfg(feature = "config-file")]
pub mod file;
mod limits;
mod plugins;

use std::path::PathBuf;

use spiffe_core::{SpiffeId, TrustDomain};
use spire_runtime::health::HealthConfig;
use spire_runtime::log::LogConfig;
use spire_runtime::telemetry::TelemetryConfig;

pub use ca::{CaConfig, SvidConfig};
pub use federation::{AcmeConfig, BundleEndpoint, BundleEndpointProfile, FederationConfig, WebCertificate};
pub use limits::{CacheConfig, PruneNodes, RateLimitConfig};
pub use plugins::{
    BundlePublisher, Composer, DataStore, KeyManager, NodeAttestor, Notifier, Plugins, SpireUpstreamConfig,
    UpstreamAuthority, X509PopConfig, X509PopMode,
};

/// Where the API for administrators is served when nothing is configured.
pub const DEFAULT_SOCKET_PATH: &str = "/tmp/spire-server/private/api.sock";
/// Where agents call when nothing is configured.
pub const DEFAULT_BIND_ADDRESS: &str = "0.0.0.0";
/// The port that agents call when nothing is configured.
pub const DEFAULT_BIND_PORT: u16 = 8081;

/// Everything a server is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `trust_domain`
    pub trust_domain: TrustDomain,
    /// `bind_address`: an IP address (IPv6 without brackets) or a DNS name.
    pub bind_address: String,
    /// `bind_port`; 0 takes any free one, which a file cannot ask for.
    pub bind_port: u16,
    /// `socket_path`: the administrators' socket. Its directory is made with mode 0750, the socket has mode 0770.
    pub socket_path: PathBuf,
    /// `data_dir`, made with mode 0755 where it does not exist.
    pub data_dir: PathBuf,
    /// Lifetimes, keys and subject of the server's own authorities.
    pub ca: CaConfig,
    /// What SVIDs are like where the entry does not say.
    pub svids: SvidConfig,
    /// `admin_ids`: callers over TLS who may do what an administrator may; of any trust domain.
    pub admin_ids: Vec<SpiffeId>,
    /// `audit_log_enabled`
    pub audit_log: bool,
    /// `ratelimit`
    pub rate_limits: RateLimitConfig,
    /// `prune_attested_nodes_expired_for` and its companions; `None` keeps all nodes.
    pub prune_nodes: Option<PruneNodes>,
    /// How entries are kept in memory.
    pub cache: CacheConfig,
    /// `experimental.agent_spiffe_id_as_selector`: an agent's own ID is one of its selectors,
    /// `spiffe_id:<the ID>`.
    pub agent_spiffe_id_as_selector: bool,
    /// `federation`
    pub federation: FederationConfig,
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
    /// SPIRE's defaults, with state in SQLite and keys on disk below `data_dir`, and agents attested by join token.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            trust_domain,
            bind_address: DEFAULT_BIND_ADDRESS.to_owned(),
            bind_port: DEFAULT_BIND_PORT,
            socket_path: PathBuf::from(DEFAULT_SOCKET_PATH),
            ca: CaConfig::default(),
            svids: SvidConfig::default(),
            admin_ids: Vec::new(),
            audit_log: false,
            rate_limits: RateLimitConfig::default(),
            prune_nodes: None,
            cache: CacheConfig::default(),
            agent_spiffe_id_as_selector: false,
            federation: FederationConfig::default(),
            plugins: Plugins::in_directory(&data_dir),
            health_checks: None,
            telemetry: TelemetryConfig::new("spire_server"),
            log: LogConfig::default(),
            data_dir,
        }
    }
}
