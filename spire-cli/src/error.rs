//! Why a command failed, in the words that go to standard error.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tonic::{Code, Status};

use crate::go;

/// Why a command failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// What was asked for makes no sense, or was refused item by item.
    #[error("{0}")]
    Refused(String),
    /// The peer answered with an error, or could not be reached.
    #[error("{}", rpc_text(.0))]
    Rpc(Box<Status>),
    /// A file that cannot be used.
    #[error("{verb} {}: {}", .path.display(), go::io_error(.source))]
    File { verb: &'static str, path: PathBuf, source: io::Error },
    /// Standard output or standard error is gone.
    #[error("{}", go::io_error(.0))]
    Output(#[from] io::Error),
    /// With what was being attempted.
    #[error("{attempt}: {source}")]
    During { attempt: String, source: Box<Self> },
}

impl Error {
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// Of a file that could not be opened.
    pub(crate) fn open(path: &Path, source: io::Error) -> Self {
        Self::File { verb: "open", path: path.to_owned(), source }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Rpc(Box::new(status))
    }
}

/// Adds what was attempted to an error.
pub(crate) trait During<T> {
    fn during(self, attempt: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<Error>> During<T> for Result<T, E> {
    fn during(self, attempt: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::During { attempt: attempt.into(), source: Box::new(source.into()) })
    }
}

/// A socket that could not be connected to; the cause of the status that the client makes of it.
#[derive(Debug, Error)]
#[error("dial unix {before}{}: connect: {}", .path.display(), go::io_error(.source))]
pub(crate) struct DialError {
    pub(crate) before: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// A status as Go's gRPC prints it, for scripts that look for it.
fn rpc_text(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(err) = cause {
        let dial = err.downcast_ref::<io::Error>().and_then(|err| err.get_ref()).and_then(|err| err.downcast_ref());
        if let Some(dial) = dial {
            let dial: &DialError = dial;
            return format!(
                "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: {dial}\""
            );
        }
        cause = err.source();
    }
    format!("rpc error: code = {} desc = {}", code_name(status.code()), status.message())
}

/// A code as Go's gRPC prints it.
pub(crate) fn code_name(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}
