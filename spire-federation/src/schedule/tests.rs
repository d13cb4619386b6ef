use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use spiffe_core::SpiffeId;
use spire_types::EndpointProfile;

use super::*;

const START: Timestamp = Timestamp::from_unix(1_700_000_000);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(START.as_unix() + seconds)
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

fn td(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

fn relationship(name: &str) -> FederationRelationship {
    FederationRelationship {
        trust_domain: td(name),
        bundle_endpoint_url: format!("https://{name}/"),
        profile: EndpointProfile::HttpsWeb,
    }
}

fn schedule(names: &[&str]) -> Schedule {
    let mut schedule = Schedule::new();
    schedule.set_relationships(START, names.iter().map(|name| relationship(name)));
    schedule
}

fn name(fetch: &Fetch) -> &str {
    fetch.relationship.trust_domain.as_str()
}

fn fetched(hint: u64) -> Outcome {
    Outcome::Fetched { refresh_hint: Some(Ttl::from_secs(hint)) }
}

/// Starts and completes what is due at `now`; the waits until the next fetch, by name.
fn run_due(schedule: &mut Schedule, now: Timestamp, outcome: Outcome) -> u64 {
    let fetch = schedule.next_step(now).unwrap();
    schedule.started(&fetch);
    schedule.completed(now, &fetch, outcome, &mut rng());
    schedule.next_wakeup().since(now).as_secs()
}

#[test]
fn a_new_relationship_is_fetched_at_once() {
    let schedule = schedule(&["a.org"]);
    assert_eq!(schedule.next_wakeup(), START);
    assert_eq!(name(&schedule.next_step(START).unwrap()), "a.org");
}

#[test]
fn asking_changes_nothing() {
    let schedule = schedule(&["a.org", "b.org"]);
    assert_eq!(schedule.next_step(START), schedule.next_step(START));
}

#[test]
fn without_relationships_there_is_nothing_to_wait_for() {
    assert_eq!(Schedule::new().next_wakeup(), Timestamp::MAX);
    assert_eq!(Schedule::new().next_step(Timestamp::MAX), None);
}

#[test]
fn the_next_fetch_follows_after_a_quarter_of_the_hint() {
    for (hint, quarter) in [(400, 100), (60, 15), (0, 15), (1, 15), (86_400, 21_600), (u64::MAX, 21_600)] {
        let wait = run_due(&mut schedule(&["a.org"]), START, fetched(hint));
        assert!((quarter..=quarter + quarter / 10).contains(&wait), "hint {hint}: {wait}");
    }
}

#[test]
fn bundle_07_without_a_hint_five_minutes_count() {
    let wait = run_due(&mut schedule(&["a.org"]), START, Outcome::Fetched { refresh_hint: None });
    assert!((75..=82).contains(&wait), "{wait}");
}

#[test]
fn fed_28_a_failure_waits_for_the_next_interval() {
    let stored = Outcome::Failed { refresh_hint: Some(Ttl::from_secs(400)) };
    let wait = run_due(&mut schedule(&["a.org"]), START, stored);
    assert!((100..=110).contains(&wait), "{wait}");
    let wait = run_due(&mut schedule(&["a.org"]), START, Outcome::FailedWithoutBundle);
    assert!((60..=66).contains(&wait), "{wait}");
}

#[test]
fn what_is_in_flight_is_not_offered_again() {
    let mut schedule = schedule(&["a.org"]);
    schedule.started(&schedule.next_step(START).unwrap());
    assert_eq!(schedule.next_step(Timestamp::MAX), None);
    assert_eq!(schedule.next_wakeup(), Timestamp::MAX);
}

#[test]
fn one_that_stalls_does_not_delay_another() {
    let mut schedule = schedule(&["a.org", "b.org"]);
    schedule.started(&schedule.next_step(START).unwrap());
    assert_eq!(name(&schedule.next_step(START).unwrap()), "b.org");
    run_due(&mut schedule, START, fetched(60));
    assert_eq!(name(&schedule.next_step(at(20)).unwrap()), "b.org");
}

#[test]
fn a_refresh_is_due_at_once() {
    let mut schedule = schedule(&["a.org"]);
    run_due(&mut schedule, START, fetched(86_400));
    assert!(schedule.refresh(at(5), &td("a.org")));
    assert_eq!(schedule.next_wakeup(), at(5));
    assert!(schedule.next_step(at(5)).is_some());
    assert!(!schedule.refresh(at(5), &td("b.org")));
}

#[test]
fn a_refresh_does_not_wait_for_a_fetch_that_stalls_and_outdates_it() {
    let mut schedule = schedule(&["a.org"]);
    let stalling = schedule.next_step(START).unwrap();
    schedule.started(&stalling);
    schedule.refresh(at(1), &td("a.org"));
    assert!(!schedule.is_current(&stalling));
    let fresh = schedule.next_step(at(1)).unwrap();
    schedule.started(&fresh);
    schedule.completed(at(2), &stalling, fetched(60), &mut rng());
    assert_eq!(schedule.next_wakeup(), Timestamp::MAX, "the outdated one decides nothing");
    schedule.completed(at(3), &fresh, fetched(60), &mut rng());
    assert!(schedule.next_wakeup() >= at(18));
}

#[test]
fn a_relationship_that_changes_while_it_is_fetched_is_fetched_again_at_once() {
    let mut schedule = schedule(&["a.org", "b.org"]);
    let first = schedule.next_step(START).unwrap();
    schedule.started(&first);
    let endpoint_id = SpiffeId::parse("spiffe://a.org/server").unwrap();
    let changed =
        FederationRelationship { profile: EndpointProfile::HttpsSpiffe { endpoint_id }, ..relationship("a.org") };
    let outdated = schedule.set_relationships(at(1), [changed.clone(), relationship("b.org")]);
    assert_eq!(outdated, [td("a.org")]);
    assert!(!schedule.is_current(&first));
    run_due(&mut schedule, at(1), fetched(60));
    let second = schedule.next_step(at(1)).unwrap();
    assert_eq!(second.relationship, changed);
}

#[test]
fn a_relationship_that_ends_is_not_fetched_and_its_result_not_stored() {
    let mut schedule = schedule(&["a.org"]);
    let fetch = schedule.next_step(START).unwrap();
    schedule.started(&fetch);
    assert_eq!(schedule.set_relationships(at(1), []), [td("a.org")]);
    assert!(!schedule.is_current(&fetch));
    schedule.completed(at(2), &fetch, fetched(60), &mut rng());
    assert_eq!(schedule.next_wakeup(), Timestamp::MAX);
    schedule.set_relationships(at(3), [relationship("a.org")]);
    assert!(!schedule.is_current(&fetch), "a relationship made anew is another one");
}

#[test]
fn unchanged_relationships_keep_their_place() {
    let mut schedule = schedule(&["a.org"]);
    run_due(&mut schedule, START, fetched(400));
    let due = schedule.next_wakeup();
    assert!(schedule.set_relationships(at(1), [relationship("a.org")]).is_empty());
    assert_eq!(schedule.next_wakeup(), due);
}

#[test]
fn the_first_of_two_for_one_trust_domain_counts() {
    let mut schedule = Schedule::new();
    let other = FederationRelationship { bundle_endpoint_url: "https://other/".to_owned(), ..relationship("a.org") };
    schedule.set_relationships(START, [relationship("a.org"), other]);
    assert_eq!(schedule.relationships().cloned().collect::<Vec<_>>(), [relationship("a.org")]);
}

/// A world in which fetches take time: which, and how they end, is said by a function of the name.
struct Simulation {
    schedule: Schedule,
    now: Timestamp,
    /// By the time they end.
    in_flight: BTreeSet<(Timestamp, TrustDomain)>,
    fetches: BTreeMap<TrustDomain, Fetch>,
    starts: BTreeMap<TrustDomain, Vec<Timestamp>>,
    most_in_flight: usize,
    rng: ChaCha8Rng,
}

impl Simulation {
    fn of(count: usize) -> Self {
        let mut schedule = Schedule::new();
        schedule.set_relationships(START, (0..count).map(|number| relationship(&format!("peer{number}.org"))));
        Self {
            schedule,
            now: START,
            in_flight: BTreeSet::new(),
            fetches: BTreeMap::new(),
            starts: BTreeMap::new(),
            most_in_flight: 0,
            rng: rng(),
        }
    }

    fn run_until(&mut self, end: Timestamp, takes: impl Fn(&str) -> (Ttl, Outcome)) {
        while self.now < end {
            while let Some(fetch) = self.schedule.next_step(self.now) {
                self.schedule.started(&fetch);
                let (time, _) = takes(name(&fetch));
                let trust_domain = fetch.relationship.trust_domain.clone();
                self.in_flight.insert((self.now + time, trust_domain.clone()));
                self.starts.entry(trust_domain.clone()).or_default().push(self.now);
                assert!(self.fetches.insert(trust_domain, fetch).is_none(), "two fetches of one peer");
            }
            self.most_in_flight = self.most_in_flight.max(self.in_flight.len());
            let ends = self.in_flight.first().map_or(Timestamp::MAX, |(ends, _)| *ends);
            let next = ends.min(self.schedule.next_wakeup());
            assert!(next > self.now || ends <= self.now, "a driver would spin");
            self.now = next;
            while let Some((ends, trust_domain)) = self.in_flight.first().cloned() {
                if ends > self.now {
                    break;
                }
                self.in_flight.pop_first();
                let fetch = self.fetches.remove(&trust_domain).unwrap();
                let (_, outcome) = takes(name(&fetch));
                self.schedule.completed(self.now, &fetch, outcome, &mut self.rng);
            }
        }
    }

    fn longest_gap(&self, name: &str) -> u64 {
        let starts = &self.starts[&td(name)];
        starts.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).max().unwrap()
    }
}

fn stalls(name: &str) -> bool {
    name["peer".len()..name.len() - ".org".len()].parse::<u32>().unwrap() % 2 == 1
}

#[test]
fn of_a_thousand_relationships_half_may_stall_and_the_others_are_never_late() {
    let mut simulation = Simulation::of(1000);
    simulation.run_until(at(14_400), |name| {
        if stalls(name) {
            (Ttl::from_secs(30), Outcome::FailedWithoutBundle)
        } else {
            (Ttl::from_secs(1), fetched(300))
        }
    });
    assert!(simulation.most_in_flight <= MAX_IN_FLIGHT);
    for number in 0..1000 {
        let name = format!("peer{number}.org");
        let longest = if stalls(&name) { 30 + 66 + 30 } else { 1 + 82 };
        let first = simulation.starts[&td(&name)][0].since(START).as_secs();
        assert!(first <= 30, "{name} waited {first} s at the start");
        assert!(simulation.longest_gap(&name) <= longest, "{name}: {}", simulation.longest_gap(&name));
    }
}

#[test]
fn more_peers_that_stall_than_may_be_in_flight_delay_no_sound_one() {
    let mut simulation = Simulation::of(4000);
    simulation.run_until(at(7200), |name| {
        if stalls(name) { (Ttl::from_secs(60), Outcome::FailedWithoutBundle) } else { (Ttl::ZERO, fetched(300)) }
    });
    for number in (0..4000).step_by(2) {
        let name = format!("peer{number}.org");
        let late: Vec<_> = simulation.starts[&td(&name)]
            .windows(2)
            .filter(|pair| pair[0] > at(600) && pair[1].since(pair[0]) > Ttl::from_secs(82))
            .collect();
        assert!(late.is_empty(), "{name}: {late:?}");
    }
}

#[derive(Debug, Clone)]
enum Op {
    Tick(i64),
    Start,
    Complete(usize, Option<u64>),
    Refresh(u8),
    Set(Vec<(u8, bool)>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..200i64).prop_map(Op::Tick),
        Just(Op::Start),
        (0..8usize, proptest::option::of(0..100_000u64)).prop_map(|(which, hint)| Op::Complete(which, hint)),
        (0..6u8).prop_map(Op::Refresh),
        proptest::collection::vec((0..6u8, any::<bool>()), 0..6).prop_map(Op::Set),
    ]
}

fn peer(number: u8, other_url: bool) -> FederationRelationship {
    let mut relationship = relationship(&format!("p{number}.org"));
    if other_url {
        relationship.bundle_endpoint_url.push('x');
    }
    relationship
}

proptest! {
    #[test]
    fn the_rules_hold_whatever_happens(ops in proptest::collection::vec(op(), 1..80)) {
        let (mut schedule, mut now, mut rng) = (Schedule::new(), START, rng());
        let mut flying: Vec<Fetch> = Vec::new();
        let mut earliest: BTreeMap<TrustDomain, Timestamp> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Tick(seconds) => now = now + Ttl::from_secs(seconds.unsigned_abs()),
                Op::Start => {
                    if let Some(fetch) = schedule.next_step(now) {
                        let trust_domain = &fetch.relationship.trust_domain;
                        prop_assert!(
                            !flying.iter().any(|other| {
                                other.relationship.trust_domain == *trust_domain && schedule.is_current(other)
                            }),
                            "offered while in flight"
                        );
                        prop_assert!(earliest.get(trust_domain).is_none_or(|due| *due <= now), "offered before its time");
                        schedule.started(&fetch);
                        flying.push(fetch);
                    } else {
                        prop_assert!(schedule.next_wakeup() > now, "a wakeup that finds nothing to do");
                    }
                }
                Op::Complete(which, hint) => {
                    if !flying.is_empty() {
                        let fetch = flying.remove(which % flying.len());
                        let current = schedule.is_current(&fetch);
                        let outcome = hint.map_or(Outcome::FailedWithoutBundle, fetched);
                        schedule.completed(now, &fetch, outcome, &mut rng);
                        if current {
                            earliest.insert(fetch.relationship.trust_domain.clone(), now + Ttl::from_secs(15));
                        }
                    }
                }
                Op::Refresh(number) => {
                    let trust_domain = peer(number, false).trust_domain;
                    earliest.remove(&trust_domain);
                    if schedule.refresh(now, &trust_domain) {
                        prop_assert!(schedule.next_wakeup() <= now);
                        let still_current = flying.iter().any(|fetch| {
                            fetch.relationship.trust_domain == trust_domain && schedule.is_current(fetch)
                        });
                        prop_assert!(!still_current);
                    }
                }
                Op::Set(peers) => {
                    let outdated = schedule.set_relationships(now, peers.iter().map(|(n, url)| peer(*n, *url)));
                    for trust_domain in outdated {
                        earliest.remove(&trust_domain);
                    }
                    earliest.retain(|known, _| schedule.relationships().any(|peer| peer.trust_domain == *known));
                }
            }
            let current: Vec<_> = flying.iter().filter(|fetch| schedule.is_current(fetch)).collect();
            prop_assert_eq!(schedule.in_flight, current.len());
            let queued = schedule.sound.len() + schedule.failing.len();
            prop_assert_eq!(queued + current.len(), schedule.peers.len());
            prop_assert!(schedule.failing_in_flight <= schedule.in_flight);
        }
    }
}
