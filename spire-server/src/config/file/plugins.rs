//! `plugins`

use std::path::PathBuf;

use spire_ca::upstream::DiskUpstreamConfig;
use spire_config::{Block, each_plugin};

use crate::config::{
    Composer, DataStore, KeyManager, NodeAttestor, Plugins, SpireUpstreamConfig, UpstreamAuthority, X509PopConfig,
    X509PopMode,
};

pub(super) fn decode(root: &Block<'_>) -> Option<Plugins> {
    let Some(mut block) = root.block("plugins") else {
        root.error("plugins", "plugins section must be configured");
        return None;
    };
    let datastores = all(&block, "DataStore", &["sql"], |_, data| datastore(data));
    let key_managers = all(&block, "KeyManager", &["memory", "disk"], key_manager);
    let upstreams = all(&block, "UpstreamAuthority", &["disk", "spire"], upstream);
    let node_attestors = all(&block, "NodeAttestor", &["join_token", "x509pop"], node_attestor);
    let composers = all(&block, "CredentialComposer", &["uniqueid"], |_, _| Some(Composer::UniqueId));
    all(&block, "Notifier", &[], |_, _| None::<()>);
    all(&block, "BundlePublisher", &[], |_, _| None::<()>);
    for key in block.take_rest() {
        block.error_at(key.position, &key.name, format!("unsupported plugin type {:?}", key.name));
    }
    let (declared_datastores, declared_key_managers, declared_upstreams) =
        (datastores.declared, key_managers.declared, upstreams.declared);
    if declared_datastores == 0 {
        block.error("DataStore", "expecting a DataStore plugin: write DataStore \"sql\" { … }");
    }
    if declared_datastores > 1 {
        block.error("DataStore", "only one DataStore plugin is allowed");
    }
    if declared_key_managers != 1 {
        block.error(
            "KeyManager",
            format!("exactly one KeyManager plugin is expected, there are {declared_key_managers}"),
        );
    }
    if declared_upstreams > 1 {
        block.error("UpstreamAuthority", "only one UpstreamAuthority plugin is allowed");
    }
    Some(Plugins {
        datastore: datastores.decoded.into_iter().next()?,
        key_manager: key_managers.decoded.into_iter().next()?,
        node_attestors: node_attestors.decoded,
        upstream_authority: upstreams.decoded.into_iter().next(),
        composers: composers.decoded,
        notifiers: Vec::new(),
        bundle_publishers: Vec::new(),
    })
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

fn datastore(data: &Block<'_>) -> Option<DataStore> {
    const NOT_FOR_SQLITE: &str = "database_type is sqlite3";
    for key in ["ro_connection_string", "root_ca_path", "client_cert_path", "client_key_path"] {
        data.without_effect(key, NOT_FOR_SQLITE);
    }
    for key in ["max_open_conns", "max_idle_conns", "conn_max_lifetime", "log_sql"] {
        data.known(&[key]);
    }
    if data.boolean("disable_migration").unwrap_or_default() {
        data.unsupported("disable_migration");
    }
    let connection = data.string("connection_string");
    match data.string("database_type").as_deref() {
        Some("sqlite3") => sqlite(data, connection),
        Some(other) => {
            let message = format!("{other:?} is not supported yet, there is sqlite3: use that");
            data.error("database_type", message);
            None
        }
        // A block with a label has been reported as no string.
        None if data.has("database_type") => None,
        None => {
            data.error("database_type", "database_type must be configured");
            None
        }
    }
}

/// A path, or a `file:` URI with one.
fn sqlite(data: &Block<'_>, connection: Option<String>) -> Option<DataStore> {
    let Some(connection) = connection else {
        data.error("connection_string", "connection_string must be configured: the path of the database");
        return None;
    };
    let (path, parameters) = connection.split_once('?').unwrap_or((&connection, ""));
    let path = path.strip_prefix("file:").unwrap_or(path);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path == ":memory:" || parameters.split('&').any(|parameter| parameter == "mode=memory") {
        data.error("connection_string", "a database in memory is not supported: write a path");
        return None;
    }
    if !parameters.is_empty() {
        data.warning("connection_string", format!("parameters have no effect: {parameters}"));
    }
    Some(DataStore::Sqlite { path: PathBuf::from(path) })
}

fn key_manager(name: &str, data: &Block<'_>) -> Option<KeyManager> {
    match name {
        "memory" => Some(KeyManager::Memory),
        _ => required(data, "keys_path").map(|keys_path| KeyManager::Disk { keys_path }),
    }
}

fn required(data: &Block<'_>, key: &'static str) -> Option<PathBuf> {
    let path = data.path_at(key);
    if path.is_none() {
        data.error(key, format!("{key} must be configured"));
    }
    path
}

fn upstream(name: &str, data: &Block<'_>) -> Option<UpstreamAuthority> {
    if name == "disk" {
        if data.duration("ttl").is_some() {
            data.without_effect("ttl", "ca_ttl says how long the CA lives");
        }
        let (certificate, key) = (data.path_at("cert_file_path"), data.path_at("key_file_path"));
        if certificate.is_none() || key.is_none() {
            data.error("cert_file_path", "'cert_file_path' and 'key_file_path' must be set and not empty");
        }
        return Some(UpstreamAuthority::Disk(DiskUpstreamConfig {
            bundle_file_path: data.path_at("bundle_file_path"),
            cert_file_path: certificate?,
            key_file_path: key?,
        }));
    }
    if let Some(experimental) = data.block("experimental") {
        if experimental.boolean("require_pq_kem").unwrap_or_default() {
            experimental.unsupported("require_pq_kem");
        }
        experimental.unsupported("workload_api_named_pipe_name");
    }
    let server_address = data.string("server_address");
    if server_address.is_none() {
        data.error("server_address", "server_address must be configured");
    }
    let server_port = data.number("server_port");
    if !data.has("server_port") {
        data.error("server_port", "server_port must be configured");
    }
    let workload_api_socket = required(data, "workload_api_socket");
    Some(UpstreamAuthority::Spire(SpireUpstreamConfig {
        server_address: server_address?,
        server_port: server_port?,
        workload_api_socket: workload_api_socket?,
    }))
}

fn node_attestor(name: &str, data: &Block<'_>) -> Option<NodeAttestor> {
    if name == "join_token" {
        return Some(NodeAttestor::JoinToken);
    }
    let mode = x509pop_mode(data);
    let positive = |key| {
        let number = data.number::<usize>(key);
        if number == Some(0) {
            data.error(key, format!("{key} must be greater than 0"));
        }
        number
    };
    let (max_intermediates, max_rsa_key_size) = (positive("max_intermediates"), positive("max_rsa_key_size"));
    let (template, verify_client_ip) = (data.string("agent_path_template"), data.boolean("verify_client_ip"));
    let defaults = X509PopConfig::new(mode?);
    Some(NodeAttestor::X509Pop(X509PopConfig {
        agent_path_template: template,
        max_intermediates: max_intermediates.unwrap_or(defaults.max_intermediates),
        max_rsa_key_size: max_rsa_key_size.unwrap_or(defaults.max_rsa_key_size),
        verify_client_ip: verify_client_ip.unwrap_or(defaults.verify_client_ip),
        mode: defaults.mode,
    }))
}

fn x509pop_mode(data: &Block<'_>) -> Option<X509PopMode> {
    let mut paths: Vec<_> = data.strings("ca_bundle_paths").into_iter().map(PathBuf::from).collect();
    let one = data.path_at("ca_bundle_path");
    let prefix = data.string("spiffe_prefix");
    if one.is_some() && !paths.is_empty() {
        data.error("ca_bundle_path", "only one of ca_bundle_path or ca_bundle_paths can be configured, not both");
    }
    paths.extend(one);
    match data.string("mode").as_deref() {
        None | Some("external_pki") => {
            if paths.is_empty() {
                data.error("ca_bundle_path", "one of ca_bundle_path or ca_bundle_paths must be configured");
            }
            data.without_effect("spiffe_prefix", "mode is not spiffe");
            Some(X509PopMode::ExternalPki { ca_bundle_paths: paths })
        }
        Some("spiffe") => {
            if !paths.is_empty() {
                data.error("mode", "ca_bundle_path and ca_bundle_paths cannot be configured in mode spiffe");
            }
            let default = || spire_attestation::node::x509pop::X509PopMode::DEFAULT_PREFIX.to_owned();
            Some(X509PopMode::Spiffe { prefix: prefix.unwrap_or_else(default) })
        }
        Some(other) => {
            data.error("mode", format!("{other:?} must be external_pki or spiffe"));
            None
        }
    }
}
