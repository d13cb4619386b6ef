use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use spiffe_core::x509::{Certificate, verify_svid};
use spiffe_core::{Bundle, BundleSet, JwtAuthority, PrivateKey, Timestamp, Ttl, X509Authority};
use spire_ca::upstream::{DiskUpstream, DiskUpstreamConfig};
use spire_ca::{AuthorityId, SelfSignedCaParams, X509SvidParams, mint_self_signed_ca, mint_x509_svid};
use spire_datastore::{CaJournal, SqliteStore};
use spire_keymanager::testing::{self, FailingKeyManager};
use spire_keymanager::{KeyId, MemoryKeyManager};
use spire_runtime::SimClock;
use spire_types::ErrorKind;

use super::*;

mod chain;
mod upstream;

const START: Timestamp = Timestamp::from_unix(1_790_000_000);

/// One server's surroundings, which outlive it.
struct World {
    key_manager: Arc<dyn KeyManager>,
    datastore: Arc<dyn DataStore>,
    clock: Arc<dyn Clock>,
    upstream: Option<Arc<dyn UpstreamAuthority>>,
    seed: u64,
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

impl World {
    async fn new() -> Self {
        Self::with(Arc::new(MemoryKeyManager::new())).await
    }

    async fn with(key_manager: Arc<dyn KeyManager>) -> Self {
        let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
        let clock = Arc::new(SimClock::starting_at(START));
        Self { key_manager, datastore, clock, upstream: None, seed: 0 }
    }

    async fn start(&mut self) -> Result<(AuthorityHandle, Tasks), AuthorityError> {
        // Each start draws other numbers.
        self.seed += 1;
        let parts = AuthorityParts {
            key_manager: Arc::clone(&self.key_manager),
            datastore: Arc::clone(&self.datastore),
            clock: Arc::clone(&self.clock),
            rng: Box::new(ChaCha20Rng::seed_from_u64(self.seed)),
            composers: Composers::default(),
            upstream: self.upstream.clone(),
            metrics: Metrics::disabled(),
        };
        let tasks = Tasks::new();
        let handle = start(AuthorityConfig::new(trust_domain()), parts, &tasks).await?;
        Ok((handle, tasks))
    }

    async fn bundle(&self) -> Bundle {
        self.datastore.fetch_bundle(&trust_domain()).await.unwrap().unwrap()
    }

    /// Mints an SVID and verifies it against the bundle.
    async fn prove(&self, handle: &AuthorityHandle) -> usize {
        let (id, key) = (trust_domain().join("/a").unwrap(), testing::key(5));
        let params = X509SvidParams {
            spiffe_id: &id,
            public_key: key.public_key(),
            ttl: Ttl::from_hours(1),
            dns_names: &[],
            subject: None,
        };
        let now = self.clock.now();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let minted = mint_x509_svid(&handle.current(), &params, now, &mut rng).await.unwrap();
        let chain: Vec<_> = minted.chain().iter().map(|der| Certificate::from_der(der).unwrap()).collect();
        let bundles: BundleSet = [self.bundle().await].into_iter().collect();
        assert_eq!(verify_svid(&chain, &bundles, now).unwrap(), id);
        let jwt = handle.current().jwt().unwrap().id().clone();
        assert!(self.bundle().await.jwt_authority(jwt.as_str()).is_some());
        chain.len()
    }
}

async fn stop(tasks: Tasks) {
    tasks.shutdown(Duration::from_secs(5)).await.unwrap();
}

fn names(handle: &AuthorityHandle) -> (AuthorityId, AuthorityId) {
    let current = handle.current();
    (current.x509().id().clone(), current.jwt().unwrap().id().clone())
}

#[tokio::test(start_paused = true)]
async fn the_first_authorities_are_published_and_journaled_before_the_server_is_up() {
    let mut world = World::new().await;
    let (handle, tasks) = world.start().await.unwrap();
    assert_eq!(world.prove(&handle).await, 1);
    let journals = world.datastore.list_ca_journals().await.unwrap();
    assert_eq!(journals.len(), 1);
    assert_eq!(journals[0].active_x509_authority_id, names(&handle).0.as_str());
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_with_the_same_authorities() {
    let mut world = World::new().await;
    let (handle, tasks) = world.start().await.unwrap();
    stop(tasks).await;
    let (again, tasks) = world.start().await.unwrap();
    assert_eq!(names(&handle), names(&again));
    assert_eq!(world.bundle().await.x509_authorities.len(), 1);
    assert_eq!(world.datastore.list_ca_journals().await.unwrap().len(), 1);
    world.prove(&again).await;
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn with_other_keys_another_root_joins_the_bundle() {
    let mut world = World::new().await;
    let (handle, tasks) = world.start().await.unwrap();
    stop(tasks).await;
    world.key_manager = Arc::new(MemoryKeyManager::new());
    let (other, tasks) = world.start().await.unwrap();
    assert_ne!(names(&handle), names(&other));
    assert_eq!(world.bundle().await.x509_authorities.len(), 2);
    assert_eq!(world.datastore.list_ca_journals().await.unwrap().len(), 2);
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn time_alone_rotates_both_and_old_svids_still_verify() {
    let mut world = World::new().await;
    let (handle, tasks) = world.start().await.unwrap();
    let first = names(&handle);
    let mut watch = handle.watch();
    while names(&handle).0 == first.0 || names(&handle).1 == first.1 {
        watch.changed().await.unwrap();
    }
    let now = world.clock.now();
    assert!(now >= START + Ttl::from_hours(20) && now < START + Ttl::from_hours(24), "{now}");
    let bundle = world.bundle().await;
    assert_eq!((bundle.x509_authorities.len(), bundle.jwt_authorities.len()), (2, 2));
    world.prove(&handle).await;
    let states = handle.states(Kind::X509).await.unwrap();
    assert_eq!(states.old.unwrap().id, first.0);
    stop(tasks).await;
    let second = names(&handle);
    let (again, tasks) = world.start().await.unwrap();
    assert_eq!(names(&again), second);
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_been_over_for_a_day_leaves_the_bundle() {
    let mut world = World::new().await;
    let (handle, tasks) = world.start().await.unwrap();
    let first = names(&handle).0;
    world.clock.sleep_until(START + Ttl::from_hours(24 * 3)).await;
    // The sleeper wakes with the driver; what is due now may still be under way.
    handle.states(Kind::X509).await.unwrap();
    let bundle = world.bundle().await;
    assert!(bundle.x509_roots().all(|root| AuthorityId::of_certificate(root) != first));
    world.prove(&handle).await;
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_first_authority_does_not_start() {
    let key_manager = Arc::new(FailingKeyManager::new());
    let mut world = World::with(key_manager.clone()).await;
    key_manager.fail_to_generate(1);
    assert!(matches!(world.start().await, Err(AuthorityError::KeyManager(_))));
    key_manager.fail_to_sign(1);
    assert!(matches!(world.start().await, Err(AuthorityError::Ca(_))));
    let (_, tasks) = world.start().await.unwrap();
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn later_failures_are_tried_again_until_they_end() {
    let key_manager = Arc::new(FailingKeyManager::new());
    let mut world = World::with(key_manager.clone()).await;
    let (handle, tasks) = world.start().await.unwrap();
    key_manager.fail_to_generate(500);
    let mut watch = handle.watch();
    world.clock.sleep_until(START + Ttl::from_secs(12 * 3600 + 600)).await;
    assert!(!handle.is_healthy());
    watch.changed().await.unwrap();
    assert!(handle.is_healthy());
    assert!(world.clock.now() < handle.current().x509().not_after());
    world.prove(&handle).await;
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn operators_prepare_activate_taint_and_revoke() {
    let mut world = World::new().await;
    let (handle, tasks) = world.start().await.unwrap();
    let mut watch = handle.watch();
    for kind in [Kind::X509, Kind::Jwt] {
        let first = handle.states(kind).await.unwrap().active.unwrap().id;
        let refused = handle.taint(kind, first.clone()).await.unwrap_err();
        assert_eq!(refused.to_string(), "unable to taint current local authority");
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);

        let second = handle.prepare(kind).await.unwrap().prepared.unwrap().id;
        let states = handle.activate(kind, second.clone()).await.unwrap();
        assert_eq!((states.active.unwrap().id, states.old.unwrap().id), (second, first.clone()));
        assert!(watch.has_changed().unwrap());

        let untainted = handle.revoke(kind, first.clone()).await.unwrap_err();
        assert!(matches!(untainted, AuthorityError::DataStore(_)), "{untainted}");
        watch.mark_unchanged();
        handle.taint(kind, first.clone()).await.unwrap();
        assert!(watch.has_changed().unwrap(), "watchers look whether their SVID is tainted");
        handle.revoke(kind, first).await.unwrap();
    }
    let bundle = world.bundle().await;
    assert_eq!((bundle.x509_authorities.len(), bundle.jwt_authorities.len()), (1, 1));
    world.prove(&handle).await;
    stop(tasks).await;
    assert!(matches!(handle.prepare(Kind::X509).await, Err(AuthorityError::Ended)));
}

#[tokio::test(start_paused = true)]
async fn a_prepared_authority_that_lost_its_key_leaves_no_gap() {
    let key_manager = Arc::new(FailingKeyManager::new());
    let mut world = World::with(key_manager.clone()).await;
    let (handle, tasks) = world.start().await.unwrap();
    handle.prepare(Kind::X509).await.unwrap();
    // The next one's key is made, over the prepared one's, and then it does not sign.
    key_manager.fail_to_sign(1);
    handle.prepare(Kind::X509).await.unwrap_err();
    assert_eq!(handle.states(Kind::X509).await.unwrap().prepared, None);

    handle.prepare(Kind::X509).await.unwrap();
    // Somebody else's hands in the key manager.
    world.key_manager.generate_key(&KeyId::new("x509-CA-B").unwrap(), KeyType::EcP256).await.unwrap();
    let first = names(&handle).0;
    let mut watch = handle.watch();
    while names(&handle).0 == first {
        watch.changed().await.unwrap();
    }
    assert!(world.clock.now() < START + Ttl::from_hours(24));
    world.prove(&handle).await;
    stop(tasks).await;
}

/// A root and its key, as files.
async fn disk_upstream(directory: &std::path::Path, key: &PrivateKey) -> Arc<dyn UpstreamAuthority> {
    let subject = DistinguishedName::default_ca();
    let trust_domain = trust_domain();
    let params = SelfSignedCaParams { trust_domain: &trust_domain, subject: &subject, ttl: Ttl::from_hours(24 * 365) };
    let mut rng = ChaCha20Rng::seed_from_u64(99);
    let root = mint_self_signed_ca(&params, &Composers::default(), key, START, &mut rng).await.unwrap();
    let config = DiskUpstreamConfig {
        cert_file_path: directory.join("root.pem"),
        key_file_path: directory.join("root.key"),
        bundle_file_path: None,
    };
    std::fs::write(&config.cert_file_path, root.to_pem()).unwrap();
    std::fs::write(&config.key_file_path, key.to_pkcs8_pem().as_str()).unwrap();
    Arc::new(DiskUpstream::open(trust_domain, config, START, &mut rng).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn signed_upstream_the_root_is_theirs_and_is_not_tainted_here() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    world.upstream = Some(disk_upstream(directory.path(), &testing::key(4)).await);
    let (handle, tasks) = world.start().await.unwrap();
    assert_eq!(world.prove(&handle).await, 2, "the CA itself is part of the chain");
    let root = AuthorityId::of_public_key(testing::key(4).public_key());
    assert_eq!(AuthorityId::of_certificate(&world.bundle().await.x509_authorities[0].certificate), root);

    let active = handle.states(Kind::X509).await.unwrap().active.unwrap();
    assert_eq!(active.upstream_authority_id, root.as_str());
    let refused = handle.taint(Kind::X509, active.id).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    stop(tasks).await;
    let first = names(&handle);
    let (again, tasks) = world.start().await.unwrap();
    assert_eq!(names(&again), first);
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn journals_of_servers_long_gone_are_pruned_and_a_lost_one_is_stored_anew() {
    let mut world = World::new().await;
    let (_, tasks) = world.start().await.unwrap();
    stop(tasks).await;
    world.key_manager = Arc::new(MemoryKeyManager::new());
    let (handle, tasks) = world.start().await.unwrap();
    let own = |journals: Vec<CaJournal>, handle: &AuthorityHandle| {
        journals.into_iter().find(|journal| journal.active_x509_authority_id == names(handle).0.as_str())
    };
    let journal = own(world.datastore.list_ca_journals().await.unwrap(), &handle).unwrap();
    world.datastore.delete_ca_journal(journal.id).await.unwrap();
    let mut watch = handle.watch();
    watch.changed().await.unwrap();
    world.clock.sleep(Duration::from_secs(60)).await;
    assert!(own(world.datastore.list_ca_journals().await.unwrap(), &handle).is_some());
    world.clock.sleep_until(START + Ttl::from_hours(24 * 16)).await;
    handle.states(Kind::X509).await.unwrap();
    assert_eq!(world.datastore.list_ca_journals().await.unwrap().len(), 1);
    stop(tasks).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_command_has_answered_is_in_the_journal() {
    let mut world = World::new().await;
    let (handle, tasks) = world.start().await.unwrap();
    for _ in 0..3 {
        let prepared = handle.prepare(Kind::X509).await.unwrap().prepared.unwrap().id;
        handle.activate(Kind::X509, prepared.clone()).await.unwrap();
        let journals = world.datastore.list_ca_journals().await.unwrap();
        assert!(journals.iter().any(|journal| journal.active_x509_authority_id == prepared.as_str()));
    }
    stop(tasks).await;
}
