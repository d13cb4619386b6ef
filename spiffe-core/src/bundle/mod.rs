//! Bundles: what one trust domain's SVIDs are verified with.
//!
//! Standard: SPIFFE Trust Domain and Bundle.

mod diff;
mod document;
mod error;
mod map;
mod set;

pub use diff::BundleDiff;
#[cfg(all(feature = "wit", any(feature = "ring", feature = "aws-lc-rs")))]
pub(crate) use document::PRIVATE_MEMBERS;
pub use document::{MAX_DOCUMENT_LENGTH, MAX_ENTRIES, MAX_KEYS, Parsed};
pub use error::BundleError;
pub use map::{BundleMap, MAX_BUNDLES};
pub use set::BundleSet;

use crate::id::TrustDomain;
use crate::key::PublicKey;
use crate::time::{Timestamp, Ttl};
use crate::x509::Certificate;

/// How often bundles without a hint are asked for (Trust Domain and Bundle §6.1: five minutes is a good low default).
pub const DEFAULT_REFRESH: Ttl = Ttl::from_minutes(5);
/// The least time between two requests, whatever the hint.
pub const MIN_REFRESH: Ttl = Ttl::from_minutes(1);
/// The most time between two requests, whatever the hint.
pub const MAX_REFRESH: Ttl = Ttl::from_hours(24);

/// The bundle of one trust domain. It speaks for that trust domain alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Whose bundle it is.
    pub trust_domain: TrustDomain,
    /// Roots of X.509-SVIDs.
    pub x509_authorities: Vec<X509Authority>,
    /// Keys of JWT-SVIDs.
    pub jwt_authorities: Vec<JwtAuthority>,
    /// Keys of WIT-SVIDs.
    #[cfg(feature = "wit")]
    pub wit_authorities: Vec<JwtAuthority>,
    /// How often consumers should ask for it anew; `None` leaves it to them.
    pub refresh_hint: Option<Ttl>,
    /// Grows with every change; zero where it is not known.
    pub sequence_number: u64,
}

/// A root certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Authority {
    /// The certificate, a CA.
    pub certificate: Certificate,
    /// Whether SVIDs below it must be replaced; it still verifies.
    pub tainted: bool,
}

/// A key that signs JWT-SVIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtAuthority {
    /// Key ID (`kid`).
    pub key_id: String,
    /// The key.
    pub public_key: PublicKey,
    /// When its last token expires at the latest; `None` where it is not known.
    pub expires_at: Option<Timestamp>,
    /// Whether tokens signed with it must be replaced; it still verifies.
    pub tainted: bool,
}

impl Bundle {
    /// A bundle without any authority.
    #[must_use]
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            x509_authorities: Vec::new(),
            jwt_authorities: Vec::new(),
            #[cfg(feature = "wit")]
            wit_authorities: Vec::new(),
            refresh_hint: None,
            sequence_number: 0,
        }
    }

    /// The root certificates.
    pub fn x509_roots(&self) -> impl Iterator<Item = &Certificate> {
        self.x509_authorities.iter().map(|authority| &authority.certificate)
    }

    /// The root certificates' DER, one after the other, as the Workload API sends them.
    #[must_use]
    pub fn x509_roots_der(&self) -> Vec<u8> {
        self.x509_roots().flat_map(|root| root.der().iter().copied()).collect()
    }

    /// The root certificates as PEM.
    #[must_use]
    pub fn x509_roots_pem(&self) -> String {
        self.x509_roots().map(Certificate::to_pem).collect()
    }

    /// The key with that ID.
    #[must_use]
    pub fn jwt_authority(&self, key_id: &str) -> Option<&JwtAuthority> {
        self.jwt_authorities.iter().find(|authority| authority.key_id == key_id)
    }

    /// How long to wait until this bundle is asked for anew: its hint, or [`DEFAULT_REFRESH`], within
    /// [`MIN_REFRESH`] and [`MAX_REFRESH`] (Trust Domain and Bundle §4.1.2, §6.1).
    #[must_use]
    pub fn refresh_interval(&self) -> Ttl {
        self.refresh_hint.unwrap_or(DEFAULT_REFRESH).clamp(MIN_REFRESH, MAX_REFRESH)
    }

    /// Adds what is not there yet; true when anything was added.
    pub fn merge(&mut self, x509: Vec<X509Authority>, jwt: Vec<JwtAuthority>) -> bool {
        let before = self.x509_authorities.len() + self.jwt_authorities.len();
        for authority in x509 {
            if !self.x509_roots().any(|root| *root == authority.certificate) {
                self.x509_authorities.push(authority);
            }
        }
        for authority in jwt {
            if self.jwt_authority(&authority.key_id).is_none() {
                self.jwt_authorities.push(authority);
            }
        }
        self.x509_authorities.len() + self.jwt_authorities.len() > before
    }

    /// Whether both hold the same authorities and the same hint; the sequence number does not count.
    #[must_use]
    pub fn same_contents(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain
            && self.x509_authorities == other.x509_authorities
            && self.jwt_authorities == other.jwt_authorities
            && self.refresh_hint == other.refresh_hint
            && self.same_wit_authorities(other)
    }

    #[cfg(feature = "wit")]
    fn same_wit_authorities(&self, other: &Self) -> bool {
        self.wit_authorities == other.wit_authorities
    }

    #[cfg(not(feature = "wit"))]
    #[expect(clippy::unused_self, reason = "what the feature adds")]
    fn same_wit_authorities(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
