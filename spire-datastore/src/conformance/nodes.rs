//! Attested nodes.
#![expect(missing_docs, reason = "the names are sentences")]

use spiffe_core::Ttl;
use spire_types::{
    AttestedNode, EntryFilter, MatchBehavior, NodeFilter, PageRequest, RegistrationEntry, SelectorMatch,
};

use super::{NOW, create, entry, id, node, selectors};
use crate::{DataStore, Error};

pub async fn an_attested_node_reads_back_and_attests_again(store: &dyn DataStore) {
    store.attest_node(node("a")).await.unwrap();
    assert_eq!(store.fetch_node(&node("a").spiffe_id).await.unwrap(), Some(node("a")));
    store.renew_node(&node("a").spiffe_id, "2".into(), NOW).await.unwrap();
    let again = AttestedNode {
        serial: Some("3".into()),
        selectors: selectors(&["x509pop:cn:c", "x509pop:cn:c"]),
        agent_version: String::new(),
        ..node("a")
    };
    store.attest_node(again.clone()).await.unwrap();
    let expected = AttestedNode { selectors: selectors(&["x509pop:cn:c"]), agent_version: "1.15.3".into(), ..again };
    assert_eq!(store.fetch_node(&node("a").spiffe_id).await.unwrap(), Some(expected), "what was new is cleared");
    assert_eq!(store.fetch_node(&node("b").spiffe_id).await.unwrap(), None);
    let banned_from_the_start = AttestedNode { serial: None, ..node("b") };
    assert!(matches!(store.attest_node(banned_from_the_start).await, Err(Error::Invalid { .. })));
}

pub async fn serials_live_from_renewal_to_promotion(store: &dyn DataStore) {
    let agent = node("a").spiffe_id;
    store.attest_node(node("a")).await.unwrap();
    let later = NOW + Ttl::from_hours(2);
    store.renew_node(&agent, "2".into(), later).await.unwrap();
    let renewed = AttestedNode { new_serial: Some("2".into()), new_not_after: Some(later), ..node("a") };
    assert_eq!(store.fetch_node(&agent).await.unwrap(), Some(renewed), "the current one stays");
    assert_eq!(store.promote_node(&agent, "stale").await.unwrap(), None);
    assert!(store.promote_node(&agent, "2").await.unwrap().is_some());
    assert_eq!(store.promote_node(&agent, "2").await.unwrap(), None, "only once");
    let promoted = AttestedNode { serial: Some("2".into()), not_after: later, ..node("a") };
    assert_eq!(store.fetch_node(&agent).await.unwrap(), Some(promoted));
    assert_eq!(store.promote_node(&id("/unknown"), "2").await.unwrap(), None);
    let refused = store.renew_node(&id("/unknown"), "2".into(), later).await;
    assert_eq!(refused, Err(Error::NotFound { what: "agent" }));
}

pub async fn a_banned_node_is_neither_attested_nor_renewed_nor_promoted(store: &dyn DataStore) {
    let agent = node("a").spiffe_id;
    store.attest_node(node("a")).await.unwrap();
    store.renew_node(&agent, "2".into(), NOW).await.unwrap();
    store.ban_node(&agent).await.unwrap();
    let banned = store.fetch_node(&agent).await.unwrap().unwrap();
    assert!(banned.is_banned() && banned.new_serial.is_none());
    assert_eq!(banned.selectors, node("a").selectors, "the record stays");
    assert_eq!(store.attest_node(node("a")).await, Err(Error::Banned));
    assert_eq!(store.renew_node(&agent, "3".into(), NOW).await, Err(Error::Banned));
    assert_eq!(store.promote_node(&agent, "2").await.unwrap(), None);
    store.ban_node(&agent).await.unwrap();
    store.delete_node(&agent).await.unwrap();
    store.attest_node(node("a")).await.unwrap();
    assert_eq!(store.ban_node(&id("/unknown")).await, Err(Error::NotFound { what: "agent" }));
}

pub async fn deleting_a_node_that_joined_by_token_deletes_its_alias(store: &dyn DataStore) {
    let joined = AttestedNode { attestation_type: "join_token".into(), ..node("join_token/t") };
    let agent = joined.spiffe_id.clone();
    store.attest_node(joined).await.unwrap();
    let named = selectors(&[&format!("spiffe_id:{agent}")]);
    create(store, RegistrationEntry { parent_id: agent.clone(), selectors: named, ..entry("alias") }).await;
    create(store, RegistrationEntry { parent_id: agent.clone(), ..entry("workload") }).await;
    store.delete_node(&agent).await.unwrap();
    let left = store.list_entries(EntryFilter::default(), PageRequest::default()).await.unwrap().items;
    assert_eq!(left.iter().map(|entry| entry.spiffe_id.path()).collect::<Vec<_>>(), ["/workload"]);
    assert_eq!(store.delete_node(&agent).await, Err(Error::NotFound { what: "agent" }));
}

pub async fn expired_nodes_are_pruned_but_for_banned_and_tofu_ones(store: &dyn DataStore) {
    let past = NOW - Ttl::from_secs(1);
    for name in ["expired", "banned", "renewed"] {
        store.attest_node(AttestedNode { not_after: past, ..node(name) }).await.unwrap();
    }
    store.attest_node(node("alive")).await.unwrap();
    store.attest_node(AttestedNode { not_after: past, can_reattest: false, ..node("tofu") }).await.unwrap();
    store.ban_node(&node("banned").spiffe_id).await.unwrap();
    store.renew_node(&node("renewed").spiffe_id, "2".into(), NOW + Ttl::from_hours(1)).await.unwrap();
    assert_eq!(store.prune_nodes(NOW, false).await.unwrap(), [node("expired").spiffe_id]);
    assert_eq!(store.prune_nodes(NOW, true).await.unwrap(), [node("tofu").spiffe_id]);
    assert_eq!(store.count_nodes(NodeFilter::default()).await.unwrap(), 3);
}

pub async fn node_lists_are_filtered_and_paged(store: &dyn DataStore) {
    store.attest_node(node("c")).await.unwrap();
    store.attest_node(AttestedNode { selectors: selectors(&["x509pop:cn:a"]), ..node("a") }).await.unwrap();
    store.attest_node(AttestedNode { attestation_type: "join_token".into(), ..node("b") }).await.unwrap();
    store.attest_node(AttestedNode { can_reattest: false, not_after: NOW, ..node("d") }).await.unwrap();
    store.ban_node(&node("b").spiffe_id).await.unwrap();
    let all = store.list_nodes(NodeFilter::default(), PageRequest::default()).await.unwrap().items;
    assert_eq!(
        all.iter().map(|node| node.spiffe_id.path()).collect::<String>(),
        "/spire/agent/c/spire/agent/a/spire/agent/b/spire/agent/d"
    );
    let mut filters = vec![
        NodeFilter { attestation_type: Some("join_token".into()), ..NodeFilter::default() },
        NodeFilter { banned: Some(true), ..NodeFilter::default() },
        NodeFilter { banned: Some(false), can_reattest: Some(true), ..NodeFilter::default() },
        NodeFilter { can_reattest: Some(false), ..NodeFilter::default() },
        NodeFilter { expires_before: Some(NOW + Ttl::from_secs(1)), ..NodeFilter::default() },
    ];
    for behavior in [MatchBehavior::Exact, MatchBehavior::Subset, MatchBehavior::Superset, MatchBehavior::Any] {
        let asked = SelectorMatch { selectors: selectors(&["x509pop:cn:a"]), behavior };
        filters.push(NodeFilter { selectors: Some(asked), ..NodeFilter::default() });
    }
    for filter in filters {
        let expected: Vec<_> = all.iter().filter(|node| filter.matches(node)).cloned().collect();
        let listed = store.list_nodes(filter.clone(), PageRequest::default()).await.unwrap().items;
        assert_eq!(listed, expected, "{filter:?}");
        assert_eq!(store.count_nodes(filter.clone()).await.unwrap(), expected.len(), "{filter:?}");
    }
    let first = PageRequest { size: Some(3), token: String::new() };
    let first = store.list_nodes(NodeFilter::default(), first).await.unwrap();
    let second = PageRequest { size: Some(3), token: first.next_token };
    let second = store.list_nodes(NodeFilter::default(), second).await.unwrap();
    assert_eq!((first.items, second.items), (all[..3].to_vec(), all[3..].to_vec()));
}

pub async fn a_version_is_no_matter_of_identities(store: &dyn DataStore) {
    let revision = store.attest_node(node("a")).await.unwrap();
    store.set_agent_version(&node("a").spiffe_id, "2.0").await.unwrap();
    let stored = store.fetch_node(&node("a").spiffe_id).await.unwrap().unwrap();
    assert_eq!(stored.agent_version, "2.0");
    assert_eq!(store.snapshot().await.unwrap().revision, revision);
    let refused = store.set_agent_version(&id("/unknown"), "2.0").await;
    assert_eq!(refused, Err(Error::NotFound { what: "agent" }));
}
