//! `plugins`: which implementation of each part the agent uses.

use std::fmt;
use std::path::{Path, PathBuf};

use spire_attestation::node::x509pop::X509PopFiles;
use spire_attestation::workload::unix::UnixConfig;

/// The parts, one list or value a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    /// Where the agent's own keys live.
    pub key_manager: KeyManager,
    /// How the agent attests itself.
    pub node_attestor: NodeAttestor,
    /// How workloads are told apart; the selectors of all count together.
    pub workload_attestors: Vec<WorkloadAttestor>,
}

impl Plugins {
    /// Keys on disk in `data_dir`, a join token still to be given, and `unix`.
    #[must_use]
    pub fn in_directory(data_dir: &Path) -> Self {
        Self {
            key_manager: KeyManager::Disk { directory: data_dir.to_owned() },
            node_attestor: NodeAttestor::JoinToken { token: None },
            workload_attestors: vec![WorkloadAttestor::Unix(UnixConfig::default())],
        }
    }
}

/// `KeyManager`
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyManager {
    /// `memory`: keys die with the process, which attests anew each time.
    Memory,
    /// `disk`
    Disk {
        /// `directory`, which holds `keys.json`.
        directory: PathBuf,
    },
}

/// `NodeAttestor`
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeAttestor {
    /// `join_token`, and any other where `join_token` or `join_token_file` is set.
    JoinToken {
        /// `None` only does where the agent has attested before.
        token: Option<JoinToken>,
    },
    /// `x509pop`
    X509Pop(X509PopFiles),
}

/// A join token. A secret: it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken(pub String);

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

/// `WorkloadAttestor`
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkloadAttestor {
    /// `unix`: owner and executable of the process.
    Unix(UnixConfig),
    /// `docker`: the container it runs in.
    Docker(DockerConfig),
    /// `systemd`: the unit it belongs to.
    Systemd,
}

/// `WorkloadAttestor "docker"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    /// `docker_socket_path`: a path, or one with `unix://` before it.
    pub docker_socket_path: String,
    /// `docker_version` of the API; `None` negotiates.
    pub docker_version: Option<String>,
    /// `podman_socket_path`, for containers of root.
    pub podman_socket_path: String,
    /// `podman_socket_path_template`, for containers of others; one `%d` stands for their user id.
    pub podman_socket_path_template: String,
    /// `verbose_container_locator_logs`
    pub verbose_container_locator_logs: bool,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            docker_socket_path: "unix:///var/run/docker.sock".to_owned(),
            docker_version: None,
            podman_socket_path: "unix:///run/podman/podman.sock".to_owned(),
            podman_socket_path_template: "unix:///run/user/%d/podman/podman.sock".to_owned(),
            verbose_container_locator_logs: false,
        }
    }
}
