//! Limits on what one address may ask of the server each second, by SPIRE's classes.
//!
//! A caller over its limit waits for its turn; only a request that could never be served is refused. Callers on the
//! local socket are not limited. Time is tokio's, so that simulated time counts.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use tonic::Status;

use crate::caller::Caller;

/// Attestations a second and address.
const ATTEST_LIMIT: u32 = 1;
/// Certificate and JWT signatures a second and address.
const SIGNING_LIMIT: u32 = 500;
/// Authority keys published a second and address.
const PUSH_KEY_LIMIT: u32 = 500;
/// Agent status reports a second and address.
const POST_STATUS_LIMIT: u32 = 10;
/// How many addresses a limiter remembers before it forgets those at rest.
const REMEMBERED_ADDRESSES: usize = 10_000;

/// Which limits are switched on.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// `ratelimit.attestation`
    pub attestation: bool,
    /// `ratelimit.signing`
    pub signing: bool,
}

/// tokio's time as governor wants it.
#[derive(Clone, Debug)]
struct TokioClock(tokio::time::Instant);

impl governor::clock::Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Limiter =
    RateLimiter<IpAddr, DefaultKeyedStateStore<IpAddr>, TokioClock, governor::middleware::NoOpMiddleware<Duration>>;

/// One class of RPCs that share a budget.
#[derive(Debug)]
pub(crate) struct Class {
    limiter: Option<Limiter>,
    limit: u32,
    clock: TokioClock,
    /// What SPIRE calls it in its errors: "rejecting request due to {what} rate limiting".
    what: &'static str,
}

impl Class {
    fn new(what: &'static str, limit: u32, enabled: bool) -> Self {
        let clock = TokioClock(tokio::time::Instant::now());
        let limiter = NonZeroU32::new(limit).filter(|_| enabled).map(|limit| {
            RateLimiter::new(Quota::per_second(limit), DefaultKeyedStateStore::<IpAddr>::default(), clock.clone())
        });
        Self { limiter, limit, clock, what }
    }

    /// Waits until `caller` may spend `cost`.
    ///
    /// # Errors
    /// `ResourceExhausted` when `cost` is more than a whole second's budget.
    pub(crate) async fn spend(&self, caller: &Caller, cost: usize) -> Result<(), Status> {
        let (Some(limiter), Some(address)) = (&self.limiter, caller.address()) else { return Ok(()) };
        let Some(cells) = u32::try_from(cost).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        if limiter.len() > REMEMBERED_ADDRESSES {
            limiter.retain_recent();
        }
        loop {
            match limiter.check_key_n(&address.ip(), cells) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(not_yet)) => tokio::time::sleep(not_yet.wait_time_from(self.clock.now())).await,
                Err(_) => {
                    return Err(Status::resource_exhausted(format!(
                        "rejecting request due to {} rate limiting: rate ({cost}) exceeds burst size ({})",
                        self.what, self.limit
                    )));
                }
            }
        }
    }
}

/// All limiters of one server.
#[derive(Debug)]
pub(crate) struct RateLimiters {
    pub(crate) attest: Class,
    pub(crate) csr: Class,
    pub(crate) jsr: Class,
    pub(crate) push_key: Class,
    pub(crate) post_status: Class,
}

impl RateLimiters {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self {
            attest: Class::new("attest agent", ATTEST_LIMIT, limits.attestation),
            csr: Class::new("certificate signing", SIGNING_LIMIT, limits.signing),
            jsr: Class::new("JWT signing request", SIGNING_LIMIT, limits.signing),
            push_key: Class::new("key publishing", PUSH_KEY_LIMIT, true),
            post_status: Class::new("post status", POST_STATUS_LIMIT, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: [u8; 4]) -> Caller {
        Caller::Unauthenticated { address: Some((ip, 1234).into()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_over_its_limit_waits_and_others_do_not() {
        let limits = RateLimiters::new(RateLimits { attestation: true, signing: true });
        let start = tokio::time::Instant::now();
        limits.attest.spend(&from([10, 0, 0, 1]), 1).await.unwrap();
        limits.attest.spend(&from([10, 0, 0, 2]), 1).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        limits.attest.spend(&from([10, 0, 0, 1]), 1).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(990));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_over_the_burst_is_refused_at_once() {
        let limits = RateLimiters::new(RateLimits { attestation: true, signing: true });
        let status = limits.csr.spend(&from([10, 0, 0, 1]), 501).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("rate (501) exceeds burst size (500)"), "{}", status.message());
    }

    #[tokio::test(start_paused = true)]
    async fn local_callers_and_switched_off_classes_are_free() {
        let limits = RateLimiters::new(RateLimits { attestation: false, signing: false });
        let local = Caller::Local { uid: None, gid: None, pid: None };
        for _ in 0..100 {
            limits.post_status.spend(&local, 1).await.unwrap();
            limits.attest.spend(&from([10, 0, 0, 1]), 1).await.unwrap();
        }
        limits.csr.spend(&from([10, 0, 0, 1]), 100_000).await.unwrap();
    }
}
