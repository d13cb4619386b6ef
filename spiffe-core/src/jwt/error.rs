//! What can be wrong with tokens.

use super::MAX_TOKEN_LENGTH;
use crate::id::{IdError, TrustDomain};
use crate::key::KeyError;
use crate::time::Timestamp;

/// Which rule a token breaks. No variant carries the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// JWT-SVID §2.1: one of nine algorithms.
    #[error("token is signed with an algorithm that JWT-SVIDs do not allow")]
    Algorithm,
    /// The token names an algorithm that its key is not for.
    #[error("algorithm {algorithm} does not fit the kind of the key")]
    AlgorithmOfOtherKey {
        /// The token's `alg`.
        algorithm: &'static str,
    },
    /// JWT-SVID §4: the audience is somebody else.
    #[error("expected audience in {expected:?} (audience={found:?})")]
    Audience {
        /// Whom the verifier is.
        expected: String,
        /// Whom the token is for.
        found: Vec<String>,
    },
    /// JWT-SVID §3: a claim is missing or of the wrong type.
    #[error("claim {name:?} is missing or malformed")]
    Claim {
        /// Its name.
        name: &'static str,
    },
    /// RFC 7515 §4.1.11: an extension that must be understood.
    #[error("token has critical header extensions")]
    Critical,
    /// JWT-SVID §3.3.
    #[error("token expired at {expires_at}, now {now}")]
    Expired {
        /// Its `exp`.
        expires_at: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// The subject is no SPIFFE ID (JWT-SVID §3.1).
    #[error("token has an invalid subject claim: {0}")]
    Id(#[from] IdError),
    /// Issued in the future (RFC 7519 §4.1.6).
    #[error("token was issued at {issued_at}, now {now}")]
    IssuedLater {
        /// Its `iat`.
        issued_at: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// The signature does not verify.
    #[error("token {0}")]
    Key(#[from] KeyError),
    /// Not shaped like a token.
    #[error("malformed {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// The key ID is empty, or is missing where there has to be one.
    #[error("token header missing key id")]
    MissingKeyId,
    /// JWT-SVID §3.2: a verifier without a name could not refuse tokens that are meant for others.
    #[error("audience to verify for is empty")]
    NoAudience,
    /// No bundle is known for the trust domain of the token.
    #[error("no bundle found for trust domain {trust_domain:?}", trust_domain = .trust_domain.as_str())]
    NoBundle {
        /// The subject's trust domain.
        trust_domain: TrustDomain,
    },
    /// The token names no key, and its trust domain has none for the token's algorithm (JWT-SVID §2.2, §6.2).
    #[error("no JWT authority of trust domain {trust_domain:?} fits the algorithm", trust_domain = .trust_domain.as_str())]
    NoFittingKey {
        /// The subject's trust domain.
        trust_domain: TrustDomain,
    },
    /// RFC 7519 §4.1.5.
    #[error("token is not valid before {not_before}, now {now}")]
    NotYetValid {
        /// Its `nbf`.
        not_before: Timestamp,
        /// The time it was judged at.
        now: Timestamp,
    },
    /// Longer than [`MAX_TOKEN_LENGTH`].
    #[error("token of {length} bytes is longer than {MAX_TOKEN_LENGTH}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// JWT-SVID §2.3.
    #[error("token header type not equal to either JWT or JOSE")]
    Type,
    /// JWT-SVID §2: the header has nothing but alg, kid and typ.
    #[error("token has the header {name:?}, which JWT-SVIDs do not allow")]
    UnknownHeader {
        /// Its name, cut after 128 characters.
        name: String,
    },
    /// The bundle has no key of that ID.
    #[error("no JWT authority {key_id:?} in trust domain {trust_domain:?}", trust_domain = .trust_domain.as_str())]
    UnknownKey {
        /// The token's key ID, cut after 128 characters.
        key_id: String,
        /// The subject's trust domain.
        trust_domain: TrustDomain,
    },
    /// The subject is a trust domain, not a workload (JWT-SVID §3.1).
    #[error("SPIFFE ID of a token has no path")]
    WithoutPath,
}

impl JwtError {
    /// The clause that is broken; empty where the limit is ours.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        match self {
            Self::Algorithm => "JWT-SVID §2.1",
            Self::AlgorithmOfOtherKey { .. } => "RFC 8725 §3.1",
            Self::Audience { .. } | Self::NoAudience => "JWT-SVID §3.2",
            Self::Claim { name: "aud" } => "JWT-SVID §3.2",
            Self::Claim { name: "exp" } => "JWT-SVID §3.3",
            Self::Claim { name: "sub" } | Self::WithoutPath => "JWT-SVID §3.1",
            Self::Claim { .. } => "RFC 7519 §2",
            Self::Critical => "RFC 7515 §4.1.11",
            Self::Expired { .. } => "JWT-SVID §3.3",
            Self::Id(err) => err.clause(),
            Self::IssuedLater { .. } => "RFC 7519 §4.1.6",
            Self::Key(err) => err.clause(),
            Self::Malformed { .. } => "RFC 7515 §3.1",
            Self::MissingKeyId | Self::NoFittingKey { .. } => "JWT-SVID §2.2",
            Self::NoBundle { .. } | Self::UnknownKey { .. } => "JWT-SVID §6.2",
            Self::NotYetValid { .. } => "RFC 7519 §4.1.5",
            Self::TooLong { .. } => "",
            Self::Type => "JWT-SVID §2.3",
            Self::UnknownHeader { .. } => "JWT-SVID §2",
        }
    }
}
