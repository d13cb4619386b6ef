//! What can be wrong with certificates.

use crate::id::{IdError, SpiffeId, TrustDomain};
use crate::key::KeyError;
use crate::pem::PemError;
use crate::time::Timestamp;

/// Which rule a certificate, request, chain or SVID breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum X509Error {
    /// There is no certificate at all.
    #[error("no certificate")]
    NoCertificate,
    /// More than [`super::MAX_CHAIN_LENGTH`] certificates.
    #[error("chain of {length} certificates is longer than {max}", max = super::MAX_CHAIN_LENGTH)]
    ChainTooLong {
        /// How many there are.
        length: usize,
    },
    /// The chain does not lead to a given root by valid signatures.
    #[error("chain does not verify: {reason}")]
    Chain {
        /// What the path validation found.
        reason: String,
        /// The clause that is broken; empty where the limit is ours.
        clause: &'static str,
    },
    /// The certificate is not valid any more.
    #[error("certificate expired at {not_after}, now {now}")]
    Expired {
        /// End of its validity.
        not_after: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// The SPIFFE ID is malformed (X509-SVID §2).
    #[error("invalid SPIFFE ID in the URI SAN: {0}")]
    Id(#[from] IdError),
    /// A key is malformed or of a kind that is not supported.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The private key is not the one of the leaf.
    #[error("private key does not match the certificate of {id}")]
    KeyMismatch {
        /// Whose certificate it is.
        id: SpiffeId,
    },
    /// A leaf must not be a CA (X509-SVID §4.1, §5.2).
    #[error("leaf certificate is a CA")]
    LeafIsCa,
    /// X509-SVID §4.3: digitalSignature and neither keyCertSign nor cRLSign.
    #[error("leaf certificate {rule}")]
    LeafKeyUsage {
        /// Which of them is broken.
        rule: &'static str,
    },
    /// X509-SVID §5.2: a leaf's SPIFFE ID has a path.
    #[error("SPIFFE ID of a leaf has no path")]
    LeafWithoutPath,
    /// The bytes are no such thing.
    #[error("malformed {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
    },
    /// The subject is empty and the alternative names are not critical (RFC 5280 §4.2.1.6, X509-SVID §2).
    #[error("certificate has an empty subject, and its subject alternative name is not critical")]
    Nameless,
    /// No bundle is known for the trust domain of the SVID.
    #[error("no bundle for trust domain {trust_domain:?}", trust_domain = .trust_domain.as_str())]
    NoBundle {
        /// The SVID's trust domain.
        trust_domain: TrustDomain,
    },
    /// The certificate is not valid yet.
    #[error("certificate is not valid before {not_before}, now {now}")]
    NotYetValid {
        /// Begin of its validity.
        not_before: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// The text is no PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The extended key usage does not name what the key is used for (RFC 5280 §4.2.1.12).
    #[error("extended key usage does not allow this side of a TLS connection")]
    Purpose,
    /// Proof of possession failed: the request is not signed by the key it names (RFC 2986 §3).
    #[error("signature of the certificate request does not verify")]
    RequestSignature,
    /// X509-SVID §2: exactly one URI SAN.
    #[error("certificate contains {count} URI SANs, exactly one is required")]
    UriSanCount {
        /// How many there are.
        count: usize,
    },
}

impl X509Error {
    pub(super) fn chain(reason: &str, clause: &'static str) -> Self {
        Self::Chain { reason: reason.to_owned(), clause }
    }

    /// The clause that is broken; empty where the limit is ours.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        match self {
            Self::Chain { clause, .. } => clause,
            Self::ChainTooLong { .. } => "",
            Self::Expired { .. } | Self::NotYetValid { .. } => "RFC 5280 §6.1.3(a)(2)",
            Self::Id(err) => err.clause(),
            Self::Key(err) => err.clause(),
            Self::KeyMismatch { .. } => "Workload API §5.1",
            Self::LeafIsCa => "X509-SVID §5.2",
            Self::LeafKeyUsage { .. } => "X509-SVID §4.3",
            Self::LeafWithoutPath => "X509-SVID §5.2",
            Self::Malformed { .. } => "RFC 5280 §4.1",
            Self::Nameless => "X509-SVID §3.1",
            Self::NoBundle { .. } => "X509-SVID §5.1",
            Self::NoCertificate => "X509-SVID §5.1",
            Self::Pem(_) => "RFC 7468 §2",
            Self::Purpose => "RFC 5280 §4.2.1.12",
            Self::RequestSignature => "RFC 2986 §3",
            Self::UriSanCount { .. } => "X509-SVID §2",
        }
    }
}
