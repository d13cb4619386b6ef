//! What can go wrong with keys.

use std::io;
use std::path::PathBuf;

use spiffe_core::KeyError;

use crate::KeyId;

/// Why a key cannot be had, kept or used. Never says anything of the key itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed.
    #[error("failed to {attempt} {path:?}: {source}")]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The provider failed, or does not know the kind of key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key's name is empty or too long.
    #[error("key id of {length} bytes, 1 to {max} are allowed", max = KeyId::MAX_LENGTH)]
    KeyIdLength {
        /// Length in bytes.
        length: usize,
    },
    /// The file of keys is not what it should be.
    #[error("keys file {path:?} is malformed: {reason}")]
    MalformedFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without the contents.
        reason: String,
    },
    /// A key of the file cannot be loaded.
    #[error("key {id:?} in {path:?} cannot be loaded: {source}", id = .id.as_str())]
    UnusableKey {
        /// Which file.
        path: PathBuf,
        /// Which key.
        id: KeyId,
        /// Why.
        source: KeyError,
    },
    /// The file is larger than it can be.
    #[error("keys file {path:?} has {length} bytes, at most {max} are read", max = crate::disk::MAX_FILE_LENGTH)]
    FileTooLarge {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// The manager, or its key, cannot be used at the moment.
    #[error("key manager is unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}
