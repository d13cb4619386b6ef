use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use spiffe_core::{Bundle, SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_datastore::{Change, Created, DataStore, Entries as _, Nodes as _, SqliteStore};
use spire_runtime::SimClock;
use spire_types::{AttestedNode, EntryId, RegistrationEntry, Revision, Selector};

use super::history::Touches;
use super::*;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap()
}

fn entry(name: &str, path: &str, parent: &str, selectors: &[&str]) -> RegistrationEntry {
    let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
    let mut entry = RegistrationEntry::new(id(path), id(parent), selectors);
    entry.id = Some(EntryId::parse(name).unwrap());
    entry
}

fn node(path: &str, selectors: &[&str]) -> AttestedNode {
    AttestedNode {
        spiffe_id: id(path),
        attestation_type: "x509pop".into(),
        serial: Some("1".into()),
        not_after: NOW + Ttl::from_hours(1),
        new_serial: None,
        new_not_after: None,
        can_reattest: true,
        selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
        agent_version: String::new(),
    }
}

fn put(entry: RegistrationEntry) -> Change {
    Change::Entry(entry.id.clone().unwrap(), Some(entry))
}

fn known(node: AttestedNode) -> Change {
    Change::Node(node.spiffe_id.clone(), Some(node))
}

fn index(changes: Vec<Change>) -> EntryIndex {
    EntryIndex::new(trust_domain()).after(Revision(1), changes)
}

fn names(index: &EntryIndex, agent: &str) -> Vec<String> {
    let mut names: Vec<_> =
        index.authorized(&id(agent), NOW).iter().map(|entry| entry.id.as_ref().unwrap().to_string()).collect();
    names.sort();
    names
}

#[test]
fn an_agent_gets_its_own_entries_and_what_hangs_below_them() {
    let index = index(vec![
        put(entry("own", "/a", "/agent", &["x:1"])),
        put(entry("child", "/b", "/a", &["x:1"])),
        put(entry("grandchild", "/c", "/b", &["x:1"])),
        put(entry("stranger", "/d", "/other", &["x:1"])),
    ]);
    assert_eq!(names(&index, "/agent"), ["child", "grandchild", "own"]);
    assert_eq!(names(&index, "/nobody"), [""; 0]);
}

#[test]
fn entries_that_are_each_others_parents_are_found_once() {
    let index = index(vec![
        put(entry("own", "/a", "/agent", &["x:1"])),
        put(entry("b", "/b", "/a", &["x:1"])),
        put(entry("back", "/a", "/b", &["x:1"])),
        put(entry("self", "/a", "/a", &["x:2"])),
    ]);
    assert_eq!(names(&index, "/agent"), ["b", "back", "own", "self"]);
}

#[test]
fn an_alias_gives_its_children_to_agents_with_all_its_selectors_but_not_itself() {
    let changes = vec![
        put(entry("alias", "/cluster", "/spire/server", &["k:1", "k:2"])),
        put(entry("wide", "/everyone", "/spire/server", &["k:1"])),
        put(entry("in-cluster", "/a", "/cluster", &["x:1"])),
        put(entry("for-all", "/b", "/everyone", &["x:1"])),
        known(node("/both", &["k:1", "k:2", "k:3"])),
        known(node("/one", &["k:1"])),
        known(node("/none", &["k:3"])),
    ];
    let index = index(changes);
    assert_eq!(names(&index, "/both"), ["for-all", "in-cluster"]);
    assert_eq!(names(&index, "/one"), ["for-all"]);
    assert_eq!(names(&index, "/none"), [""; 0]);
}

#[test]
fn banned_and_expired_agents_have_no_aliases() {
    let alias = put(entry("alias", "/cluster", "/spire/server", &["k:1"]));
    let child = put(entry("child", "/a", "/cluster", &["x:1"]));
    let banned = AttestedNode { serial: None, ..node("/banned", &["k:1"]) };
    let expired = AttestedNode { not_after: NOW, ..node("/expired", &["k:1"]) };
    let index = index(vec![alias, child, known(banned), known(expired)]);
    assert_eq!(names(&index, "/banned"), [""; 0]);
    assert_eq!(names(&index, "/expired"), [""; 0]);
}

#[test]
fn entries_that_have_ended_and_what_hangs_below_them_are_not_given() {
    let mut ended = entry("ended", "/a", "/agent", &["x:1"]);
    ended.expires_at = Some(NOW - Ttl::from_secs(1));
    let mut ending = entry("ending", "/b", "/agent", &["x:1"]);
    ending.expires_at = Some(NOW);
    let index = index(vec![put(ended), put(ending), put(entry("below", "/c", "/a", &["x:1"]))]);
    assert_eq!(names(&index, "/agent"), ["ending"]);
}

#[test]
fn entries_of_other_trust_domains_are_ignored() {
    let mut foreign = entry("foreign", "/a", "/agent", &["x:1"]);
    foreign.spiffe_id = SpiffeId::parse("spiffe://other.org/a").unwrap();
    assert_eq!(names(&index(vec![put(foreign)]), "/agent"), [""; 0]);
}

#[test]
fn an_update_replaces_the_entry_everywhere_and_the_former_index_stays() {
    let before = index(vec![put(entry("e", "/a", "/agent", &["x:1"]))]);
    let after = before.after(Revision(2), vec![put(entry("e", "/a", "/other", &["x:1"]))]);
    assert_eq!((names(&before, "/agent"), names(&after, "/agent")), (vec!["e".to_owned()], vec![]));
    assert_eq!(names(&after, "/other"), ["e"]);
    let gone = after.after(Revision(3), vec![Change::Entry(EntryId::parse("e").unwrap(), None)]);
    assert!(gone.is_empty() && names(&gone, "/other").is_empty() && gone.revision() == Revision(3));
}

#[tokio::test(start_paused = true)]
async fn the_cache_follows_the_store_and_reaches_each_answered_write() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let cache = Arc::new(EntryCache::load(Arc::clone(&store) as Arc<dyn DataStore>, trust_domain()).await.unwrap());
    let follower = Arc::clone(&cache);
    let clock = SimClock::starting_at(NOW);
    let following = tokio::spawn(async move { follower.follow(&clock, Duration::from_secs(5)).await });

    let chosen = EntryId::parse("unused").unwrap();
    let created = store.create_entry(entry("a", "/a", "/agent", &["x:1"]), chosen.clone(), NOW).await.unwrap();
    let Created::New(_, revision) = created else { panic!("similar") };
    cache.reach(revision).await.unwrap();
    assert_eq!(names(&cache.current(), "/agent"), ["a"]);

    let mut revisions = cache.revisions();
    let revision = store.attest_node(node("/agent", &["k:1"])).await.unwrap();
    revisions.wait_for(|shown| *shown >= revision).await.unwrap();
    assert!(cache.current().node(&id("/agent")).is_some());
    following.abort();
}

// The oracle: reads the rules off, without any index.
fn naive(entries: &[RegistrationEntry], nodes: &[AttestedNode], agent: &SpiffeId) -> BTreeSet<String> {
    let alive = |entry: &&RegistrationEntry| entry.expires_at.is_none_or(|end| end >= NOW);
    let selectors: BTreeSet<Selector> = nodes
        .iter()
        .filter(|node| node.spiffe_id == *agent && !node.is_banned() && node.not_after > NOW)
        .flat_map(|node| node.selectors.clone())
        .collect();
    let mut parents = BTreeSet::from([agent.clone()]);
    for alias in entries.iter().filter(alive).filter(|entry| entry.parent_id == id("/spire/server")) {
        if alias.selectors.iter().all(|selector| selectors.contains(selector)) {
            parents.insert(alias.spiffe_id.clone());
        }
    }
    loop {
        let found: Vec<_> = entries
            .iter()
            .filter(alive)
            .filter(|entry| entry.parent_id != id("/spire/server") && parents.contains(&entry.parent_id))
            .collect();
        let before = parents.len();
        parents.extend(found.iter().map(|entry| entry.spiffe_id.clone()));
        if parents.len() == before {
            return found.iter().map(|entry| entry.id.as_ref().unwrap().to_string()).collect();
        }
    }
}

fn path() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["/a", "/b", "/c", "/d", "/agent1", "/agent2", "/spire/server"])
}

fn some_selectors() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(vec!["k:1", "k:2", "k:3"], 0..=3)
}

fn some_entry() -> impl Strategy<Value = RegistrationEntry> {
    let name = proptest::sample::select(vec!["e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8"]);
    (name, path(), path(), some_selectors(), 0_u8..4).prop_map(|(name, path, parent, selectors, end)| {
        let mut entry = entry(name, path, parent, if selectors.is_empty() { &["k:9"] } else { &selectors });
        entry.expires_at = (end == 0).then(|| NOW - Ttl::from_secs(1));
        entry
    })
}

fn some_node() -> impl Strategy<Value = AttestedNode> {
    let agent = proptest::sample::select(vec!["/agent1", "/agent2"]);
    (agent, some_selectors(), any::<bool>()).prop_map(|(agent, selectors, banned)| {
        let mut node = node(agent, &selectors);
        node.serial = node.serial.filter(|_| !banned);
        node
    })
}

fn some_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => some_entry().prop_map(put),
        2 => some_entry().prop_map(|entry| Change::Entry(entry.id.unwrap(), None)),
        2 => some_node().prop_map(known),
    ]
}

fn remember(entries: &mut Vec<RegistrationEntry>, nodes: &mut Vec<AttestedNode>, change: &Change) {
    match change {
        Change::Entry(id, entry) => {
            entries.retain(|entry| entry.id.as_ref() != Some(id));
            entries.extend(entry.clone());
        }
        Change::Node(id, node) => {
            nodes.retain(|node| node.spiffe_id != *id);
            nodes.extend(node.clone());
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn whatever_changes_an_agent_gets_what_the_rules_say(changes in proptest::collection::vec(some_change(), 0..40)) {
        let (mut entries, mut nodes) = (Vec::new(), Vec::new());
        let mut index = EntryIndex::new(trust_domain());
        for (revision, change) in (1..).zip(changes) {
            remember(&mut entries, &mut nodes, &change);
            index = index.after(Revision(revision), vec![change]);
            for agent in ["/agent1", "/agent2"].map(id) {
                let expected = naive(&entries, &nodes, &agent);
                let given = index.authorized(&agent, NOW);
                let given: Vec<_> = given.iter().map(|entry| entry.id.as_ref().unwrap().to_string()).collect();
                prop_assert_eq!(given.len(), expected.len(), "an entry twice");
                prop_assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), expected.clone());
                for entry in &entries {
                    let entry_id = entry.id.as_ref().unwrap();
                    let single = index.authorized_entry(&agent, entry_id, NOW);
                    prop_assert_eq!(single.is_some(), expected.contains(entry_id.as_str()));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn what_an_agent_gets_stays_the_same_until_the_time_that_is_told(
        entries in proptest::collection::vec((some_entry(), proptest::option::of(0_u64..5)), 0..20),
        nodes in proptest::collection::vec((some_node(), 0_u64..5), 0..3),
    ) {
        let entries = entries.into_iter().map(|(mut entry, end)| {
            entry.expires_at = end.map(|end| NOW + Ttl::from_secs(end)).or(entry.expires_at);
            put(entry)
        });
        let nodes = nodes.into_iter().map(|(node, end)| known(AttestedNode { not_after: NOW + Ttl::from_secs(end), ..node }));
        let index = index(entries.chain(nodes).collect());
        let given = |now| {
            let given = index.authorized(&id("/agent1"), now);
            given.iter().map(|entry| entry.id.as_ref().unwrap().to_string()).collect::<BTreeSet<_>>()
        };
        let (_, until) = index.authorized_until(&id("/agent1"), NOW);
        prop_assert!(until.is_none_or(|until| until > NOW));
        for later in (0..7).map(|seconds| NOW + Ttl::from_secs(seconds)) {
            prop_assert!(until.is_some_and(|until| until <= later) || given(later) == given(NOW));
        }
    }
}

/// What an agent makes of what it is told.
#[derive(Default)]
struct Told(BTreeMap<String, Arc<RegistrationEntry>>);

impl Told {
    fn take(&mut self, delta: Delta) {
        for id in delta.removed_entries {
            self.0.remove(id.as_str());
        }
        for entry in delta.entries {
            self.0.insert(entry.id.as_ref().unwrap().to_string(), entry);
        }
    }

    fn given(index: &EntryIndex, agent: &SpiffeId) -> BTreeMap<String, Arc<RegistrationEntry>> {
        let given = index.authorized(agent, NOW).into_iter();
        given.map(|entry| (entry.id.as_ref().unwrap().to_string(), entry)).collect()
    }
}

proptest! {
    #[test]
    fn an_agent_that_is_told_steps_has_what_the_index_gives_at_each_of_them(
        batches in proptest::collection::vec((proptest::collection::vec(some_change(), 1..4), 0_u8..4), 1..30)
    ) {
        let mut index = Arc::new(EntryIndex::new(trust_domain()));
        let mut steps: Vec<Arc<Step>> = Vec::new();
        let mut agents = ["/agent1", "/agent2"].map(|path| (View::new(id(path)), Told::default()));
        for (revision, (changes, lag)) in (1..).zip(batches) {
            let after = Arc::new(index.after(Revision(revision), changes.clone()));
            let touched = Touches::of(&changes).between(&index, &after);
            steps.push(Arc::new(Step { from: index.revision(), after: Arc::clone(&after), touched }));
            index = after;
            for (number, (view, told)) in (0..).zip(&mut agents) {
                // Now and then an agent lags behind, or comes back with what it had.
                if lag == number {
                    continue;
                }
                let first = steps.iter().position(|step| step.from == view.revision()).unwrap();
                if lag == 3 && first > 0 {
                    *view = View::at(view.agent().clone(), &steps[first - 1].after, NOW);
                }
                told.take(view.follow(&steps[first..], NOW));
                prop_assert_eq!(&told.0, &Told::given(&index, view.agent()));
                prop_assert_eq!(view.revision(), index.revision());
            }
        }
    }
}

#[test]
fn an_agent_is_told_the_bundles_that_its_entries_need_and_when_they_change() {
    let bundle = |name: &str, sequence| {
        let mut bundle = Bundle::new(TrustDomain::parse(name).unwrap());
        bundle.sequence_number = sequence;
        Change::Bundle(bundle.trust_domain.clone(), Some(bundle))
    };
    let mut federated = entry("e", "/a", "/agent", &["x:1"]);
    federated.federates_with = vec![TrustDomain::parse("friend.org").unwrap()];
    let names = |bundles: &[Arc<Bundle>]| {
        let mut names: Vec<_> = bundles.iter().map(|bundle| bundle.trust_domain.to_string()).collect();
        names.sort();
        names
    };
    let mut index = Arc::new(index(vec![bundle("example.org", 1), bundle("friend.org", 1), bundle("stranger.org", 1)]));
    let mut view = View::new(id("/agent"));
    assert_eq!(names(&view.compare_all(&index, NOW).bundles), ["example.org"]);
    let mut step = |changes: Vec<Change>| {
        let after = Arc::new(index.after(Revision(index.revision().0 + 1), changes.clone()));
        let touched = Touches::of(&changes).between(&index, &after);
        let step = Arc::new(Step { from: index.revision(), after: Arc::clone(&after), touched });
        index = after;
        view.follow(&[step], NOW)
    };
    assert_eq!(names(&step(vec![put(federated)]).bundles), ["friend.org"]);
    assert_eq!(names(&step(vec![bundle("friend.org", 2), bundle("stranger.org", 2)]).bundles), ["friend.org"]);
    let delta = step(vec![Change::Entry(EntryId::parse("e").unwrap(), None)]);
    assert_eq!(delta.removed_bundles, [TrustDomain::parse("friend.org").unwrap()]);
    assert!(step(vec![bundle("friend.org", 3)]).is_empty());
}
