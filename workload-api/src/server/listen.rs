//! Sockets, and serving on them until told to stop.

use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::server::Router;

use super::{Connection, Gate, Limits};

/// Mode of a socket that every process of the machine may connect to.
pub const PUBLIC_SOCKET_MODE: u32 = 0o777;
/// Mode of a socket for its owner and group.
pub const ADMIN_SOCKET_MODE: u32 = 0o770;
/// Mode of a directory that is made for a socket.
const DIRECTORY_MODE: u32 = 0o755;
/// How long to wait when a connection cannot be accepted, e.g. for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A Unix socket that is listened on; the file goes away with it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Makes the directory where it is missing, takes the place of a socket that was left behind, listens, and sets the
    /// file's mode.
    ///
    /// # Errors
    /// [`ListenError`]; a file at `path` that is no socket, or a socket that somebody listens on, is left alone and is an
    /// error.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, ListenError> {
        let failed = |attempt| move |source| ListenError { attempt, path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(failed("create the directory of"))?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                if is_listened_on(path) {
                    let source = io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it");
                    return Err(failed("listen on")(source));
                }
                std::fs::remove_file(path).map_err(failed("replace"))?;
            }
            // What is there is for `bind` to refuse.
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed("set the mode of"))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connections. One whose process cannot be held is closed; the socket goes on.
    pub fn incoming(self) -> impl Stream<Item = io::Result<Connection<UnixStream>>> + Send {
        futures_util::stream::unfold(self, |socket| async move {
            loop {
                match socket.listener.accept().await {
                    Ok((stream, _)) => match Connection::unix(stream) {
                        Ok(connection) => return Some((Ok(connection), socket)),
                        Err(err) => tracing::warn!(%err, "Connection failed during accept"),
                    },
                    Err(err) => {
                        tracing::warn!(%err, path = %socket.path.display(), "connection could not be accepted");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        })
    }
}

/// Asks without waiting: a listener whose queue is full is one too.
fn is_listened_on(path: &Path) -> bool {
    let connect = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    matches!(connect(), Ok(()) | Err(rustix::io::Errno::AGAIN))
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The connections of a TCP listener.
pub fn tcp_incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Connection<TcpStream>>> + Send {
    futures_util::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await.and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Connection::tcp(stream)
            }) {
                Ok(connection) => return Some((Ok(connection), listener)),
                Err(err) => {
                    tracing::warn!(%err, "connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    })
}

/// Serves until `shutdown`, then until all calls have ended, but no longer than `deadline`: what is open then is cut.
///
/// No more connections are open at a time than `limits` has it, of one caller and of all; those beyond are closed at once.
///
/// # Errors
/// Those of tonic; none is known to occur.
pub async fn serve<IO, C>(
    router: Router,
    incoming: C,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
    deadline: Duration,
) -> Result<(), tonic::transport::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Stream<Item = io::Result<Connection<IO>>>,
{
    let cut = CancellationToken::new();
    // Should this future be dropped, nothing of it stays behind.
    let _cut_at_the_end = cut.clone().drop_guard();
    let places = Gate::of_connections(limits);
    let connections = incoming.filter_map(|connection| {
        let attached = connection.map(|connection| {
            let place = places.enter(connection.peer());
            let refused = |status: &Status| tracing::warn!(err = status.message(), "connection refused");
            place.inspect_err(refused).ok().map(|place| connection.attach(cut.clone(), place))
        });
        std::future::ready(attached.transpose())
    });
    let stopping = CancellationToken::new();
    let serving = router.serve_with_incoming_shutdown(connections, stopping.cancelled());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        () = shutdown => stopping.cancel(),
    }
    // The graceful end waits for peers that may never answer.
    match tokio::time::timeout(deadline, serving).await {
        Ok(ended) => ended,
        Err(_) => Ok(()),
    }
}

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("failed to {attempt} socket {path}: {source}", path = .path.display())]
pub struct ListenError {
    attempt: &'static str,
    path: PathBuf,
    source: io::Error,
}
