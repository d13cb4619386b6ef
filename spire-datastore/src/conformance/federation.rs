//! Federation relationships.
#![expect(missing_docs, reason = "the names are sentences")]

use spiffe_core::{Bundle, SpiffeId, Ttl};
use spire_types::{EndpointProfile, FederationRelationship, PageRequest, RelationshipMask};

use super::other;
use crate::{DataStore, Error};

const NOT_FOUND: Error = Error::NotFound { what: "federation relationship" };

fn relationship() -> FederationRelationship {
    FederationRelationship {
        trust_domain: other(),
        bundle_endpoint_url: "https://other.org:8443/".into(),
        profile: EndpointProfile::HttpsSpiffe {
            endpoint_id: SpiffeId::parse("spiffe://other.org/spire/server").unwrap(),
        },
    }
}

pub async fn a_relationship_lives_from_creation_to_deletion(store: &dyn DataStore) {
    assert_eq!(store.delete_relationship(&other()).await, Err(NOT_FOUND));
    store.create_relationship(relationship(), None).await.unwrap();
    assert_eq!(store.fetch_relationship(&other()).await.unwrap(), Some(relationship()));
    let refused = store.create_relationship(relationship(), None).await;
    assert_eq!(refused, Err(Error::AlreadyExists { constraint: "federated_trust_domains.trust_domain" }));
    let listed = store.list_relationships(PageRequest::default()).await.unwrap().items;
    assert_eq!(listed, [relationship()]);
    store.delete_relationship(&other()).await.unwrap();
    assert_eq!(store.fetch_relationship(&other()).await.unwrap(), None);
}

pub async fn an_update_changes_what_the_mask_names(store: &dyn DataStore) {
    let changed = FederationRelationship {
        bundle_endpoint_url: "https://new.org/".into(),
        profile: EndpointProfile::HttpsWeb,
        ..relationship()
    };
    assert_eq!(store.update_relationship(changed.clone(), RelationshipMask::ALL, None).await, Err(NOT_FOUND));
    store.create_relationship(relationship(), None).await.unwrap();
    let mask = RelationshipMask { bundle_endpoint_url: false, ..RelationshipMask::ALL };
    let (updated, _) = store.update_relationship(changed.clone(), mask, None).await.unwrap();
    let expected = FederationRelationship { profile: EndpointProfile::HttpsWeb, ..relationship() };
    assert_eq!(updated, expected);
    assert_eq!(store.fetch_relationship(&other()).await.unwrap(), Some(expected));
    let (whole, _) = store.update_relationship(changed.clone(), RelationshipMask::ALL, None).await.unwrap();
    assert_eq!(whole, changed);
}

pub async fn a_relationship_and_its_bundle_are_stored_together_or_not_at_all(store: &dyn DataStore) {
    let bundle = |refresh_hint| Bundle { refresh_hint: Some(Ttl::from_secs(refresh_hint)), ..Bundle::new(other()) };
    store.create_relationship(relationship(), Some(bundle(1))).await.unwrap();
    assert_eq!(store.fetch_bundle(&other()).await.unwrap(), Some(bundle(1)));
    store.create_relationship(relationship(), Some(bundle(2))).await.unwrap_err();
    assert_eq!(store.fetch_bundle(&other()).await.unwrap(), Some(bundle(1)));
    store.update_relationship(relationship(), RelationshipMask::ALL, Some(bundle(3))).await.unwrap();
    assert_eq!(store.fetch_bundle(&other()).await.unwrap(), Some(bundle(3)));
}
