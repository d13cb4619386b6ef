//! What keeps a credential from being made, or an authority from being replaced.

use spiffe_core::x509::X509Error;
use spiffe_core::{KeyError, SpiffeId, Timestamp, TrustDomain};
use spire_types::ErrorKind;

use crate::lint::LintError;

/// Why nothing was signed, or nothing rotated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The authority that would sign has expired.
    #[error("signing authority expired at {not_after}, now {now}")]
    AuthorityExpired {
        /// End of its validity.
        not_after: Timestamp,
        /// The time it was asked to sign at.
        now: Timestamp,
    },
    /// A state that cannot be, and so is our mistake.
    #[error("internal inconsistency: {0}")]
    Bug(&'static str),
    /// A credential composer failed.
    #[error("credential composer failed: {reason}")]
    Composer {
        /// What it said.
        reason: String,
    },
    /// No name that can stand in a certificate.
    #[error("invalid DNS name {name:?}")]
    DnsName {
        /// The name.
        name: String,
    },
    /// The ID belongs to another trust domain than the authority.
    #[error("{id:?} is not a member of trust domain {trust_domain:?}", id = .id.as_str(), trust_domain = .trust_domain.as_str())]
    ForeignId {
        /// The ID.
        id: SpiffeId,
        /// Whose authority it is.
        trust_domain: TrustDomain,
    },
    /// The certificate is not one that an authority may have.
    #[error("certificate cannot be an authority: {reason}")]
    NotAnAuthority {
        /// Which property it lacks.
        reason: &'static str,
    },
    /// The key is not the one of the certificate.
    #[error("key does not match the authority's certificate")]
    KeyMismatch,
    /// The key manager failed.
    #[error(transparent)]
    KeyManager(#[from] spire_keymanager::Error),
    /// What was to be signed breaks a rule, and was not signed.
    #[error("refused to sign: {0}")]
    Lint(#[from] LintError),
    /// The bytes are no such thing.
    #[error("malformed {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
    },
    /// No audience, or only empty ones.
    #[error("audience is missing")]
    NoAudience,
    /// There is no key for JWT-SVIDs.
    #[error("no JWT signing key")]
    NoJwtKey,
    /// The key's algorithm is none that credentials are signed with.
    #[error("keys of this algorithm do not sign credentials")]
    UnusableAlgorithm,
    /// The upstream authority failed.
    #[error("upstream authority failed: {reason}")]
    Upstream {
        /// What it said.
        reason: String,
    },
    /// A certificate is wrong.
    #[error(transparent)]
    X509(#[from] X509Error),
}

impl Error {
    /// What an API says it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::DnsName { .. } | Self::ForeignId { .. } | Self::NoAudience => ErrorKind::InvalidArgument,
            Self::AuthorityExpired { .. }
            | Self::Bug(_)
            | Self::Composer { .. }
            | Self::NotAnAuthority { .. }
            | Self::KeyMismatch
            | Self::KeyManager(_)
            | Self::Lint(_)
            | Self::Malformed { .. }
            | Self::NoJwtKey
            | Self::UnusableAlgorithm
            | Self::Upstream { .. }
            | Self::X509(_) => ErrorKind::Internal,
        }
    }
}

impl From<KeyError> for Error {
    fn from(err: KeyError) -> Self {
        Self::KeyManager(err.into())
    }
}
