//! The clock that drivers hold.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use spiffe_core::Timestamp;

/// Tells the time, and waits for it.
#[async_trait]
pub trait Clock: Debug + Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Waits that long.
    async fn sleep(&self, duration: Duration);

    /// Waits until then; not at all when it is past.
    ///
    /// The wait is cut into pieces, so that a clock which is set forward or back is noticed within a minute.
    async fn sleep_until(&self, deadline: Timestamp) {
        loop {
            let left = Duration::from(deadline.since(self.now()));
            if left.is_zero() {
                return;
            }
            self.sleep(left.min(LONGEST_NAP)).await;
        }
    }
}

/// How long a sleeper relies on the clock not being set.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks")]
    fn now(&self) -> Timestamp {
        let seconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
        };
        Timestamp::from_unix(seconds)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
