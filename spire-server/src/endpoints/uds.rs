//! The administrators' endpoint: gRPC on a Unix socket, guarded by file permissions.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::caller::Caller;
use crate::error::Error;

/// Permissions of the socket: its owner and group administer the server.
const SOCKET_MODE: u32 = 0o770;
/// Permissions of the socket's folder where we have to make it.
const DIRECTORY_MODE: u32 = 0o750;

/// A bound socket whose file is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct UdsListener {
    listener: UnixListener,
    path: PathBuf,
}

impl UdsListener {
    /// Binds `path`, making its folder (0750) where it is absent and setting the socket to 0770.
    ///
    /// A socket file left by a process that died is removed first; one that still answers is not.
    ///
    /// # Errors
    /// [`Error::SocketInUse`] when another process listens there, [`Error::Bind`] for whatever else is in the way.
    pub(crate) async fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Bind { address: path.display().to_string(), source };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(Error::SocketInUse { path: path.to_owned() });
                }
                std::fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) => {
                return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there")));
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(failed(err)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Waits for the next administrator, whose connection ends with `cut`.
    pub(crate) async fn accept(&self, cut: &CancellationToken) -> io::Result<Connection> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred().ok();
        let caller = Caller::Local {
            uid: peer.map(|peer| peer.uid()),
            gid: peer.map(|peer| peer.gid()),
            pid: peer.and_then(|peer| peer.pid()),
        };
        Ok(Connection::unix(stream, caller, cut.clone()))
    }
}

impl Drop for UdsListener {
    fn drop(&mut self) {
        // Best effort: a socket file that stays is recognised as stale at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_use_is_refused_and_a_stale_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private/api.sock");
        let first = UdsListener::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o770);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o750);
        assert!(matches!(UdsListener::bind(&path).await, Err(Error::SocketInUse { .. })));
        drop(first);
        assert!(!path.exists());

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead process leaves its socket file");
        UdsListener::bind(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(UdsListener::bind(&path).await, Err(Error::Bind { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
