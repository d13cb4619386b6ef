use spiffe_core::testing::TestAuthority;
use spiffe_core::{SpiffeId, Ttl};
use spire_datastore::{Bundles as _, Entries as _, SqliteStore};
use spire_types::{EntryId, RegistrationEntry};

use super::*;
use crate::caller::Caller;
use crate::ratelimit::RateLimits;

struct World {
    service: BundleService,
    datastore: Arc<SqliteStore>,
    own: TestAuthority,
    other: TestAuthority,
}

async fn world() -> World {
    let (own, other) = (TestAuthority::new("example.org"), TestAuthority::new("other.org"));
    let trust_domain = own.trust_domain().clone();
    let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
    let cache = Arc::new(EntryCache::load(datastore.clone(), trust_domain.clone()).await.unwrap());
    let stored = Arc::new(StoredOwnBundle::new(datastore.clone(), trust_domain.clone()));
    let limits = Arc::new(RateLimiters::new(
        RateLimits { attestation: true, signing: true },
        &spire_runtime::telemetry::Metrics::disabled(),
    ));
    let service = BundleService::new(trust_domain, datastore.clone(), stored, cache, None, limits);
    World { service, datastore, own, other }
}

fn said(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

fn said_in(status: Option<types::Status>) -> (i32, String) {
    let status = status.unwrap();
    (status.code, status.message)
}

impl World {
    fn wire(&self) -> types::Bundle {
        convert::bundle::to_proto(&self.other.bundle(), None)
    }

    async fn set(&self, bundle: types::Bundle) -> (i32, String) {
        let request = BatchSetFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
        let answer = self.service.batch_set_federated_bundle(Request::new(request)).await.unwrap();
        said_in(answer.into_inner().results.remove(0).status)
    }

    async fn create(&self, bundle: types::Bundle) -> (i32, String) {
        let request = BatchCreateFederatedBundleRequest { bundle: vec![bundle], output_mask: None };
        let answer = self.service.batch_create_federated_bundle(Request::new(request)).await.unwrap();
        said_in(answer.into_inner().results.remove(0).status)
    }

    async fn update(&self, bundle: types::Bundle, input_mask: Option<types::BundleMask>) -> (i32, String) {
        let request = BatchUpdateFederatedBundleRequest { bundle: vec![bundle], input_mask, output_mask: None };
        let answer = self.service.batch_update_federated_bundle(Request::new(request)).await.unwrap();
        said_in(answer.into_inner().results.remove(0).status)
    }

    async fn delete(&self, trust_domain: &str, mode: Mode) -> (i32, String) {
        let trust_domains = vec![trust_domain.to_owned()];
        let request = BatchDeleteFederatedBundleRequest { trust_domains, mode: mode.into() };
        let answer = self.service.batch_delete_federated_bundle(Request::new(request)).await.unwrap();
        said_in(answer.into_inner().results.remove(0).status)
    }

    async fn append(&self, request: AppendBundleRequest) -> Result<types::Bundle, Status> {
        self.service.append_bundle(Request::new(request)).await.map(Response::into_inner)
    }
}

#[tokio::test]
async fn the_own_bundle_is_shown_as_it_is_after_each_write() {
    let world = world().await;
    let get = async || world.service.get_bundle(Request::new(GetBundleRequest { output_mask: None })).await;
    assert_eq!(said(&get().await.unwrap_err()), (Code::NotFound, "bundle not found"));
    let own = convert::bundle::to_proto(&world.own.bundle(), None);
    let (x509_authorities, jwt_authorities) = (own.x509_authorities.clone(), own.jwt_authorities.clone());
    let tainted: Vec<_> =
        x509_authorities.into_iter().map(|root| types::X509Certificate { tainted: true, ..root }).collect();
    let request = AppendBundleRequest { x509_authorities: tainted, jwt_authorities, ..AppendBundleRequest::default() };
    let appended = world.append(request).await.unwrap();
    assert_eq!(appended.x509_authorities, own.x509_authorities, "tainting is the server's to say");
    assert_eq!(get().await.unwrap().into_inner(), appended);
    let mask = types::BundleMask { refresh_hint: true, ..types::BundleMask::default() };
    let masked = world.service.get_bundle(Request::new(GetBundleRequest { output_mask: Some(mask) })).await.unwrap();
    let expected = types::Bundle { trust_domain: "example.org".into(), ..types::Bundle::default() };
    assert_eq!(masked.into_inner(), expected);
}

#[tokio::test]
async fn authorities_to_append_are_checked() {
    let world = world().await;
    let nothing = world.append(AppendBundleRequest::default()).await.unwrap_err();
    assert_eq!(said(&nothing), (Code::InvalidArgument, "no authorities to append"));
    let wire = world.wire();
    let no_id = types::JwtKey { key_id: String::new(), ..wire.jwt_authorities[0].clone() };
    let request = AppendBundleRequest { jwt_authorities: vec![no_id], ..AppendBundleRequest::default() };
    let refused = world.append(request).await.unwrap_err();
    assert_eq!(said(&refused), (Code::InvalidArgument, "failed to convert JWT authority: missing key ID"));
    let garbage = types::X509Certificate { asn1: b"garbage".to_vec().into(), tainted: false };
    let request = AppendBundleRequest { x509_authorities: vec![garbage], ..AppendBundleRequest::default() };
    let refused = world.append(request).await.unwrap_err();
    assert!(refused.message().starts_with("failed to convert X.509 authority: "), "{refused}");
}

#[tokio::test]
async fn bundles_of_others_live_from_creation_to_deletion() {
    let world = world().await;
    let (ok, none) = ((0, "OK".to_owned()), (5, "bundle not found".to_owned()));
    assert_eq!(world.update(world.wire(), None).await, none);
    assert_eq!(world.delete("other.org", Mode::Restrict).await, none);
    assert_eq!(world.create(world.wire()).await, ok);
    assert_eq!(world.create(world.wire()).await, (6, "bundle already exists".into()));
    let mask = types::BundleMask { refresh_hint: true, ..types::BundleMask::default() };
    let hint = types::Bundle { refresh_hint: 60, x509_authorities: Vec::new(), ..world.wire() };
    assert_eq!(world.update(hint, Some(mask)).await, ok);
    let request = GetFederatedBundleRequest { trust_domain: "spiffe://other.org".into(), output_mask: None };
    let got = world.service.get_federated_bundle(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(got, types::Bundle { refresh_hint: 60, ..world.wire() });
    assert_eq!(world.set(world.wire()).await, ok);
    assert_eq!(world.delete("other.org", Mode::Restrict).await, ok);
}

#[tokio::test]
async fn the_own_bundle_and_malformed_ones_are_refused_by_each_rpc() {
    let world = world().await;
    let own = types::Bundle { trust_domain: "example.org".into(), ..world.wire() };
    let refusal =
        |doing: &str| (3, format!("{doing} a federated bundle for the server's own trust domain is not allowed"));
    assert_eq!(world.create(own.clone()).await, refusal("creating"));
    assert_eq!(world.update(own.clone(), None).await, refusal("updating"));
    assert_eq!(world.set(own).await, refusal("setting"));
    let removing = (3, "removing the bundle for the server trust domain is not allowed".to_owned());
    assert_eq!(world.delete("example.org", Mode::Delete).await, removing);
    let get = async |trust_domain: &str| {
        let request = GetFederatedBundleRequest { trust_domain: trust_domain.into(), output_mask: None };
        world.service.get_federated_bundle(Request::new(request)).await.unwrap_err()
    };
    let getting = "getting a federated bundle for the server's own trust domain is not allowed";
    assert_eq!(said(&get("example.org").await), (Code::InvalidArgument, getting));
    assert_eq!(said(&get("other.org").await), (Code::NotFound, "bundle not found"));
    assert!(get("Other").await.message().starts_with("trust domain argument is not valid: "));
    let named = types::Bundle { trust_domain: "Other".into(), ..world.wire() };
    assert!(world.set(named).await.1.starts_with("trust domain argument is not valid: "));
    let no_id = types::JwtKey { key_id: String::new(), ..world.wire().jwt_authorities[0].clone() };
    let bad = types::Bundle { jwt_authorities: vec![no_id], ..world.wire() };
    let message = "failed to convert bundle: unable to parse JWT authority: missing key ID";
    assert_eq!(world.set(bad).await, (3, message.into()));
    let request = BatchDeleteFederatedBundleRequest { trust_domains: Vec::new(), mode: 9 };
    let refused = world.service.batch_delete_federated_bundle(Request::new(request)).await.unwrap_err();
    assert_eq!(said(&refused), (Code::InvalidArgument, "failed to parse deletion mode: unhandled delete mode \"9\""));
}

#[tokio::test]
async fn entries_that_federate_stay_go_or_are_parted_as_the_mode_says() {
    for (mode, outcome, left) in [
        (
            Mode::Restrict,
            (
                9,
                "failed to delete federated bundle: datastore-sql: cannot delete bundle; federated with 1 \
                 registration entries",
            ),
            Some(1),
        ),
        (Mode::Delete, (0, "OK"), None),
        (Mode::Dissociate, (0, "OK"), Some(0)),
    ] {
        let world = world().await;
        world.set(world.wire()).await;
        let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
        let mut entry = RegistrationEntry::new(id("/a"), id("/node"), vec!["unix:uid:1".parse().unwrap()]);
        entry.federates_with = vec![world.other.trust_domain().clone()];
        let entry_id = EntryId::parse("e-1").unwrap();
        let now = spiffe_core::Timestamp::from_unix(0);
        world.datastore.create_entry(entry, entry_id.clone(), now).await.unwrap();
        let (code, message) = world.delete("other.org", mode).await;
        assert_eq!((code, message.as_str()), outcome);
        let entry = world.datastore.fetch_entry(&entry_id).await.unwrap();
        assert_eq!(entry.map(|entry| entry.federates_with.len()), left);
    }
}

#[tokio::test]
async fn lists_leave_out_the_own_bundle_and_counts_do_not() {
    let world = world().await;
    world.datastore.set_bundle(world.own.bundle()).await.unwrap();
    world.set(world.wire()).await;
    let list = ListFederatedBundlesRequest { output_mask: None, page_size: 1, page_token: String::new() };
    let first = world.service.list_federated_bundles(Request::new(list.clone())).await.unwrap().into_inner();
    assert_eq!(first.bundles, []);
    let list = ListFederatedBundlesRequest { page_token: first.next_page_token, ..list };
    let second = world.service.list_federated_bundles(Request::new(list)).await.unwrap().into_inner();
    assert_eq!(second.bundles, [world.wire()]);
    let count = world.service.count_bundles(Request::new(CountBundlesRequest {})).await.unwrap();
    assert_eq!(count.get_ref().count, 2);
}

#[tokio::test]
async fn a_downstream_servers_jwt_key_is_published_in_the_own_bundle() {
    let world = world().await;
    let publish = async |jwt_authority: Option<types::JwtKey>| {
        let mut request = Request::new(PublishJwtAuthorityRequest { jwt_authority });
        request.extensions_mut().insert(Caller::Unauthenticated { address: None });
        world.service.publish_jwt_authority(request).await.map(Response::into_inner)
    };
    assert_eq!(said(&publish(None).await.unwrap_err()), (Code::InvalidArgument, "missing JWT authority"));
    let key = world.wire().jwt_authorities[0].clone();
    let no_id = types::JwtKey { key_id: String::new(), ..key.clone() };
    let refused = publish(Some(no_id)).await.unwrap_err();
    assert_eq!(said(&refused), (Code::InvalidArgument, "invalid JWT authority: missing key ID"));
    let published = publish(Some(types::JwtKey { tainted: true, ..key.clone() })).await.unwrap();
    assert_eq!(published.jwt_authorities, [key]);
    let bundle = world.datastore.fetch_bundle(world.own.trust_domain()).await.unwrap().unwrap();
    assert_eq!((bundle.jwt_authorities.len(), bundle.refresh_hint), (1, None::<Ttl>));
}
