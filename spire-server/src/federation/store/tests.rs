use spiffe_core::{Timestamp, testing::TestAuthority};
use spire_datastore::{Bundles as _, Entries as _, FederationRelationships as _, SqliteStore};
use spire_federation::serve::OwnBundle as _;
use spire_types::{DeleteMode, EndpointProfile, EntryId, RegistrationEntry};
use tokio::time::timeout;

use super::{super::StoredOwnBundle, *};

async fn store() -> (Arc<SqliteStore>, StoredFederation) {
    let datastore = Arc::new(SqliteStore::in_memory().await.unwrap());
    let cache = EntryCache::load(datastore.clone(), TrustDomain::parse("near.example").unwrap()).await.unwrap();
    let federation = StoredFederation::new(datastore.clone(), Arc::new(cache));
    (datastore, federation)
}

fn bundle(sequence_number: u64) -> Bundle {
    Bundle { sequence_number, ..Bundle::new(TrustDomain::parse("far.example").unwrap()) }
}

fn relationship() -> FederationRelationship {
    FederationRelationship {
        trust_domain: bundle(0).trust_domain,
        bundle_endpoint_url: "https://far.example/".to_owned(),
        profile: EndpointProfile::HttpsWeb,
    }
}

fn bundle_changed() -> Changed {
    Changed { relationships: false, bundles: vec![bundle(0).trust_domain] }
}

#[tokio::test]
async fn what_others_change_is_told() {
    let (datastore, federation) = store().await;
    datastore.set_bundle(bundle(1)).await.unwrap();
    assert_eq!(federation.changed().await, bundle_changed());
    datastore.create_relationship(relationship(), None).await.unwrap();
    assert_eq!(federation.changed().await, Changed { relationships: true, bundles: vec![] });
    assert_eq!(federation.relationships().await.unwrap(), [relationship()]);
    datastore.delete_bundle(&bundle(0).trust_domain, DeleteMode::Restrict).await.unwrap();
    assert_eq!(federation.changed().await, bundle_changed());
}

#[tokio::test]
async fn what_is_told_together_is_complete() {
    let (datastore, federation) = store().await;
    datastore.set_bundle(bundle(1)).await.unwrap();
    datastore.create_relationship(relationship(), None).await.unwrap();
    let expected = Changed { relationships: true, ..bundle_changed() };
    assert_eq!(federation.changed().await, expected);
}

#[tokio::test]
async fn own_writes_and_entries_are_not_told() {
    let (datastore, federation) = store().await;
    assert!(federation.replace_bundle(bundle(1), None).await.unwrap());
    let entry = RegistrationEntry::new(
        "spiffe://example.org/a".parse().unwrap(),
        "spiffe://example.org/b".parse().unwrap(),
        vec!["unix:uid:0".parse().unwrap()],
    );
    datastore.create_entry(entry, EntryId::parse("a").unwrap(), Timestamp::from_unix(7)).await.unwrap();
    let nothing = timeout(Duration::from_millis(200), federation.changed()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    datastore.set_bundle(bundle(2)).await.unwrap();
    assert_eq!(federation.changed().await, bundle_changed());
}

#[tokio::test]
async fn a_bundle_that_was_set_meanwhile_is_kept_and_told() {
    let (datastore, federation) = store().await;
    datastore.set_bundle(bundle(1)).await.unwrap();
    let at_hand = federation.bundle(&bundle(0).trust_domain).await.unwrap();
    datastore.set_bundle(bundle(2)).await.unwrap();
    assert!(!federation.replace_bundle(bundle(3), at_hand).await.unwrap());
    assert!(!federation.replace_bundle(bundle(3), None).await.unwrap());
    assert_eq!(federation.bundle(&bundle(0).trust_domain).await.unwrap().as_deref(), Some(&bundle(2)));
    assert_eq!(federation.changed().await, bundle_changed());
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (datastore, federation) = store().await;
    for sequence_number in 1..20 {
        datastore.set_bundle(bundle(sequence_number)).await.unwrap();
        // Dropped at some point of its way, or not at all.
        let in_time = timeout(Duration::from_micros(sequence_number * 20), federation.changed()).await;
        let told = match in_time {
            Ok(changed) => changed,
            Err(_) => federation.changed().await,
        };
        assert_eq!(told, bundle_changed(), "{sequence_number}");
    }
}

#[tokio::test]
async fn the_own_bundle_is_always_the_newest() {
    let (datastore, _) = store().await;
    let authority = TestAuthority::new("near.example");
    let own = StoredOwnBundle::new(datastore.clone(), authority.trust_domain().clone());
    assert!(own.own_bundle().await.is_err(), "there is none yet");
    for sequence_number in 1..5 {
        datastore.set_bundle(Bundle { sequence_number, ..authority.bundle() }).await.unwrap();
        assert_eq!(own.own_bundle().await.unwrap().sequence_number, sequence_number);
        assert_eq!(own.own_bundle().await.unwrap().sequence_number, sequence_number);
    }
}
