//! Servers below servers, four levels deep: what the API of each answers to the one below.

use async_trait::async_trait;
use spiffe_core::x509::Csr;
use spire_ca::upstream::{UpstreamCa, follow};
use spire_ca::{DownstreamCaParams, Error, mint_downstream_ca};

use super::*;

/// A server, as the one below it sees it.
#[derive(Debug)]
struct Above {
    handle: AuthorityHandle,
    datastore: Arc<dyn DataStore>,
    upstream: Option<Arc<dyn UpstreamAuthority>>,
}

#[async_trait]
impl UpstreamAuthority for Above {
    async fn mint_x509_ca(
        &self,
        csr: &[u8],
        preferred_ttl: Ttl,
        now: Timestamp,
        rng: &mut (dyn CryptoRng + Send),
    ) -> Result<UpstreamCa, Error> {
        let csr = Csr::from_der(csr)?;
        let params = DownstreamCaParams { public_key: csr.public_key(), ttl: preferred_ttl };
        let minted = mint_downstream_ca(&self.handle.current(), &params, now, rng).await?;
        let chain = minted.chain().iter().map(|der| Certificate::from_der(der).unwrap()).collect();
        Ok(UpstreamCa { chain, roots: self.fetch_bundle().await?.x509_authorities })
    }

    async fn publish_jwt_key(&self, key: &JwtAuthority) -> Result<Option<Vec<JwtAuthority>>, Error> {
        if let Some(upstream) = &self.upstream {
            upstream.publish_jwt_key(key).await?;
        }
        let (stored, _) = self.datastore.append_bundle(&trust_domain(), Vec::new(), vec![key.clone()]).await.unwrap();
        Ok(Some(stored.jwt_authorities))
    }

    fn has_bundle(&self) -> bool {
        true
    }

    async fn fetch_bundle(&self) -> Result<Bundle, Error> {
        Ok(self.datastore.fetch_bundle(&trust_domain()).await.unwrap().unwrap())
    }
}

struct Level {
    world: World,
    handle: AuthorityHandle,
    tasks: Tasks,
}

impl Level {
    async fn start(mut world: World) -> Self {
        let (handle, tasks) = world.start().await.unwrap();
        Self { world, handle, tasks }
    }

    async fn below(&self, number: u64) -> Self {
        let mut world = World::new().await;
        world.seed = 100 * number;
        world.clock = Arc::clone(&self.world.clock);
        let (handle, datastore) = (self.handle.clone(), Arc::clone(&self.world.datastore));
        world.upstream = Some(Arc::new(Above { handle, datastore, upstream: self.world.upstream.clone() }));
        Self::start(world).await
    }

    /// Whether what it signs is below something that its own agents are told is tainted.
    async fn signs_below_tainted(&self) -> bool {
        let ca = Arc::clone(self.handle.current().x509());
        follow::is_below_tainted(ca.upstream_chain(), &self.world.bundle().await)
    }

    async fn roots(&self) -> Vec<X509Authority> {
        self.world.bundle().await.x509_authorities
    }

    /// Mints an SVID that all others accept.
    async fn prove_at(&self, levels: &[Self]) {
        let (id, key) = (trust_domain().join("/a").unwrap(), testing::key(5));
        let (public_key, ttl) = (key.public_key(), Ttl::from_hours(1));
        let params = X509SvidParams { spiffe_id: &id, public_key, ttl, dns_names: &[], subject: None };
        let (now, mut rng) = (self.world.clock.now(), ChaCha20Rng::seed_from_u64(1));
        let minted = mint_x509_svid(&self.handle.current(), &params, now, &mut rng).await.unwrap();
        let chain: Vec<_> = minted.chain().iter().map(|der| Certificate::from_der(der).unwrap()).collect();
        for level in levels {
            assert_eq!(verify_svid(&chain, &BundleSet::from_iter([level.world.bundle().await]), now).unwrap(), id);
        }
    }
}

/// A look at the bundle above, and one more until what it told of is passed on.
fn passed_down(levels: &[Level]) -> u64 {
    2 * follow::EVERY.as_secs() * levels.len() as u64
}

#[tokio::test(start_paused = true)]
async fn a_taint_reaches_agents_at_every_level_only_once_nothing_is_signed_below_it() {
    let mut levels = vec![Level::start(World::new().await).await];
    for number in 1..5 {
        let level = levels.last().unwrap().below(number).await;
        levels.push(level);
    }
    let root = levels[0].handle.clone();
    let clock = Arc::clone(&levels[0].world.clock);
    let old = root.current().x509().id().clone();
    let new = root.prepare(Kind::X509).await.unwrap().prepared.unwrap().id;
    clock.sleep(Ttl::from_secs(passed_down(&levels)).into()).await;
    root.activate(Kind::X509, new).await.unwrap();
    root.taint(Kind::X509, old.clone()).await.unwrap();

    for _ in 0..passed_down(&levels) {
        clock.sleep(Duration::from_secs(1)).await;
        for (depth, level) in levels.iter().enumerate() {
            assert!(!level.signs_below_tainted().await, "depth {depth} at {}", clock.now());
            level.prove_at(&levels).await;
        }
    }
    for level in &levels {
        assert_eq!(level.roots().await.iter().filter(|root| root.tainted).count(), 1);
    }
    root.revoke(Kind::X509, old).await.unwrap();
    for _ in 0..passed_down(&levels) {
        clock.sleep(Duration::from_secs(1)).await;
        for level in &levels {
            level.prove_at(&levels).await;
        }
    }
    for level in levels {
        assert_eq!(level.roots().await.len(), 1);
        stop(level.tasks).await;
    }
}
