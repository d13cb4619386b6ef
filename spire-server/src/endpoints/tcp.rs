//! The network endpoint: gRPC over TLS, where a peer may present its SVID.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::error::Error;

/// A peer that has not finished its handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way at once; further peers wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 1024;
/// Finished handshakes that wait for the gRPC server.
const READY_CONNECTIONS: usize = 64;
/// Pause after the kernel refused to hand out a connection (out of descriptors, say), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the transport knows of a network peer.
#[derive(Clone, Debug)]
pub(crate) struct TlsPeer {
    pub(crate) address: Option<SocketAddr>,
    /// The verified chain, leaf first; empty for a peer without a certificate.
    pub(crate) chain: Arc<[CertificateDer<'static>]>,
}

/// A TLS connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: TlsPeer,
}

impl Connected for TlsConnection {
    type ConnectInfo = TlsPeer;

    fn connect_info(&self) -> TlsPeer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Binds the network endpoint.
///
/// # Errors
/// [`Error::Bind`], naming the address.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Bind { address: address.to_string(), source })
}

/// Accepts connections until `shutdown`, each handshake in a task of its own so that a slow peer delays nobody, and
/// hands those that succeed to the gRPC server.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: CancellationToken,
    ready: mpsc::Sender<io::Result<TlsConnection>>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let permits = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, ready, shutdown) = (acceptor.clone(), ready.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(&acceptor, stream, address));
            let connection = tokio::select! {
                () = shutdown.cancelled() => return,
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
            let _ = ready.send(Ok(connection)).await;
        });
    }
}

/// Where the two meet: how many connections may wait for the gRPC server.
pub(crate) fn ready_queue() -> (mpsc::Sender<io::Result<TlsConnection>>, mpsc::Receiver<io::Result<TlsConnection>>) {
    mpsc::channel(READY_CONNECTIONS)
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream, address: SocketAddr) -> io::Result<TlsConnection> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let chain = stream
        .get_ref()
        .1
        .peer_certificates()
        .map(|chain| chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
        .unwrap_or_default();
    Ok(TlsConnection { stream, peer: TlsPeer { address: Some(address), chain } })
}
