//! The `docker` attestor: which container the process runs in, as Docker or Podman knows it.
//!
//! Selectors: `label:<key>:<value>` and `env:<KEY=value>` of the container's configuration, `image_id` (the image as it
//! was named at the start) and `image_config_digest` (the image that runs). A process outside of containers, or in one
//! that the engine does not know, has none. An engine that does not answer is an error, never a smaller answer.
//!
//! A container of Podman is asked for at Podman's socket, one of a user at that user's: what it says there is that user's
//! word. A name of a control group that a user or another container may have chosen counts only if the container's own
//! first process bears it too.

mod engine;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use spire_types::Selector;

use self::engine::{Engine, Inspected};
use super::cgroup::{Container, container_of};
use super::proc::ProcDir;
use super::{Workload, WorkloadAttestor};
use crate::{ContainerError, Error, ProcessError};

/// The method's name in configurations, and the type of its selectors.
pub const NAME: &str = "docker";

/// How the `docker` attestor works; the default is SPIRE's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// Docker's socket: `unix:///var/run/docker.sock`, or a path alone.
    pub docker_socket_path: String,
    /// The version of the engine's API, as `1.41`; empty takes the engine's own.
    pub docker_version: String,
    /// The socket of the machine's Podman.
    pub podman_socket_path: String,
    /// The sockets of users' Podmans: `%d` is the user's number, `%%` a per cent sign.
    pub podman_socket_path_template: String,
    /// Where the process directories are.
    pub proc_root: PathBuf,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            docker_socket_path: "unix:///var/run/docker.sock".to_owned(),
            docker_version: String::new(),
            podman_socket_path: "unix:///run/podman/podman.sock".to_owned(),
            podman_socket_path_template: "unix:///run/user/%d/podman/podman.sock".to_owned(),
            proc_root: PathBuf::from("/proc"),
        }
    }
}

/// Attests processes by their container.
#[derive(Debug, Clone)]
pub struct DockerAttestor {
    docker: Engine,
    podman: Engine,
    podman_of_users: String,
    version: String,
    proc_root: PathBuf,
}

impl DockerAttestor {
    /// An attestor that works as `config` says. No engine is asked yet.
    ///
    /// # Errors
    /// [`ContainerError::Config`] for a socket that is none, or a template without exactly one `%d`.
    pub fn new(config: &DockerConfig) -> Result<Self, Error> {
        let DockerConfig { docker_version: version, podman_socket_path_template: template, .. } = config;
        // Refused now rather than at the first container.
        Engine::new(&fill(template, 0)?, version)?;
        Ok(Self {
            docker: Engine::new(&config.docker_socket_path, version)?,
            podman: Engine::new(&config.podman_socket_path, version)?,
            podman_of_users: template.clone(),
            version: version.clone(),
            proc_root: config.proc_root.clone(),
        })
    }

    /// The one that made the container.
    fn engine_of(&self, container: &Container) -> Result<Engine, Error> {
        let is_podmans = container.path.contains("libpod-") || container.path.contains("/libpod/");
        match container.user() {
            _ if !is_podmans => Ok(self.docker.clone()),
            Some(uid) => Engine::new(&fill(&self.podman_of_users, uid)?, &self.version),
            None => Ok(self.podman.clone()),
        }
    }
}

#[async_trait]
impl WorkloadAttestor for DockerAttestor {
    fn name(&self) -> &str {
        NAME
    }

    async fn attest(&self, workload: &Workload) -> Result<Vec<Selector>, Error> {
        let Some(container) = self.locate(workload).await? else { return Ok(Vec::new()) };
        let engine = self.engine_of(&container)?;
        let Some(inspected) = engine.container(&container.id).await? else { return Ok(Vec::new()) };
        if container.is_named_by_others() {
            self.check_name(&container, &inspected, workload.pid()).await?;
        }
        let digest = engine.image_digest(&inspected.image).await?;
        workload.check()?;
        Ok(selectors(inspected, digest))
    }
}

impl DockerAttestor {
    async fn locate(&self, workload: &Workload) -> Result<Option<Container>, Error> {
        let (root, workload, pid) = (self.proc_root.clone(), workload.clone(), workload.pid());
        blocking(pid, move || {
            let process = ProcDir::open(&root, workload.pid())?;
            workload.check()?;
            let container = container_of(&process)?;
            workload.check()?;
            Ok(container)
        })
        .await
    }

    /// Checks that the container's first process is in the control group that the workload's name claims.
    async fn check_name(&self, container: &Container, inspected: &Inspected, pid: u32) -> Result<(), Error> {
        let (root, container, first) = (self.proc_root.clone(), container.clone(), inspected.state.pid);
        blocking(pid, move || {
            if root_of(&root, first).is_some_and(|found| found == container.root()) {
                return Ok(());
            }
            Err(ContainerError::Forged { path: container.path }.into())
        })
        .await
    }
}

/// The container's part of the path of the control group of `pid`.
fn root_of(proc_root: &Path, pid: u32) -> Option<String> {
    let process = ProcDir::open(proc_root, pid).ok()?;
    Some(container_of(&process).ok()??.root().to_owned())
}

async fn blocking<T: Send + 'static>(
    pid: u32,
    look: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(look).await.map_err(|_| ProcessError::Interrupted { pid })?
}

fn selectors(container: Inspected, digest: Option<String>) -> Vec<Selector> {
    let Inspected { config, .. } = container;
    let labels = config.labels.unwrap_or_default().into_iter().map(|(key, value)| format!("label:{key}:{value}"));
    let environment = config.env.unwrap_or_default().into_iter().map(|variable| format!("env:{variable}"));
    let image = Some(config.image).filter(|image| !image.is_empty()).map(|image| format!("image_id:{image}"));
    let digest = digest.map(|digest| format!("image_config_digest:{digest}"));
    let values = labels.chain(environment).chain(image).chain(digest);
    values.map(|value| Selector { kind: NAME.into(), value }).collect()
}

/// The template for one user.
fn fill(template: &str, uid: u32) -> Result<String, Error> {
    let (mut filled, mut users, mut chars) = (String::new(), 0, template.chars());
    while let Some(char) = chars.next() {
        match char {
            '%' => match chars.next() {
                Some('%') => filled.push('%'),
                Some('d') => {
                    users += 1;
                    filled.push_str(&uid.to_string());
                }
                _ => users = usize::MAX / 2,
            },
            char => filled.push(char),
        }
    }
    if users == 1 {
        return Ok(filled);
    }
    let reason = format!("podman_socket_path_template must contain exactly one %d placeholder: {template:?}");
    Err(ContainerError::Config(reason).into())
}

#[cfg(test)]
mod tests;
