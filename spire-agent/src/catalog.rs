//! Which implementation stands for each name of the configuration.

use std::sync::Arc;

use spire_attestation::node::NodeAttestorAgent;
use spire_attestation::node::join_token::JoinTokenAgent;
use spire_attestation::node::x509pop::X509PopAgent;
use spire_keymanager::{DiskKeyManager, MemoryKeyManager};

use crate::config::{KeyManager, NodeAttestor};
use crate::error::Error;

/// Where the agent's keys live.
///
/// # Errors
/// When the file of keys cannot be used.
pub(crate) async fn key_manager(config: &KeyManager) -> Result<Arc<dyn spire_keymanager::KeyManager>, Error> {
    Ok(match config {
        KeyManager::Memory => Arc::new(MemoryKeyManager::new()),
        KeyManager::Disk { directory } => Arc::new(DiskKeyManager::open_in(directory).await?),
    })
}

/// How the agent attests.
pub(crate) fn node_attestor(config: &NodeAttestor) -> Arc<dyn NodeAttestorAgent> {
    match config {
        NodeAttestor::JoinToken { token: Some(token) } => Arc::new(JoinTokenAgent::new(token.0.clone())),
        NodeAttestor::JoinToken { token: None } => Arc::new(JoinTokenAgent::without_token()),
        NodeAttestor::X509Pop(files) => Arc::new(X509PopAgent::new(files.clone())),
    }
}
