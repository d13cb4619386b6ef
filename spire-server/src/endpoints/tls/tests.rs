use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use spiffe_core::x509::verify_svid;
use spire_ca::Composers;
use spire_ca::rotation::Kind;
use spire_datastore::{DataStore, SqliteStore};
use spire_keymanager::MemoryKeyManager;
use spire_runtime::{SimClock, Tasks};

use super::*;
use crate::authority::{self, AuthorityConfig, AuthorityParts};

const START: Timestamp = Timestamp::from_unix(1_790_000_000);

struct World {
    clock: Arc<dyn Clock>,
    authority: AuthorityHandle,
    live: Live,
    tasks: Tasks,
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

impl World {
    async fn start() -> Self {
        let store: Arc<dyn DataStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SimClock::starting_at(START));
        let tasks = Tasks::new();
        let parts = AuthorityParts {
            key_manager: Arc::new(MemoryKeyManager::new()),
            datastore: Arc::clone(&store),
            clock: Arc::clone(&clock),
            rng: Box::new(ChaCha20Rng::seed_from_u64(1)),
            composers: Composers::default(),
            upstream: None,
            metrics: Metrics::disabled(),
        };
        let authority = authority::start(AuthorityConfig::new(trust_domain()), parts, &tasks).await.unwrap();
        let cache = Arc::new(EntryCache::load(store, trust_domain()).await.unwrap());
        let (ttl, key_type) = (Ttl::from_hours(1), KeyType::EcP256);
        let (handle, entries, time) = (authority.clone(), Arc::clone(&cache), Arc::clone(&clock));
        let identity =
            ServerIdentity::start(&trust_domain(), ttl, key_type, handle, entries, time, Metrics::disabled())
                .await
                .unwrap();
        let live = identity.source();
        tasks.spawn_until_shutdown(identity.run());
        let time = Arc::clone(&clock);
        tasks.spawn_until_shutdown(async move { cache.follow(time.as_ref(), Duration::from_secs(5)).await });
        Self { clock, authority, live, tasks }
    }

    /// What is shown, after making sure that it verifies.
    fn shown(&self) -> Arc<TlsIdentity> {
        let identity = self.live.identity().unwrap();
        let id = verify_svid(identity.chain(), &self.live.bundles(), self.clock.now()).unwrap();
        assert_eq!(id.as_str(), "spiffe://example.org/spire/server");
        identity
    }

    async fn wait(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_svid_is_replaced_past_half_of_its_life() {
    let world = World::start().await;
    let first = world.shown();
    world.wait(29 * 60).await;
    assert!(Arc::ptr_eq(&first, &world.shown()));
    world.wait(2 * 60).await;
    let second = world.shown();
    assert!(second.chain()[0].not_after() > first.chain()[0].not_after());
    assert_ne!(second.chain()[0].public_key(), first.chain()[0].public_key(), "each SVID has a key of its own");
    world.tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_svid_is_replaced_when_its_root_is_tainted_and_not_when_another_ca_is_activated() {
    let world = World::start().await;
    let first = world.shown();
    let old = world.authority.states(Kind::X509).await.unwrap().active.unwrap().id;
    let prepared = world.authority.prepare(Kind::X509).await.unwrap().prepared.unwrap().id;
    world.authority.activate(Kind::X509, prepared).await.unwrap();
    world.wait(60).await;
    assert!(Arc::ptr_eq(&first, &world.shown()), "agents that have not met the new root yet go on connecting");
    world.authority.taint(Kind::X509, old).await.unwrap();
    world.wait(60).await;
    let second = world.shown();
    assert_ne!(second.chain()[0].authority_key_id(), first.chain()[0].authority_key_id());
    world.tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}
