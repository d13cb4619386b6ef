//! Join tokens: one attestation each.

use std::fmt;

use spiffe_core::Timestamp;

/// A token that one agent may attest with, once. A secret: it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The secret.
    pub value: String,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
