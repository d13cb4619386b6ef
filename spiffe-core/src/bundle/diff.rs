//! What changed from one bundle to the next.

use super::{Bundle, JwtAuthority, X509Authority};

/// What `after` has that `before` lacks, and the reverse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BundleDiff {
    /// Root certificates that came.
    pub x509_added: Vec<X509Authority>,
    /// Root certificates that went: chains below them do not verify any more.
    pub x509_removed: Vec<X509Authority>,
    /// Root certificates that were tainted since: SVIDs below them are to be replaced.
    pub x509_tainted: Vec<X509Authority>,
    /// Keys that came.
    pub jwt_added: Vec<JwtAuthority>,
    /// Keys that went, or whose ID now names another key.
    pub jwt_removed: Vec<JwtAuthority>,
    /// Keys that were tainted since.
    pub jwt_tainted: Vec<JwtAuthority>,
    /// Keys of WIT-SVIDs that came.
    #[cfg(feature = "wit")]
    pub wit_added: Vec<JwtAuthority>,
    /// Keys of WIT-SVIDs that went.
    #[cfg(feature = "wit")]
    pub wit_removed: Vec<JwtAuthority>,
    /// Whether the refresh hint is another one.
    pub refresh_hint_changed: bool,
}

impl BundleDiff {
    /// The way from `before` to `after`; the sequence number is no content.
    #[must_use]
    pub fn between(before: &Bundle, after: &Bundle) -> Self {
        let x509 = |one: &Bundle, other: &Bundle| -> Vec<X509Authority> {
            let known = |authority: &&X509Authority| !other.x509_roots().any(|root| *root == authority.certificate);
            one.x509_authorities.iter().filter(known).cloned().collect()
        };
        let jwt = |one: &Bundle, other: &Bundle| -> Vec<JwtAuthority> {
            let known = |authority: &&JwtAuthority| {
                other.jwt_authority(&authority.key_id).is_none_or(|key| key.public_key != authority.public_key)
            };
            one.jwt_authorities.iter().filter(known).cloned().collect()
        };
        let was_clean = |root: &&X509Authority| {
            root.tainted
                && before.x509_authorities.iter().any(|old| old.certificate == root.certificate && !old.tainted)
        };
        let key_was_clean = |key: &&JwtAuthority| {
            key.tainted
                && before.jwt_authority(&key.key_id).is_some_and(|old| old.public_key == key.public_key && !old.tainted)
        };
        Self {
            x509_added: x509(after, before),
            x509_removed: x509(before, after),
            x509_tainted: after.x509_authorities.iter().filter(was_clean).cloned().collect(),
            jwt_added: jwt(after, before),
            jwt_removed: jwt(before, after),
            jwt_tainted: after.jwt_authorities.iter().filter(key_was_clean).cloned().collect(),
            #[cfg(feature = "wit")]
            wit_added: without(&after.wit_authorities, &before.wit_authorities),
            #[cfg(feature = "wit")]
            wit_removed: without(&before.wit_authorities, &after.wit_authorities),
            refresh_hint_changed: before.refresh_hint != after.refresh_hint,
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something that verified before does not verify any more: live sessions are to be checked anew.
    #[must_use]
    pub fn revokes(&self) -> bool {
        #[cfg(feature = "wit")]
        if !self.wit_removed.is_empty() {
            return true;
        }
        !self.x509_removed.is_empty() || !self.jwt_removed.is_empty()
    }
}

#[cfg(feature = "wit")]
fn without(authorities: &[JwtAuthority], known: &[JwtAuthority]) -> Vec<JwtAuthority> {
    authorities.iter().filter(|authority| !known.contains(authority)).cloned().collect()
}
