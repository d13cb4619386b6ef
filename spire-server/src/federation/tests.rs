use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use spiffe_core::{
    SpiffeId,
    testing::TestAuthority,
    tls::{Live, Settings, TlsIdentity},
};
use spire_federation::{
    fetch::{Connection, Connector},
    serve::{BundleEndpoint, OwnBundle, https_spiffe},
};
use spire_runtime::{
    SimClock, rustls_time,
    telemetry::{PrometheusConfig, TelemetryConfig},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::*;

const START: Timestamp = Timestamp::from_unix(1_800_000_000);

#[derive(Debug, Default)]
struct MemoryStore {
    state: Mutex<State>,
    changed: Notify,
    down: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    relationships: Vec<FederationRelationship>,
    bundles: BundleSet,
    pending: Changed,
    writes: u32,
}

impl MemoryStore {
    /// What an administrator does.
    fn set_relationships(&self, relationships: &[FederationRelationship]) {
        let mut state = self.state.lock().unwrap();
        state.relationships = relationships.to_vec();
        state.pending.relationships = true;
        self.changed.notify_one();
    }

    /// What an administrator does.
    fn set_bundle(&self, bundle: Bundle) {
        let mut state = self.state.lock().unwrap();
        state.pending.bundles.push(bundle.trust_domain.clone());
        state.bundles.insert(bundle);
        self.changed.notify_one();
    }

    fn stored(&self, authority: &TestAuthority) -> Option<Arc<Bundle>> {
        self.state.lock().unwrap().bundles.get(authority.trust_domain()).cloned()
    }

    fn writes(&self) -> u32 {
        self.state.lock().unwrap().writes
    }
}

#[async_trait]
impl FederationStore for MemoryStore {
    async fn relationships(&self) -> Result<Vec<FederationRelationship>, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err("store is down".into());
        }
        Ok(self.state.lock().unwrap().relationships.clone())
    }

    async fn bundle(&self, trust_domain: &TrustDomain) -> Result<Option<Arc<Bundle>>, StoreError> {
        Ok(self.state.lock().unwrap().bundles.get(trust_domain).cloned())
    }

    async fn replace_bundle(&self, fetched: Bundle, replaced: Option<Arc<Bundle>>) -> Result<bool, StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.bundles.get(&fetched.trust_domain) != replaced.as_ref() {
            return Ok(false);
        }
        state.bundles.insert(fetched);
        state.writes += 1;
        Ok(true)
    }

    async fn changed(&self) -> Changed {
        loop {
            let changed = std::mem::take(&mut self.state.lock().unwrap().pending);
            if changed != Changed::default() {
                return changed;
            }
            self.changed.notified().await;
        }
    }
}

/// Endpoints by host name, reached in memory.
#[derive(Debug, Default)]
struct Network {
    endpoints: Mutex<BTreeMap<String, Behaviour>>,
    connections: AtomicU32,
}

#[derive(Debug, Clone)]
enum Behaviour {
    Serves(BundleEndpoint),
    Stalls,
}

#[async_trait]
impl Connector for Network {
    async fn connect(&self, host: &str, _: u16) -> io::Result<Box<dyn Connection>> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let behaviour = self.endpoints.lock().unwrap().get(host).cloned();
        let (near, far) = tokio::io::duplex(16 * 1024);
        match behaviour {
            Some(Behaviour::Serves(endpoint)) => {
                tokio::spawn(async move { endpoint.serve_connection(far, "test").await });
            }
            Some(Behaviour::Stalls) => {
                tokio::spawn(async move {
                    sleep(Duration::from_secs(100_000)).await;
                    drop(far);
                });
            }
            None => return Err(io::Error::other("no such host")),
        }
        Ok(Box::new(near))
    }
}

#[derive(Debug)]
struct Served(Bundle);

#[async_trait]
impl OwnBundle for Served {
    async fn own_bundle(&self) -> Result<Arc<Bundle>, StoreError> {
        Ok(Arc::new(self.0.clone()))
    }
}

/// A server that federates, and what is around it.
struct World {
    clock: Arc<SimClock>,
    store: Arc<MemoryStore>,
    network: Arc<Network>,
    handle: FederationHandle,
    metrics: Metrics,
    shutdown: CancellationToken,
}

impl World {
    fn new(configured: &[FederationRelationship], store: MemoryStore) -> Self {
        let clock = Arc::new(SimClock::starting_at(START));
        let (store, network) = (Arc::new(store), Arc::new(Network::default()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let fetcher = Fetcher::new(provider, rustls_time(clock.clone())).with_connector(network.clone());
        let rng = Box::new(ChaCha8Rng::seed_from_u64(1));
        let (driver, handle) = Federation::new(configured.to_vec(), store.clone(), fetcher, clock.clone(), rng);
        let metrics = {
            let prometheus = Some(PrometheusConfig { host: "127.0.0.1".to_owned(), port: 9 });
            Metrics::new(&TelemetryConfig { prometheus, ..TelemetryConfig::new("spire_server") }, "host", "here.org")
        };
        let shutdown = CancellationToken::new();
        tokio::spawn(driver.with_metrics(metrics.clone()).run(shutdown.clone()));
        Self { clock, store, network, handle, metrics, shutdown }
    }

    fn serve(&self, host: &str, authority: &TestAuthority, bundle: Bundle) {
        let identity = TlsIdentity::from(&*authority.svid("/spire/server"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = Settings::new(provider, rustls_time(self.clock.clone()));
        let tls = https_spiffe::server_config(Live::new(Some(identity), BundleSet::default()), &settings).unwrap();
        let endpoint = BundleEndpoint::new(Arc::new(Served(bundle)), tls, Ttl::from_minutes(5));
        self.network.endpoints.lock().unwrap().insert(host.to_owned(), Behaviour::Serves(endpoint));
    }

    fn stall(&self, host: &str) {
        self.network.endpoints.lock().unwrap().insert(host.to_owned(), Behaviour::Stalls);
    }

    fn connections(&self) -> u32 {
        self.network.connections.load(Ordering::SeqCst)
    }

    /// Time for what is due at once.
    async fn settle(&self) {
        sleep(Duration::from_millis(10)).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn relationship(trust_domain: &str, host: &str) -> FederationRelationship {
    relationship_by(trust_domain, host, trust_domain)
}

fn relationship_by(trust_domain: &str, host: &str, endpoint: &str) -> FederationRelationship {
    let endpoint_id = SpiffeId::parse(&format!("spiffe://{endpoint}/spire/server")).unwrap();
    FederationRelationship {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        bundle_endpoint_url: format!("https://{host}/"),
        profile: EndpointProfile::HttpsSpiffe { endpoint_id },
    }
}

fn rotated(authority: &TestAuthority) -> Bundle {
    let mut bundle = authority.bundle();
    bundle.x509_authorities.extend(TestAuthority::new(authority.trust_domain().as_str()).bundle().x509_authorities);
    bundle.sequence_number = 2;
    bundle
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_is_set_makes_the_next_fetch_due_at_once() {
    let far = TestAuthority::new("far.example");
    let world = World::new(&[relationship("far.example", "far")], MemoryStore::default());
    world.serve("far", &far, rotated(&far));
    world.settle().await;
    assert!(world.store.stored(&far).is_none(), "nothing authenticates the endpoint yet");
    world.store.set_bundle(far.bundle());
    world.settle().await;
    assert_eq!(world.store.stored(&far).unwrap().x509_authorities.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn bundles_follow_their_publisher_and_are_written_only_when_they_change() {
    let far = TestAuthority::new("far.example");
    let store = MemoryStore::default();
    store.set_bundle(far.bundle());
    let world = World::new(&[relationship("far.example", "far")], store);
    world.serve("far", &far, Bundle { sequence_number: 1, ..far.bundle() });
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(world.store.writes(), 1);
    let before = world.connections();
    assert!((12..=15).contains(&before), "asked every 75 to 82 s: {before}");
    world.serve("far", &far, rotated(&far));
    sleep(Duration::from_secs(83)).await;
    assert_eq!(world.store.writes(), 2);
    assert_eq!(world.store.stored(&far).unwrap().sequence_number, 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_good_stays_in_use_while_a_peer_misbehaves_and_what_follows_is_taken() {
    let (far, impostor) = (TestAuthority::new("far.example"), TestAuthority::new("far.example"));
    let store = MemoryStore::default();
    store.set_bundle(far.bundle());
    let world = World::new(&[relationship("far.example", "far")], store);
    let interval = Duration::from_secs(180);
    world.serve("far", &far, Bundle { sequence_number: 5, ..far.bundle() });
    sleep(interval).await;
    let good = world.store.stored(&far).unwrap();

    world.serve("far", &far, Bundle { sequence_number: 4, ..impostor.bundle() });
    sleep(interval).await;
    world.serve("far", &impostor, Bundle { sequence_number: 6, ..impostor.bundle() });
    sleep(interval).await;
    world.stall("far");
    sleep(interval).await;
    assert_eq!(world.store.stored(&far).unwrap(), good);
    assert_eq!(world.store.writes(), 1);

    world.serve("far", &far, Bundle { sequence_number: 7, ..rotated(&far) });
    sleep(interval).await;
    assert_eq!(world.store.stored(&far).unwrap().sequence_number, 7);
}

#[tokio::test(start_paused = true)]
async fn a_relationship_that_is_made_is_fetched_at_once() {
    let far = TestAuthority::new("far.example");
    let world = World::new(&[], MemoryStore::default());
    world.serve("far", &far, rotated(&far));
    world.store.set_bundle(far.bundle());
    world.settle().await;
    assert_eq!(world.connections(), 0);
    world.store.set_relationships(&[relationship("far.example", "far")]);
    world.settle().await;
    assert_eq!(world.store.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_is_fetched_at_once_even_if_it_changes_nothing_and_fetches_are_counted() {
    let (far, configured) = (TestAuthority::new("far.org"), [relationship("far.org", "far")]);
    let world = World::new(&configured, MemoryStore::default());
    world.serve("far", &far, far.bundle());
    world.store.set_bundle(far.bundle());
    world.settle().await;
    let before = world.connections();
    world.handle.updated(vec![far.trust_domain().clone()]);
    world.settle().await;
    assert_eq!(world.connections(), before + 1);

    world.network.endpoints.lock().unwrap().clear();
    world.handle.refresh(far.trust_domain()).await.unwrap_err();
    let counted = world.metrics.exposition();
    let fetches = |status: &str| {
        let series =
            counted.lines().filter(|line| line.starts_with("spire_server_bundle_manager_fetch_federated_bundle{"));
        series.filter(|line| line.contains(r#"trust_domain_id="far_org""#) && line.contains(status)).count()
    };
    assert_eq!((fetches(r#"status="OK""#), fetches(r#"status="Unknown""#)), (1, 1), "{counted}");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_waits_for_its_outcome() {
    let far = TestAuthority::new("far.example");
    let store = MemoryStore::default();
    store.set_bundle(far.bundle());
    let world = World::new(&[relationship("far.example", "far")], store);
    let error = world.handle.refresh(far.trust_domain()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("no such host"), "{error}");
    world.serve("far", &far, rotated(&far));
    world.handle.refresh(far.trust_domain()).await.unwrap();
    assert_eq!(world.store.stored(&far).unwrap().sequence_number, 2);
    let error = world.handle.refresh(&TrustDomain::parse("other.example").unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "no relationship with trust domain \"other.example\"");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_knows_a_relationship_made_just_before() {
    let far = TestAuthority::new("far.example");
    let world = World::new(&[], MemoryStore::default());
    world.settle().await;
    world.serve("far", &far, rotated(&far));
    world.store.set_bundle(far.bundle());
    world.store.set_relationships(&[relationship("far.example", "far")]);
    world.handle.refresh(far.trust_domain()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refresh_does_not_wait_for_a_fetch_that_stalls() {
    let far = TestAuthority::new("far.example");
    let store = MemoryStore::default();
    store.set_bundle(far.bundle());
    let world = World::new(&[relationship("far.example", "far")], store);
    world.stall("far");
    world.settle().await;
    world.serve("far", &far, rotated(&far));
    let start = Instant::now();
    world.handle.refresh(far.trust_domain()).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stalls_delays_no_other() {
    let far = TestAuthority::new("far.example");
    let store = MemoryStore::default();
    store.set_bundle(far.bundle());
    let mut relationships = vec![relationship("far.example", "far")];
    for number in 0..100 {
        let name = format!("stalling{number}.example");
        store.set_bundle(Bundle::new(TrustDomain::parse(&name).unwrap()));
        relationships.push(relationship(&name, "stalls"));
    }
    let world = World::new(&relationships, store);
    world.stall("stalls");
    world.serve("far", &far, rotated(&far));
    world.settle().await;
    assert_eq!(world.store.writes(), 1);
    for sequence_number in 3..20 {
        world.serve("far", &far, Bundle { sequence_number, ..rotated(&far) });
        sleep(Duration::from_secs(83)).await;
        assert_eq!(world.store.stored(&far).unwrap().sequence_number, sequence_number);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_configuration_says_counts_before_what_is_stored() {
    let far = TestAuthority::new("far.example");
    let store = MemoryStore::default();
    store.set_bundle(far.bundle());
    store.set_relationships(&[relationship("far.example", "stored")]);
    let world = World::new(&[relationship("far.example", "configured")], store);
    world.serve("configured", &far, rotated(&far));
    world.settle().await;
    assert_eq!(world.store.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_relationship_that_ends_while_it_is_fetched_brings_nothing() {
    let far = TestAuthority::new("far.example");
    let store = MemoryStore::default();
    store.set_bundle(far.bundle());
    store.set_relationships(&[relationship("far.example", "far")]);
    let world = World::new(&[], store);
    world.stall("far");
    world.settle().await;
    let refresh = tokio::spawn({
        let (handle, trust_domain) = (world.handle.clone(), far.trust_domain().clone());
        async move { handle.refresh(&trust_domain).await }
    });
    world.settle().await;
    world.store.set_relationships(&[]);
    let error = refresh.await.unwrap().unwrap_err();
    assert!(matches!(error, RefreshError::NoRelationship(_)), "{error}");
    let before = world.connections();
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(world.connections(), before, "not asked again");
    assert!(world.store.stored(&far).is_some(), "the bundle stays until it is deleted");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_another_trust_domain_is_asked_once_that_ones_bundle_is_here() {
    let (host, far) = (TestAuthority::new("host.example"), TestAuthority::new("far.example"));
    let store = MemoryStore::default();
    let relationships = [relationship_by("far.example", "far", "host.example"), relationship("host.example", "host")];
    let world = World::new(&relationships, store);
    world.serve("far", &host, far.bundle());
    world.serve("host", &host, rotated(&host));
    world.settle().await;
    assert!(world.store.stored(&far).is_none());
    world.store.set_bundle(host.bundle());
    world.settle().await;
    assert!(world.store.stored(&far).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_asked_again_and_delays_no_configured_relationship() {
    let (near, far) = (TestAuthority::new("near.example"), TestAuthority::new("far.example"));
    let store = MemoryStore::default();
    store.set_bundle(near.bundle());
    store.set_bundle(far.bundle());
    store.state.lock().unwrap().pending = Changed::default();
    store.state.lock().unwrap().relationships = vec![relationship("far.example", "far")];
    store.down.store(true, Ordering::SeqCst);
    let world = World::new(&[relationship("near.example", "near")], store);
    world.serve("near", &near, rotated(&near));
    world.serve("far", &far, rotated(&far));
    world.settle().await;
    assert_eq!(world.store.stored(&near).unwrap().sequence_number, 2);
    assert_eq!(world.store.stored(&far).unwrap().sequence_number, 0);
    world.store.down.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(world.store.stored(&far).unwrap().sequence_number, 2);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_has_ended_says_so() {
    let world = World::new(&[], MemoryStore::default());
    world.shutdown.cancel();
    world.settle().await;
    let error = world.handle.refresh(&TrustDomain::parse("far.example").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
