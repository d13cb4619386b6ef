//! How long to wait before trying again.

use std::time::Duration;

use rand_core::RngCore;

/// Exponential backoff with jitter. It does not sleep: the driver does.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    longest: Duration,
    next: Duration,
}

/// How much each wait grows over the last.
const GROWTH: f64 = 1.5;
/// By how much of itself a wait may be shorter or longer.
const JITTER: f64 = 0.1;

impl Backoff {
    /// Waits from `initial` up to `longest`.
    #[must_use]
    pub fn new(initial: Duration, longest: Duration) -> Self {
        Self { initial, longest, next: initial }
    }

    /// The next wait.
    pub fn next(&mut self, rng: &mut (impl RngCore + ?Sized)) -> Duration {
        let wait = self.next;
        self.next = wait.mul_f64(GROWTH).min(self.longest);
        let position = f64::from(rng.next_u32()) / f64::from(u32::MAX);
        wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * position).min(self.longest)
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.next = self.initial;
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_begin_anew() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(10));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::new(first, longest);
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next(&mut rng)).collect();
        assert!(waits[0] >= first.mul_f64(0.9) && waits[0] <= first.mul_f64(1.1));
        assert!(waits.iter().all(|wait| *wait <= longest));
        assert!(waits[19] >= longest.mul_f64(0.9));
        backoff.reset();
        assert!(backoff.next(&mut rng) <= first.mul_f64(1.1));
    }
}
