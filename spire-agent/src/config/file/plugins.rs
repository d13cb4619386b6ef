//! `plugins`, and the join token, which stands beside them.

use std::path::PathBuf;

use spire_attestation::node::x509pop::X509PopFiles;
use spire_attestation::workload::unix::UnixConfig;
use spire_config::{Block, each_plugin, read_file};

use super::{Overrides, text};
use crate::config::{DockerConfig, JoinToken, KeyManager, NodeAttestor, Plugins, WorkloadAttestor};

pub(super) fn decode(root: &Block<'_>, agent: &Block<'_>, overrides: &Overrides) -> Option<Plugins> {
    let token = join_token(agent, overrides);
    let Some(mut block) = root.block("plugins") else {
        root.error("plugins", "plugins section must be configured");
        return None;
    };
    let key_managers = all(&block, "KeyManager", &["memory", "disk"], key_manager);
    let node_attestors = all(&block, "NodeAttestor", &["join_token", "x509pop"], node_attestor);
    let workload_attestors = all(&block, "WorkloadAttestor", &["unix", "docker", "systemd"], |name, data| {
        Some(workload_attestor(name, data, overrides))
    });
    all(&block, "SVIDStore", &[], |_, _| None::<()>);
    for key in block.take_rest() {
        block.error_at(key.position, &key.name, format!("unsupported plugin type {:?}", key.name));
    }
    for (kind, declared) in [("KeyManager", key_managers.declared), ("NodeAttestor", node_attestors.declared)] {
        if declared != 1 {
            block.error(kind, format!("exactly one {kind} plugin is expected, there are {declared}"));
        }
    }
    if workload_attestors.declared == 0 {
        block.error("WorkloadAttestor", "at least one WorkloadAttestor plugin is expected");
    }
    let configured = node_attestors.decoded.into_iter().next();
    let node_attestor = match (token, configured) {
        (Some(token), _) => NodeAttestor::JoinToken { token: Some(token) },
        (None, configured) => configured?,
    };
    Some(Plugins {
        key_manager: key_managers.decoded.into_iter().next()?,
        node_attestor,
        workload_attestors: workload_attestors.decoded,
    })
}

fn join_token(agent: &Block<'_>, overrides: &Overrides) -> Option<JoinToken> {
    let token = text(agent, "-joinToken", overrides.join_token.as_deref(), "join_token");
    let file = text(agent, "-joinTokenFile", overrides.join_token_file.as_deref(), "join_token_file");
    match (token, file) {
        (Some(_), Some(_)) => {
            agent.error("join_token", "only one of join_token or join_token_file can be specified, not both");
            None
        }
        (None, Some(file)) => {
            let path = PathBuf::from(file);
            let token = match read_file(&path) {
                Ok(text) => text.trim().to_owned(),
                Err(spire_config::Error::NotFound { path }) => {
                    agent.error(
                        "join_token_file",
                        format!("unable to read join token file: no file {}", path.display()),
                    );
                    return None;
                }
                Err(err) => {
                    agent.error("join_token_file", format!("unable to read join token file: {err}"));
                    return None;
                }
            };
            if token.is_empty() {
                agent.error("join_token_file", "join token file is empty");
            }
            Some(JoinToken(token))
        }
        (token, None) => token.map(JoinToken),
    }
}

struct All<T> {
    /// How many there are, those that could not be decoded too.
    declared: usize,
    decoded: Vec<T>,
}

/// The plugins of a kind; one that is not among `supported` is an error.
fn all<T>(
    plugins: &Block<'_>,
    kind: &'static str,
    supported: &[&str],
    decode: impl Fn(&str, &Block<'_>) -> Option<T>,
) -> All<T> {
    let mut all = All { declared: 0, decoded: Vec::new() };
    each_plugin(plugins, kind, |name, data| {
        all.declared += 1;
        if supported.contains(&name) {
            all.decoded.extend(decode(name, data));
        } else {
            data.disregard();
            let supported = match supported {
                [] => "there is none yet".to_owned(),
                names => format!("there are {}", names.join(" and ")),
            };
            data.error_here(format!("{kind} {name:?} is not supported yet, {supported}: remove it"));
        }
    });
    all
}

fn required(data: &Block<'_>, key: &'static str) -> Option<PathBuf> {
    let path = data.path_at(key);
    if path.is_none() {
        data.error(key, format!("{key} must be configured"));
    }
    path
}

fn key_manager(name: &str, data: &Block<'_>) -> Option<KeyManager> {
    match name {
        "memory" => Some(KeyManager::Memory),
        _ => required(data, "directory").map(|directory| KeyManager::Disk { directory }),
    }
}

fn node_attestor(name: &str, data: &Block<'_>) -> Option<NodeAttestor> {
    if name == "join_token" {
        return Some(NodeAttestor::JoinToken { token: None });
    }
    data.unsupported("use_spiffe_endpoint_socket");
    data.unsupported("spiffe_endpoint_socket");
    let (key, certificate) = (required(data, "private_key_path"), required(data, "certificate_path"));
    let intermediates_path = data.path_at("intermediates_path");
    Some(NodeAttestor::X509Pop(X509PopFiles {
        private_key_path: key?,
        certificate_path: certificate?,
        intermediates_path,
    }))
}

fn workload_attestor(name: &str, data: &Block<'_>, overrides: &Overrides) -> WorkloadAttestor {
    match name {
        "unix" => {
            let defaults = UnixConfig::default();
            WorkloadAttestor::Unix(UnixConfig {
                discover_workload_path: data.boolean("discover_workload_path").unwrap_or_default(),
                workload_size_limit: data.integer("workload_size_limit").unwrap_or_default(),
                proc_root: overrides.proc_root.clone().unwrap_or(defaults.proc_root),
            })
        }
        "docker" => WorkloadAttestor::Docker(docker(data)),
        _ => WorkloadAttestor::Systemd,
    }
}

fn docker(data: &Block<'_>) -> DockerConfig {
    for key in ["container_id_cgroup_matchers", "sigstore", "experimental"] {
        data.unsupported(key);
    }
    if data.string("docker_host").is_some() {
        data.error(
            "docker_host",
            "docker_host is not supported in this platform; please use docker_socket_path instead",
        );
    }
    if data.boolean("use_new_container_locator") == Some(false) {
        data.error("use_new_container_locator", "the old container locator is not supported: remove it");
    }
    let defaults = DockerConfig::default();
    let template = data.parsed("podman_socket_path_template", |template| {
        let placeholders = template.replace("%%", "").matches('%').count();
        let user_ids = template.replace("%%", "").matches("%d").count();
        if (placeholders, user_ids) == (1, 1) { Ok(template.to_owned()) } else { Err("it must have exactly one %d") }
    });
    DockerConfig {
        docker_socket_path: data.string("docker_socket_path").unwrap_or(defaults.docker_socket_path),
        docker_version: data.string("docker_version"),
        podman_socket_path: data.string("podman_socket_path").unwrap_or(defaults.podman_socket_path),
        podman_socket_path_template: template.unwrap_or(defaults.podman_socket_path_template),
        verbose_container_locator_logs: data.boolean("verbose_container_locator_logs").unwrap_or_default(),
    }
}
