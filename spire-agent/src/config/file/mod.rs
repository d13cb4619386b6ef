//! `agent.conf`, decoded: every key of SPIRE 1.15 is known, and what cannot be done yet is an error that says so.

mod bootstrap;
mod experimental;
mod plugins;
#[cfg(test)]
mod tests;
mod workload_api;

use std::path::{Path, PathBuf};

use spiffe_core::{KeyType, SpiffeId, TrustDomain};
pub use spire_config::Variables;
use spire_config::{Block, Document, Error, Problem, Report, expand_env, read_file};
use spire_runtime::config_file as shared;

use super::Config;

/// What the command line says in place of the file; `None`, zero, false and empty texts say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the keys")]
pub struct Overrides {
    pub allow_unauthenticated_verifiers: bool,
    pub data_dir: Option<String>,
    pub disable_sds_api: bool,
    pub disable_workload_api: bool,
    pub insecure_bootstrap: bool,
    pub join_token: Option<String>,
    pub join_token_file: Option<String>,
    pub rebootstrap_delay: Option<String>,
    pub rebootstrap_mode: Option<String>,
    pub server_address: Option<String>,
    pub server_port: Option<i64>,
    pub socket_path: Option<String>,
    pub trust_bundle_format: Option<String>,
    pub trust_bundle_path: Option<String>,
    pub trust_bundle_url: Option<String>,
    pub trust_domain: Option<String>,
    pub log: shared::LogFlags,
    /// `HOST_PROC` of the environment: where process directories are, in place of `/proc`.
    pub proc_root: Option<PathBuf>,
}

/// Reads the file at `path`; with `variables`, names after a dollar sign in it are replaced by what that knows.
///
/// Returns warnings besides.
///
/// # Errors
/// [`Error`], with everything that is wrong.
pub fn load(
    path: &Path,
    variables: Option<Variables<'_>>,
    overrides: &Overrides,
) -> Result<(Config, Vec<Problem>), Error> {
    let mut text = read_file(path)?;
    if let Some(lookup) = variables {
        text = expand_env(&text, lookup);
    }
    parse(&path.display().to_string(), &text, overrides)
}

/// Decodes `text`, which messages call `file`. Returns warnings besides.
///
/// # Errors
/// [`Error::Syntax`] and [`Error::Invalid`], with everything that is wrong.
pub fn parse(file: &str, text: &str, overrides: &Overrides) -> Result<(Config, Vec<Problem>), Error> {
    let document = Document::parse(file, text)?;
    let report = Report::new();
    let config = decode(&Block::root(&document, &report), overrides);
    report.finish(config)
}

fn decode(root: &Block<'_>, overrides: &Overrides) -> Option<Config> {
    // All sections before the first `?`: everything that is wrong is told at once.
    let health_checks = shared::health(root);
    let telemetry = shared::telemetry(root, "spire_agent");
    let Some(agent) = root.block("agent") else {
        root.known(&["plugins"]);
        root.error("agent", "agent section must be configured");
        return None;
    };
    let plugins = plugins::decode(root, &agent, overrides);
    let log = shared::log(&agent, &overrides.log);
    let trust_domain = required(&agent, "-trustDomain", overrides.trust_domain.as_deref(), "trust_domain")
        .then(|| {
            let flag = overrides.trust_domain.as_deref();
            agent.flag_or("-trustDomain", flag, "trust_domain", TrustDomain::parse_name_or_id)
        })
        .flatten();
    let server_address = required(&agent, "-serverAddress", overrides.server_address.as_deref(), "server_address")
        .then(|| text(&agent, "-serverAddress", overrides.server_address.as_deref(), "server_address"))
        .flatten();
    let server_port = port(&agent, overrides.server_port);
    let data_dir =
        text(&agent, "-dataDir", overrides.data_dir.as_deref(), "data_dir").unwrap_or_else(|| ".".to_owned());
    let rebootstrap = bootstrap::rebootstrap(&agent, overrides);
    let bootstrap = bootstrap::decode(&agent, overrides, rebootstrap.mode);
    let experimental = experimental::decode(&agent);
    let workload_api = workload_api::decode(&agent, overrides, experimental.rate_limits);
    let admin_socket_path = admin_socket(&agent, &workload_api.socket_path);
    let authorized_delegates = agent.all_parsed("authorized_delegates", SpiffeId::parse);
    let workload_key_type = key_type(&agent);
    let availability_target = agent.ttl("availability_target");
    if availability_target.is_some_and(|target| target < Config::MIN_AVAILABILITY_TARGET) {
        agent.error("availability_target", "availability_target must be at least 24h0m0s");
    }
    let x509_svid_cache_max_size = cache_size(&agent, "x509_svid_cache_max_size");
    let jwt_svid_cache_max_size = cache_size(&agent, "jwt_svid_cache_max_size");
    for key in ["profiling_enabled", "profiling_port", "profiling_freq", "profiling_names"] {
        agent.without_effect(key, "there are no profiles of a Go program here");
    }
    let trust_domain = trust_domain?;
    if let Some(foreign) = authorized_delegates.iter().find(|id| !id.is_member_of(&trust_domain)) {
        agent.error("authorized_delegates", format!("{foreign} is not of the agent's trust domain {trust_domain}"));
    }
    Some(Config {
        workload_api: workload_api.of(&trust_domain),
        trust_domain,
        server_address: server_address?,
        server_port: server_port?,
        data_dir: PathBuf::from(data_dir),
        bootstrap: bootstrap?,
        rebootstrap,
        admin_socket_path,
        authorized_delegates,
        sync_interval: experimental.sync_interval,
        workload_key_type,
        availability_target,
        x509_svid_cache_max_size,
        jwt_svid_cache_max_size,
        jwt_svid_cache_hit_timeout: experimental.jwt_svid_cache_hit_timeout,
        plugins: plugins?,
        health_checks,
        telemetry,
        log,
    })
}

/// Whether the key is there, or the flag; where neither is, that is an error.
fn required(agent: &Block<'_>, flag: &str, value: Option<&str>, key: &'static str) -> bool {
    let there = value.is_some_and(|value| !value.is_empty()) || agent.string(key).is_some();
    if !there {
        agent.error(key, format!("{key} must be configured, here or as {flag}"));
    }
    there
}

fn text(agent: &Block<'_>, flag: &str, value: Option<&str>, key: &'static str) -> Option<String> {
    agent.flag_or(flag, value, key, |text| Ok::<_, String>(text.to_owned()))
}

fn port(agent: &Block<'_>, flag: Option<i64>) -> Option<u16> {
    let in_file = agent.number::<u16>("server_port");
    if let Some(port) = flag.filter(|port| *port != 0) {
        let port = u16::try_from(port);
        return port.map_err(|_| agent.report().flag("-serverPort", "must be between 1 and 65535")).ok();
    }
    if in_file == Some(0) || !agent.has("server_port") {
        agent.error("server_port", "server_port must be configured, here or as -serverPort");
    }
    in_file
}

fn key_type(agent: &Block<'_>) -> KeyType {
    let decoded = agent.parsed("workload_x509_svid_key_type", |name| match name.parse() {
        Ok(KeyType::Rsa4096) | Err(_) => Err("must be one of [ec-p256, ec-p384, rsa-2048]"),
        Ok(known) => Ok(known),
    });
    decoded.unwrap_or(KeyType::EcP256)
}

fn cache_size(agent: &Block<'_>, key: &'static str) -> usize {
    let size = agent.integer(key).unwrap_or_default();
    if size < 0 {
        agent.error(key, format!("{key} should not be negative"));
    }
    usize::try_from(size).ok().filter(|size| *size != 0).unwrap_or(Config::DEFAULT_CACHE_SIZE)
}

fn admin_socket(agent: &Block<'_>, workload_socket: &Path) -> Option<PathBuf> {
    let path = agent.path_at("admin_socket_path").map(|path| absolute(&path))?;
    if workload_socket.parent().is_some_and(|directory| path.starts_with(directory)) {
        let message = "admin socket cannot be in the same directory or a subdirectory as that containing the Workload \
                       API socket";
        agent.error("admin_socket_path", message);
    }
    Some(path)
}

/// With the working directory before it, where it has no beginning.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
