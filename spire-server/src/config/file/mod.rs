//! `server.conf`, decoded: every key of SPIRE 1.15 is known, and what cannot be done yet is an error that says so.

mod experimental;
mod federation;
mod plugins;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use spiffe_core::{SpiffeId, TrustDomain};
use spire_ca::DistinguishedName;
use spire_ca::rotation::Policy;
pub use spire_config::Variables;
use spire_config::{Block, Document, Error, Problem, Report, expand_env, read_file};
use spire_runtime::config_file as shared;

use super::{CaConfig, Config, DEFAULT_BIND_ADDRESS, DEFAULT_BIND_PORT, DEFAULT_SOCKET_PATH};
use super::{PruneNodes, RateLimitConfig, SvidConfig};

/// What the command line says in place of the file; `None`, zero and empty texts say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the keys")]
pub struct Overrides {
    pub bind_address: Option<String>,
    pub bind_port: Option<i64>,
    pub data_dir: Option<String>,
    pub socket_path: Option<String>,
    pub trust_domain: Option<String>,
    pub log: shared::LogFlags,
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
    let plugins = plugins::decode(root);
    let health_checks = shared::health(root);
    let telemetry = shared::telemetry(root, "spire_server");
    let Some(server) = root.block("server") else {
        root.error("server", "server section must be configured");
        return None;
    };
    let log = shared::log(&server, &overrides.log);
    let trust_domain = trust_domain(&server, overrides);
    let data_dir = path(&server, "-dataDir", overrides.data_dir.as_deref(), "data_dir");
    if data_dir.is_none() {
        server.error("data_dir", "data_dir must be configured");
    }
    let bind_address = server
        .flag_or("-bindAddress", overrides.bind_address.as_deref(), "bind_address", |text| Ok::<_, String>(bare(text)))
        .unwrap_or_else(|| DEFAULT_BIND_ADDRESS.to_owned());
    let socket_path = path(&server, "-socketPath", overrides.socket_path.as_deref(), "socket_path")
        .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET_PATH));
    let ca = ca(&server);
    let svids = svids(&server, &ca);
    let bind_port = port(&server, overrides.bind_port);
    let admin_ids = server.all_parsed("admin_ids", SpiffeId::parse);
    let rate_limits = rate_limits(&server);
    let prune_nodes = prune_nodes(&server);
    let experimental = experimental::decode(&server);
    let federation = federation::decode(&server, trust_domain.as_ref());
    let audit_log = server.boolean("audit_log_enabled").unwrap_or_default();
    server.unsupported("proxy_protocol_trusted_cidrs");
    for key in ["profiling_enabled", "profiling_port", "profiling_freq", "profiling_names"] {
        server.without_effect(key, "there are no profiles of a Go program here");
    }
    if server.duration("max_attested_node_info_staleness").is_some() {
        let reason = "what is known of nodes is in memory and never stale";
        server.without_effect("max_attested_node_info_staleness", reason);
    }
    Some(Config {
        trust_domain: trust_domain?,
        bind_address,
        bind_port,
        socket_path,
        data_dir: data_dir?,
        ca: CaConfig { publication: experimental.publication, ..ca },
        svids,
        admin_ids,
        audit_log,
        rate_limits,
        prune_nodes,
        cache: experimental.cache,
        agent_spiffe_id_as_selector: experimental.agent_spiffe_id_as_selector,
        federation,
        plugins: plugins?,
        health_checks,
        telemetry,
        log,
    })
}

fn trust_domain(server: &Block<'_>, overrides: &Overrides) -> Option<TrustDomain> {
    let flag = overrides.trust_domain.as_deref();
    if flag.is_none_or(str::is_empty) && server.string("trust_domain").is_none() {
        server.error("trust_domain", "trust_domain must be configured");
    }
    server.flag_or("-trustDomain", flag, "trust_domain", TrustDomain::parse_name_or_id)
}

fn path(server: &Block<'_>, flag: &str, value: Option<&str>, key: &'static str) -> Option<PathBuf> {
    server.flag_or(flag, value, key, |text| Ok::<_, String>(PathBuf::from(text)))
}

/// An IPv6 address without its brackets.
fn bare(address: &str) -> String {
    address.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn port(server: &Block<'_>, flag: Option<i64>) -> u16 {
    let in_file = server.number::<u16>("bind_port");
    let port = match flag.filter(|port| *port != 0) {
        None => in_file,
        Some(port) => {
            let port = u16::try_from(port);
            port.map_err(|_| server.report().flag("-serverPort", "must be between 1 and 65535")).ok()
        }
    };
    port.filter(|port| *port != 0).unwrap_or(DEFAULT_BIND_PORT)
}

fn ca(server: &Block<'_>) -> CaConfig {
    let defaults = CaConfig::default();
    let key_type = |key| {
        server.parsed(key, |name| {
            name.parse().map_err(|_| {
                let known = "rsa-2048, rsa-4096, ec-p256, ec-p384";
                format!("error parsing {key}: key type {name:?} is unknown; must be one of [{known}]")
            })
        })
    };
    let of_ca = key_type("ca_key_type").unwrap_or(defaults.key_type);
    CaConfig {
        ttl: server.ttl("ca_ttl").unwrap_or(defaults.ttl),
        key_type: of_ca,
        jwt_key_type: key_type("jwt_key_type").unwrap_or(of_ca),
        subject: subject(server).unwrap_or(defaults.subject),
        publication: defaults.publication,
    }
}

fn subject(server: &Block<'_>) -> Option<DistinguishedName> {
    let block = server.block("ca_subject")?;
    let subject = DistinguishedName {
        country: block.strings("country"),
        organization: block.strings("organization"),
        common_name: block.string("common_name").unwrap_or_default(),
        ..DistinguishedName::default()
    };
    if subject.is_empty() {
        server.warning("ca_subject", "it is empty: C=US, O=SPIFFE is used");
        return None;
    }
    Some(subject)
}

fn svids(server: &Block<'_>, ca: &CaConfig) -> SvidConfig {
    let defaults = SvidConfig::default();
    let deprecated = server.ttl("default_svid_ttl");
    if deprecated.is_some() {
        let advice = "deprecated: use default_x509_svid_ttl and default_jwt_svid_ttl; it is taken for the former";
        server.warning("default_svid_ttl", advice);
    }
    let x509_ttl = server.ttl("default_x509_svid_ttl").or(deprecated).unwrap_or(defaults.x509_ttl);
    let svids = SvidConfig {
        x509_ttl,
        jwt_ttl: server.ttl("default_jwt_svid_ttl").unwrap_or(defaults.jwt_ttl),
        agent_ttl: server.ttl("agent_ttl").unwrap_or(x509_ttl),
        jwt_issuer: server.string("jwt_issuer"),
        jwt_svids: !server.boolean("disable_jwt_svids").unwrap_or_default(),
    };
    let safe = Policy { ca_ttl: ca.ttl, jwt_svids: svids.jwt_svids }.longest_safe_svid_ttl();
    for (key, ttl) in [
        ("default_x509_svid_ttl", svids.x509_ttl),
        ("default_jwt_svid_ttl", svids.jwt_ttl),
        ("agent_ttl", svids.agent_ttl),
    ] {
        if ttl > safe {
            let message = format!(
                "SVIDs may end before {ttl}: that is certain up to {safe} alone, a sixth of ca_ttl and at most a week"
            );
            server.warning(key, message);
        }
    }
    svids
}

fn rate_limits(server: &Block<'_>) -> RateLimitConfig {
    let defaults = RateLimitConfig::default();
    let Some(block) = server.block("ratelimit") else { return defaults };
    RateLimitConfig {
        attestation: block.boolean("attestation").unwrap_or(defaults.attestation),
        signing: block.boolean("signing").unwrap_or(defaults.signing),
    }
}

fn prune_nodes(server: &Block<'_>) -> Option<PruneNodes> {
    let batch_size = server.number("prune_attested_nodes_batch_size").filter(|size| *size != 0);
    let tofu = server.boolean("prune_tofu_nodes").unwrap_or_default();
    let expired_for = server.ttl("prune_attested_nodes_expired_for");
    if expired_for.is_none() {
        for key in ["prune_attested_nodes_batch_size", "prune_tofu_nodes"] {
            server.without_effect(key, "prune_attested_nodes_expired_for is not set");
        }
    }
    Some(PruneNodes {
        expired_for: expired_for?,
        batch_size: batch_size.unwrap_or(PruneNodes::DEFAULT_BATCH_SIZE),
        tofu,
    })
}
