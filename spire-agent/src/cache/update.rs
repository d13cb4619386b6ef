//! What a subscriber gets.

use std::sync::Arc;

use spiffe_core::x509::X509Svid;
use spiffe_core::{BundleSet, SpiffeId, Timestamp};
use spire_types::RegistrationEntry;

/// All that the workload with a set of selectors may have at the moment.
#[derive(Clone, Debug, Default)]
pub struct WorkloadUpdate {
    /// The identities, by entry ID; the first one is the default. Hints may repeat.
    pub identities: Vec<WorkloadIdentity>,
    /// The bundle of the agent's trust domain, and those that entries of the workload federate with.
    pub bundles: Arc<BundleSet>,
    /// How many entries match and have no SVID yet, or none that is still valid. Those that the server refuses to mint
    /// for do not count as long as there is another identity.
    pub pending: usize,
}

impl WorkloadUpdate {
    /// Whether this is what the workload is to see: streams pass over updates that are not complete, and go on with
    /// what they sent before.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pending == 0
    }
}

/// An entry and its SVID.
#[derive(Clone, Debug)]
pub struct WorkloadIdentity {
    /// The entry, as far as agents know it: no TTLs, DNS names or parent.
    pub entry: Arc<RegistrationEntry>,
    /// The SVID with its private key.
    pub svid: Arc<X509Svid>,
}

/// A JWT-SVID as the server issued it.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtSvid {
    /// Whose it is.
    pub id: SpiffeId,
    /// The token; a secret.
    pub token: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// Without the token.
impl std::fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtSvid").field("id", &self.id).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// How much is cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// X.509-SVIDs of workloads.
    pub x509_svids: usize,
    /// JWT-SVIDs.
    pub jwt_svids: usize,
    /// X.509-SVIDs for stores.
    pub store_svids: usize,
}
