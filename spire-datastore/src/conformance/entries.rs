//! Registration entries.
#![expect(missing_docs, reason = "the names are sentences")]

use spiffe_core::{Bundle, Ttl};
use spire_types::{
    AdditionalAttributes, EntryFilter, EntryMask, FederatesWithMatch, MatchBehavior, PageRequest, RegistrationEntry,
    SelectorMatch,
};

use super::{NOW, create, entry, entry_id, id, other, selectors};
use crate::{Created, DataStore, Error, Revision};

pub async fn an_entry_is_created_with_an_id_a_time_and_revision_number_0(store: &dyn DataStore) {
    let mut asked = entry("a");
    asked.revision_number = 7;
    let (created, _) = create(store, asked).await;
    assert_eq!((created.id.clone(), created.revision_number, created.created_at), (Some(entry_id("-a")), 0, NOW));
    let mut asked = entry("b");
    asked.id = Some(entry_id("chosen"));
    let (chosen, _) = create(store, asked).await;
    assert_eq!(chosen.id, Some(entry_id("chosen")));
    assert_eq!(store.fetch_entry(&entry_id("chosen")).await.unwrap(), Some(chosen));
    assert_eq!(store.fetch_entry(&entry_id("unknown")).await.unwrap(), None);
}

pub async fn a_similar_entry_is_answered_and_not_created(store: &dyn DataStore) {
    let (first, _) = create(store, entry("a")).await;
    let mut similar = entry("a");
    similar.selectors.reverse();
    similar.hint = "another".into();
    similar.id = Some(entry_id("x"));
    let answer = store.create_entry(similar, entry_id("y"), NOW).await.unwrap();
    assert_eq!(answer, Created::Similar(first));
    let mut other = entry("a");
    other.selectors.pop();
    create(store, RegistrationEntry { id: Some(entry_id("fewer")), ..other }).await;
    let elsewhere = RegistrationEntry { id: Some(entry_id("elsewhere")), parent_id: id("/other"), ..entry("a") };
    create(store, elsewhere).await;
}

pub async fn an_id_that_is_taken_is_refused(store: &dyn DataStore) {
    create(store, entry("a")).await;
    let refused = store.create_entry(entry("b"), entry_id("-a"), NOW).await;
    assert_eq!(refused, Err(Error::AlreadyExists { constraint: "registered_entries.entry_id" }));
    assert_eq!(store.count_entries(EntryFilter::default()).await.unwrap(), 1);
}

pub async fn of_many_entries_each_that_can_be_is_created_in_the_order_given(store: &dyn DataStore) {
    let named = |name: &str, id: &str| (RegistrationEntry { id: None, ..entry(name) }, entry_id(id));
    let mut unsound = named("c", "c");
    unsound.0.selectors.clear();
    let asked = vec![named("b", "b"), unsound, named("a", "a"), named("b", "again"), named("d", "a"), named("e", "e")];
    let outcomes = store.create_entries(asked, NOW).await.unwrap();
    let revisions: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(Created::New(_, revision)) => Ok(revision.0),
            Ok(Created::Similar(entry)) => Err(entry.id.as_ref().unwrap().to_string()),
            Err(Error::Invalid { .. }) => Err("invalid".to_owned()),
            Err(Error::AlreadyExists { .. }) => Err("taken".to_owned()),
            Err(err) => panic!("{err}"),
        })
        .collect();
    let refused = |why: &str| Err(why.to_owned());
    assert_eq!(revisions, [Ok(1), refused("invalid"), Ok(2), refused("b"), refused("taken"), Ok(3)]);
    let listed = store.list_entries(EntryFilter::default(), PageRequest::default()).await.unwrap().items;
    let created = outcomes.into_iter().filter_map(|outcome| match outcome {
        Ok(Created::New(entry, _)) => Some(entry),
        _ => None,
    });
    assert_eq!(created.collect::<Vec<_>>(), listed);
    assert_eq!(store.create_entries(Vec::new(), NOW).await, Ok(Vec::new()));
    let (_, next) = create(store, entry("f")).await;
    assert_eq!(next, Revision(4), "no revision is left out");
}

pub async fn unsound_entries_are_refused(store: &dyn DataStore) {
    let refused = async |change: &dyn Fn(&mut RegistrationEntry)| {
        let mut entry = entry("a");
        change(&mut entry);
        store.create_entry(entry, entry_id("a"), NOW).await.unwrap_err()
    };
    assert!(matches!(refused(&|e| e.selectors.clear()).await, Error::Invalid { .. }));
    assert!(matches!(refused(&|e| e.selectors[1] = e.selectors[0].clone()).await, Error::AlreadyExists { .. }));
    let twice = |e: &mut RegistrationEntry| e.dns_names = vec!["a".into(), "a".into()];
    assert!(matches!(refused(&twice).await, Error::AlreadyExists { .. }));
}

pub async fn every_field_reads_back(store: &dyn DataStore) {
    store.set_bundle(Bundle::new(other())).await.unwrap();
    let full = RegistrationEntry {
        x509_svid_ttl: Some(Ttl::from_secs(60)),
        jwt_svid_ttl: Some(Ttl::from_secs(61)),
        federates_with: vec![other()],
        admin: true,
        downstream: true,
        expires_at: Some(NOW),
        dns_names: vec!["b.example".into(), "a.example".into()],
        store_svid: true,
        hint: "internal".into(),
        additional: Some(AdditionalAttributes { jwt_svid_include_jti: true, ..AdditionalAttributes::default() }),
        ..entry("a")
    };
    let (created, _) = create(store, full.clone()).await;
    let expected = RegistrationEntry { id: created.id.clone(), created_at: NOW, ..full };
    assert_eq!(created, expected);
    assert_eq!(store.fetch_entry(&entry_id("-a")).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.snapshot().await.unwrap().entries, [expected]);
}

pub async fn an_update_takes_the_masked_fields_and_raises_the_revision_number(store: &dyn DataStore) {
    let (created, _) = create(store, entry("a")).await;
    let changed = RegistrationEntry { hint: "new".into(), admin: true, ..created.clone() };
    let mask = EntryMask { admin: false, ..EntryMask::ALL };
    let (updated, _) = store.update_entry(changed, mask).await.unwrap();
    assert_eq!(updated, RegistrationEntry { hint: "new".into(), revision_number: 1, ..created.clone() });
    let (again, _) = store.update_entry(updated.clone(), EntryMask::ALL).await.unwrap();
    assert_eq!(again.revision_number, 2, "even an update that changes nothing counts");
    assert_eq!(store.fetch_entry(&entry_id("-a")).await.unwrap(), Some(again));
}

pub async fn an_update_may_make_twins_and_replaces_whole_sets(store: &dyn DataStore) {
    let (first, _) = create(store, entry("a")).await;
    let (second, _) = create(store, RegistrationEntry { dns_names: vec!["x".into()], ..entry("b") }).await;
    let twin = RegistrationEntry { id: second.id, dns_names: vec!["y".into(), "z".into()], ..first.clone() };
    let (updated, _) = store.update_entry(twin, EntryMask::ALL).await.unwrap();
    assert_eq!(updated.dns_names, ["y", "z"]);
    assert!(updated.is_similar_to(&first));
    let answer = store.create_entry(entry("a"), entry_id("c"), NOW).await.unwrap();
    assert_eq!(answer, Created::Similar(first), "the older one of two");
}

pub async fn an_update_of_an_unknown_entry_is_refused(store: &dyn DataStore) {
    let unknown = RegistrationEntry { id: Some(entry_id("x")), ..entry("a") };
    let refused = store.update_entry(unknown, EntryMask::ALL).await;
    assert_eq!(refused, Err(Error::NotFound { what: "entry" }));
}

pub async fn a_deleted_entry_is_gone_and_answered(store: &dyn DataStore) {
    let (created, _) = create(store, entry("a")).await;
    let (deleted, _) = store.delete_entry(&entry_id("-a")).await.unwrap();
    assert_eq!(deleted, created);
    assert_eq!(store.fetch_entry(&entry_id("-a")).await.unwrap(), None);
    assert_eq!(store.delete_entry(&entry_id("-a")).await, Err(Error::NotFound { what: "entry" }));
    create(store, entry("a")).await;
}

pub async fn expired_entries_are_pruned(store: &dyn DataStore) {
    let ending = |name, expires_at| RegistrationEntry { expires_at, ..entry(name) };
    create(store, ending("past", Some(NOW - Ttl::from_secs(1)))).await;
    create(store, ending("now", Some(NOW))).await;
    create(store, ending("never", None)).await;
    let pruned = store.prune_entries(NOW).await.unwrap();
    assert_eq!(pruned.iter().map(|entry| entry.spiffe_id.path()).collect::<Vec<_>>(), ["/past"]);
    assert_eq!(store.count_entries(EntryFilter::default()).await.unwrap(), 2);
    assert_eq!(store.prune_entries(NOW).await.unwrap(), []);
}

pub async fn an_entry_federates_only_with_bundles_that_are_there(store: &dyn DataStore) {
    let federated = RegistrationEntry { federates_with: vec![other(), other()], ..entry("a") };
    let refused = store.create_entry(federated.clone(), entry_id("a"), NOW).await;
    assert_eq!(refused, Err(Error::NoFederatedBundle { trust_domain: "spiffe://other.org".into() }));
    store.set_bundle(Bundle::new(other())).await.unwrap();
    let (created, _) = create(store, federated).await;
    assert_eq!(created.federates_with, [other()], "named twice is named once");
}

pub async fn lists_are_paged_in_the_order_of_creation(store: &dyn DataStore) {
    for name in ["c", "a", "b"] {
        create(store, entry(name)).await;
    }
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = PageRequest { size: Some(2), token };
        let page = store.list_entries(EntryFilter::default(), page).await.unwrap();
        names.extend(page.items.iter().map(|entry| entry.spiffe_id.path().to_owned()));
        token = page.next_token;
        if token.is_empty() {
            assert!(page.items.is_empty(), "a walk ends with an empty page");
            break;
        }
    }
    assert_eq!(names, ["/c", "/a", "/b"]);
    let bad = PageRequest { size: Some(2), token: "x".into() };
    let refused = store.list_entries(EntryFilter::default(), bad).await;
    assert_eq!(refused, Err(Error::PageToken { token: "x".into() }));
    let whole = PageRequest { size: None, token: "x".into() };
    let whole = store.list_entries(EntryFilter::default(), whole).await.unwrap();
    assert_eq!((whole.items.len(), whole.next_token.as_str()), (3, ""));
}

pub async fn filters_mean_what_set_theory_says(store: &dyn DataStore) {
    let third = "third.org".parse::<spiffe_core::TrustDomain>().unwrap();
    store.set_bundle(Bundle::new(other())).await.unwrap();
    store.set_bundle(Bundle::new(third.clone())).await.unwrap();
    let sets: [&[&str]; 4] = [&["a:1"], &["a:1", "a:2"], &["a:2", "a:3"], &["a:1", "a:2", "a:3"]];
    for (number, set) in sets.iter().enumerate() {
        let federates_with = [vec![], vec![other()], vec![other(), third.clone()], vec![third.clone()]];
        let entry = RegistrationEntry {
            selectors: selectors(set),
            federates_with: federates_with[number].clone(),
            hint: if number == 0 { "h".into() } else { String::new() },
            downstream: number == 1,
            ..entry(&number.to_string())
        };
        create(store, entry).await;
    }
    let all = store.list_entries(EntryFilter::default(), PageRequest::default()).await.unwrap().items;
    let mut filters = vec![
        EntryFilter { spiffe_id: Some(id("/1")), ..EntryFilter::default() },
        EntryFilter { parent_id: Some(id("/node")), ..EntryFilter::default() },
        EntryFilter { hint: Some("h".into()), ..EntryFilter::default() },
        EntryFilter { downstream: Some(true), ..EntryFilter::default() },
        EntryFilter { downstream: Some(false), hint: Some("h".into()), ..EntryFilter::default() },
    ];
    for behavior in [MatchBehavior::Exact, MatchBehavior::Subset, MatchBehavior::Superset, MatchBehavior::Any] {
        for set in [&["a:1"] as &[_], &["a:2", "a:1"], &["a:1", "a:2", "a:3", "a:4"], &["a:4"]] {
            let asked = SelectorMatch { selectors: selectors(set), behavior };
            filters.push(EntryFilter { selectors: Some(asked), ..EntryFilter::default() });
        }
        for set in [vec![other()], vec![third.clone(), other()]] {
            let asked = FederatesWithMatch { trust_domains: set, behavior };
            filters.push(EntryFilter { federates_with: Some(asked), ..EntryFilter::default() });
        }
    }
    for filter in filters {
        let expected: Vec<_> = all.iter().filter(|entry| filter.matches(entry)).cloned().collect();
        let listed = store.list_entries(filter.clone(), PageRequest::default()).await.unwrap().items;
        assert_eq!(listed, expected, "{filter:?}");
        assert_eq!(store.count_entries(filter.clone()).await.unwrap(), expected.len(), "{filter:?}");
    }
    let none = SelectorMatch { selectors: Vec::new(), behavior: MatchBehavior::Any };
    let none = EntryFilter { selectors: Some(none), ..EntryFilter::default() };
    assert_eq!(store.count_entries(none).await, Err(Error::EmptySelectors));
}
