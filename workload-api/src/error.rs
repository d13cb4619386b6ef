//! What can go wrong for a workload.

use std::time::Duration;

use spiffe_core::IdError;
use spiffe_core::bundle::BundleError;
use spiffe_core::jwt::JwtError;
use spiffe_core::key::KeyError;
use spiffe_core::x509::X509Error;
use tonic::{Code, Status};

use crate::address::AddressError;

/// Why a workload has not got what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The endpoint's address is malformed, or not configured.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The endpoint sent a bundle that is broken.
    #[error("response of the workload API has a broken bundle of {trust_domain}: {reason}")]
    Bundle {
        /// Whose bundle, as the response says.
        trust_domain: String,
        /// What is wrong.
        reason: String,
    },
    /// The endpoint knows no identity for this workload; it may get one later.
    #[error("workload API has no identity for this workload: {message}")]
    NoIdentity {
        /// The endpoint's words.
        message: String,
    },
    /// The endpoint sent something that is missing a part that must be there.
    #[error("response of the workload API has no {what}")]
    Missing {
        /// What is not there.
        what: &'static str,
    },
    /// The call failed.
    #[error("call to the workload API failed: {code:?}: {message}")]
    Rpc {
        /// The code on the wire.
        code: Code,
        /// The endpoint's words, or the transport's.
        message: String,
    },
    /// The endpoint sent an SVID that is broken.
    #[error("response of the workload API has a broken SVID: {reason}")]
    Svid {
        /// What is wrong.
        reason: String,
    },
    /// Nothing came within the time that was set.
    #[error("workload API did not answer within {after:?}{}", .last.as_ref().map(|last| format!(": {last}")).unwrap_or_default())]
    Timeout {
        /// How long was waited.
        after: Duration,
        /// What the last attempt failed with.
        last: Option<Box<Error>>,
    },
    /// A token breaks a rule.
    #[error("JWT-SVID is refused: {0}")]
    Token(#[from] JwtError),
}

impl Error {
    /// Whether asking again would be wrong: the endpoint has understood and refused the question itself.
    ///
    /// Standard: SPIFFE Workload Endpoint §6 and appendix A.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Rpc { code: Code::InvalidArgument | Code::Unimplemented, .. } | Self::Address(_))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::PermissionDenied => Self::NoIdentity { message },
            code => Self::Rpc { code, message },
        }
    }
}

impl From<X509Error> for Error {
    fn from(err: X509Error) -> Self {
        Self::Svid { reason: err.to_string() }
    }
}

impl From<KeyError> for Error {
    fn from(err: KeyError) -> Self {
        Self::Svid { reason: err.to_string() }
    }
}

impl From<IdError> for Error {
    fn from(err: IdError) -> Self {
        Self::Svid { reason: err.to_string() }
    }
}

impl Error {
    pub(crate) fn bundle(trust_domain: &str, err: impl Into<BrokenBundle>) -> Self {
        Self::Bundle { trust_domain: format!("{trust_domain:?}"), reason: err.into().0 }
    }
}

/// The reasons that a bundle of the Workload API can be broken for.
pub(crate) struct BrokenBundle(String);

impl From<X509Error> for BrokenBundle {
    fn from(err: X509Error) -> Self {
        Self(err.to_string())
    }
}

impl From<BundleError> for BrokenBundle {
    fn from(err: BundleError) -> Self {
        Self(err.to_string())
    }
}

impl From<IdError> for BrokenBundle {
    fn from(err: IdError) -> Self {
        Self(err.to_string())
    }
}
