//! Where the server listens: for administrators on a Unix socket, for agents on the network.

mod connection;
pub(crate) mod guard;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod uds;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Error;

use guard::{Guard, GuardLayer};
use uds::UdsListener;

/// After that long a network client is told to connect anew, so that it is verified anew.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(3 * 60);
/// How often a silent peer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Calls under way at once on one connection.
const MAX_STREAMS: u32 = 1000;
/// Pause after the kernel refused to hand out a connection, so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The two ends of a server: one to be told softly, by which calls under way may finish, and one hard.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) shutdown: CancellationToken,
    pub(crate) cut: CancellationToken,
}

/// Serves agents until the end.
pub(crate) async fn serve_tcp(
    listener: TcpListener,
    tls: rustls::ServerConfig,
    routes: Routes,
    guard: Arc<Guard>,
    ends: Ends,
) -> Result<(), Error> {
    let (ready, connections) = tcp::ready_queue();
    let accepting = tcp::accept(listener, Arc::new(tls), ends.shutdown.clone(), ends.cut.clone(), ready);
    let serving = tonic::transport::Server::builder()
        .max_connection_age(MAX_CONNECTION_AGE)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .layer(GuardLayer(guard))
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), ends.shutdown.cancelled_owned());
    tokio::join!(accepting, serving).1
}

/// Serves administrators until the end.
pub(crate) async fn serve_uds(
    listener: UdsListener,
    routes: Routes,
    guard: Arc<Guard>,
    ends: Ends,
) -> Result<(), Error> {
    let cut = ends.cut.clone();
    let connections = futures_util::stream::unfold((listener, cut), |(listener, cut)| async move {
        loop {
            match listener.accept(&cut).await {
                Ok(connection) => return Some((Ok::<_, std::io::Error>(connection), (listener, cut))),
                Err(err) => {
                    tracing::warn!(%err, "Failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .layer(GuardLayer(guard))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, ends.shutdown.cancelled_owned())
        .await
}
