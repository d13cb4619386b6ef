//! What is wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use crate::document::{MAX_FILE_SIZE, Position};
use crate::parse::MAX_DEPTH;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file.
    #[error("could not find config file {}: please use the -config flag", path.display())]
    NotFound {
        /// The file's absolute path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("unable to read configuration at {path:?}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is longer than [`MAX_FILE_SIZE`].
    #[error("unable to read configuration at {path:?}: it is longer than {MAX_FILE_SIZE} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is not written in HCL or JSON.
    #[error("unable to decode configuration at {file:?}: {position}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// Where the parser stopped.
        position: Position,
        /// What it found.
        message: String,
    },
    /// Keys or values are not as they must be; all that was found, in the order of the file.
    #[error("{}", listed(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong with, or remarkable in, a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Where in it; `None` for what is missing in the file, or was given on the command line.
    pub position: Option<Position>,
    /// The key with all that it stands in, joined by dots; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(position) = self.position {
            write!(f, ":{position}")?;
        }
        if self.path.is_empty() {
            write!(f, ": {}", self.message)
        } else {
            write!(f, ": {}: {}", self.path, self.message)
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Not numbers with units.
    #[error("time: invalid duration {0:?}, write it as in 1h30m or 500ms")]
    Invalid(String),
    /// A number alone.
    #[error("time: missing unit in duration {0:?}, write it as in 1h30m or 500ms")]
    MissingUnit(String),
    /// A unit that does not exist.
    #[error("time: unknown unit {unit:?} in duration {text:?}, the units are h, m, s, ms, us and ns")]
    UnknownUnit {
        /// The duration.
        text: String,
        /// Its unit.
        unit: String,
    },
    /// Below zero.
    #[error("duration {0:?} must not be negative")]
    Negative(String),
    /// Not a number of whole seconds, where that is needed.
    #[error("duration {0:?} must be of whole seconds")]
    Fraction(String),
}

impl Error {
    pub(crate) fn too_deep() -> String {
        format!("more than {MAX_DEPTH} blocks or lists in one another")
    }
}
