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
    async fn take(&self, token: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.datastore.redeem_join_token(token).await?.map(|token| token.expires_at))
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
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    use spiffe_core::testing::TestAuthority;
    use spire_attestation::{
        Error,
        node::{AttestRequest, Challenger, NodeAttestorServer, join_token::JoinTokenServer},
    };
    use spire_datastore::{Bundles as _, JoinTokens as _, SqliteStore};
    use spire_types::JoinToken;

    use super::*;

    struct NoChallenges;

    #[async_trait]
    impl Challenger for NoChallenges {
        async fn challenge(&mut self, _: &[u8]) -> Result<Vec<u8>, Error> {
            Err(Error::Exchange("join tokens have no challenge".to_owned()))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_a_thousand_redemptions_of_one_token_at_once_one_wins() {
        let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
        let now = Timestamp::from_unix(1_800_000_000);
        datastore.create_join_token(JoinToken { value: "abc".to_owned(), expires_at: now }).await.unwrap();
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let server = Arc::new(JoinTokenServer::new(trust_domain, Arc::new(StoredTokens::new(datastore))));
        let redemptions: Vec<_> = (0..1000)
            .map(|number| {
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    let mut rng = ChaCha8Rng::seed_from_u64(number);
                    let request = AttestRequest { payload: b"abc", now, client_ip: None, rng: &mut rng };
                    server.attest(request, &mut NoChallenges).await.is_ok()
                })
            })
            .collect();
        let mut winners = 0;
        for redemption in redemptions {
            winners += u32::from(redemption.await.unwrap());
        }
        assert_eq!(winners, 1);
    }

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
