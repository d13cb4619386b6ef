//! Who may be the peer.

use crate::id::{IdMatcher, SpiffeId, TrustDomain};

/// Decides whether the owner of a verified SPIFFE ID may be the peer.
///
/// Called once for each handshake, after the SVID was verified, concurrently from several of them. It must not block.
/// Every closure `Fn(&SpiffeId) -> bool` is one.
pub trait Authorizer: Send + Sync {
    /// Whether `peer` is acceptable.
    fn authorize(&self, peer: &SpiffeId) -> bool;
}

impl<F> Authorizer for F
where
    F: Fn(&SpiffeId) -> bool + Send + Sync,
{
    fn authorize(&self, peer: &SpiffeId) -> bool {
        self(peer)
    }
}

impl Authorizer for IdMatcher {
    fn authorize(&self, peer: &SpiffeId) -> bool {
        self.matches(peer)
    }
}

/// Every peer whose SVID verifies, of whichever trust domain there is a bundle for.
#[must_use]
pub fn authorize_any() -> IdMatcher {
    IdMatcher::Any
}

/// Exactly this one.
#[must_use]
pub fn authorize_id(id: SpiffeId) -> IdMatcher {
    IdMatcher::exactly(id)
}

/// Any of these, exactly.
#[must_use]
pub fn authorize_one_of(ids: impl IntoIterator<Item = SpiffeId>) -> IdMatcher {
    IdMatcher::OneOf(ids.into_iter().collect())
}

/// Every member of one trust domain.
#[must_use]
pub fn authorize_member_of(trust_domain: TrustDomain) -> IdMatcher {
    IdMatcher::MemberOf(trust_domain)
}
