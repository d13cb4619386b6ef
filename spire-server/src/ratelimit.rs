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
use spire_api::status::code_name;
use spire_runtime::telemetry::Metrics;
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
    metrics: Metrics,
}

impl Class {
    fn new(what: &'static str, limit: u32, enabled: bool, metrics: &Metrics) -> Self {
        let clock = TokioClock(tokio::time::Instant::now());
        let limiter = NonZeroU32::new(limit).filter(|_| enabled).map(|limit| {
            RateLimiter::new(Quota::per_second(limit), DefaultKeyedStateStore::<IpAddr>::default(), clock.clone())
        });
        Self { limiter, limit, clock, what, metrics: metrics.clone() }
    }

    /// Waits until `caller` may spend `cost` on `rpc`, which metrics call so: `agent.v1.agent.attest_agent`.
    ///
    /// # Errors
    /// `ResourceExhausted` when `cost` is more than a whole second's budget.
    pub(crate) async fn spend(&self, rpc: &str, caller: &Caller, cost: usize) -> Result<(), Status> {
        let (Some(limiter), Some(address)) = (&self.limiter, caller.address()) else { return Ok(()) };
        let Some(cells) = u32::try_from(cost).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        let waiting = self.wait(limiter, address.ip(), cells);
        if !self.metrics.is_enabled() {
            return waiting.await;
        }
        let key: Vec<&str> = std::iter::once("rateLimit").chain(rpc.split('.')).collect();
        self.metrics.timed(&key, &[], |status: &Status| code_name(status.code()), waiting).await
    }

    async fn wait(&self, limiter: &Limiter, address: IpAddr, cells: NonZeroU32) -> Result<(), Status> {
        if limiter.len() > REMEMBERED_ADDRESSES {
            limiter.retain_recent();
        }
        loop {
            match limiter.check_key_n(&address, cells) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(not_yet)) => tokio::time::sleep(not_yet.wait_time_from(self.clock.now())).await,
                Err(_) => {
                    return Err(Status::resource_exhausted(format!(
                        "rejecting request due to {} rate limiting: rate ({cells}) exceeds burst size ({})",
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
    pub(crate) fn new(limits: RateLimits, metrics: &Metrics) -> Self {
        Self {
            attest: Class::new("attest agent", ATTEST_LIMIT, limits.attestation, metrics),
            csr: Class::new("certificate signing", SIGNING_LIMIT, limits.signing, metrics),
            jsr: Class::new("JWT signing request", SIGNING_LIMIT, limits.signing, metrics),
            push_key: Class::new("key publishing", PUSH_KEY_LIMIT, true, metrics),
            post_status: Class::new("post status", POST_STATUS_LIMIT, true, metrics),
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
        let limits = RateLimiters::new(RateLimits { attestation: true, signing: true }, &Metrics::disabled());
        let start = tokio::time::Instant::now();
        limits.attest.spend("svc.method", &from([10, 0, 0, 1]), 1).await.unwrap();
        limits.attest.spend("svc.method", &from([10, 0, 0, 2]), 1).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        limits.attest.spend("svc.method", &from([10, 0, 0, 1]), 1).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(990));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_over_the_burst_is_refused_at_once() {
        let limits = RateLimiters::new(RateLimits { attestation: true, signing: true }, &Metrics::disabled());
        let status = limits.csr.spend("svc.method", &from([10, 0, 0, 1]), 501).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("rate (501) exceeds burst size (500)"), "{}", status.message());
    }

    #[tokio::test(start_paused = true)]
    async fn local_callers_and_switched_off_classes_are_free() {
        let limits = RateLimiters::new(RateLimits { attestation: false, signing: false }, &Metrics::disabled());
        let local = Caller::Local { uid: None, gid: None, pid: None };
        for _ in 0..100 {
            limits.post_status.spend("svc.method", &local, 1).await.unwrap();
            limits.attest.spend("svc.method", &from([10, 0, 0, 1]), 1).await.unwrap();
        }
        limits.csr.spend("svc.method", &from([10, 0, 0, 1]), 100_000).await.unwrap();
    }
}
