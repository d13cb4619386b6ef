//! What decides without touching anything: the rotation of a server's authorities, the cache of an agent.

#![expect(clippy::unwrap_used, reason = "a bench ends when something is wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use spiffe_core::testing::TestAuthority;
use spiffe_core::{KeyType, PrivateKey, Timestamp, Ttl};
use spire_agent::cache::{Cache, Done as CacheDone, Minted, Settings, Step as CacheStep, Synced};
use spire_ca::AuthorityId;
use spire_ca::rotation::{Done, JwtRecord, Kind, Policy, Rotation, Step, X509Record};
use spire_types::{EntryId, RegistrationEntry, Selector};

const START: Timestamp = Timestamp::from_unix(1_800_000_000);
const DAY: Ttl = Ttl::from_hours(24);

/// A year of JWT keys that are replaced each day, with all that is saved and pruned on the way.
fn rotation(criterion: &mut Criterion) {
    let authority = TestAuthority::new("example.org");
    let certificate = authority.root().clone();
    let public_key = PrivateKey::generate(KeyType::EcP256).unwrap().public_key().clone();
    let perform = |step: Step, now: Timestamp, rotation: &Rotation| match step {
        Step::Prepare { kind: Kind::X509, slot } => {
            Done::PreparedX509 { slot, record: X509Record::new(certificate.clone(), Vec::new(), now) }
        }
        Step::Prepare { kind: Kind::Jwt, slot } => {
            let authority_id = AuthorityId::new(&format!("{:032}", now.as_unix()));
            let record =
                JwtRecord { authority_id, issued_at: now, not_after: now + DAY, public_key: public_key.clone() };
            Done::PreparedJwt { slot, record }
        }
        Step::Activate { kind, authority_id } => Done::Activated { kind, authority_id },
        Step::SaveJournal => Done::SavedJournal { generation: rotation.generation() },
        Step::Taint { .. } => Done::Tainted,
        Step::Revoke { .. } => Done::Revoked,
        Step::FollowUpstream => Done::FollowedUpstream,
        Step::PruneBundle => Done::PrunedBundle,
        Step::PruneJournals => Done::PrunedJournals,
    };
    criterion.bench_function("rotation/a_year_of_daily_keys", |bench| {
        bench.iter(|| {
            let (mut now, mut keys) = (START, 0);
            let mut rotation = Rotation::new(Policy { ca_ttl: DAY, jwt_svids: true }, now);
            while now < START + Ttl::from_hours(365 * 24) {
                while let Some(step) = rotation.next_step(now) {
                    keys += u32::from(matches!(step, Step::Prepare { kind: Kind::Jwt, .. }));
                    let done = perform(step, now, &rotation);
                    rotation.completed(now, done);
                }
                now = rotation.next_wakeup().max(now + Ttl::from_secs(1));
            }
            assert!(keys > 365, "{keys}");
            rotation
        });
    });
}

fn entry(authority: &TestAuthority, number: usize) -> RegistrationEntry {
    let trust_domain = authority.trust_domain();
    let selectors = [format!("k8s:ns:{}", number % 10), format!("k8s:sa:{number}")];
    let selectors = selectors.iter().map(|text| text.parse().unwrap()).collect();
    let id = trust_domain.join(&format!("/workload/{number}")).unwrap();
    let mut entry = RegistrationEntry::new(id, trust_domain.id(), selectors);
    entry.id = Some(EntryId::parse(&format!("entry-{number}")).unwrap());
    entry
}

/// An agent with so many entries, each with its SVID.
fn cache(criterion: &mut Criterion) {
    let authority = TestAuthority::new("example.org");
    let mut group = criterion.benchmark_group("cache");
    for size in [100, 1000] {
        let entries: Vec<_> = (0..size).map(|number| entry(&authority, number)).collect();
        let present: BTreeSet<_> = entries.iter().filter_map(|entry| entry.id.clone()).collect();
        let synced = |entries: &[RegistrationEntry]| {
            let bundles = authority.bundles();
            CacheDone::Synced(Synced { present: present.clone(), entries: entries.to_vec(), bundles })
        };
        let svid = |path: &str| authority.svid_valid(path, START, START + DAY);
        let svids: BTreeMap<_, _> =
            entries.iter().filter_map(|entry| Some((entry.id.clone()?, svid(entry.spiffe_id.path())))).collect();
        let perform = |step: CacheStep| match step {
            CacheStep::Expire => CacheDone::Expired,
            CacheStep::Sync => synced(&entries),
            CacheStep::Mint(requests) => CacheDone::Minted(
                requests
                    .into_iter()
                    .map(|request| Minted {
                        outcome: svids.get(&request.id).map(|svid| svid.as_ref().clone()).ok_or_else(String::new),
                        id: request.id,
                        revision: request.revision,
                    })
                    .collect(),
            ),
        };
        let filled = || {
            let mut cache = Cache::new(Settings {
                trust_domain: authority.trust_domain().clone(),
                sync_interval: Ttl::from_secs(5),
                max_x509_svids: size,
                availability_target: None,
            });
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            while let Some(step) = cache.next_step(START) {
                cache.completed(START, perform(step), &mut rng);
            }
            cache
        };
        assert_eq!(filled().svid_count(), size);
        group.bench_function(BenchmarkId::new("filled", size), |bench| bench.iter(filled));
        let mut cache = filled();
        let workload: BTreeSet<Selector> =
            ["unix:uid:1000", "k8s:ns:7", "k8s:sa:7", "k8s:pod-name:a"].map(|text| text.parse().unwrap()).into();
        group.bench_function(BenchmarkId::new("matching", size), |bench| {
            bench.iter(|| cache.matching(black_box(&workload)));
        });
        let subscriber = cache.subscribe(workload.clone());
        group.bench_function(BenchmarkId::new("update_for_a_workload", size), |bench| {
            bench.iter(|| cache.update_for(black_box(subscriber), START));
        });
        let mut changed = entry(&authority, 7);
        changed.revision_number = 1;
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        group.bench_function(BenchmarkId::new("one_entry_changed", size), |bench| {
            bench.iter_batched(
                || {
                    changed.revision_number += 1;
                    synced(std::slice::from_ref(&changed))
                },
                |done| cache.completed(START, done, &mut rng),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, rotation, cache);
criterion_main!(benches);
