//! Which entries an agent gets, out of 10,000 to 1,000,000. See `README.md` for the numbers to hold.

#![expect(clippy::unwrap_used, reason = "a bench ends when something is wrong")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use spiffe_core::{SpiffeId, Timestamp, TrustDomain, Ttl};
use spire_datastore::{Change, Snapshot};
use spire_server::entries::EntryIndex;
use spire_types::{AttestedNode, EntryId, RegistrationEntry, Revision, Selector};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);
const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];
const ENTRIES_OF_AN_AGENT: u32 = 100;

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn id(path: &str) -> SpiffeId {
    trust_domain().join(path).unwrap()
}

fn selectors(texts: &[String]) -> Vec<Selector> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn entry(number: u32, path: &str, parent: &str, texts: &[String]) -> RegistrationEntry {
    let mut entry = RegistrationEntry::new(id(path), id(parent), selectors(texts));
    entry.id = Some(EntryId::parse(&format!("entry-{number}")).unwrap());
    entry
}

fn agent(number: u32) -> SpiffeId {
    id(&format!("/spire/agent/x509pop/{number}"))
}

fn workload(number: u32, parent: &str) -> RegistrationEntry {
    let texts = [format!("k8s:sa:{number}"), format!("k8s:ns:{}", number % 500)];
    entry(number, &format!("/workload/{number}"), parent, &texts)
}

fn node(number: u32) -> AttestedNode {
    AttestedNode {
        spiffe_id: agent(number),
        attestation_type: "x509pop".into(),
        serial: Some("1".into()),
        not_after: NOW + Ttl::from_hours(1),
        new_serial: None,
        new_not_after: None,
        can_reattest: true,
        selectors: selectors(&[format!("x509pop:cn:{number}"), "x509pop:ca:1".to_owned()]),
        agent_version: String::new(),
    }
}

/// So many entries, a hundred of each agent, half of those below an alias.
fn snapshot(size: u32) -> Snapshot {
    let agents = size / ENTRIES_OF_AN_AGENT;
    let mut entries: Vec<_> = (0..size)
        .map(|number| {
            let below_alias = (number / agents).is_multiple_of(2);
            let agent = number % agents;
            let parent = if below_alias { format!("/group/{agent}") } else { agent_path(agent) };
            workload(number, &parent)
        })
        .collect();
    entries.extend((0..agents).map(|agent| {
        let texts = [format!("x509pop:cn:{agent}"), "x509pop:ca:1".to_owned()];
        entry(size + agent, &format!("/group/{agent}"), "/spire/server", &texts)
    }));
    Snapshot { revision: Revision(1), entries, nodes: (0..agents).map(node).collect(), ..Snapshot::default() }
}

fn agent_path(number: u32) -> String {
    agent(number).path().to_owned()
}

fn authorized_entries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("authorized_entries");
    for size in SIZES {
        let snapshot = snapshot(size);
        let index = EntryIndex::from_snapshot(trust_domain(), snapshot.clone());
        let agent = agent(7);
        let found = index.authorized(&agent, NOW);
        assert_eq!(found.len(), 100);
        let one = found.first().unwrap().id.clone().unwrap();

        group.sample_size(100);
        group.bench_function(BenchmarkId::new("all_100_of_an_agent", size), |bench| {
            bench.iter(|| index.authorized(black_box(&agent), NOW));
        });
        group.bench_function(BenchmarkId::new("one_of_an_agent", size), |bench| {
            bench.iter(|| index.authorized_entry(black_box(&agent), black_box(&one), NOW));
        });
        let new = workload(size * 2, agent.path());
        let change = || vec![Change::Entry(new.id.clone().unwrap(), Some(new.clone()))];
        group.bench_function(BenchmarkId::new("a_new_entry", size), |bench| {
            bench.iter_batched(change, |change| index.after(Revision(2), change), BatchSize::SmallInput);
        });
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("from_snapshot", size), |bench| {
            let copy = || snapshot.clone();
            bench.iter_batched(copy, |it| EntryIndex::from_snapshot(trust_domain(), it), BatchSize::PerIteration);
        });
    }
}

criterion_group!(benches, authorized_entries);
criterion_main!(benches);
