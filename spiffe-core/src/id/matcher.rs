//! Which SPIFFE IDs are acceptable.

use super::{SpiffeId, TrustDomain};

/// A set of acceptable SPIFFE IDs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdMatcher {
    /// Every ID.
    Any,
    /// Any of these, exactly.
    OneOf(Vec<SpiffeId>),
    /// Every ID of one trust domain.
    MemberOf(TrustDomain),
}

impl IdMatcher {
    /// Exactly this one.
    #[must_use]
    pub fn exactly(id: SpiffeId) -> Self {
        Self::OneOf(vec![id])
    }

    /// Whether `id` is acceptable.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(ids) => ids.contains(id),
            Self::MemberOf(trust_domain) => id.is_member_of(trust_domain),
        }
    }
}
