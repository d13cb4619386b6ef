use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use spiffe_core::testing::TestAuthority;
use spire_api::proto::types::federation_relationship::BundleEndpointProfile as Profile;
use spire_datastore::{Bundles as _, SqliteStore};
use spire_federation::fetch::Fetcher;
use spire_runtime::{SystemClock, rustls_time};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::entries::EntryCache;
use crate::federation::{Federation, StoredFederation};

struct World {
    service: TrustDomainService,
    datastore: Arc<SqliteStore>,
    _driver: DropGuard,
}

async fn world() -> World {
    let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
    let clock = Arc::new(SystemClock);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let fetcher = Fetcher::new(provider, rustls_time(clock.clone()));
    let own = TrustDomain::parse("example.org").unwrap();
    let cache = Arc::new(EntryCache::load(datastore.clone(), own.clone()).await.unwrap());
    let store = Arc::new(StoredFederation::new(datastore.clone(), cache));
    let rng = Box::new(ChaCha8Rng::seed_from_u64(1));
    let (driver, handle) = Federation::new(Vec::new(), store, fetcher, clock, rng);
    let shutdown = CancellationToken::new();
    tokio::spawn(driver.run(shutdown.clone()));
    let service = TrustDomainService::new(own, datastore.clone(), handle);
    World { service, datastore, _driver: shutdown.drop_guard() }
}

fn wire() -> types::FederationRelationship {
    types::FederationRelationship {
        trust_domain: "other.org".into(),
        // A port that nobody listens on.
        bundle_endpoint_url: "https://127.0.0.1:1/".into(),
        bundle_endpoint_profile: Some(Profile::HttpsSpiffe(types::HttpsspiffeProfile {
            endpoint_spiffe_id: "spiffe://other.org/spire/server".into(),
        })),
        trust_domain_bundle: None,
    }
}

fn said_in(status: Option<types::Status>) -> (i32, String) {
    let status = status.unwrap();
    (status.code, status.message)
}

impl World {
    async fn create(&self, relationship: types::FederationRelationship) -> (i32, String) {
        let request = BatchCreateFederationRelationshipRequest {
            federation_relationships: vec![relationship],
            output_mask: None,
        };
        let answer = self.service.batch_create_federation_relationship(Request::new(request)).await.unwrap();
        said_in(answer.into_inner().results.remove(0).status)
    }

    async fn update(
        &self,
        relationship: types::FederationRelationship,
        input_mask: Option<Mask>,
    ) -> batch_update_federation_relationship_response::Result {
        let federation_relationships = vec![relationship];
        let request =
            BatchUpdateFederationRelationshipRequest { federation_relationships, input_mask, output_mask: None };
        let answer = self.service.batch_update_federation_relationship(Request::new(request)).await.unwrap();
        answer.into_inner().results.remove(0)
    }

    async fn get(&self, trust_domain: &str) -> Result<types::FederationRelationship, (Code, String)> {
        let request = GetFederationRelationshipRequest { trust_domain: trust_domain.into(), output_mask: None };
        let answer = self.service.get_federation_relationship(Request::new(request)).await;
        answer.map(Response::into_inner).map_err(|status| (status.code(), status.message().to_owned()))
    }

    async fn refresh(&self, trust_domain: &str) -> (Code, String) {
        let request = Request::new(RefreshBundleRequest { trust_domain: trust_domain.into() });
        let refused = self.service.refresh_bundle(request).await.unwrap_err();
        (refused.code(), refused.message().to_owned())
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_in_spires_words() {
    type Change = fn(&mut types::FederationRelationship);
    let world = world().await;
    let table: &[(Change, &str)] = &[
        (|r| r.bundle_endpoint_url = "http://other.org".into(), "bundle endpoint URL must use the https scheme"),
        (|r| r.bundle_endpoint_url = "https:///x".into(), "bundle endpoint URL must specify the host"),
        (|r| r.bundle_endpoint_url = "https://me@other.org".into(), "bundle endpoint URL must not contain user info"),
        (|r| r.bundle_endpoint_profile = None, "unsupported bundle endpoint profile type: <nil>"),
        (
            |r| {
                r.trust_domain_bundle =
                    Some(types::Bundle { trust_domain: "third.org".into(), ..types::Bundle::default() });
            },
            "trust domain bundle (\"third.org\") must match the trust domain of the federation relationship \
             (\"other.org\")",
        ),
    ];
    for (change, rule) in table {
        let mut relationship = wire();
        change(&mut relationship);
        let refusal = (3, format!("failed to convert federation relationship: {rule}"));
        assert_eq!(world.create(relationship.clone()).await, refusal);
        assert_eq!(said_in(world.update(relationship, None).await.status), refusal);
    }
    let own = types::FederationRelationship { trust_domain: "example.org".into(), ..wire() };
    let refusal = "unable to create federation relationship for server trust domain";
    assert_eq!(world.create(own).await, (3, refusal.into()));
    assert!(world.get("Other").await.unwrap_err().1.starts_with("failed to parse trust domain: "));
}

#[tokio::test]
async fn a_relationship_lives_from_creation_to_deletion() {
    let world = world().await;
    let unknown = "failed to update federation relationship: unable to fetch federation relationship: record not found";
    assert_eq!(said_in(world.update(wire(), None).await.status), (13, unknown.into()));
    assert_eq!(world.create(wire()).await, (0, "OK".into()));
    let twice = "failed to create federation relationship: datastore-sql: UNIQUE constraint failed: \
                 federated_trust_domains.trust_domain";
    assert_eq!(world.create(wire()).await, (13, twice.into()));
    assert_eq!(world.get("spiffe://other.org").await.unwrap(), wire());

    let bundle = convert::bundle::to_proto(&TestAuthority::new("other.org").bundle(), None);
    let web = types::FederationRelationship {
        bundle_endpoint_profile: Some(Profile::HttpsWeb(types::HttpsWebProfile {})),
        trust_domain_bundle: Some(bundle.clone()),
        ..wire()
    };
    let mask = Mask { bundle_endpoint_profile: true, ..Mask::default() };
    let masked = world.update(web.clone(), Some(mask)).await.federation_relationship.unwrap();
    assert_eq!(masked, types::FederationRelationship { trust_domain_bundle: None, ..web.clone() });
    assert_eq!(world.update(web.clone(), None).await.federation_relationship.unwrap(), web);
    assert_eq!(world.get("other.org").await.unwrap(), web);

    let list = ListFederationRelationshipsRequest { page_size: 1, ..ListFederationRelationshipsRequest::default() };
    let listed = world.service.list_federation_relationships(Request::new(list)).await.unwrap().into_inner();
    assert_eq!(listed.federation_relationships, [web]);

    let trust_domains = ["other.org", "spiffe://other.org", "", "Other"].map(str::to_owned).to_vec();
    let request = BatchDeleteFederationRelationshipRequest { trust_domains };
    let answer = world.service.batch_delete_federation_relationship(Request::new(request)).await.unwrap();
    let outcomes: Vec<_> =
        answer.into_inner().results.into_iter().map(|r| (r.trust_domain, r.status.unwrap())).collect();
    assert_eq!(outcomes[0], ("other.org".into(), batch_ok()));
    let missing = types::Status { code: 5, message: "federation relationship not found".into() };
    assert_eq!(outcomes[1], ("other.org".into(), missing));
    assert_eq!(outcomes[2], (String::new(), types::Status { code: 3, message: "missing trust domain".into() }));
    assert_eq!((outcomes[3].0.as_str(), outcomes[3].1.code), ("Other", 3));
    let gone = "federation relationship does not exist";
    assert_eq!(world.get("other.org").await, Err((Code::NotFound, gone.into())));
    assert!(world.datastore.fetch_bundle(&TrustDomain::parse("other.org").unwrap()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_refresh_tells_how_the_fetch_went() {
    let world = world().await;
    let unknown = "no relationship with trust domain \"other.org\"";
    assert_eq!(world.refresh("other.org").await, (Code::NotFound, unknown.into()));
    world.create(wire()).await;
    let failed = tokio::time::timeout(Duration::from_secs(20), world.refresh("other.org")).await.unwrap();
    assert_eq!(failed.0, Code::Internal);
    assert!(failed.1.starts_with("failed to refresh bundle: "), "{}", failed.1);
    assert!(world.refresh("Other").await.1.starts_with("failed to parse trust domain: "));
}
