//! The network endpoint: gRPC over TLS, where a peer may present its SVID.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::x509::Certificate;
use spire_runtime::Crowd;
use spire_runtime::process::share_of_descriptors;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::caller::Caller;
use crate::error::Error;

/// A peer that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at a time of peers that have shown no SVID (yet); for one more the oldest is closed. No more than half of
/// what the process may hold open.
const MAX_STRANGERS: usize = 4096;
/// So long each of them may stay, whoever else comes.
const PATIENCE: Duration = Duration::from_secs(1);
/// Finished handshakes that wait for the gRPC server.
const READY_CONNECTIONS: usize = 64;
/// Pause after the kernel refused to hand out a connection (out of descriptors, say), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the network endpoint: an address, or a name that stands for one.
///
/// # Errors
/// [`Error::Bind`], naming the address.
pub(crate) async fn bind(host: &str, port: u16) -> Result<TcpListener, Error> {
    TcpListener::bind((host, port)).await.map_err(|source| Error::Bind { address: format!("{host}:{port}"), source })
}

/// Accepts connections until `shutdown`, each handshake in a task of its own so that a slow peer delays nobody, and
/// hands those that succeed to the gRPC server.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: CancellationToken,
    cut: CancellationToken,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let strangers = Crowd::new(MAX_STRANGERS.min(share_of_descriptors(2)));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = async {
                strangers.room(PATIENCE).await;
                listener.accept().await
            } => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "Failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, ready, shutdown, cut) = (acceptor.clone(), ready.clone(), shutdown.clone(), cut.clone());
        let place = strangers.enter(cut.child_token());
        tokio::spawn(async move {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(&acceptor, stream, address));
            let (stream, caller) = tokio::select! {
                () = shutdown.cancelled() => return,
                () = place.leave().cancelled() => return,
                outcome = handshake => match outcome {
                    Ok(Ok(connection)) => connection,
                    Ok(Err(err)) => {
                        tracing::debug!(caller_addr = %address, %err, "TLS handshake failed");
                        return;
                    }
                    Err(_) => {
                        tracing::debug!(caller_addr = %address, "TLS handshake timed out");
                        return;
                    }
                },
            };
            let connection = match caller {
                Caller::Identified { .. } => Connection::new(stream, caller, cut),
                _ => Connection::of_a_stranger(stream, caller, place),
            };
            // Where the gRPC server has ended, so has the connection.
            let _ = ready.send(Ok(connection)).await;
        });
    }
}

/// Where the two meet: how many connections may wait for the gRPC server.
pub(crate) fn ready_queue() -> (mpsc::Sender<io::Result<Connection>>, mpsc::Receiver<io::Result<Connection>>) {
    mpsc::channel(READY_CONNECTIONS)
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> io::Result<(TlsStream<TcpStream>, Caller)> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let caller = caller(stream.get_ref().1.peer_certificates().and_then(<[_]>::first), address)?;
    Ok((stream, caller))
}

/// Who shows `leaf`, which the handshake has verified: found out once for all requests of the connection.
fn caller(leaf: Option<&rustls::pki_types::CertificateDer<'_>>, address: SocketAddr) -> io::Result<Caller> {
    let Some(leaf) = leaf else { return Ok(Caller::Unauthenticated { address: Some(address) }) };
    let leaf = Certificate::from_der(leaf).map_err(io::Error::other)?;
    let id = leaf.spiffe_id().map_err(io::Error::other)?;
    Ok(Caller::Identified { id, serial: leaf.serial_decimal().into(), leaf, address: Some(address) })
}
