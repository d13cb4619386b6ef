//! `health_checks`: over HTTP, whether the process lives and is ready.

#[cfg(feature = "listeners")]
mod listener;

#[cfg(feature = "listeners")]
pub use listener::{Details, Health, HealthCheck, HealthListener, start};

/// Where to ask, as SPIRE configures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// `bind_address`: an IP address or a DNS name.
    pub bind_address: String,
    /// `bind_port`; 0 takes any free one.
    pub bind_port: u16,
    /// `live_path`
    pub live_path: String,
    /// `ready_path`
    pub ready_path: String,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            bind_address: "localhost".to_owned(),
            bind_port: 80,
            live_path: "/live".to_owned(),
            ready_path: "/ready".to_owned(),
        }
    }
}
