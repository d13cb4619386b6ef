//! What a workload gets: its identities, and the bundles to verify others with.

use std::fmt;
use std::sync::Arc;

use spiffe_core::x509::X509Svid;
use spiffe_core::{Bundle, BundleSet, SpiffeId};

/// An X.509-SVID, and what its workload should use it for.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The SVID.
    pub svid: Arc<X509Svid>,
    /// An operator's word about the use, at most 1024 bytes; empty for none (SPIFFE Workload API §8).
    pub hint: String,
}

impl Identity {
    /// Without a hint.
    #[must_use]
    pub fn new(svid: Arc<X509Svid>) -> Self {
        Self { svid, hint: String::new() }
    }

    fn same_as(&self, other: &Self) -> bool {
        self.hint == other.hint && (Arc::ptr_eq(&self.svid, &other.svid) || self.svid.chain() == other.svid.chain())
    }
}

/// The complete state of the X.509 profile: what is not in it, the workload has no right to (any more).
///
/// Standard: SPIFFE Workload API §4.3, §5.2.1.
#[derive(Clone, Debug, Default)]
pub struct X509Context {
    /// The identities; the first one is the default (SPIFFE Workload API §8).
    pub identities: Vec<Identity>,
    /// The bundles of the identities' trust domains and of those they are federated with.
    pub bundles: Arc<BundleSet>,
}

impl X509Context {
    /// The default SVID: the first one.
    #[must_use]
    pub fn default_svid(&self) -> Option<&Arc<X509Svid>> {
        self.identities.first().map(|identity| &identity.svid)
    }

    /// The first SVID with that hint.
    #[must_use]
    pub fn svid_with_hint(&self, hint: &str) -> Option<&Arc<X509Svid>> {
        self.identities.iter().find(|identity| identity.hint == hint).map(|identity| &identity.svid)
    }

    /// Whether both tell a workload the same about X.509.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.identities.len() == other.identities.len()
            && self.identities.iter().zip(&other.identities).all(|(one, two)| one.same_as(two))
            && same_bundles(&self.bundles, &other.bundles, |bundle| &bundle.x509_authorities)
    }

    /// Takes out every identity whose hint, unless empty, an earlier one has (SPIFFE Workload API §5.2.1).
    pub fn drop_repeated_hints(&mut self) {
        let mut seen = std::collections::HashSet::new();
        self.identities.retain(|identity| identity.hint.is_empty() || seen.insert(identity.hint.clone()));
    }
}

/// A JWT-SVID in the hands of the workload that it was issued to.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtToken {
    /// Whose token it is.
    pub id: SpiffeId,
    /// The token itself; a secret, because whoever has it may use it.
    pub token: String,
    /// As [`Identity::hint`].
    pub hint: String,
}

/// Without the token.
impl fmt::Debug for JwtToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtToken").field("id", &self.id).field("hint", &self.hint).finish_non_exhaustive()
    }
}

/// What a token that was validated says.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedJwt {
    /// Its subject.
    pub id: SpiffeId,
    /// Its claims, as far as they may be shown.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// Whether two sets are the same in what one of the profiles shows of them.
pub(crate) fn same_bundles<T: PartialEq>(one: &BundleSet, two: &BundleSet, part: impl Fn(&Bundle) -> &T) -> bool {
    one.len() == two.len()
        && one
            .iter()
            .zip(two.iter())
            .all(|(one, two)| Arc::ptr_eq(one, two) || (one.trust_domain == two.trust_domain && part(one) == part(two)))
}
