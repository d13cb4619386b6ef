//! How often workloads with the same selectors may open each call (`experimental.ratelimit`).

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use spire_types::Selector;
use workload_api::server::IdentityError;

use super::sds::{FETCH_SECRETS, STREAM_SECRETS};
use super::workload::{FETCH_JWT_BUNDLES, FETCH_JWT_SVID, FETCH_X509_BUNDLES, FETCH_X509_SVID};
use crate::config::WorkloadApiRateLimits;

/// How many kinds of workloads a limiter remembers before it forgets those at rest.
const REMEMBERED: usize = 10_000;

/// tokio's time as governor wants it.
#[derive(Clone, Debug)]
struct TokioClock(tokio::time::Instant);

impl governor::clock::Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Limiter = RateLimiter<u64, DefaultKeyedStateStore<u64>, TokioClock, NoOpMiddleware<Duration>>;

/// One limiter for each call that has one.
#[derive(Debug)]
pub(super) struct RateLimits {
    limiters: HashMap<&'static str, Limiter>,
    hasher: RandomState,
}

impl RateLimits {
    pub(super) fn new(limits: &WorkloadApiRateLimits) -> Self {
        let clock = TokioClock(tokio::time::Instant::now());
        let limiter = |(method, limit): (&'static str, Option<NonZeroU32>)| {
            let quota = Quota::per_second(limit?);
            Some((method, RateLimiter::new(quota, DefaultKeyedStateStore::<u64>::default(), clock.clone())))
        };
        let limiters = [
            (FETCH_X509_SVID, limits.fetch_x509_svid),
            (FETCH_JWT_SVID, limits.fetch_jwt_svid),
            (FETCH_X509_BUNDLES, limits.fetch_x509_bundles),
            (FETCH_JWT_BUNDLES, limits.fetch_jwt_bundles),
            (STREAM_SECRETS, limits.stream_secrets),
            (FETCH_SECRETS, limits.fetch_secrets),
        ];
        Self { limiters: limiters.into_iter().filter_map(limiter).collect(), hasher: RandomState::new() }
    }

    /// Lets one call in.
    ///
    /// # Errors
    /// [`IdentityError::RateLimited`].
    pub(super) fn check(&self, method: &'static str, selectors: &BTreeSet<Selector>) -> Result<(), IdentityError> {
        let Some(limiter) = self.limiters.get(method) else { return Ok(()) };
        if limiter.len() > REMEMBERED {
            limiter.retain_recent();
        }
        // By a hash: the worst that two kinds of workloads can have of the same one is a shared budget.
        limiter.check_key(&self.hasher.hash_one(selectors)).map_err(|_| IdentityError::RateLimited { method })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(text: &str) -> BTreeSet<Selector> {
        BTreeSet::from([text.parse().unwrap()])
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_of_each_kind_of_workload_has_its_own_budget() {
        let limits = WorkloadApiRateLimits { fetch_x509_svid: NonZeroU32::new(2), ..WorkloadApiRateLimits::default() };
        let limits = RateLimits::new(&limits);
        let (one, two) = (selectors("unix:uid:1"), selectors("unix:uid:2"));
        limits.check(FETCH_X509_SVID, &one).unwrap();
        limits.check(FETCH_X509_SVID, &one).unwrap();
        let refused = limits.check(FETCH_X509_SVID, &one).unwrap_err();
        assert_eq!(refused.to_string(), "rate limit exceeded for /SpiffeWorkloadAPI/FetchX509SVID");
        limits.check(FETCH_X509_SVID, &two).unwrap();
        for _ in 0..100 {
            limits.check(FETCH_JWT_SVID, &one).unwrap();
        }
        tokio::time::advance(Duration::from_millis(500)).await;
        limits.check(FETCH_X509_SVID, &one).unwrap();
        limits.check(FETCH_X509_SVID, &one).unwrap_err();
    }
}
