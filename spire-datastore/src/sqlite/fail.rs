//! What SQLite says, as the store's errors.

use rusqlite::ErrorCode;

use crate::Error;

/// Why an operation inside the database did not come about.
#[derive(Debug)]
pub(super) enum Fail {
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// The registry's own rules.
    Rule(Error),
}

impl From<rusqlite::Error> for Fail {
    fn from(err: rusqlite::Error) -> Self {
        Self::Sql(err)
    }
}

impl From<Error> for Fail {
    fn from(err: Error) -> Self {
        Self::Rule(err)
    }
}

impl Fail {
    /// The error for the caller, who wanted to `attempt` something.
    pub(super) fn during(self, attempt: &'static str) -> Error {
        match self {
            Self::Rule(err) => err,
            Self::Sql(err) => from_sql(attempt, &err),
        }
    }

    /// Stored data that does not read back.
    pub(super) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Rule(Error::Damaged { what: what.to_string() })
    }
}

fn from_sql(attempt: &'static str, err: &rusqlite::Error) -> Error {
    use rusqlite::Error as Sql;
    let cause = err.to_string();
    match err {
        Sql::FromSqlConversionFailure(..) | Sql::IntegralValueOutOfRange(..) | Sql::InvalidColumnType(..) => {
            Error::Damaged { what: cause }
        }
        _ => match err.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy { attempt },
            Some(ErrorCode::DiskFull) => Error::DiskFull { attempt },
            Some(ErrorCode::SystemIoFailure) if found_no_room(err) => Error::DiskFull { attempt },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::DamagedDatabase { attempt, cause },
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed,
            ) => Error::Io { attempt, cause },
            _ => Error::Backend { attempt, cause },
        },
    }
}

/// The index beside a WAL is made, page by page, when a database is opened: a full disk keeps it from growing.
fn found_no_room(err: &rusqlite::Error) -> bool {
    err.sqlite_error().is_some_and(|err| err.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Turns a uniqueness that is violated into [`Error::AlreadyExists`] of `constraint`.
pub(super) fn unique(constraint: &'static str) -> impl Fn(rusqlite::Error) -> Fail {
    move |err| match err.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Error::AlreadyExists { constraint }.into(),
        _ => err.into(),
    }
}
