//! Upstream authorities: those that sign the server's CA, so that its root is theirs.

pub mod chain;
pub mod disk;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
pub mod follow;
#[cfg(feature = "upstream-spire")]
pub mod spire;

use std::fmt;

use async_trait::async_trait;
use rand_core::CryptoRng;
use spiffe_core::x509::Certificate;
use spiffe_core::{Bundle, JwtAuthority, Timestamp, Ttl, X509Authority};

use crate::Error;

pub use disk::{DiskUpstream, DiskUpstreamConfig};
#[cfg(feature = "upstream-spire")]
pub use spire::{SpireUpstream, SpireUpstreamAddress};

/// A CA certificate from upstream, and the roots it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCa {
    /// The new CA first, then those above it up to, without it, the root.
    pub chain: Vec<Certificate>,
    /// The roots of the upstream, all of which belong into the bundle.
    pub roots: Vec<X509Authority>,
}

/// Signs the server's CA.
///
/// Its answers are proven ([`chain::check`]) before they are used; a wrong one costs a failed preparation, which is
/// tried again. May be called concurrently.
#[async_trait]
pub trait UpstreamAuthority: Send + Sync + fmt::Debug {
    /// Waits until the upstream can be asked at all, for as long as that takes: a server that has no CA yet is of no use
    /// before. That it then answers well is not promised.
    ///
    /// # Errors
    /// [`Error::Upstream`] where waiting would not help.
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Signs a CA certificate for the key in `csr`, for `preferred_ttl` or less.
    ///
    /// # Errors
    /// [`Error::Upstream`]
    async fn mint_x509_ca(
        &self,
        csr: &[u8],
        preferred_ttl: Ttl,
        now: Timestamp,
        rng: &mut (dyn CryptoRng + Send),
    ) -> Result<UpstreamCa, Error>;

    /// Publishes a JWT key upstream and answers all keys that are published there; `None` from an upstream that knows
    /// no JWT keys, in which case the key is published in the own bundle alone.
    ///
    /// # Errors
    /// [`Error::Upstream`]
    async fn publish_jwt_key(&self, _key: &JwtAuthority) -> Result<Option<Vec<JwtAuthority>>, Error> {
        Ok(None)
    }

    /// Whether the upstream has a bundle of the trust domain: JWT keys are published there, and it is followed.
    fn has_bundle(&self) -> bool {
        false
    }

    /// The bundle of the trust domain as the upstream has it now, with what is tainted in it.
    ///
    /// Asked for every [`follow::EVERY`] where there is one; it has to end within a few seconds.
    ///
    /// # Errors
    /// [`Error::Upstream`]; what was followed before stays.
    async fn fetch_bundle(&self) -> Result<Bundle, Error> {
        Err(Error::Upstream { reason: "it has no bundle to follow".to_owned() })
    }
}
