//! `plugins`: which implementation of each part the server uses.

use std::path::{Path, PathBuf};

use spire_ca::upstream::DiskUpstreamConfig;

/// The parts, one list or value a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    /// Where state lives.
    pub datastore: DataStore,
    /// Where keys live.
    pub key_manager: KeyManager,
    /// How nodes may attest. Join tokens are always accepted, as by SPIRE.
    pub node_attestors: Vec<NodeAttestor>,
    /// Who signs the server's CA; `None` for a self-signed one.
    pub upstream_authority: Option<UpstreamAuthority>,
    /// What changes credentials before they are signed, in this order.
    pub composers: Vec<Composer>,
    /// Who is told of a changed bundle.
    pub notifiers: Vec<Notifier>,
    /// Where the bundle is published.
    pub bundle_publishers: Vec<BundlePublisher>,
}

impl Plugins {
    /// SQLite and keys on disk, under the names that SPIRE's own configuration uses.
    #[must_use]
    pub fn in_directory(data_dir: &Path) -> Self {
        Self {
            datastore: DataStore::Sqlite { path: data_dir.join("datastore.sqlite3") },
            key_manager: KeyManager::Disk { keys_path: data_dir.join("keys.json") },
            node_attestors: vec![NodeAttestor::JoinToken],
            upstream_authority: None,
            composers: Vec::new(),
            notifiers: Vec::new(),
            bundle_publishers: Vec::new(),
        }
    }
}

/// `DataStore "sql"`
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataStore {
    /// `database_type = "sqlite3"`
    Sqlite {
        /// The database's file.
        path: PathBuf,
    },
}

/// `KeyManager`
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyManager {
    /// `memory`: keys die with the process.
    Memory,
    /// `disk`
    Disk {
        /// `keys_path`
        keys_path: PathBuf,
    },
}

/// `NodeAttestor`
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeAttestor {
    /// `join_token`
    JoinToken,
    /// `x509pop`
    X509Pop(X509PopConfig),
}

/// `NodeAttestor "x509pop"`, before its files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509PopConfig {
    /// `mode`
    pub mode: X509PopMode,
    /// `agent_path_template`; `None` takes the mode's own.
    pub agent_path_template: Option<String>,
    /// `max_intermediates`, at least 1.
    pub max_intermediates: usize,
    /// `max_rsa_key_size` in bits, at least 1.
    pub max_rsa_key_size: usize,
    /// `verify_client_ip`
    pub verify_client_ip: bool,
}

impl X509PopConfig {
    /// SPIRE's defaults: 4 intermediates, 8192 bits, any address.
    #[must_use]
    pub fn new(mode: X509PopMode) -> Self {
        Self { mode, agent_path_template: None, max_intermediates: 4, max_rsa_key_size: 8192, verify_client_ip: false }
    }
}

/// Which certificates nodes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum X509PopMode {
    /// `external_pki`
    ExternalPki {
        /// `ca_bundle_path` or `ca_bundle_paths`: PEM files of the roots; at least one.
        ca_bundle_paths: Vec<PathBuf>,
    },
    /// `spiffe`: SVIDs of the server's own trust domain.
    Spiffe {
        /// `spiffe_prefix`, with which their paths begin.
        prefix: String,
    },
}

/// `UpstreamAuthority`
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamAuthority {
    /// `disk`: a CA in files.
    Disk(DiskUpstreamConfig),
    /// `spire`: another server of the same trust domain.
    Spire(SpireUpstreamConfig),
}

/// `UpstreamAuthority "spire"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpireUpstreamConfig {
    /// `server_address`: an IP address or a DNS name.
    pub server_address: String,
    /// `server_port`
    pub server_port: u16,
    /// `workload_api_socket`: of the agent that gives this server its identity in the upstream.
    pub workload_api_socket: PathBuf,
}

/// `CredentialComposer`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Composer {
    /// `uniqueid`: the attribute x500UniqueIdentifier in the subject of workloads' X.509-SVIDs.
    UniqueId,
}

/// `Notifier`: there is none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notifier {}

/// `BundlePublisher`: there is none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundlePublisher {}
