//! When SVIDs are due for renewal. Agents' own and workloads' follow the same rule.

use rand_core::RngCore;
use spiffe_core::x509::Certificate;
use spiffe_core::{Timestamp, Ttl};

/// An availability target is heeded only for SVIDs that live this much longer.
const AVAILABILITY_MARGIN: Ttl = Ttl::from_hours(12);
/// Renewals for the sake of availability are spread over this span.
const AVAILABILITY_JITTER: Ttl = Ttl::from_minutes(10);
/// The point at half-life is spread by a tenth of it to either side.
const HALF_LIFE_JITTER: u64 = 10;

/// When what is valid from `not_before` to `not_after` is due: around half-life, or earlier where `availability_target`
/// asks for that much validity to be left at any time.
pub(crate) fn renew_at(
    not_before: Timestamp,
    not_after: Timestamp,
    availability_target: Option<Ttl>,
    rng: &mut (impl RngCore + ?Sized),
) -> Timestamp {
    let lifetime = not_after.since(not_before);
    let half = lifetime.divided_by(2);
    let spread = half.divided_by(HALF_LIFE_JITTER);
    let left = half.as_secs().saturating_sub(spread.as_secs()) + below(rng, spread.as_secs().saturating_mul(2));
    let half_life = not_after - Ttl::from_secs(left);
    match availability_target {
        Some(target) if lifetime.as_secs().saturating_sub(target.as_secs()) > AVAILABILITY_MARGIN.as_secs() => {
            let jitter = below(rng, AVAILABILITY_JITTER.as_secs());
            half_life.min(not_after - Ttl::from_secs(target.as_secs() + jitter))
        }
        _ => half_life,
    }
}

/// When the first certificate of a chain expires.
pub(crate) fn expires_at(chain: &[Certificate]) -> Timestamp {
    chain.iter().map(Certificate::not_after).min().unwrap_or(Timestamp::from_unix(0))
}

/// A random number from zero up to and with `most`.
pub(crate) fn below(rng: &mut (impl RngCore + ?Sized), most: u64) -> u64 {
    rng.next_u64().checked_rem(most.saturating_add(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn renewal_is_due_around_half_life() {
        let (start, end) = (Timestamp::from_unix(0), Timestamp::from_unix(3600));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let due: Vec<i64> = (0..200).map(|_| renew_at(start, end, None, &mut rng).as_unix()).collect();
        assert!(due.iter().all(|due| (1620..=1980).contains(due)));
        assert!(due.iter().any(|due| *due < 1700) && due.iter().any(|due| *due > 1900));
    }

    #[test]
    fn an_availability_target_is_heeded_for_long_lives_only() {
        let start = Timestamp::from_unix(0);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let target = Some(Ttl::from_hours(40));
        let day = 24 * 3600;
        let due = renew_at(start, Timestamp::from_unix(3 * day), target, &mut rng).as_unix();
        assert!((31 * 3600..=32 * 3600).contains(&due), "{due}");
        let due = renew_at(start, Timestamp::from_unix(52 * 3600), target, &mut rng).as_unix();
        assert!((23 * 3600..=29 * 3600).contains(&due), "{due}");
    }
}
