//! A year of servers below servers, four levels deep and with branches, on simulated time: one call in three to the
//! upstream fails, and servers are restarted at random. No valid workload is ever rejected elsewhere.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use spiffe_core::x509::{Certificate, Csr};
use spiffe_core::{Bundle, JwtAuthority, KeyType, PrivateKey, PublicKey, Timestamp, TrustDomain, Ttl, X509Authority};
use spire_ca::rotation::policy::{PRUNE_BUNDLE_AFTER, RETRY_AFTER};
use spire_ca::rotation::{
    Done, Inventory, Journal, JwtRecord, KeyLookup, Kind, Policy, Publication, Rotation, SlotId, Step, X509Record,
};
use spire_ca::upstream::follow::{self, Changes};
use spire_ca::upstream::{UpstreamCa, chain};
use spire_ca::{
    Authority, AuthorityId, Composers, DistinguishedName, DownstreamCaParams, SelfSignedCaParams, X509Ca, ca_csr,
    mint_downstream_ca, mint_self_signed_ca, random_key_id,
};

const START: Timestamp = Timestamp::from_unix(1_790_000_000);
/// Each server's upstream: a chain of five, and a branch at either end.
const UPSTREAMS: [Option<usize>; 7] = [None, Some(0), Some(1), Some(2), Some(3), Some(0), Some(3)];
/// Ten seconds for each level, and ten for agents: every look may fail once.
const PUBLICATION: Publication = Publication { successor: Ttl::from_minutes(5), first: Ttl::from_secs(50) };
/// How many roots, or JWT keys of one server, a bundle may hold at a time. One is made every half life, and there for its
/// life, for 24 hours until it may be pruned, six until that is next done, and twelve more should restarts postpone it
/// here and above.
fn most_of_one_server(ca_ttl: Ttl) -> usize {
    let hours = ca_ttl.as_secs() / 3600;
    usize::try_from((hours + 24 + 6 + 12).div_ceil(hours / 2)).unwrap() + 1
}

#[derive(Debug, Default)]
struct Keys(BTreeMap<(Kind, SlotId), PrivateKey>);

impl KeyLookup for Keys {
    fn public_key(&self, kind: Kind, slot: SlotId) -> Option<PublicKey> {
        self.0.get(&(kind, slot)).map(|key| key.public_key().clone())
    }
}

/// A server and its disk, with an agent beside it.
struct Server {
    upstream: Option<usize>,
    /// `None` while it is down.
    rotation: Option<Rotation>,
    down_until: Timestamp,
    restart_at: Timestamp,
    stored_journal: Vec<u8>,
    keys: Keys,
    bundle: Bundle,
    /// When it looks at its upstream's bundle next, if there is something to see.
    poll_at: Timestamp,
    calls: Flaky,
    /// What its agent, and so every workload, believes; `None` before the first sync.
    believed: Option<Believed>,
    sync_at: Timestamp,
    syncs: Flaky,
    /// The CA and the JWT key that sign, as far as was seen.
    signing: (Option<AuthorityId>, Option<AuthorityId>),
}

struct Believed {
    roots: Vec<Certificate>,
    keys: BTreeSet<String>,
    /// How much of what was ever issued has been compared with it.
    proven: usize,
}

impl Believed {
    fn accepts(&self, issued: &Issued) -> bool {
        match issued {
            Issued::Below(root) => self.roots.contains(root),
            Issued::With(key_id) => self.keys.contains(key_id),
        }
    }
}

/// Of three calls one fails, at random, and never two in a row.
#[derive(Clone, Copy, Default)]
struct Flaky {
    failed: bool,
}

impl Flaky {
    fn fails(&mut self, rng: &mut ChaCha20Rng) -> bool {
        self.failed = !self.failed && rng.next_u32().is_multiple_of(2);
        self.failed
    }
}

struct World {
    now: Timestamp,
    servers: Vec<Server>,
    trust_domain: TrustDomain,
    rng: ChaCha20Rng,
    runtime: tokio::runtime::Runtime,
    policy: Policy,
    /// Roots and JWT keys that something has ever been signed with, in order, and how long that is valid.
    issued: Vec<(Timestamp, Issued)>,
    /// How many of the first of them are over.
    over: usize,
    restarts: u32,
    failures: u32,
    most: (usize, usize),
}

#[derive(Clone, PartialEq)]
enum Issued {
    Below(Certificate),
    With(String),
}

impl World {
    fn new(policy: Policy, seed: u64) -> Self {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let server = |upstream: Option<usize>| Server {
            upstream,
            rotation: None,
            down_until: START,
            restart_at: Timestamp::MAX,
            stored_journal: Journal::default().encode(),
            keys: Keys::default(),
            bundle: Bundle::new(trust_domain.clone()),
            poll_at: Timestamp::MAX,
            calls: Flaky::default(),
            believed: None,
            sync_at: START + Ttl::from_secs(15 + rng.next_u64() % 5),
            syncs: Flaky::default(),
            signing: (None, None),
        };
        let servers = UPSTREAMS.map(server).into();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (issued, over, restarts, failures, most) = (Vec::new(), 0, 0, 0, (0, 0));
        Self { now: START, servers, trust_domain, rng, runtime, policy, issued, over, restarts, failures, most }
    }

    fn run_until(&mut self, end: Timestamp) {
        while self.now < end {
            self.restart();
            for number in 0..self.servers.len() {
                self.poll(number);
                self.work(number);
                self.sync(number);
            }
            self.check();
            let wakeup = self.servers.iter().map(Server::next_wakeup).min().unwrap();
            assert!(wakeup > self.now, "time stands still at {}", self.now);
            self.now = wakeup;
        }
    }

    fn restart(&mut self) {
        for server in &mut self.servers {
            if server.rotation.is_some() && self.now >= server.restart_at {
                self.restarts += 1;
                server.rotation = None;
                server.down_until = self.now + Ttl::from_secs(1 + self.rng.next_u64() % 120);
            }
            if server.rotation.is_none() && self.now >= server.down_until {
                server.start(self.policy, self.now);
                server.restart_at = self.now + Ttl::from_secs(60 + self.rng.next_u64() % (2 * 24 * 3600));
            }
        }
    }

    /// Follows the upstream's bundle, if this is the time.
    fn poll(&mut self, number: usize) {
        let (now, server) = (self.now, &self.servers[number]);
        let Some(upstream) = server.upstream.filter(|_| server.rotation.is_some() && now >= server.poll_at) else {
            return;
        };
        if self.servers[upstream].rotation.is_none() || self.servers[number].calls.fails(&mut self.rng) {
            self.failures += 1;
            self.servers[number].poll_at = now + follow::EVERY;
            return;
        }
        self.servers[number].poll_at = Timestamp::MAX;
        let changes = Changes::between(&self.servers[number].bundle, &self.servers[upstream].bundle);
        self.append(number, changes.append_x509, changes.append_jwt);
    }

    fn append(&mut self, number: usize, x509: Vec<X509Authority>, jwt: Vec<JwtAuthority>) {
        if self.servers[number].bundle.merge(x509, jwt) {
            self.changed(number);
        }
    }

    /// Whoever looks at this server's bundle sees something new at the next look.
    fn changed(&mut self, number: usize) {
        let now = self.now;
        let mut next_look = || now + Ttl::from_secs(1 + self.rng.next_u64() % follow::EVERY.as_secs());
        let server = &mut self.servers[number];
        server.sync_at = server.sync_at.min(next_look()).max(START + Ttl::from_secs(15));
        for below in self.servers.iter_mut().filter(|server| server.upstream == Some(number)) {
            below.poll_at = below.poll_at.min(next_look());
        }
    }

    fn sync(&mut self, number: usize) {
        let (now, server) = (self.now, &mut self.servers[number]);
        if now < server.sync_at {
            return;
        }
        let has_ca = server.rotation.as_ref().is_some_and(|rotation| rotation.x509().active().is_some());
        if !has_ca || server.syncs.fails(&mut self.rng) {
            server.sync_at = now + Ttl::from_secs(5);
        } else {
            server.sync_at = Timestamp::MAX;
            let keys = server.bundle.jwt_authorities.iter().map(|key| key.key_id.clone()).collect();
            server.believed = Some(Believed { roots: server.bundle.x509_roots().cloned().collect(), keys, proven: 0 });
        }
    }

    /// All that is due at this server.
    fn work(&mut self, number: usize) {
        while let Some(step) = self.servers[number].rotation.as_ref().and_then(|rotation| rotation.next_step(self.now))
        {
            let done = self.perform(number, &step);
            let rotation = self.servers[number].rotation.as_mut().unwrap();
            match done {
                // Looks at the upstream are simulated on their own.
                Some(Done::FollowedUpstream) => {
                    rotation.completed(Timestamp::MAX - follow::EVERY, Done::FollowedUpstream);
                }
                Some(done) => rotation.completed(self.now, done),
                None => {
                    self.failures += 1;
                    if let Step::Prepare { kind, slot } = step {
                        rotation.key_lost(kind, slot);
                    }
                    rotation.failed(self.now, &step);
                    assert!(rotation.next_wakeup() <= self.now + RETRY_AFTER);
                }
            }
        }
    }

    fn perform(&mut self, number: usize, step: &Step) -> Option<Done> {
        match step.clone() {
            Step::Prepare { kind, slot } => {
                let key = PrivateKey::generate(KeyType::EcP256).unwrap();
                self.servers[number].keys.0.insert((kind, slot), key.clone());
                match kind {
                    Kind::X509 => self.prepare_x509(number, slot, key),
                    Kind::Jwt => self.prepare_jwt(number, slot, &key),
                }
            }
            Step::Activate { kind, authority_id } => Some(Done::Activated { kind, authority_id }),
            Step::SaveJournal => {
                let server = &mut self.servers[number];
                let rotation = server.rotation.as_ref().unwrap();
                server.stored_journal = rotation.journal().encode();
                Some(Done::SavedJournal { generation: rotation.generation() })
            }
            Step::PruneBundle => {
                self.prune(number);
                Some(Done::PrunedBundle)
            }
            Step::PruneJournals => Some(Done::PrunedJournals),
            Step::FollowUpstream => Some(Done::FollowedUpstream),
            Step::Taint { .. } | Step::Revoke { .. } => None,
        }
    }

    fn prepare_x509(&mut self, number: usize, slot: SlotId, key: PrivateKey) -> Option<Done> {
        let upstream = self.servers[number].upstream;
        let (chain, roots) = match upstream {
            None => {
                let root = self.self_signed(&key);
                (vec![root.clone()], vec![X509Authority { certificate: root, tainted: false }])
            }
            Some(_) if self.servers[number].calls.fails(&mut self.rng) => return None,
            Some(upstream) => {
                let answer = self.signed_by(upstream, &key)?;
                let checked = chain::check(&answer, &self.trust_domain, Arc::new(key), self.now, &mut self.rng);
                self.runtime.block_on(checked).unwrap();
                (answer.chain, answer.roots)
            }
        };
        self.append(number, roots, Vec::new());
        let certificate = chain[0].clone();
        let chain = if upstream.is_some() { chain } else { Vec::new() };
        Some(Done::PreparedX509 { slot, record: X509Record::new(certificate, chain, self.now) })
    }

    fn self_signed(&mut self, key: &PrivateKey) -> Certificate {
        let (subject, composers) = (DistinguishedName::default_ca(), Composers::default());
        let params =
            SelfSignedCaParams { trust_domain: &self.trust_domain, subject: &subject, ttl: self.policy.ca_ttl };
        self.runtime.block_on(mint_self_signed_ca(&params, &composers, key, self.now, &mut self.rng)).unwrap()
    }

    /// As the upstream's API does: below its active CA, cut at that one's end.
    fn signed_by(&mut self, upstream: usize, key: &PrivateKey) -> Option<UpstreamCa> {
        let server = &self.servers[upstream];
        let active = server.rotation.as_ref()?.x509().active()?;
        let signer = server.keys.0.get(&(Kind::X509, active.slot)).unwrap().clone();
        let ca = X509Ca::new(active.record.certificate.clone(), active.record.upstream_chain.clone(), Arc::new(signer));
        let authority = Authority::new(self.trust_domain.clone(), Arc::new(ca.unwrap()), None, Composers::default());
        let (subject, composers) = (DistinguishedName::default_ca(), Composers::default());
        let csr = ca_csr(&self.trust_domain, &subject, &composers, key, &mut self.rng);
        let csr = Csr::from_der(&self.runtime.block_on(csr).unwrap()).unwrap();
        let params = DownstreamCaParams { public_key: csr.public_key(), ttl: self.policy.ca_ttl };
        let minted = self.runtime.block_on(mint_downstream_ca(&authority, &params, self.now, &mut self.rng)).ok()?;
        let chain = minted.chain().iter().map(|der| Certificate::from_der(der).unwrap()).collect();
        Some(UpstreamCa { chain, roots: server.bundle.x509_authorities.clone() })
    }

    fn prepare_jwt(&mut self, number: usize, slot: SlotId, key: &PrivateKey) -> Option<Done> {
        let record = JwtRecord {
            authority_id: random_key_id(&mut self.rng),
            issued_at: self.now,
            not_after: self.now + self.policy.ca_ttl,
            public_key: key.public_key().clone(),
        };
        let published = JwtAuthority {
            key_id: record.authority_id.as_str().to_owned(),
            public_key: record.public_key.clone(),
            expires_at: Some(record.not_after),
            tainted: false,
        };
        self.publish_jwt(number, &published)?;
        Some(Done::PreparedJwt { slot, record })
    }

    /// All the way up, or not at all below the first server that fails.
    fn publish_jwt(&mut self, number: usize, key: &JwtAuthority) -> Option<()> {
        if let Some(upstream) = self.servers[number].upstream {
            if self.servers[upstream].rotation.is_none() || self.servers[number].calls.fails(&mut self.rng) {
                return None;
            }
            self.publish_jwt(upstream, key)?;
            let keys = self.servers[upstream].bundle.jwt_authorities.clone();
            self.append(number, Vec::new(), keys);
        }
        self.append(number, Vec::new(), vec![key.clone()]);
        Some(())
    }

    fn prune(&mut self, number: usize) {
        let expired = self.now - PRUNE_BUNDLE_AFTER;
        let bundle = &mut self.servers[number].bundle;
        bundle.x509_authorities.retain(|root| root.certificate.not_after() >= expired);
        bundle.jwt_authorities.retain(|key| key.expires_at.is_none_or(|end| end >= expired));
        self.changed(number);
    }

    /// Everybody accepts what anybody signs now or has signed, as long as that is valid.
    fn check(&mut self) {
        let now = self.now;
        for server in &mut self.servers {
            self.issued.extend(server.new_signers(now));
        }
        while self.issued.get(self.over).is_some_and(|(end, _)| *end < now) {
            self.over += 1;
        }
        for (number, server) in self.servers.iter_mut().enumerate() {
            let Some(believed) = &mut server.believed else { continue };
            for (end, issued) in self.issued.iter().skip(self.over.max(believed.proven)) {
                let accepted = *end < now || believed.accepts(issued);
                assert!(accepted, "a valid workload is rejected beside server {number} at {now}");
            }
            believed.proven = self.issued.len();
            self.most.0 = self.most.0.max(server.bundle.x509_authorities.len());
            self.most.1 = self.most.1.max(server.bundle.jwt_authorities.len());
        }
    }
}

impl Server {
    /// What signs since this was last asked.
    fn new_signers(&mut self, now: Timestamp) -> Vec<(Timestamp, Issued)> {
        let Some(rotation) = &self.rotation else { return Vec::new() };
        let mut new = Vec::new();
        if let Some(active) = rotation.x509().active().map(|held| held.record) {
            let end = active.certificate.not_after();
            assert!(now <= end, "no valid CA at {now}");
            if self.signing.0.replace(active.authority_id.clone()).as_ref() != Some(&active.authority_id) {
                let last = active.upstream_chain.last().unwrap_or(&active.certificate);
                let is_root = |root: &&Certificate| root.subject_key_id() == last.authority_key_id() || *root == last;
                new.push((end, Issued::Below(self.bundle.x509_roots().find(is_root).unwrap().clone())));
            }
        }
        if let Some(active) = rotation.jwt().active().map(|held| held.record) {
            assert!(now <= active.not_after, "no valid JWT key at {now}");
            if self.signing.1.replace(active.authority_id.clone()).as_ref() != Some(&active.authority_id) {
                new.push((active.not_after, Issued::With(active.authority_id.as_str().to_owned())));
            }
        }
        new
    }

    fn start(&mut self, policy: Policy, now: Timestamp) {
        let journal = Journal::decode(&self.stored_journal).unwrap();
        let inventory = Inventory { key: &self.keys, bundle: Some(&self.bundle), upstream: self.upstream.is_some() };
        let rotation = Rotation::restore(policy, journal, inventory, now).with_publication(PUBLICATION);
        self.rotation = Some(if self.upstream.is_some() { rotation.following() } else { rotation });
        self.poll_at = if self.upstream.is_some() { now } else { Timestamp::MAX };
    }

    fn next_wakeup(&self) -> Timestamp {
        match &self.rotation {
            None => self.down_until,
            Some(rotation) => rotation.next_wakeup().min(self.poll_at).min(self.restart_at).min(self.sync_at),
        }
    }
}

fn run(ca_ttl: Ttl, days: u64, seed: u64) {
    let mut world = World::new(Policy { ca_ttl, ..Policy::default() }, seed);
    world.run_until(START + Ttl::from_hours(24 * days));
    let each = UPSTREAMS.len() as u64 * days;
    assert!(u64::from(world.restarts) > each * 3 / 4, "about one a day at each server: {}", world.restarts);
    assert!(u64::from(world.failures) > days, "{}", world.failures);
    assert!(world.servers.iter().all(|server| server.believed.is_some()));
    let most = (most_of_one_server(ca_ttl), most_of_one_server(ca_ttl) * UPSTREAMS.len());
    println!(
        "{days} days, {} restarts, {} calls failed: at most {} roots (bound {}) and {} JWT keys (bound {}) in a bundle",
        world.restarts, world.failures, world.most.0, most.0, world.most.1, most.1
    );
    assert!(world.most.0 <= most.0 && world.most.1 <= most.1, "{:?} of {most:?}", world.most);
}

#[test]
fn a_year_four_levels_deep_rejects_nobody_and_the_bundle_stays_small() {
    run(Ttl::from_hours(96), 365, 1);
}

#[test]
fn so_does_a_month_of_daily_cas() {
    run(Ttl::from_hours(24), 30, 2);
}
