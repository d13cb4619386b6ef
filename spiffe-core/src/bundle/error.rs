//! What can be wrong with bundle documents.

use super::{MAX_DOCUMENT_LENGTH, MAX_KEYS};
use crate::jwt::jwk::JwkError;
use crate::x509::X509Error;

/// Which rule a bundle document breaks; keys are counted from zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The certificate in `x5c` is broken.
    #[error("key entry {index}: {source}")]
    Certificate {
        /// Which key.
        index: usize,
        /// What is wrong.
        source: X509Error,
    },
    /// Two JWT keys of one ID: which one verifies would depend on the reader.
    #[error("key ID {key_id:?} is used twice")]
    DuplicateKeyId {
        /// The ID.
        key_id: String,
    },
    /// The members of a bundle map are not what they should be.
    #[error("malformed bundle map: {what}")]
    Domains {
        /// What is wrong.
        what: &'static str,
    },
    /// No JWK: not an object, a member twice, or a `use` that is no text (RFC 7517 §4).
    #[error("key entry {index} is not a JWK")]
    Entry {
        /// Which key.
        index: usize,
    },
    /// No JSON, or not of the right shape.
    #[error("malformed bundle document at line {line}, column {column}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The key's parameters are broken.
    #[error("key entry {index}: {source}")]
    Key {
        /// Which key.
        index: usize,
        /// What is wrong.
        source: JwkError,
    },
    /// The key's parameters are not those of its certificate.
    #[error("key entry {index}: key parameters do not match the certificate")]
    KeyMismatch {
        /// Which key.
        index: usize,
    },
    /// A JWT key has an ID (JWT-SVID §5.2.2).
    #[error("missing key ID in key entry {index}")]
    MissingKeyId {
        /// Which key.
        index: usize,
    },
    /// Every key says what it is for (Trust Domain and Bundle §4.2.2).
    #[error("missing use for key entry {index}")]
    MissingUse {
        /// Which key.
        index: usize,
    },
    /// An X.509 authority has a certificate (X509-SVID §6.2).
    #[error("expected a single certificate in x5c of key entry {index}, found 0")]
    NoCertificate {
        /// Which key.
        index: usize,
    },
    /// An X.509 authority is a CA (X509-SVID §6.1).
    #[error("certificate of key entry {index} is not a CA")]
    NotCa {
        /// Which key.
        index: usize,
    },
    /// A number that is no count of 64 bits (Trust Domain and Bundle §4.1.1, §4.1.2).
    #[error("{name} is not a whole number, and is ignored")]
    Number {
        /// Which member.
        name: &'static str,
    },
    /// A private or symmetric key, of which everybody now knows.
    #[error("key entry {index} holds a private key")]
    PrivateKey {
        /// Which key.
        index: usize,
    },
    /// Trust Domain and Bundle §4.1.3: `keys` is there, be it empty.
    #[error("bundle document has no keys member")]
    NoKeys,
    /// Longer than [`MAX_DOCUMENT_LENGTH`].
    #[error("bundle document is longer than {MAX_DOCUMENT_LENGTH} bytes")]
    TooLong,
    /// More than [`MAX_KEYS`] authorities, or more than [`super::MAX_ENTRIES`] entries.
    #[error("bundle document has {count} keys, at most {MAX_KEYS} are allowed")]
    TooManyKeys {
        /// How many it has.
        count: usize,
    },
}

impl BundleError {
    /// The clause that is broken; empty where the limit is ours.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        match self {
            Self::Certificate { .. } | Self::NotCa { .. } => "X509-SVID §6.1",
            Self::DuplicateKeyId { .. } => "RFC 7517 §4.5",
            Self::Domains { .. } => "Trust Domain and Bundle §5.1.1",
            Self::Entry { .. } => "RFC 7517 §4",
            Self::Json { .. } => "Trust Domain and Bundle §4",
            Self::Key { source, .. } => source.clause(),
            Self::KeyMismatch { .. } => "RFC 7517 §4.7",
            Self::MissingKeyId { .. } => "JWT-SVID §6.1",
            Self::MissingUse { .. } => "Trust Domain and Bundle §4.2.2",
            Self::NoCertificate { .. } => "X509-SVID §6.2",
            Self::NoKeys => "Trust Domain and Bundle §4.1.3",
            Self::Number { name: "spiffe_sequence" } => "Trust Domain and Bundle §4.1.1",
            Self::Number { .. } => "Trust Domain and Bundle §4.1.2",
            Self::PrivateKey { .. } => "Trust Domain and Bundle §4.2",
            Self::TooLong | Self::TooManyKeys { .. } => "",
        }
    }
}
