//! Bundles.
#![expect(missing_docs, reason = "the names are sentences")]

use spiffe_core::testing::TestAuthority;
use spiffe_core::{Bundle, JwtAuthority, Timestamp, Ttl, X509Authority};
use spire_types::{BundleMask, DeleteMode, EntryFilter, PageRequest, RegistrationEntry};

use super::{NOW, create, entry, entry_id, other};
use crate::{DataStore, Error};

const NOT_FOUND: Error = Error::NotFound { what: "bundle" };

fn bundle() -> Bundle {
    Bundle { refresh_hint: Some(Ttl::from_secs(60)), sequence_number: 5, ..TestAuthority::new("other.org").bundle() }
}

/// A certificate that ends then.
fn root(not_after: Timestamp) -> X509Authority {
    let svid = TestAuthority::new("other.org").svid_valid("/root", Timestamp::from_unix(0), not_after);
    X509Authority { certificate: svid.leaf().clone(), tainted: false }
}

fn key(key_id: &str, expires_at: Option<Timestamp>) -> JwtAuthority {
    JwtAuthority { key_id: key_id.into(), expires_at, ..bundle().jwt_authorities.remove(0) }
}

async fn fetch(store: &dyn DataStore) -> Bundle {
    store.fetch_bundle(&other()).await.unwrap().unwrap()
}

pub async fn a_bundle_is_created_once_and_reads_back(store: &dyn DataStore) {
    let mut bundle = bundle();
    bundle.jwt_authorities.push(key("ends", Some(NOW)));
    bundle.x509_authorities[0].tainted = true;
    let (created, _) = store.create_bundle(bundle.clone()).await.unwrap();
    assert_eq!((&created, &fetch(store).await), (&bundle, &bundle));
    let refused = store.create_bundle(bundle).await;
    assert_eq!(refused, Err(Error::AlreadyExists { constraint: "bundles.trust_domain" }));
}

pub async fn setting_the_same_changes_nothing(store: &dyn DataStore) {
    let bundle = bundle();
    assert!(store.set_bundle(bundle.clone()).await.unwrap().1.is_some());
    assert_eq!(store.set_bundle(bundle.clone()).await.unwrap(), (bundle.clone(), None));
    let next = Bundle { sequence_number: 6, ..bundle };
    assert!(store.set_bundle(next.clone()).await.unwrap().1.is_some());
    assert_eq!(fetch(store).await, next);
}

pub async fn a_bundle_is_replaced_only_if_it_is_still_the_same(store: &dyn DataStore) {
    let (first, second) = (bundle(), bundle());
    assert!(!store.replace_bundle(second.clone(), Some(first.clone())).await.unwrap());
    assert!(store.replace_bundle(first.clone(), None).await.unwrap());
    assert!(!store.replace_bundle(second.clone(), None).await.unwrap());
    assert_eq!(fetch(store).await, first);
    assert!(store.replace_bundle(second.clone(), Some(first)).await.unwrap());
    assert_eq!(fetch(store).await, second);
}

pub async fn an_update_takes_the_masked_parts(store: &dyn DataStore) {
    assert_eq!(store.update_bundle(bundle(), BundleMask::ALL).await, Err(NOT_FOUND));
    let stored = bundle();
    store.create_bundle(stored.clone()).await.unwrap();
    let changed = Bundle { refresh_hint: None, sequence_number: 9, ..bundle() };
    let mask = BundleMask { x509_authorities: false, sequence_number: false, ..BundleMask::ALL };
    let (updated, revision) = store.update_bundle(changed.clone(), mask).await.unwrap();
    let expected = Bundle { refresh_hint: None, jwt_authorities: changed.jwt_authorities.clone(), ..stored };
    assert_eq!((&updated, &fetch(store).await), (&expected, &expected));
    assert!(revision.is_some());
    assert_eq!(store.update_bundle(changed, mask).await.unwrap(), (expected, None));
}

pub async fn appending_adds_what_is_new_and_raises_the_sequence_number(store: &dyn DataStore) {
    let given = bundle();
    let append = async |x509: Vec<X509Authority>, jwt: Vec<JwtAuthority>| {
        store.append_bundle(&other(), x509, jwt).await.unwrap()
    };
    let (made, revision) = append(given.x509_authorities.clone(), Vec::new()).await;
    assert_eq!((made.x509_authorities.len(), made.sequence_number, revision.is_some()), (1, 0, true));
    let (grown, revision) = append(given.x509_authorities.clone(), given.jwt_authorities.clone()).await;
    assert_eq!((grown.jwt_authorities.len(), grown.sequence_number, revision.is_some()), (1, 1, true));
    let (same, revision) = append(given.x509_authorities.clone(), given.jwt_authorities.clone()).await;
    assert_eq!((&same, revision), (&grown, None));
    assert_eq!(fetch(store).await, grown);
}

pub async fn pruning_never_takes_the_last_authority(store: &dyn DataStore) {
    assert_eq!(store.prune_bundle(&other(), NOW).await.unwrap(), None);
    let (past, alive) = (root(NOW), root(NOW + Ttl::from_hours(1)));
    let keys = vec![key("past", Some(NOW)), key("unknown", None)];
    let set = Bundle { x509_authorities: vec![past.clone()], jwt_authorities: keys, ..Bundle::new(other()) };
    store.set_bundle(set.clone()).await.unwrap();
    let refused = store.prune_bundle(&other(), NOW).await;
    assert_eq!(refused, Err(Error::LastAuthority { what: "certificates" }));
    assert_eq!(fetch(store).await, set, "all or nothing");
    let both = vec![past, alive.clone()];
    store.set_bundle(Bundle { x509_authorities: both, ..set.clone() }).await.unwrap();
    assert!(store.prune_bundle(&other(), NOW).await.unwrap().is_some());
    let left = Bundle {
        x509_authorities: vec![alive],
        jwt_authorities: vec![set.jwt_authorities[1].clone()],
        sequence_number: 1,
        ..set
    };
    assert_eq!(fetch(store).await, left);
    assert_eq!(store.prune_bundle(&other(), NOW).await.unwrap(), None);
    let ending = vec![key("last", Some(NOW))];
    store.set_bundle(Bundle { jwt_authorities: ending, ..left }).await.unwrap();
    let refused = store.prune_bundle(&other(), NOW).await;
    assert_eq!(refused, Err(Error::LastAuthority { what: "JWT signing keys" }));
}

pub async fn authorities_are_tainted_before_they_are_revoked(store: &dyn DataStore) {
    let mut set = bundle();
    let certificate = set.x509_authorities[0].certificate.clone();
    let ski = certificate.subject_key_id().unwrap();
    let key_id = set.jwt_authorities[0].key_id.clone();
    assert_eq!(store.taint_x509_authority(&other(), ski).await, Err(NOT_FOUND));
    set.x509_authorities.push(root(NOW));
    store.set_bundle(set).await.unwrap();

    assert!(matches!(store.revoke_x509_authority(&other(), ski).await, Err(Error::Taint { .. })));
    store.taint_x509_authority(&other(), ski).await.unwrap();
    assert!(matches!(store.taint_x509_authority(&other(), ski).await, Err(Error::Taint { .. })));
    assert!(matches!(store.taint_x509_authority(&other(), b"x").await, Err(Error::NoAuthority { .. })));
    assert!(fetch(store).await.x509_authorities[0].tainted);
    store.revoke_x509_authority(&other(), ski).await.unwrap();
    assert!(matches!(store.revoke_x509_authority(&other(), ski).await, Err(Error::NoAuthority { .. })));

    assert!(matches!(store.revoke_jwt_authority(&other(), &key_id).await, Err(Error::Taint { .. })));
    store.taint_jwt_authority(&other(), &key_id).await.unwrap();
    assert!(matches!(store.taint_jwt_authority(&other(), &key_id).await, Err(Error::Taint { .. })));
    assert!(fetch(store).await.jwt_authorities[0].tainted);
    store.revoke_jwt_authority(&other(), &key_id).await.unwrap();
    assert!(matches!(store.taint_jwt_authority(&other(), &key_id).await, Err(Error::NoAuthority { .. })));

    let left = fetch(store).await;
    assert_eq!((left.x509_authorities.len(), left.jwt_authorities.len()), (1, 0));
    assert_eq!(left.sequence_number, 5 + 4, "each of the four counts");
}

pub async fn the_three_ways_to_delete_a_bundle(store: &dyn DataStore) {
    let federated = || RegistrationEntry { federates_with: vec![other()], ..entry("a") };
    store.set_bundle(bundle()).await.unwrap();
    create(store, federated()).await;
    assert_eq!(store.delete_bundle(&other(), DeleteMode::Restrict).await, Err(Error::InUse { count: 1 }));
    store.delete_bundle(&other(), DeleteMode::Dissociate).await.unwrap();
    let left = store.fetch_entry(&entry_id("-a")).await.unwrap().unwrap();
    assert_eq!((left.federates_with.len(), left.revision_number), (0, 1), "agents must notice");
    assert_eq!(store.delete_bundle(&other(), DeleteMode::Delete).await, Err(NOT_FOUND));

    store.set_bundle(bundle()).await.unwrap();
    store.delete_entry(&entry_id("-a")).await.unwrap();
    create(store, federated()).await;
    create(store, entry("b")).await;
    store.delete_bundle(&other(), DeleteMode::Delete).await.unwrap();
    assert_eq!(store.fetch_entry(&entry_id("-a")).await.unwrap(), None);
    assert_eq!(store.count_entries(EntryFilter::default()).await.unwrap(), 1);
    store.set_bundle(bundle()).await.unwrap();
    store.delete_bundle(&other(), DeleteMode::Restrict).await.unwrap();
    assert_eq!(store.fetch_bundle(&other()).await.unwrap(), None);
}

pub async fn bundles_are_listed_in_pages(store: &dyn DataStore) {
    for name in ["c.org", "a.org", "b.org"] {
        store.set_bundle(Bundle::new(name.parse().unwrap())).await.unwrap();
    }
    let first = store.list_bundles(PageRequest { size: Some(2), token: String::new() }).await.unwrap();
    let second = store.list_bundles(PageRequest { size: Some(2), token: first.next_token }).await.unwrap();
    let names: Vec<_> =
        first.items.iter().chain(&second.items).map(|bundle| bundle.trust_domain.as_str().to_owned()).collect();
    assert_eq!(names, ["c.org", "a.org", "b.org"]);
    assert_eq!(store.count_bundles().await.unwrap(), 3);
}
