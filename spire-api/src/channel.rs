//! Channels: to the administrators' socket, and over any connection that somebody else makes.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a connection with calls under way is asked whether it still lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Largest message that administrators' clients and agents accept: a list of many entries.
pub const MAX_RESPONSE_LENGTH: usize = 64 << 20;

/// A channel to a Unix socket. Connects when it is first used.
#[must_use]
pub fn unix(path: PathBuf) -> Channel {
    over(move || {
        let path = path.clone();
        async move { UnixStream::connect(path).await }
    })
}

/// A channel over connections that `connect` makes, one at a time and anew whenever the last one ended.
pub fn over<C, F, S>(connect: C) -> Channel
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    over_as("localhost", connect)
}

/// The same, for a server that requests name as `authority`: a host, or host and port. One that is neither is replaced
/// by `localhost`.
pub fn over_as<C, F, S>(authority: &str, connect: C) -> Channel
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The address is never looked up: the connector knows where to go.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .unwrap_or_else(|_| Endpoint::from_static("http://localhost"))
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_while_idle(false);
    endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
        let connection = connect();
        async move { connection.await.map(TokioIo::new) }
    }))
}
