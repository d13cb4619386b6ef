//! Two trust domains that federate by https_spiffe: drivers, endpoints, datastores and sockets as in a server.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use spiffe_core::{
    BundleSet, Ttl,
    testing::TestAuthority,
    tls::{Live, Settings, TlsIdentity},
};
use spire_datastore::{Bundles as _, FederationRelationships as _, SqliteStore};
use spire_federation::{
    fetch::Fetcher,
    serve::{BundleEndpoint, https_spiffe},
};
use spire_runtime::{Clock, SystemClock, rustls_time};
use spire_server::entries::EntryCache;
use spire_server::federation::{Federation, FederationHandle, StoredFederation, StoredOwnBundle};
use spire_types::{EndpointProfile, FederationRelationship};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

struct Domain {
    authority: TestAuthority,
    datastore: Arc<SqliteStore>,
    handle: FederationHandle,
    url: String,
    _running: DropGuard,
}

impl Domain {
    async fn start(name: &str) -> Self {
        let authority = TestAuthority::new(name);
        let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
        datastore.set_bundle(authority.bundle()).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (provider, time) = (Arc::new(rustls::crypto::ring::default_provider()), rustls_time(Arc::clone(&clock)));
        let shutdown = CancellationToken::new();

        let identity = TlsIdentity::from(&*authority.svid("/spire/server"));
        let settings = Settings::new(Arc::clone(&provider), Arc::clone(&time));
        let tls = https_spiffe::server_config(Live::new(Some(identity), BundleSet::default()), &settings).unwrap();
        let own = StoredOwnBundle::new(datastore.clone(), authority.trust_domain().clone());
        let endpoint = BundleEndpoint::new(Arc::new(own), tls, Ttl::from_minutes(5));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let token = shutdown.clone();
        tokio::spawn(async move { endpoint.serve(listener, token).await });

        let cache = EntryCache::load(datastore.clone(), authority.trust_domain().clone()).await.unwrap();
        let store = Arc::new(StoredFederation::new(datastore.clone(), Arc::new(cache)));
        let rng = Box::new(ChaCha8Rng::seed_from_u64(1));
        let (driver, handle) = Federation::new(vec![], store, Fetcher::new(provider, time), clock, rng);
        tokio::spawn(driver.run(shutdown.clone()));
        Self { authority, datastore, handle, url, _running: shutdown.drop_guard() }
    }

    fn relationship(&self) -> FederationRelationship {
        FederationRelationship {
            trust_domain: self.authority.trust_domain().clone(),
            bundle_endpoint_url: self.url.clone(),
            profile: EndpointProfile::HttpsSpiffe {
                endpoint_id: self.authority.trust_domain().join("/spire/server").unwrap(),
            },
        }
    }

    /// Waits until as many roots of `other` are at hand.
    async fn knows_roots(&self, other: &Self, count: usize) {
        loop {
            let bundle = self.datastore.fetch_bundle(other.authority.trust_domain()).await.unwrap();
            if bundle.is_some_and(|bundle| bundle.x509_authorities.len() == count) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn add_root(&self) {
        let another = TestAuthority::new(self.authority.trust_domain().as_str());
        let roots = another.bundle().x509_authorities;
        self.datastore.append_bundle(self.authority.trust_domain(), roots, vec![]).await.unwrap();
    }
}

#[tokio::test]
async fn two_trust_domains_are_bootstrapped_and_follow_each_other() {
    let (broker, market) = (Domain::start("broker.example").await, Domain::start("stockmarket.example").await);
    for (here, there) in [(&broker, &market), (&market, &broker)] {
        here.datastore.create_relationship(there.relationship(), None).await.unwrap();
        // The endpoint has more by now than what is carried over by hand.
        there.add_root().await;
        here.datastore.set_bundle(there.authority.bundle()).await.unwrap();
        here.knows_roots(there, 2).await;
    }
    market.add_root().await;
    broker.handle.refresh(market.authority.trust_domain()).await.unwrap();
    broker.knows_roots(&market, 3).await;
}
