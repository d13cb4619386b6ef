//! When a certificate is ordered: a pure core, on a time that is an argument.

use std::time::Duration;

use rand_core::RngCore;
use spiffe_core::{Timestamp, Ttl};
use spire_runtime::Backoff;

/// When the next order is due: at two thirds of the certificate's life, and after a failure in a while that grows.
#[derive(Debug, Clone)]
pub struct Renewal {
    next: Timestamp,
    backoff: Backoff,
}

impl Renewal {
    /// For a certificate that is valid from and to these times, or for none, which makes an order due at once.
    #[must_use]
    pub fn new(validity: Option<(Timestamp, Timestamp)>) -> Self {
        let next = validity.map_or(Timestamp::from_unix(0), two_thirds);
        Self { next, backoff: Backoff::new(FIRST_RETRY, LONGEST_RETRY) }
    }

    /// When the next order is due.
    #[must_use]
    pub fn next_wakeup(&self) -> Timestamp {
        self.next
    }

    /// Records that an order has ended at `now`, with a certificate of this validity or without one.
    pub fn completed(
        &mut self,
        now: Timestamp,
        validity: Option<(Timestamp, Timestamp)>,
        rng: &mut (dyn RngCore + Send),
    ) {
        match validity {
            Some(validity) => {
                self.backoff.reset();
                // A certificate that is born old is no reason to ask without pause.
                self.next = two_thirds(validity).max(now + SHORTEST_PAUSE);
            }
            None => self.next = now + Ttl::from(self.backoff.next(rng)),
        }
    }
}

fn two_thirds((not_before, not_after): (Timestamp, Timestamp)) -> Timestamp {
    not_after - not_after.since(not_before).divided_by(3)
}

/// After the first failure. A server that counts failures refuses for a while; that is one more failure, and the waits
/// grow beyond its patience.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// Between any two failures.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// Between a success and the next order.
const SHORTEST_PAUSE: Ttl = Ttl::from_secs(10);

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    use super::*;

    const START: Timestamp = Timestamp::from_unix(1_800_000_000);
    const LIFE: Ttl = Ttl::from_hours(24 * 90);

    #[test]
    fn without_a_certificate_an_order_is_due_at_once() {
        assert!(Renewal::new(None).next_wakeup() <= START);
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let due = Renewal::new(Some((START, START + LIFE))).next_wakeup();
        assert_eq!(due, START + Ttl::from_hours(24 * 60));
    }

    #[test]
    fn a_certificate_that_is_born_expired_makes_no_tight_loop() {
        let mut renewal = Renewal::new(None);
        renewal.completed(START, Some((START - LIFE, START)), &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(renewal.next_wakeup(), START + SHORTEST_PAUSE);
    }

    #[test]
    fn refusals_are_answered_with_growing_patience_which_a_success_ends() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut renewal, mut now) = (Renewal::new(None), START);
        let mut orders = Vec::new();
        while now < START + Ttl::from_hours(24) {
            renewal.completed(now, None, &mut rng);
            let wait = renewal.next_wakeup().since(now);
            assert!((54..=3600).contains(&wait.as_secs()), "{wait}");
            now = renewal.next_wakeup();
            orders.push(now);
        }
        assert!(orders.len() < 40, "{}", orders.len());
        renewal.completed(now, Some((now, now + LIFE)), &mut rng);
        renewal.completed(now, None, &mut rng);
        assert!(renewal.next_wakeup().since(now).as_secs() <= 66);
    }
}
