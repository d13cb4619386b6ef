//! What is to be done, and what was done.

use super::slot::{JwtRecord, SlotId, X509Record};
use crate::authority::AuthorityId;

/// The kinds of authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The CA of X.509-SVIDs.
    X509,
    /// The key of JWT-SVIDs.
    Jwt,
}

impl Kind {
    /// The name of the key that belongs to a slot, in the key manager.
    #[must_use]
    pub fn key_id(self, slot: SlotId) -> &'static str {
        match (self, slot) {
            (Self::X509, SlotId::A) => "x509-CA-A",
            (Self::X509, SlotId::B) => "x509-CA-B",
            (Self::Jwt, SlotId::A) => "JWT-Signer-A",
            (Self::Jwt, SlotId::B) => "JWT-Signer-B",
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a key under [`Kind::key_id`] and an authority of it, and publish it in the bundle.
    ///
    /// Answered by [`Done::PreparedX509`] or [`Done::PreparedJwt`].
    Prepare {
        /// Of which kind.
        kind: Kind,
        /// For which slot, whose old key is lost by it.
        slot: SlotId,
    },
    /// Sign with the prepared authority from now on.
    ///
    /// Answered by [`Done::Activated`].
    Activate {
        /// Of which kind.
        kind: Kind,
        /// Which one.
        authority_id: AuthorityId,
    },
    /// Store [`super::Rotation::journal`].
    ///
    /// Answered by [`Done::SavedJournal`].
    SaveJournal,
    /// Mark an old authority in the bundle, so that what it signed is replaced.
    ///
    /// Answered by [`Done::Tainted`].
    Taint {
        /// Of which kind.
        kind: Kind,
        /// Which one.
        authority_id: AuthorityId,
    },
    /// Remove a tainted authority from the bundle.
    ///
    /// Answered by [`Done::Revoked`].
    Revoke {
        /// Of which kind.
        kind: Kind,
        /// Which one.
        authority_id: AuthorityId,
    },
    /// Take over what has changed in the upstream's bundle.
    ///
    /// Answered by [`Done::FollowedUpstream`].
    FollowUpstream,
    /// Remove from the bundle what has been expired for [`super::policy::PRUNE_BUNDLE_AFTER`].
    ///
    /// Answered by [`Done::PrunedBundle`].
    PruneBundle,
    /// Remove journals in which everything has been expired for [`super::policy::PRUNE_JOURNALS_AFTER`].
    ///
    /// Answered by [`Done::PrunedJournals`].
    PruneJournals,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A CA is ready, and its root is in the bundle.
    PreparedX509 {
        /// In which slot.
        slot: SlotId,
        /// The CA.
        record: X509Record,
    },
    /// A key is ready, and it is in the bundle.
    PreparedJwt {
        /// In which slot.
        slot: SlotId,
        /// The key.
        record: JwtRecord,
    },
    /// The authority signs.
    Activated {
        /// Of which kind.
        kind: Kind,
        /// Which one.
        authority_id: AuthorityId,
    },
    /// The journal is stored as it stood when it was asked for.
    SavedJournal {
        /// What [`super::Rotation::generation`] was then.
        generation: u64,
    },
    /// The authority is marked in the bundle.
    Tainted,
    /// The authority is not in the bundle any more.
    Revoked,
    /// The bundle follows the upstream's.
    FollowedUpstream,
    /// The bundle is pruned.
    PrunedBundle,
    /// Journals are pruned.
    PrunedJournals,
}
