//! What is limited, pruned and kept in memory.

use std::time::Duration;

use spiffe_core::Ttl;

/// `ratelimit`: which limits are switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// One attestation a second and address.
    pub attestation: bool,
    /// 500 signatures of either kind a second and address.
    pub signing: bool,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { attestation: true, signing: true }
    }
}

/// Which attested nodes are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneNodes {
    /// `prune_attested_nodes_expired_for`: those whose SVID has been expired for this long.
    pub expired_for: Ttl,
    /// `prune_attested_nodes_batch_size`: how many at most in one transaction.
    pub batch_size: usize,
    /// `prune_tofu_nodes`: those as well that could not attest again.
    pub tofu: bool,
}

impl PruneNodes {
    /// `prune_attested_nodes_batch_size` where it is missing.
    pub const DEFAULT_BATCH_SIZE: usize = 1000;
}

/// How entries are kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// `experimental.cache_reload_interval`: how often another server's writes to the same datastore are looked for. What
    /// this server writes counts at once.
    pub reload_interval: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { reload_interval: Duration::from_secs(5) }
    }
}
