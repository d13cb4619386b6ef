//! When to prepare, activate and prune.

use spiffe_core::{Timestamp, Ttl};

use crate::template;

/// Most that a new authority is prepared before the active one ends.
pub const MAX_PREPARE_LEAD: Ttl = Ttl::from_hours(30 * 24);
/// Most that a new authority is activated before the active one ends.
pub const MAX_ACTIVATE_LEAD: Ttl = Ttl::from_hours(7 * 24);
/// A successor is published for this long before it signs, where the configuration does not say otherwise: as long as
/// readers in other trust domains may wait for their next look, and many times what a server needs that is nested four
/// levels deep.
pub const PUBLICATION_DELAY: Ttl = Ttl::from_minutes(5);
/// A first JWT key is published upstream for this long before it signs, where the configuration does not say otherwise:
/// enough for a sibling beside this server and its agents, each of which looks every five seconds and may fail once.
/// Each level of servers more takes ten seconds more.
pub const FIRST_PUBLICATION_DELAY: Ttl = Ttl::from_secs(20);
/// A step that failed is offered again after this long.
pub const RETRY_AFTER: Ttl = Ttl::from_secs(10);
/// Pruning that failed is offered again after this long.
pub const RETRY_PRUNING_AFTER: Ttl = Ttl::from_minutes(10);
/// The bundle is pruned this often.
pub const PRUNE_BUNDLE_EVERY: Ttl = Ttl::from_hours(6);
/// What has been expired for this long is pruned from the bundle.
pub const PRUNE_BUNDLE_AFTER: Ttl = Ttl::from_hours(24);
/// Journals are pruned this often.
pub const PRUNE_JOURNALS_EVERY: Ttl = Ttl::from_hours(8);
/// A journal in which everything has been expired for this long is pruned.
pub const PRUNE_JOURNALS_AFTER: Ttl = Ttl::from_hours(14 * 24);

/// What an operator decides about rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Lifetime of X.509 CAs and JWT keys.
    pub ca_ttl: Ttl,
    /// Whether there are JWT-SVIDs, and so keys that sign them.
    pub jwt_svids: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { ca_ttl: template::CA_TTL, jwt_svids: true }
    }
}

impl Policy {
    /// The longest life of an SVID that does not outlive its issuer in any case: it may have been issued by an
    /// authority that was about to be replaced.
    #[must_use]
    pub fn longest_safe_svid_ttl(&self) -> Ttl {
        self.ca_ttl.divided_by(6).min(MAX_ACTIVATE_LEAD)
    }
}

/// How long an authority has been published before it signs, so that it is known wherever it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// A successor's time. It is shorter where the active authority ends earlier, and at most a sixth of the lifetime.
    pub successor: Ttl,
    /// The time of a first JWT key, when there is no other that could sign meanwhile. It counts where keys are published
    /// upstream: without, nobody else has to know them.
    pub first: Ttl,
}

impl Default for Publication {
    fn default() -> Self {
        Self { successor: PUBLICATION_DELAY, first: FIRST_PUBLICATION_DELAY }
    }
}

impl Publication {
    /// With no more than a sixth of the lifetime.
    pub(super) fn within(self, ca_ttl: Ttl) -> Self {
        let most = ca_ttl.divided_by(6);
        Self { successor: self.successor.min(most), first: self.first.min(most) }
    }
}

/// From when on a successor is prepared: half the lifetime before the end, at most [`MAX_PREPARE_LEAD`].
#[must_use]
pub fn prepare_at(issued_at: Timestamp, not_after: Timestamp) -> Timestamp {
    not_after - not_after.since(issued_at).divided_by(2).min(MAX_PREPARE_LEAD)
}

/// From when on the successor is activated: one sixth of the lifetime before the end, at most [`MAX_ACTIVATE_LEAD`].
#[must_use]
pub fn activate_at(issued_at: Timestamp, not_after: Timestamp) -> Timestamp {
    not_after - not_after.since(issued_at).divided_by(6).min(MAX_ACTIVATE_LEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: Timestamp = Timestamp::from_unix(1_000_000);

    #[test]
    fn a_day_is_prepared_at_noon_and_activated_at_eight() {
        let not_after = ISSUED + Ttl::from_hours(24);
        assert_eq!(prepare_at(ISSUED, not_after), ISSUED + Ttl::from_hours(12));
        assert_eq!(activate_at(ISSUED, not_after), ISSUED + Ttl::from_hours(20));
    }

    #[test]
    fn long_lives_are_prepared_a_month_and_activated_a_week_before_their_end() {
        let not_after = ISSUED + Ttl::from_hours(365 * 24);
        assert_eq!(prepare_at(ISSUED, not_after), not_after - Ttl::from_hours(30 * 24));
        assert_eq!(activate_at(ISSUED, not_after), not_after - Ttl::from_hours(7 * 24));
    }

    #[test]
    fn svids_of_a_sixth_of_the_cas_life_are_safe() {
        assert_eq!(Policy::default().longest_safe_svid_ttl(), Ttl::from_hours(4));
        let years = Policy { ca_ttl: Ttl::from_hours(10 * 365 * 24), ..Policy::default() };
        assert_eq!(years.longest_safe_svid_ttl(), Ttl::from_hours(7 * 24));
    }
}
