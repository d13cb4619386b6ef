//! How long to wait before the next attempt.

use std::time::Duration;

use rand_core::RngCore;

/// Doubles with each attempt, up to a bound, and differs by up to a quarter so that clients do not come all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    pub(super) fn next(&mut self, rng: &mut impl RngCore) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST);
        delay - delay.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX) / 4.0)
    }
}

/// Short, because a stream that ends is to be opened again at once (SPIFFE Workload API §4.2).
const FIRST: Duration = Duration::from_millis(50);
/// An identity that was just registered should not be waited for much longer.
const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    struct Most;

    impl RngCore for Most {
        fn next_u32(&mut self) -> u32 {
            u32::MAX
        }

        fn next_u64(&mut self) -> u64 {
            u64::MAX
        }

        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.fill(u8::MAX);
        }
    }

    #[test]
    fn waits_grow_to_the_bound_and_begin_anew() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next(&mut Most)).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits[0], FIRST.mul_f64(0.75));
        assert_eq!(waits[11], LONGEST.mul_f64(0.75));
        backoff.reset();
        assert_eq!(backoff.next(&mut Most), FIRST.mul_f64(0.75));
    }
}
