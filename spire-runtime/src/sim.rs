//! Simulated time: an epoch plus tokio's clock, which a test pauses.

use std::time::Duration;

use async_trait::async_trait;
use spiffe_core::{Timestamp, Ttl};

use crate::clock::Clock;

/// A clock on tokio's time. Under `#[tokio::test(start_paused = true)]` it jumps to the next deadline whenever
/// everything is idle.
#[derive(Clone, Copy, Debug)]
pub struct SimClock {
    epoch: Timestamp,
    start: tokio::time::Instant,
}

impl SimClock {
    /// A clock that shows `epoch` now.
    #[must_use]
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { epoch, start: tokio::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.epoch + Ttl::from(self.start.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_year_passes_at_once() {
        let epoch = Timestamp::from_unix(1_800_000_000);
        let clock = SimClock::starting_at(epoch);
        let year = Ttl::from_hours(24 * 365);
        clock.sleep_until(epoch + year).await;
        assert_eq!(clock.now(), epoch + year);
        clock.sleep_until(epoch).await;
        assert_eq!(clock.now(), epoch + year);
    }
}
