//! `telemetry`: what is measured, and for whom.

mod metrics;
#[cfg(feature = "listeners")]
mod prometheus;
mod rpc;

pub use metrics::Metrics;
#[cfg(feature = "listeners")]
pub use prometheus::{PrometheusListener, start};
pub use rpc::rpc_key;

/// What is told to whom, as SPIRE configures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// `Prometheus`; `None` opens no listener.
    pub prometheus: Option<PrometheusConfig>,
    /// `MetricPrefix`: the beginning of every metric's name.
    pub prefix: String,
    /// `EnableTrustDomainLabel`
    pub trust_domain_label: bool,
    /// `EnableHostnameLabel`
    pub hostname_label: bool,
    /// `AllowedPrefixes`: metrics that begin with one of them are kept, unless a longer one blocks them. Parts are joined
    /// by dots, and the first is [`Self::prefix`].
    pub allowed_prefixes: Vec<String>,
    /// `BlockedPrefixes`: metrics that begin with one of them are dropped, unless a longer one keeps them.
    pub blocked_prefixes: Vec<String>,
    /// `AllowedLabels`: where there are any, only these are kept.
    pub allowed_labels: Vec<String>,
    /// `BlockedLabels`
    pub blocked_labels: Vec<String>,
}

impl TelemetryConfig {
    /// SPIRE's defaults for the service with this name: nobody is told anything.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self {
            prometheus: None,
            prefix: service.to_owned(),
            trust_domain_label: false,
            hostname_label: true,
            allowed_prefixes: Vec::new(),
            blocked_prefixes: Vec::new(),
            allowed_labels: Vec::new(),
            blocked_labels: Vec::new(),
        }
    }
}

/// Where Prometheus asks, by plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusConfig {
    /// `host`: an IP address or a DNS name; `localhost` where it is missing.
    pub host: String,
    /// `port`; 0 takes any free one.
    pub port: u16,
}
