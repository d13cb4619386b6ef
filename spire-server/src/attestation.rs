//! What node attestors need of the datastore.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use spiffe_core::{Timestamp, TrustDomain, x509::Certificate};
use spire_attestation::node::{
    join_token::{StoreError, TokenStore},
    x509pop::CurrentRoots,
};
use spire_datastore::DataStore;

/// Join tokens in the datastore.
#[derive(Debug)]
pub struct StoredTokens {
    datastore: Arc<dyn DataStore>,
}

impl StoredTokens {
    /// The tokens in `datastore`.
    pub fn new(datastore: Arc<dyn DataStore>) -> Self {
        Self { datastore }
    }
}

#[async_trait]
impl TokenStore for StoredTokens {
    async fn find(&self, token: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.datastore.find_join_token(token).await?.map(|token| token.expires_at))
    }
}

/// The roots of the own bundle, for nodes that hold an SVID already.
#[derive(Debug)]
pub struct StoredRoots {
    datastore: Arc<dyn DataStore>,
    trust_domain: TrustDomain,
}

impl StoredRoots {
    /// The roots of `trust_domain` in `datastore`.
    pub fn new(datastore: Arc<dyn DataStore>, trust_domain: TrustDomain) -> Self {
        Self { datastore, trust_domain }
    }
}

#[async_trait]
impl CurrentRoots for StoredRoots {
    async fn roots(&self) -> Result<Vec<Certificate>, String> {
        let bundle = self.datastore.fetch_bundle(&self.trust_domain).await.map_err(|err| err.to_string())?;
        Ok(bundle.iter().flat_map(|bundle| bundle.x509_roots().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;
    use spire_datastore::{Bundles as _, SqliteStore};

    use super::*;

    #[tokio::test]
    async fn the_roots_are_those_of_the_own_bundle_as_it_is_now() {
        let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
        let authority = TestAuthority::new("example.org");
        let roots = StoredRoots::new(datastore.clone(), authority.trust_domain().clone());
        assert!(roots.roots().await.unwrap().is_empty());
        datastore.set_bundle(authority.bundle()).await.unwrap();
        assert_eq!(roots.roots().await.unwrap(), [authority.root().clone()]);
    }
}
