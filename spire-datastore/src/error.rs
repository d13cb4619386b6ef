//! What can go wrong with a store.

use spire_types::ErrorKind;

/// A store's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The thing is there already.
    #[error("datastore-sql: UNIQUE constraint failed: {constraint}")]
    AlreadyExists {
        /// Table and column that would hold a value twice.
        constraint: &'static str,
    },
    /// The agent is banned.
    #[error("agent is banned")]
    Banned,
    /// The backend failed in a way that is none of the others.
    #[error("datastore-sql: {attempt}: {cause}")]
    Backend {
        /// What was attempted.
        attempt: &'static str,
        /// What the backend said.
        cause: String,
    },
    /// The backend's lock is held by somebody else, longer than we wait. Trying again may help.
    #[error("datastore-sql: {attempt}: database is locked by another process")]
    Busy {
        /// What was attempted.
        attempt: &'static str,
    },
    /// The store has been shut down.
    #[error("datastore-sql: the store is closed")]
    Closed,
    /// Something stored does not read back: another program wrote it.
    #[error("datastore-sql: stored {what} is damaged")]
    Damaged {
        /// Which thing, and how.
        what: String,
    },
    /// The database itself is damaged, or is none.
    #[error("datastore-sql: {attempt}: the database is damaged, restore a backup: {cause}")]
    DamagedDatabase {
        /// What was attempted.
        attempt: &'static str,
        /// What the backend said.
        cause: String,
    },
    /// The disk is full.
    #[error("datastore-sql: {attempt}: database or disk is full")]
    DiskFull {
        /// What was attempted.
        attempt: &'static str,
    },
    /// A list was asked for by a set of selectors without any.
    #[error("cannot list by empty selector set")]
    EmptySelectors,
    /// The database belongs to another program, SPIRE's own server for instance.
    #[error("datastore-sql: the database was made by another program; give this server one of its own")]
    ForeignDatabase,
    /// Entries federate with the bundle, and it was to be deleted only if none does.
    #[error("datastore-sql: cannot delete bundle; federated with {count} registration entries")]
    InUse {
        /// How many entries.
        count: usize,
    },
    /// The values are not sound.
    #[error("datastore-validation: {cause}")]
    Invalid {
        /// Which rule they break.
        cause: String,
    },
    /// The disk or file system failed, or does not let us read or write.
    #[error("datastore-sql: {attempt}: {cause}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// What the backend said.
        cause: String,
    },
    /// A bundle must keep one authority of each kind.
    #[error("prune failed: would prune all {what}")]
    LastAuthority {
        /// Which kind.
        what: &'static str,
    },
    /// The database was written by a newer version.
    #[error(
        "database schema version {found} is newer than {known}, which this version knows: upgrade, or restore a backup"
    )]
    NewerSchema {
        /// Its version.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// A bundle has no such authority.
    #[error("{cause}")]
    NoAuthority {
        /// Which kind was looked for.
        cause: &'static str,
    },
    /// An entry names a trust domain whose bundle is not stored.
    #[error("unable to find federated bundle {trust_domain:?}")]
    NoFederatedBundle {
        /// The trust domain.
        trust_domain: String,
    },
    /// There is no such thing.
    #[error("datastore-sql: record not found")]
    NotFound {
        /// Which thing.
        what: &'static str,
    },
    /// A page token is not one of ours.
    #[error("could not parse token '{token}'")]
    PageToken {
        /// The token.
        token: String,
    },
    /// The state of an authority does not allow it: marked already, or not yet.
    #[error("{cause}")]
    Taint {
        /// Which rule it breaks.
        cause: &'static str,
    },
}

impl Error {
    /// Which sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Banned => ErrorKind::PermissionDenied,
            Self::Busy { .. } | Self::Closed => ErrorKind::Unavailable,
            Self::DiskFull { .. } => ErrorKind::ResourceExhausted,
            Self::InUse { .. } => ErrorKind::FailedPrecondition,
            Self::Invalid { .. } | Self::Taint { .. } => ErrorKind::InvalidArgument,
            Self::NotFound { .. } | Self::NoAuthority { .. } => ErrorKind::NotFound,
            Self::NoFederatedBundle { .. }
            | Self::Backend { .. }
            | Self::Damaged { .. }
            | Self::DamagedDatabase { .. }
            | Self::EmptySelectors
            | Self::ForeignDatabase
            | Self::Io { .. }
            | Self::LastAuthority { .. }
            | Self::NewerSchema { .. }
            | Self::PageToken { .. } => ErrorKind::Internal,
        }
    }
}
