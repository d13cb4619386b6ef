//! What keeps authorities from being prepared, activated, tainted or revoked.

use spiffe_core::Timestamp;
use spire_ca::rotation::CommandError;
use spire_keymanager::KeyId;
use spire_types::ErrorKind;

/// Why an authority was not prepared, activated, tainted or revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A state that cannot be, and so is our mistake.
    #[error("internal inconsistency: {0}")]
    Bug(&'static str),
    /// The CA could not be made, or the journal not read.
    #[error(transparent)]
    Ca(#[from] spire_ca::Error),
    /// The store failed.
    #[error(transparent)]
    DataStore(#[from] spire_datastore::Error),
    /// The server is about to end.
    #[error("server is about to end")]
    Ended,
    /// There are no JWT-SVIDs.
    #[error("JWT functionality is disabled")]
    JwtDisabled,
    /// The key manager has lost the key.
    #[error("key {:?} is not in the key manager any more", .key_id.as_str())]
    KeyGone {
        /// Which key.
        key_id: KeyId,
    },
    /// The key manager failed.
    #[error(transparent)]
    KeyManager(#[from] spire_keymanager::Error),
    /// The CA is self-signed.
    #[error("upstream authority is not configured")]
    NoUpstream,
    /// The request does not fit the authorities as they are.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The CA is signed upstream, and so has no root of its own to taint or revoke.
    #[error("local authority can't be {verb} if there is an upstream authority")]
    SignedUpstream {
        /// What was asked for.
        verb: &'static str,
    },
    /// That upstream authority is not the one to taint or revoke.
    #[error("{reason}")]
    UpstreamUnfit {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// What was made is over already.
    #[error("authority ends at {not_after}, too soon, now {now}")]
    TooShort {
        /// End of its validity.
        not_after: Timestamp,
        /// When it was made.
        now: Timestamp,
    },
}

impl AuthorityError {
    /// What an API says it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refused) => refused.kind(),
            Self::SignedUpstream { .. } | Self::NoUpstream => ErrorKind::FailedPrecondition,
            Self::UpstreamUnfit { .. } => ErrorKind::InvalidArgument,
            Self::JwtDisabled => ErrorKind::Unimplemented,
            Self::Ended => ErrorKind::Unavailable,
            Self::DataStore(err) if matches!(err.kind(), ErrorKind::ResourceExhausted | ErrorKind::Unavailable) => {
                err.kind()
            }
            Self::Bug(_)
            | Self::Ca(_)
            | Self::DataStore(_)
            | Self::KeyGone { .. }
            | Self::KeyManager(_)
            | Self::TooShort { .. } => ErrorKind::Internal,
        }
    }
}
