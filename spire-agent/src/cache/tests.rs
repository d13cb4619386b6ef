//! The cache on simulated time.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use spiffe_core::testing::TestAuthority;
use spiffe_core::x509::X509Svid;
use spire_types::AdditionalAttributes;

use super::*;

const START: Timestamp = Timestamp::from_unix(1_800_000_000);
const DAY: Ttl = Ttl::from_hours(24);

/// A cache, a server that obeys, and a time that goes where it is told.
struct World {
    authority: TestAuthority,
    entries: BTreeMap<EntryId, RegistrationEntry>,
    bundles: BundleSet,
    cache: Cache,
    rng: ChaCha8Rng,
    now: Timestamp,
    ttl: Ttl,
    refused: BTreeSet<EntryId>,
}

impl World {
    fn new() -> Self {
        let authority = TestAuthority::new("example.org");
        let settings = Settings {
            trust_domain: authority.trust_domain().clone(),
            sync_interval: Ttl::from_secs(5),
            max_x509_svids: 1000,
            availability_target: None,
        };
        Self {
            bundles: authority.bundles(),
            authority,
            entries: BTreeMap::new(),
            cache: Cache::new(settings),
            rng: ChaCha8Rng::seed_from_u64(7),
            now: START,
            ttl: Ttl::from_hours(1),
            refused: BTreeSet::new(),
        }
    }

    fn register(&mut self, id: &str, selectors: &[&str]) -> EntryId {
        let trust_domain = self.authority.trust_domain();
        let spiffe_id = trust_domain.join(&format!("/{id}")).unwrap();
        let mut entry =
            RegistrationEntry::new(spiffe_id, trust_domain.id(), self::selectors(selectors).into_iter().collect());
        let id = EntryId::parse(id).unwrap();
        entry.id = Some(id.clone());
        self.entries.insert(id.clone(), entry);
        id
    }

    fn change(&mut self, id: &EntryId, change: impl FnOnce(&mut RegistrationEntry)) {
        let entry = self.entries.get_mut(id).unwrap();
        change(entry);
        entry.revision_number += 1;
    }

    fn perform(&self, step: &Step) -> Done {
        match step {
            Step::Expire => Done::Expired,
            Step::Sync => Done::Synced(Synced {
                present: self.entries.keys().cloned().collect(),
                entries: self.entries.values().cloned().collect(),
                bundles: self.bundles.clone(),
            }),
            Step::Mint(requests) => Done::Minted(requests.iter().map(|request| self.mint(request)).collect()),
        }
    }

    fn mint(&self, request: &MintRequest) -> Minted {
        let svid =
            || X509Svid::clone(&self.authority.svid_valid(request.spiffe_id.path(), self.now, self.now + self.ttl));
        let refused = self.refused.contains(&request.id);
        let outcome = if refused { Err("entry not found".to_owned()) } else { Ok(svid()) };
        Minted { id: request.id.clone(), revision: request.revision, outcome }
    }

    /// Does all that is due at the moment, and tells what it was.
    fn settle(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = self.cache.next_step(self.now) {
            let done = self.perform(&step);
            self.cache.completed(self.now, done, &mut self.rng);
            steps.push(step);
            assert!(steps.len() < 100, "it never settles: {steps:?}");
        }
        steps
    }

    fn sync(&mut self) -> Vec<Step> {
        self.cache.request_sync();
        self.settle()
    }

    fn paths(&self, subscriber: SubscriberId) -> Vec<String> {
        let update = self.cache.update_for(subscriber, self.now);
        update.identities.iter().map(|identity| identity.svid.id().path().to_owned()).collect()
    }
}

fn selectors(texts: &[&str]) -> BTreeSet<Selector> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mut world = World::new();
    world.register("one", &["unix:uid:1"]);
    let step = world.cache.next_step(world.now).unwrap();
    let synced = world.perform(&step);
    world.cache.completed(world.now, synced.clone(), &mut world.rng);
    world.cache.failed(world.now, StepKind::Mint, "not reached", Ttl::from_minutes(1));
    world.now = START - Ttl::from_hours(2);
    assert_eq!(world.cache.next_step(world.now), Some(Step::Sync));
    world.cache.failed(world.now, StepKind::Sync, "not reached", Ttl::from_secs(5));
    assert_eq!(world.cache.next_step(world.now), None, "a failure is waited for as ever");
    world.now = world.now + Ttl::from_secs(5);
    assert_eq!(world.cache.next_step(world.now), Some(Step::Sync));
    world.cache.completed(world.now, synced, &mut world.rng);
    assert!(matches!(world.cache.next_step(world.now), Some(Step::Mint(_))));
}

#[test]
fn a_year_of_renewals_with_failures_never_serves_what_it_must_not() {
    let mut world = World::new();
    world.cache.settings.sync_interval = Ttl::from_hours(2);
    world.ttl = DAY;
    for id in ["a", "b", "c"] {
        world.register(id, &["unix:uid:0"]);
    }
    let subscriber = world.cache.subscribe(selectors(&["unix:uid:0", "unix:gid:0"]));
    let mut synced: BTreeSet<EntryId> = BTreeSet::new();
    let (mut mints, mut last_away) = (0, START);
    while world.now < START + Ttl::from_hours(24 * 365) {
        let step = world.cache.next_step(world.now);
        match step {
            None => {
                let next = world.cache.next_wakeup();
                assert!(next > world.now, "a wake-up in the past is a busy loop");
                world.now = next;
            }
            // Every third call to the server fails, and once a quarter it is away for two days.
            Some(ref step @ (Step::Sync | Step::Mint(_))) => {
                let away = world.now.since(START).as_secs() % (90 * 24 * 3600) > 88 * 24 * 3600;
                let kind = if *step == Step::Sync { StepKind::Sync } else { StepKind::Mint };
                if away {
                    last_away = world.now;
                }
                if away || world.rng.next_u32().is_multiple_of(3) {
                    world.cache.failed(world.now, kind, "unavailable", Ttl::from_secs(30));
                } else {
                    if kind == StepKind::Sync {
                        let flip = EntryId::parse("c").unwrap();
                        if world.entries.remove(&flip).is_none() {
                            world.register("c", &["unix:uid:0"]);
                        }
                        synced = world.entries.keys().cloned().collect();
                    } else {
                        mints += 1;
                    }
                    let done = world.perform(step);
                    world.cache.completed(world.now, done, &mut world.rng);
                }
            }
            Some(Step::Expire) => world.cache.completed(world.now, Done::Expired, &mut world.rng),
        }
        let update = world.cache.update_for(subscriber, world.now);
        for identity in &update.identities {
            assert!(identity.svid.leaf().not_after() > world.now, "expired");
            assert!(synced.contains(identity.entry.id.as_ref().unwrap()), "deleted");
        }
        // Whatever fails, an hour after an outage of two days everything is served again, and it stays so.
        if world.now.since(last_away) > Ttl::from_hours(1) {
            let served: BTreeSet<&str> = update.identities.iter().map(|identity| identity.svid.id().path()).collect();
            assert!(served.contains("/a") && served.contains("/b"), "{update:?}");
        }
    }
    assert!(mints > 700, "{mints}");
}

#[test]
fn what_is_waited_for_is_minted_first_and_in_batches() {
    let mut world = World::new();
    for n in 0..30 {
        world.register(&format!("w{n:02}"), &[&format!("unix:uid:{n}")]);
    }
    world.cache.batch = 8;
    let subscriber = world.cache.subscribe(selectors(&["unix:uid:29"]));
    let steps = world.sync();
    let Step::Mint(first) = &steps[1] else { panic!("{steps:?}") };
    assert_eq!((first[0].id.as_str(), first.len()), ("w29", 8));
    assert_eq!(world.paths(subscriber), ["/w29"]);
    assert_eq!(world.cache.svid_count(), 30);

    world.cache.batch = 8;
    world.register("more", &["unix:uid:29"]);
    world.cache.request_sync();
    let sync = world.cache.next_step(world.now).unwrap();
    let done = world.perform(&sync);
    world.cache.completed(world.now, done, &mut world.rng);
    world.cache.failed(world.now, StepKind::Mint, "unavailable", Ttl::from_secs(4));
    assert_eq!(world.cache.batch, 4);
    assert_eq!(world.cache.next_step(world.now), None);
    assert_eq!(world.cache.next_wakeup(), world.now + Ttl::from_secs(4));
}

#[test]
fn subscribers_hear_of_what_concerns_them_and_of_nothing_else() {
    let mut world = World::new();
    let web = world.register("web", &["unix:uid:1", "unix:gid:1"]);
    let subscriber = world.cache.subscribe(selectors(&["unix:uid:1", "unix:gid:1", "unix:path:/x"]));
    let other = world.cache.subscribe(selectors(&["unix:uid:1"]));
    let nobody = world.cache.subscribe(BTreeSet::new());
    world.sync();
    assert_eq!(world.cache.take_changed(), BTreeSet::from([subscriber, other, nobody]), "the bundle is for all");
    assert_eq!(world.paths(subscriber), ["/web"]);
    assert!(world.paths(other).is_empty() && world.cache.update_for(other, world.now).is_complete());

    world.sync();
    assert!(world.cache.take_changed().is_empty(), "nothing new");

    let foreign = TestAuthority::new("other.example");
    world.change(&web, |entry| entry.federates_with = vec![foreign.trust_domain().clone()]);
    world.sync();
    assert_eq!(world.cache.take_changed(), BTreeSet::from([subscriber]));
    assert_eq!(world.cache.update_for(subscriber, world.now).bundles.len(), 1);
    world.bundles.insert(foreign.bundle());
    world.sync();
    assert_eq!(world.cache.take_changed(), BTreeSet::from([subscriber]));
    assert_eq!(world.cache.update_for(subscriber, world.now).bundles.len(), 2);

    world.entries.remove(&web);
    world.sync();
    assert_eq!(world.cache.take_changed(), BTreeSet::from([subscriber]));
    assert!(world.paths(subscriber).is_empty());
    world.cache.unsubscribe(subscriber);
    world.register("web", &["unix:uid:1", "unix:gid:1"]);
    world.sync();
    assert!(world.cache.take_changed().is_empty());
}

#[test]
fn a_changed_entry_is_minted_for_again_and_another_identity_withdraws_the_old_one_at_once() {
    let mut world = World::new();
    let id = world.register("web", &["unix:uid:1"]);
    let subscriber = world.cache.subscribe(selectors(&["unix:uid:1"]));
    world.sync();
    let first = world.cache.update_for(subscriber, world.now);

    world.change(&id, |entry| entry.hint = "internal".into());
    world.cache.request_sync();
    let done = world.perform(&Step::Sync);
    world.cache.completed(world.now, done, &mut world.rng);
    let update = world.cache.update_for(subscriber, world.now);
    assert_eq!(
        update.identities[0].svid.chain(),
        first.identities[0].svid.chain(),
        "served until the new one is there"
    );
    assert!(matches!(&world.settle()[..], [Step::Mint(requests)] if requests[0].renewal));

    let other = world.authority.trust_domain().join("/other").unwrap();
    world.change(&id, |entry| entry.spiffe_id = other);
    let done = world.perform(&Step::Sync);
    world.cache.completed(world.now, done, &mut world.rng);
    let update = world.cache.update_for(subscriber, world.now);
    assert!(update.identities.is_empty() && update.pending == 1);
    world.settle();
    assert_eq!(world.paths(subscriber), ["/other"]);
}

#[test]
fn an_entry_made_again_under_its_id_is_minted_for_again() {
    let mut world = World::new();
    let id = world.register("web", &["unix:uid:1"]);
    world.sync();
    world.entries.get_mut(&id).unwrap().created_at = START;
    assert!(matches!(&world.sync()[..], [Step::Sync, Step::Mint(_)]));
    assert!(matches!(&world.sync()[..], [Step::Sync]));
}

#[test]
fn svids_below_a_tainted_authority_are_replaced_once_and_served_until_then() {
    let mut world = World::new();
    world.register("web", &["unix:uid:1"]);
    let subscriber = world.cache.subscribe(selectors(&["unix:uid:1"]));
    world.sync();
    let mut bundle = world.authority.bundle();
    bundle.x509_authorities[0].tainted = true;
    bundle.x509_authorities.push(TestAuthority::new("example.org").bundle().x509_authorities.remove(0));
    world.bundles.insert(bundle);
    let done = world.perform(&Step::Sync);
    world.cache.completed(world.now, done, &mut world.rng);
    assert_eq!(world.paths(subscriber), ["/web"]);
    assert!(matches!(&world.settle()[..], [Step::Mint(requests)] if requests.len() == 1));
    assert!(matches!(&world.sync()[..], [Step::Sync]));
}

#[test]
fn a_server_that_mints_below_a_tainted_authority_is_asked_again_after_a_while() {
    let mut world = World::new();
    world.register("web", &["unix:uid:1"]);
    world.sync();
    let mut bundle = world.authority.bundle();
    bundle.x509_authorities[0].tainted = true;
    world.bundles.insert(bundle);
    world.now = world.now + Ttl::from_secs(5);
    let minted = |steps: Vec<Step>| steps.iter().filter(|step| matches!(step, Step::Mint(_))).count();
    assert_eq!(minted(world.sync()), 1);
    assert_eq!(minted(world.settle()), 0, "not in a loop");
    let successor = TestAuthority::new("example.org");
    let mut bundle = world.bundles.get(successor.trust_domain()).unwrap().as_ref().clone();
    bundle.x509_authorities.extend(successor.bundle().x509_authorities);
    world.bundles.insert(bundle);
    world.authority = successor;
    world.now = world.now + BELOW_TAINTED_FOR;
    assert_eq!(minted(world.settle()), 1);
    world.now = world.now + BELOW_TAINTED_FOR;
    assert_eq!(minted(world.settle()), 0);
}

#[test]
fn one_refused_entry_does_not_keep_the_others_from_a_workload() {
    let mut world = World::new();
    let bad = world.register("bad", &["unix:uid:1"]);
    world.refused.insert(bad.clone());
    let subscriber = world.cache.subscribe(selectors(&["unix:uid:1"]));
    world.sync();
    assert_eq!(world.cache.update_for(subscriber, world.now).pending, 1);
    world.register("good", &["unix:uid:1"]);
    world.sync();
    assert!(world.cache.update_for(subscriber, world.now).is_complete());
    assert_eq!(world.paths(subscriber), ["/good"]);
    world.refused.clear();
    world.now = world.now + REFUSED_FOR;
    world.settle();
    assert_eq!(world.paths(subscriber), ["/bad", "/good"]);
}

#[test]
fn svids_in_use_are_never_evicted_and_those_used_last_go_last() {
    let mut world = World::new();
    world.cache.settings.max_x509_svids = 3;
    for n in 0..3 {
        world.register(&format!("w{n}"), &[&format!("unix:uid:{n}")]);
    }
    world.sync();
    let glance = world.cache.subscribe(selectors(&["unix:uid:0"]));
    world.cache.unsubscribe(glance);
    let _stays = world.cache.subscribe(selectors(&["unix:uid:1"]));
    for n in 3..5 {
        world.register(&format!("w{n}"), &[&format!("unix:uid:{n}")]);
        world.cache.subscribe(selectors(&[&format!("unix:uid:{n}")]));
    }
    world.sync();
    assert_eq!(world.cache.svid_count(), 5, "whoever asks gets an SVID");
    world.cache.request_sync();
    world.settle();
    let held = |id: &str| world.cache.entries.get(&EntryId::parse(id).unwrap()).unwrap().svid.is_some();
    assert_eq!(["w0", "w1", "w2", "w3", "w4"].map(held), [false, true, false, true, true]);
}

#[test]
fn entries_without_prefetch_are_minted_for_on_demand_and_those_for_stores_never() {
    let mut world = World::new();
    let lazy = world.register("lazy", &["unix:uid:1"]);
    let store = world.register("store", &["unix:uid:1"]);
    let additional = AdditionalAttributes { disable_x509_svid_prefetch: true, ..Default::default() };
    world.change(&lazy, |entry| entry.additional = Some(additional));
    world.change(&store, |entry| entry.store_svid = true);
    world.sync();
    assert_eq!(world.cache.svid_count(), 0);
    let subscriber = world.cache.subscribe(selectors(&["unix:uid:1"]));
    assert!(matches!(&world.settle()[..], [Step::Mint(requests)] if requests.len() == 1));
    assert_eq!(world.paths(subscriber), ["/lazy"]);
    assert_eq!(world.cache.matching(&selectors(&["unix:uid:1"])).len(), 1);
    assert!(world.cache.entry(&store).is_none());
}

#[test]
fn an_svid_for_another_identity_is_refused() {
    let mut world = World::new();
    let id = world.register("web", &["unix:uid:1"]);
    let done = world.perform(&Step::Sync);
    world.cache.completed(world.now, done, &mut world.rng);
    let svid = X509Svid::clone(&world.authority.svid_valid("/evil", world.now, world.now + world.ttl));
    let minted = vec![Minted { id, revision: 0, outcome: Ok(svid) }];
    world.cache.completed(world.now, Done::Minted(minted), &mut world.rng);
    assert_eq!(world.cache.svid_count(), 0);
}
