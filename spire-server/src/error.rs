//! What keeps a server from starting, or ends it.

use std::io;
use std::path::PathBuf;

use crate::authority::AuthorityError;

/// Why a server does not start, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node attestor's configuration does not work.
    #[error("node attestor {name:?}: {source}")]
    Attestor {
        /// The method.
        name: String,
        /// What is wrong with it.
        source: spire_attestation::Error,
    },
    /// The CA or the JWT key could not be made.
    #[error("failed to make an authority: {0}")]
    Authority(#[from] AuthorityError),
    /// The upstream authority cannot be used.
    #[error("failed to open the upstream authority: {0}")]
    Upstream(#[from] spire_ca::Error),
    /// The server's own SVID could not be made.
    #[error("failed to make the server's SVID: {0}")]
    ServerSvid(String),
    /// An address or a socket could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Address or path.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The bundle endpoint cannot be set up.
    #[error("bundle endpoint: {0}")]
    BundleEndpoint(#[from] spire_federation::Error),
    /// A folder cannot be written.
    #[error("cannot write to data_dir {path:?}: {source}; make it, or let this user write to it")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    DataStore(#[from] spire_datastore::Error),
    /// A task failed, and with it the server.
    #[error("{0}")]
    Ended(String),
    /// The key manager failed.
    #[error(transparent)]
    KeyManager(#[from] spire_keymanager::Error),
    /// Another process listens on the socket.
    #[error("socket {path:?} is in use by another process: end it, or set another socket_path")]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// A part of the configuration names something that is not there.
    #[error("{0}")]
    Unknown(String),
}
