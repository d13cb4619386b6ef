//! An endpoint with the Workload API on it and nothing else.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::listen::{ListenError, PUBLIC_SOCKET_MODE, UnixSocket, serve, tcp_incoming};
use super::{Connection, Gate, Identities, Limits, workload_api_service};

/// How long calls may take to end once the endpoint is to stop.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(2);

/// Serves [`Identities`] over sockets.
///
/// Those who put other services beside it build their own tonic router with [`workload_api_service`] and hand it to
/// [`serve`].
#[derive(Debug)]
pub struct Endpoint<I> {
    identities: Arc<I>,
    limits: Limits,
}

impl<I: Identities> Endpoint<I> {
    /// With the default [`Limits`].
    pub fn new(identities: I) -> Self {
        Self { identities: Arc::new(identities), limits: Limits::default() }
    }

    /// With other limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Serves on a Unix socket that every process of the machine may connect to, until `shutdown`.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve_unix(self, path: &Path, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let socket = UnixSocket::bind(path, PUBLIC_SOCKET_MODE)?;
        self.serve(socket.incoming(), shutdown).await
    }

    /// Serves over TCP, until `shutdown`. Callers are known by their address alone, so the network must authenticate
    /// them (SPIFFE Workload Endpoint §3).
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve_tcp(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.serve(tcp_incoming(listener), shutdown).await
    }

    /// Serves connections of any kind, until `shutdown`.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve<IO, C>(self, incoming: C, shutdown: impl Future<Output = ()>) -> Result<(), ServeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: Stream<Item = io::Result<Connection<IO>>>,
    {
        let closing = CancellationToken::new();
        let gate = Gate::new(self.limits);
        let router = Server::builder()
            .max_concurrent_streams(self.limits.calls_per_connection)
            .add_service(workload_api_service(self.identities, gate, closing.clone()));
        let shutdown = async {
            shutdown.await;
            closing.cancel();
        };
        Ok(serve(router, incoming, self.limits, shutdown, SHUTDOWN_DEADLINE).await?)
    }
}

/// Why an endpoint does not serve (any longer).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The socket cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server gave up.
    #[error("workload API server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}
