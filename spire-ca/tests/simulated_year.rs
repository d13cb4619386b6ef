//! A year of rotations on simulated time, with and without failures: there is no instant without a valid authority.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use spiffe_core::{PrivateKey, Timestamp, TrustDomain, Ttl};
use spire_ca::rotation::{Done, JwtRecord, Kind, Policy, Record as _, Rotation, SlotId, Step, X509Record};
use spire_ca::{Composers, DistinguishedName, SelfSignedCaParams, mint_self_signed_ca, random_key_id};
use spire_keymanager::testing;

const START: Timestamp = Timestamp::from_unix(1_790_000_000);

struct World {
    rotation: Rotation,
    now: Timestamp,
    rng: ChaCha20Rng,
    runtime: tokio::runtime::Runtime,
    trust_domain: TrustDomain,
    keys: Vec<PrivateKey>,
    prepared: usize,
    steps: usize,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            rotation: Rotation::new(policy, START),
            now: START,
            rng: ChaCha20Rng::seed_from_u64(7),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            keys: testing::keys(),
            prepared: 0,
            steps: 0,
        }
    }

    fn perform(&mut self, step: &Step) -> Done {
        match step.clone() {
            Step::Prepare { kind, slot } => {
                self.prepared += 1;
                self.prepare(kind, slot)
            }
            Step::Activate { kind, authority_id } => Done::Activated { kind, authority_id },
            Step::SaveJournal => Done::SavedJournal { generation: self.rotation.generation() },
            Step::PruneBundle => Done::PrunedBundle,
            Step::PruneJournals => Done::PrunedJournals,
            other => panic!("nobody asked for {other:?}"),
        }
    }

    fn prepare(&mut self, kind: Kind, slot: SlotId) -> Done {
        let ttl = self.rotation.policy().ca_ttl;
        let key = &self.keys[self.prepared % self.keys.len()];
        match kind {
            Kind::X509 => {
                let subject = DistinguishedName::default_ca();
                let params = SelfSignedCaParams { trust_domain: &self.trust_domain, subject: &subject, ttl };
                let composers = Composers::default();
                let made = mint_self_signed_ca(&params, &composers, key, self.now, &mut self.rng);
                let certificate = self.runtime.block_on(made).unwrap();
                Done::PreparedX509 { slot, record: X509Record::new(certificate, Vec::new(), self.now) }
            }
            Kind::Jwt => Done::PreparedJwt {
                slot,
                record: JwtRecord {
                    authority_id: random_key_id(&mut self.rng),
                    issued_at: self.now,
                    not_after: self.now + ttl,
                    public_key: key.public_key().clone(),
                },
            },
        }
    }

    /// Runs until `end`; `fails` says of each attempt whether it fails.
    fn run(&mut self, end: Timestamp, mut fails: impl FnMut(&Step) -> bool) {
        while self.now < end {
            while let Some(step) = self.rotation.next_step(self.now) {
                self.steps += 1;
                if fails(&step) {
                    self.rotation.failed(self.now, &step);
                } else {
                    let done = self.perform(&step);
                    self.rotation.completed(self.now, done);
                }
            }
            let wakeup = self.rotation.next_wakeup();
            assert!(wakeup > self.now, "time stands still at {}", self.now);
            self.now = wakeup;
            self.check_no_gap();
        }
    }

    /// Until `self.now`, which is when something is done again, the active authorities must have been valid.
    fn check_no_gap(&self) {
        let x509 = self.rotation.x509().active().unwrap();
        assert!(x509.record.not_after() >= self.now, "a gap of CAs at {}", self.now);
        let jwt = self.rotation.jwt().active().unwrap();
        assert!(jwt.record.not_after() >= self.now, "a gap of JWT keys at {}", self.now);
    }
}

#[test]
fn a_year_of_daily_cas_has_no_gap() {
    let mut world = World::new(Policy::default());
    world.run(START + Ttl::from_hours(365 * 24), |_| false);
    // One of each kind every twelve hours: a successor is half way through its own life when it has to have one.
    assert_eq!(world.prepared, 2 * 2 * 365);
}

#[test]
fn with_every_third_step_failing_there_is_still_no_gap() {
    let mut world = World::new(Policy::default());
    world.run(START + Ttl::from_secs(1), |_| false);
    let mut count = 0;
    world.run(START + Ttl::from_hours(365 * 24), |_| {
        count += 1;
        count % 3 == 0
    });
}

#[test]
fn an_outage_of_half_the_time_that_is_left_makes_no_gap() {
    let mut world = World::new(Policy::default());
    world.run(START + Ttl::from_secs(1), |_| false);
    // The successor is due after twelve hours; nothing works for the eleven that follow.
    let (begin, end) = (START + Ttl::from_hours(12), START + Ttl::from_hours(23));
    world.run(begin, |_| false);
    world.run(end, |_| true);
    world.run(START + Ttl::from_hours(48), |_| false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_the_lifetime_and_the_failures_there_is_no_gap(
        hours in 1_u64..2000,
        pattern in proptest::collection::vec(prop::bool::weighted(0.4), 1..60),
    ) {
        let ca_ttl = Ttl::from_hours(hours);
        let mut world = World::new(Policy { ca_ttl, ..Policy::default() });
        world.run(START + Ttl::from_secs(1), |_| false);
        let mut attempts = pattern.iter().cycle();
        // One success in the pattern at least, so that an outage is bounded.
        let always_fails = pattern.iter().all(|fails| *fails);
        world.run(START + Ttl::from_hours(hours * 8), |_| !always_fails && *attempts.next().unwrap());
    }
}
