//! Which selectors a calling process has: all configured attestors are asked at once.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spire_api::status::code_name;
use spire_attestation::workload::unix::UnixAttestor;
use spire_attestation::workload::{Hold, Workload, WorkloadAttestor};
use spire_runtime::telemetry::Metrics;
use spire_types::Selector;
use workload_api::server::{IdentityError, Process};

use crate::config;
use crate::error::Error;

/// How long one attestor may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The configured attestors; clones share them.
#[derive(Clone)]
pub struct Attestors {
    attestors: Arc<[Arc<dyn WorkloadAttestor>]>,
    metrics: Metrics,
}

impl Attestors {
    /// These attestors.
    #[must_use]
    pub fn new(attestors: Vec<Arc<dyn WorkloadAttestor>>) -> Self {
        Self { attestors: attestors.into(), metrics: Metrics::disabled() }
    }

    /// Counts attestations in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    pub(crate) fn count_rate_limited(&self, method: &str) {
        self.metrics.count(&["workload_api", "rate_limit_exceeded"], &[("method", method)]);
    }

    /// Those that the configuration names.
    ///
    /// # Errors
    /// [`Error::WorkloadAttestor`] for one that cannot be configured so, or that this build does not have.
    pub fn from_config(configured: &[config::WorkloadAttestor]) -> Result<Self, Error> {
        configured.iter().map(attestor).collect::<Result<_, _>>().map(Self::new)
    }

    /// The selectors of `workload`, by all attestors together. One that fails is passed over as long as another knows
    /// something; none at all are no failure.
    ///
    /// # Errors
    /// [`IdentityError::AttestationFailed`] where every attestor has failed.
    pub async fn attest(&self, workload: &Workload) -> Result<BTreeSet<Selector>, IdentityError> {
        let attesting = self.ask_all(workload);
        let key = ["workload_api", "workload_attestation"];
        let selectors = self.metrics.timed(&key, &[], |err: &IdentityError| code_name(err.code()), attesting).await?;
        let count = f64::from(u32::try_from(selectors.len()).unwrap_or(u32::MAX));
        self.metrics.sample(&["workload_api", "discovered_selectors"], &[], count);
        Ok(selectors)
    }

    async fn ask_all(&self, workload: &Workload) -> Result<BTreeSet<Selector>, IdentityError> {
        let pid = workload.pid();
        let asked = self.attestors.iter().map(|attestor| async move {
            let asking = async {
                match tokio::time::timeout(DEADLINE, attestor.attest(workload)).await {
                    Ok(answer) => answer.map_err(|err| err.to_string()),
                    Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
                }
            };
            let (key, labels) = (["workload_api", "workload_attestor"], [("attestor", attestor.name())]);
            let failed = match self.metrics.timed(&key, &labels, |_| "Unknown", asking).await {
                Ok(selectors) => return Some(selectors),
                Err(failed) => failed,
            };
            let err = format!("workload attestor {:?} failed: {failed}", attestor.name());
            tracing::error!(pid, attestor = attestor.name(), %err, "Failed to collect all selectors for PID");
            None
        });
        let answers = join_all(asked).await;
        if !answers.is_empty() && answers.iter().all(Option::is_none) {
            return Err(IdentityError::AttestationFailed);
        }
        let selectors: BTreeSet<Selector> = answers.into_iter().flatten().flatten().collect();
        tracing::debug!(pid, selectors = %listed(&selectors), "PID attested to have selectors");
        Ok(selectors)
    }

    /// The selectors of the process at the other end of a connection.
    ///
    /// # Errors
    /// As [`Self::attest`].
    pub async fn attest_peer(&self, process: &Arc<Process>) -> Result<BTreeSet<Selector>, IdentityError> {
        let pid = u32::try_from(process.pid()).map_err(|_| IdentityError::AttestationFailed)?;
        self.attest(&Workload::new(pid, Arc::new(Held(Arc::clone(process))))).await
    }
}

/// The process at the other end of a connection, as attestors see it.
struct Held(Arc<Process>);

impl Hold for Held {
    fn is_same_process(&self) -> bool {
        self.0.check().is_ok()
    }

    fn directory(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.directory())
    }
}

impl fmt::Debug for Attestors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.attestors.iter().map(|attestor| attestor.name())).finish()
    }
}

/// As logs show them.
pub(crate) fn listed<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> String {
    let listed: Vec<String> = selectors.into_iter().map(ToString::to_string).collect();
    listed.join(",")
}

fn attestor(configured: &config::WorkloadAttestor) -> Result<Arc<dyn WorkloadAttestor>, Error> {
    match configured {
        config::WorkloadAttestor::Unix(config) => Ok(Arc::new(UnixAttestor::new(config.clone()))),
        config::WorkloadAttestor::Docker(config) => docker(config),
        config::WorkloadAttestor::Systemd => systemd(),
    }
}

#[cfg(feature = "docker")]
fn docker(config: &config::DockerConfig) -> Result<Arc<dyn WorkloadAttestor>, Error> {
    use spire_attestation::workload::docker::{DockerAttestor, DockerConfig, NAME};
    let attestor = DockerAttestor::new(&DockerConfig {
        docker_socket_path: config.docker_socket_path.clone(),
        docker_version: config.docker_version.clone().unwrap_or_default(),
        podman_socket_path: config.podman_socket_path.clone(),
        podman_socket_path_template: config.podman_socket_path_template.clone(),
        ..DockerConfig::default()
    });
    let attestor = attestor.map_err(|err| Error::WorkloadAttestor { name: NAME, reason: err.to_string() })?;
    Ok(Arc::new(attestor))
}

#[cfg(not(feature = "docker"))]
fn docker(_: &config::DockerConfig) -> Result<Arc<dyn WorkloadAttestor>, Error> {
    Err(not_built("docker"))
}

#[cfg(feature = "systemd")]
#[expect(clippy::unnecessary_wraps, reason = "builds without it fail here")]
fn systemd() -> Result<Arc<dyn WorkloadAttestor>, Error> {
    Ok(Arc::new(spire_attestation::workload::systemd::SystemdAttestor::new()))
}

#[cfg(not(feature = "systemd"))]
fn systemd() -> Result<Arc<dyn WorkloadAttestor>, Error> {
    Err(not_built("systemd"))
}

#[cfg(not(all(feature = "docker", feature = "systemd")))]
fn not_built(name: &'static str) -> Error {
    Error::WorkloadAttestor { name, reason: format!("this agent was built without the feature {name:?}") }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use spire_attestation::{Error as AttestationError, ProcessError};

    use super::*;

    #[derive(Debug)]
    struct Scripted(Option<&'static [&'static str]>);

    #[async_trait]
    impl WorkloadAttestor for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        async fn attest(&self, workload: &Workload) -> Result<Vec<Selector>, AttestationError> {
            match self.0 {
                Some(["never"]) => std::future::pending().await,
                Some(selectors) => Ok(selectors.iter().map(|text| text.parse().unwrap()).collect()),
                None => Err(ProcessError::Gone { pid: workload.pid() }.into()),
            }
        }
    }

    async fn attest(scripts: &[Option<&'static [&'static str]>]) -> Result<String, IdentityError> {
        let attestors = scripts.iter().map(|script| Arc::new(Scripted(*script)) as Arc<dyn WorkloadAttestor>);
        let attestors = Attestors::new(attestors.collect());
        let selectors = attestors.attest(&Workload::new(42, Arc::new(|| true))).await?;
        Ok(listed(&selectors))
    }

    #[tokio::test(start_paused = true)]
    async fn what_all_find_out_counts_together_and_only_if_all_fail_it_is_a_failure() {
        assert_eq!(attest(&[Some(&["a:2", "a:1"]), Some(&["b:1", "a:1"])]).await.unwrap(), "a:1,a:2,b:1");
        assert_eq!(attest(&[Some(&["a:1"]), None]).await.unwrap(), "a:1");
        assert_eq!(attest(&[Some(&[]), None]).await.unwrap(), "");
        assert_eq!(attest(&[Some(&["never"]), Some(&["a:1"])]).await.unwrap(), "a:1");
        assert_eq!(attest(&[None, Some(&["never"])]).await, Err(IdentityError::AttestationFailed));
        assert_eq!(attest(&[]).await.unwrap(), "");
    }
}
