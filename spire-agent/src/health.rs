//! What the agent says of itself over HTTP.

use async_trait::async_trait;
use spire_runtime::health::{Details, Health, HealthCheck};

use crate::config::WorkloadApiConfig;
use crate::endpoints::HealthProbe;

/// Whether workloads are answered.
#[derive(Debug)]
pub(crate) struct WorkloadApi {
    /// `None` where there is none to ask.
    probe: Option<HealthProbe>,
}

impl WorkloadApi {
    pub(crate) fn new(config: &WorkloadApiConfig) -> Self {
        let socket = config.enabled.then(|| config.socket_path.clone());
        Self { probe: socket.map(|socket| HealthProbe::new(Some(socket))) }
    }
}

#[async_trait]
impl HealthCheck for WorkloadApi {
    fn name(&self) -> &'static str {
        "agent"
    }

    async fn check(&self) -> Health {
        match &self.probe {
            Some(probe) => Health::of(probe.check().await, "make_new_x509_err"),
            None => Health { live: true, ready: true, details: Details::Absent },
        }
    }
}
