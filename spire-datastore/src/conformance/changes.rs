//! The ordered log.
#![expect(missing_docs, reason = "the names are sentences")]

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use spiffe_core::{Bundle, Ttl};
use spire_types::{DeleteMode, EndpointProfile, EntryMask, FederationRelationship, JoinToken, RegistrationEntry};

use super::{NOW, create, entry, entry_id, node, other};
use crate::{CaJournal, Change, Changes, Created, DataStore, Revision, Snapshot};

pub async fn each_change_gets_the_next_revision_without_holes(store: &dyn DataStore) {
    let agent = node("a").spiffe_id;
    let relationship = FederationRelationship {
        trust_domain: other(),
        bundle_endpoint_url: "https://other.org/".into(),
        profile: EndpointProfile::HttpsWeb,
    };
    assert_eq!(store.snapshot().await.unwrap().revision, Revision(0));
    let (created, first) = create(store, entry("a")).await;
    let revisions = [
        first,
        store.update_entry(created, EntryMask::ALL).await.unwrap().1,
        store.delete_entry(&entry_id("-a")).await.unwrap().1,
        store.attest_node(node("a")).await.unwrap(),
        store.renew_node(&agent, "2".into(), NOW).await.unwrap(),
        store.promote_node(&agent, "2").await.unwrap().unwrap(),
        store.ban_node(&agent).await.unwrap(),
        store.delete_node(&agent).await.unwrap(),
        store.create_bundle(Bundle::new(other())).await.unwrap().1,
        store.delete_bundle(&other(), DeleteMode::Restrict).await.unwrap(),
        store.create_relationship(relationship, None).await.unwrap(),
        store.delete_relationship(&other()).await.unwrap(),
    ];
    assert_eq!(revisions.map(|revision| revision.0), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(*store.revisions().borrow(), Revision(12));
}

pub async fn what_fails_or_is_bookkeeping_gets_no_revision(store: &dyn DataStore) {
    create(store, entry("a")).await;
    store.create_entry(entry("a"), entry_id("b"), NOW).await.unwrap();
    store.create_entry(entry("b"), entry_id("-a"), NOW).await.unwrap_err();
    store.delete_entry(&entry_id("unknown")).await.unwrap_err();
    store.create_join_token(JoinToken { value: "t".into(), expires_at: NOW }).await.unwrap();
    store.redeem_join_token("unknown", node("a")).await.unwrap();
    store.prune_join_tokens(NOW).await.unwrap();
    let journal = CaJournal { id: 0, active_x509_authority_id: String::new(), data: Vec::new() };
    store.save_ca_journal(journal).await.unwrap();
    store.prune_entries(NOW).await.unwrap();
    store.prune_nodes(NOW, true).await.unwrap();
    assert_eq!(store.snapshot().await.unwrap().revision, Revision(1));
}

pub async fn changes_show_each_thing_once_as_it_is_now(store: &dyn DataStore) {
    let (created, before) = create(store, entry("a")).await;
    create(store, entry("b")).await;
    store.delete_entry(&entry_id("-b")).await.unwrap();
    store.attest_node(node("a")).await.unwrap();
    let changed = RegistrationEntry { hint: "new".into(), ..created };
    let (updated, _) = store.update_entry(changed.clone(), EntryMask::ALL).await.unwrap();
    let (updated, last) = store.update_entry(updated, EntryMask::ALL).await.unwrap();
    let expected = vec![
        Change::Entry(entry_id("-b"), None),
        Change::Node(node("a").spiffe_id, Some(node("a"))),
        Change::Entry(entry_id("-a"), Some(updated)),
    ];
    assert_eq!(store.changes_since(before).await.unwrap(), Changes::Since(last, expected));
    assert_eq!(store.changes_since(last).await.unwrap(), Changes::Since(last, Vec::new()));
}

pub async fn a_revision_that_is_still_to_come_calls_for_a_snapshot(store: &dyn DataStore) {
    create(store, entry("a")).await;
    assert_eq!(store.changes_since(Revision(2)).await.unwrap(), Changes::TooOld);
    assert_eq!(store.changes_since(Revision(u64::MAX)).await.unwrap(), Changes::TooOld);
}

pub async fn a_commit_wakes_whoever_waits(store: &dyn DataStore) {
    let mut revisions = store.revisions();
    let (woken, _) = tokio::join!(revisions.wait_for(|newest| *newest >= Revision(1)), create(store, entry("a")));
    assert_eq!(*woken.unwrap(), Revision(1));
}

pub async fn concurrent_writes_are_all_there_in_one_order(store: &dyn DataStore) {
    let writes = (0..500).map(|number| {
        // Every fifth fails, and must neither take a revision nor harm its neighbours.
        let entry = entry(&format!("w{number}"));
        let id = if number % 5 == 4 { entry_id("-0") } else { entry_id(&format!("-{number}")) };
        store.create_entry(entry, id, NOW)
    });
    let answers = join_all(writes).await;
    let revisions: BTreeSet<u64> = answers
        .iter()
        .filter_map(|answer| match answer {
            Ok(Created::New(_, revision)) => Some(revision.0),
            _ => None,
        })
        .collect();
    assert_eq!(revisions, (1..=400).collect());
    let Changes::Since(_, changes) = store.changes_since(Revision(0)).await.unwrap() else { panic!("too old") };
    assert_eq!(changes.len(), 400);
    assert_eq!(store.snapshot().await.unwrap().entries.len(), 400);
}

pub async fn a_log_replayed_is_the_snapshot(store: &dyn DataStore) {
    let mut known: BTreeMap<String, RegistrationEntry> = BTreeMap::new();
    let mut revision = Revision(0);
    for round in 0..20_u64 {
        for number in 0..5 {
            let name = format!("e{}", (round * 7 + number * 3) % 11);
            let id = entry_id(&format!("-{name}"));
            match store.fetch_entry(&id).await.unwrap() {
                None => drop(create(store, entry(&name)).await),
                Some(_) if round % 3 == 0 => drop(store.delete_entry(&id).await.unwrap()),
                Some(stored) => {
                    let changed = RegistrationEntry { x509_svid_ttl: Some(Ttl::from_secs(round)), ..stored };
                    store.update_entry(changed, EntryMask::ALL).await.unwrap();
                }
            }
        }
        let Changes::Since(next, changes) = store.changes_since(revision).await.unwrap() else { panic!("too old") };
        for change in changes {
            match change {
                Change::Entry(id, Some(entry)) => drop(known.insert(id.to_string(), entry)),
                Change::Entry(id, None) => drop(known.remove(id.as_str())),
                other => panic!("{other:?}"),
            }
        }
        revision = next;
        let Snapshot { revision: shown, entries, .. } = store.snapshot().await.unwrap();
        assert_eq!(shown, revision);
        let entries: BTreeMap<_, _> =
            entries.into_iter().map(|entry| (entry.id.as_ref().unwrap().to_string(), entry)).collect();
        assert_eq!(entries, known);
    }
}
