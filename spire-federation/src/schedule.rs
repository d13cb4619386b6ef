//! When each foreign bundle is fetched: a pure core, on a time that is an argument.
//!
//! A driver asks [`Schedule::next_step`] what is due, notes it with [`Schedule::started`], fetches on the side, and
//! tells the outcome to [`Schedule::completed`]; it sleeps until [`Schedule::next_wakeup`]. Fetches run side by side,
//! so a peer that stalls delays no other: of the limited number in flight, peers whose last fetch failed get half.
//!
//! Every command (a relationship that changes, a bundle that is set, a refresh that is asked for) makes the next fetch due
//! at once and outdates the one in flight: its result is not to be stored, as it may rest on what is no longer so.
//!
//! Standard: SPIFFE Federation §4.1 and §6 (refresh hint, no tight retry, every refresh from the configured URL).

use std::collections::{BTreeMap, BTreeSet};

use rand_core::RngCore;
use spiffe_core::{Timestamp, TrustDomain, Ttl};
use spire_types::FederationRelationship;

/// Which bundles are fetched, and when.
#[derive(Debug, Default)]
pub struct Schedule {
    peers: BTreeMap<TrustDomain, Peer>,
    /// Peers that are not in flight, by when they are due: those whose last fetch did not fail, and the others.
    sound: BTreeSet<(Timestamp, TrustDomain)>,
    failing: BTreeSet<(Timestamp, TrustDomain)>,
    /// How many fetches are in flight, of either sort. What has been outdated does not count.
    in_flight: usize,
    failing_in_flight: usize,
    next_generation: u64,
}

#[derive(Debug)]
struct Peer {
    relationship: FederationRelationship,
    /// Changes with every command; a fetch of another generation is outdated.
    generation: u64,
    state: State,
    failing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Due(Timestamp),
    InFlight,
}

/// One fetch to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// What to fetch, and from where.
    pub relationship: FederationRelationship,
    generation: u64,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The bundle is here, with this refresh hint.
    Fetched {
        /// What its publisher asks for.
        refresh_hint: Option<Ttl>,
    },
    /// It is not; the bundle of an earlier fetch stays in use.
    Failed {
        /// The hint of the stored bundle.
        refresh_hint: Option<Ttl>,
    },
    /// It is not, and there is none from earlier.
    FailedWithoutBundle,
}

impl Schedule {
    /// A schedule of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A fetch that is due at `now` and not in flight, `None` until [`Self::next_wakeup`]. Asking changes nothing.
    #[must_use]
    pub fn next_step(&self, now: Timestamp) -> Option<Fetch> {
        let (_, trust_domain) = self.next_due().filter(|(due, _)| *due <= now)?;
        let peer = self.peers.get(trust_domain)?;
        Some(Fetch { relationship: peer.relationship.clone(), generation: peer.generation })
    }

    /// Records that `fetch` is under way; from now on others are offered.
    pub fn started(&mut self, fetch: &Fetch) {
        if !self.is_current(fetch) {
            return;
        }
        let trust_domain = &fetch.relationship.trust_domain;
        self.take_off(trust_domain);
        if let Some(peer) = self.peers.get_mut(trust_domain) {
            peer.state = State::InFlight;
            self.in_flight += 1;
            self.failing_in_flight += usize::from(peer.failing);
        }
    }

    /// Whether the result of `fetch` may still be stored: nothing has been commanded since it was offered.
    #[must_use]
    pub fn is_current(&self, fetch: &Fetch) -> bool {
        self.peers.get(&fetch.relationship.trust_domain).is_some_and(|peer| peer.generation == fetch.generation)
    }

    /// Records that `fetch` has ended at `now`, and when the next one is due: after a quarter of the refresh hint and up
    /// to a tenth of that more, drawn from `rng`. An outdated fetch changes nothing.
    pub fn completed(&mut self, now: Timestamp, fetch: &Fetch, outcome: Outcome, rng: &mut dyn RngCore) {
        if !self.is_current(fetch) {
            return;
        }
        let wait = match outcome {
            Outcome::Fetched { refresh_hint } | Outcome::Failed { refresh_hint } => interval(refresh_hint),
            Outcome::FailedWithoutBundle => RETRY_WITHOUT_BUNDLE,
        };
        let trust_domain = &fetch.relationship.trust_domain;
        self.take_off(trust_domain);
        if let Some(peer) = self.peers.get_mut(trust_domain) {
            peer.failing = !matches!(outcome, Outcome::Fetched { .. });
        }
        self.put_on(trust_domain, now + with_jitter(wait, rng));
    }

    /// When [`Self::next_step`] could next answer differently, if nothing is started, completed or commanded until then;
    /// [`Timestamp::MAX`] when there is nothing to wait for.
    #[must_use]
    pub fn next_wakeup(&self) -> Timestamp {
        self.next_due().map_or(Timestamp::MAX, |(due, _)| *due)
    }

    /// Makes `relationships` all there are. New and changed ones are due at once; others stay as they are. Of two for the
    /// same trust domain the first counts.
    ///
    /// Gives the trust domains whose fetches in flight, if any, are outdated by it.
    pub fn set_relationships(
        &mut self,
        now: Timestamp,
        relationships: impl IntoIterator<Item = FederationRelationship>,
    ) -> Vec<TrustDomain> {
        let mut wanted = BTreeMap::new();
        for relationship in relationships {
            wanted.entry(relationship.trust_domain.clone()).or_insert(relationship);
        }
        let same = |peer: &Peer| wanted.get(&peer.relationship.trust_domain) == Some(&peer.relationship);
        let outdated: Vec<TrustDomain> =
            self.peers.iter().filter(|(_, peer)| !same(peer)).map(|(trust_domain, _)| trust_domain.clone()).collect();
        for trust_domain in &outdated {
            self.take_off(trust_domain);
            self.peers.remove(trust_domain);
        }
        for (trust_domain, relationship) in wanted {
            if !self.peers.contains_key(&trust_domain) {
                let generation = self.new_generation();
                let peer = Peer { relationship, generation, state: State::InFlight, failing: false };
                self.peers.insert(trust_domain.clone(), peer);
                self.put_on(&trust_domain, now);
            }
        }
        outdated
    }

    /// Makes the fetch of this trust domain's bundle due at `now`, as if it had never been fetched: after a refresh was
    /// asked for, or the bundle was set by hand. False when there is no such relationship.
    pub fn refresh(&mut self, now: Timestamp, trust_domain: &TrustDomain) -> bool {
        let generation = self.new_generation();
        self.take_off(trust_domain);
        let Some(peer) = self.peers.get_mut(trust_domain) else { return false };
        peer.generation = generation;
        peer.failing = false;
        self.put_on(trust_domain, now);
        true
    }

    /// The relationships, by trust domain.
    pub fn relationships(&self) -> impl Iterator<Item = &FederationRelationship> {
        self.peers.values().map(|peer| &peer.relationship)
    }

    /// The first to be due that may start, whenever that is.
    fn next_due(&self) -> Option<&(Timestamp, TrustDomain)> {
        if self.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        let failing = if self.failing_in_flight < MAX_FAILING_IN_FLIGHT { self.failing.first() } else { None };
        match (self.sound.first(), failing) {
            (Some(sound), Some(failing)) => Some(sound.min(failing)),
            (sound, failing) => sound.or(failing),
        }
    }

    fn new_generation(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation
    }

    /// Takes a peer out of whatever it is in, the queue or the flight; [`Self::put_on`] has to follow.
    fn take_off(&mut self, trust_domain: &TrustDomain) {
        let Some(peer) = self.peers.get(trust_domain) else { return };
        match peer.state {
            State::Due(due) => {
                let queue = if peer.failing { &mut self.failing } else { &mut self.sound };
                queue.remove(&(due, trust_domain.clone()));
            }
            State::InFlight => {
                self.in_flight -= 1;
                self.failing_in_flight -= usize::from(peer.failing);
            }
        }
    }

    fn put_on(&mut self, trust_domain: &TrustDomain, due: Timestamp) {
        let Some(peer) = self.peers.get_mut(trust_domain) else { return };
        peer.state = State::Due(due);
        let queue = if peer.failing { &mut self.failing } else { &mut self.sound };
        queue.insert((due, trust_domain.clone()));
    }
}

/// A quarter of the hint, so that a publisher's new key is seen well before it signs anything.
fn interval(refresh_hint: Option<Ttl>) -> Ttl {
    refresh_hint.unwrap_or(DEFAULT_HINT).clamp(MIN_HINT, MAX_HINT).divided_by(4)
}

/// Up to a tenth more.
fn with_jitter(wait: Ttl, rng: &mut dyn RngCore) -> Ttl {
    let most = wait.as_secs() / 10;
    // The modulus favours small numbers by a share of most / 2^64.
    Ttl::from_secs(wait.as_secs() + rng.next_u64() % (most + 1))
}

/// Where a bundle names no hint (SPIFFE Trust Domain and Bundle §4.1.2 and §6.1).
pub const DEFAULT_HINT: Ttl = Ttl::from_minutes(5);
/// Smaller hints count as this one.
pub const MIN_HINT: Ttl = Ttl::from_minutes(1);
/// Larger hints count as this one: a typing error in a far domain does not cut it off for years.
pub const MAX_HINT: Ttl = Ttl::from_hours(24);
/// After a failure with no bundle to fall back on.
pub const RETRY_WITHOUT_BUNDLE: Ttl = Ttl::from_minutes(1);
/// How many fetches run at the same time.
pub const MAX_IN_FLIGHT: usize = 512;
/// How many of them may be with peers whose last fetch failed.
const MAX_FAILING_IN_FLIGHT: usize = MAX_IN_FLIGHT / 2;

#[cfg(test)]
mod tests;
