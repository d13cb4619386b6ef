//! What the configuration names, as what does it.

use std::sync::Arc;

use rand_core::{OsRng, TryRngCore as _};
use spiffe_core::TrustDomain;
use spiffe_core::tls::Settings;
use spire_attestation::node::NodeAttestorServer;
use spire_attestation::node::join_token::JoinTokenServer;
use spire_attestation::node::x509pop::{X509PopConfig, X509PopMode, X509PopServer, load_roots};
use spire_ca::composer::UniqueId;
use spire_ca::upstream::{DiskUpstream, SpireUpstream, SpireUpstreamAddress, UpstreamAuthority};
use spire_ca::{Composers, CredentialComposer};
use spire_datastore::{DataStore, SqliteStore};
use spire_keymanager::{DiskKeyManager, KeyManager, MemoryKeyManager};
use spire_runtime::{Clock, rustls_time};
use workload_api::Address;

use crate::attestation::{StoredRoots, StoredTokens};
use crate::config;
use crate::error::Error;

/// Opens where state lives.
pub(crate) async fn datastore(configured: &config::DataStore) -> Result<Arc<dyn DataStore>, Error> {
    match configured {
        config::DataStore::Sqlite { path } => Ok(Arc::new(SqliteStore::open(path).await?)),
    }
}

/// Opens where keys live.
pub(crate) async fn key_manager(configured: &config::KeyManager) -> Result<Arc<dyn KeyManager>, Error> {
    match configured {
        config::KeyManager::Memory => Ok(Arc::new(MemoryKeyManager::new())),
        config::KeyManager::Disk { keys_path } => Ok(Arc::new(DiskKeyManager::open(keys_path).await?)),
    }
}

/// What changes credentials before they are signed.
pub(crate) fn composers(configured: &[config::Composer]) -> Composers {
    let composer = |configured: &config::Composer| match configured {
        config::Composer::UniqueId => Arc::new(UniqueId) as Arc<dyn CredentialComposer>,
    };
    configured.iter().map(composer).collect()
}

/// Who signs the server's CA.
pub(crate) async fn upstream(
    configured: Option<&config::UpstreamAuthority>,
    trust_domain: &TrustDomain,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn UpstreamAuthority>>, Error> {
    let Some(configured) = configured else { return Ok(None) };
    Ok(Some(match configured {
        config::UpstreamAuthority::Disk(disk) => {
            let rng = &mut OsRng.unwrap_err();
            Arc::new(DiskUpstream::open(trust_domain.clone(), disk.clone(), clock.now(), rng).await?)
        }
        config::UpstreamAuthority::Spire(spire) => {
            let address = SpireUpstreamAddress { host: spire.server_address.clone(), port: spire.server_port };
            let workload_api = workload_api::Client::new(Address::unix(&spire.workload_api_socket));
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let settings = Settings::new(provider, rustls_time(Arc::clone(clock)));
            Arc::new(SpireUpstream::new(trust_domain.clone(), address, &workload_api, &settings)?)
        }
    }))
}

/// How nodes may attest.
#[derive(Clone, Debug)]
pub(crate) struct Attestors(Arc<[Arc<dyn NodeAttestorServer>]>);

impl Attestors {
    /// Those configured, and join tokens in any case.
    pub(crate) async fn open(
        configured: &[config::NodeAttestor],
        trust_domain: &TrustDomain,
        datastore: &Arc<dyn DataStore>,
    ) -> Result<Self, Error> {
        let tokens = Arc::new(StoredTokens::new(Arc::clone(datastore)));
        let mut attestors: Vec<Arc<dyn NodeAttestorServer>> =
            vec![Arc::new(JoinTokenServer::new(trust_domain.clone(), tokens))];
        for configured in configured {
            match configured {
                config::NodeAttestor::JoinToken => {}
                config::NodeAttestor::X509Pop(x509pop) => {
                    let opened = open_x509pop(x509pop, trust_domain, datastore).await;
                    let failed = |source| Error::Attestor { name: "x509pop".to_owned(), source };
                    attestors.push(Arc::new(opened.map_err(failed)?));
                }
            }
        }
        Ok(Self(attestors.into()))
    }

    /// The one of that name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn NodeAttestorServer>> {
        self.0.iter().find(|attestor| attestor.name() == name).map(Arc::clone)
    }
}

async fn open_x509pop(
    configured: &config::X509PopConfig,
    trust_domain: &TrustDomain,
    datastore: &Arc<dyn DataStore>,
) -> Result<X509PopServer, spire_attestation::Error> {
    let mode = match &configured.mode {
        config::X509PopMode::ExternalPki { ca_bundle_paths } => {
            X509PopMode::ExternalPki { roots: load_roots(ca_bundle_paths).await? }
        }
        config::X509PopMode::Spiffe { prefix } => X509PopMode::Spiffe {
            prefix: prefix.clone(),
            roots: Arc::new(StoredRoots::new(Arc::clone(datastore), trust_domain.clone())),
        },
    };
    let config = X509PopConfig {
        mode,
        agent_path_template: configured.agent_path_template.clone(),
        max_intermediates: configured.max_intermediates,
        max_rsa_key_size: configured.max_rsa_key_size,
        verify_client_ip: configured.verify_client_ip,
    };
    X509PopServer::new(trust_domain.clone(), config)
}
