//! The bundle endpoint: gives the own trust domain's bundle to anyone who asks.
//!
//! `GET /` answers with the document; nobody is asked for a certificate. What the endpoint shows of itself is the
//! profile's matter: [`https_spiffe`] or [`https_web`] makes the TLS configuration; the latter's certificate comes from
//! files ([`ServingCertificate`]) or is ordered by ACME (`acme`, with the feature of that name).
//!
//! Standard: SPIFFE Federation §5.2.1.3 and §5.2.2.3.

use std::{fmt::Debug, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use rustls::ServerConfig;
use spiffe_core::{Bundle, Ttl};
use spire_runtime::Crowd;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::fetch::Connection;

#[cfg(feature = "acme")]
pub mod acme;
mod answer;
pub mod https_spiffe;
pub mod https_web;

pub use https_web::ServingCertificate;

/// Where the own bundle comes from.
#[async_trait]
pub trait OwnBundle: Debug + Send + Sync {
    /// The bundle of the moment. Asked for at every request, so it should be at hand.
    ///
    /// # Errors
    /// When it cannot be had; the asker gets an internal error, the log gets the reason.
    async fn own_bundle(&self) -> Result<Arc<Bundle>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Serves the own bundle.
#[derive(Clone)]
pub struct BundleEndpoint {
    bundle: Arc<dyn OwnBundle>,
    tls: TlsAcceptor,
    refresh_hint: Ttl,
}

impl BundleEndpoint {
    /// Serves `bundle` behind `tls`, with `refresh_hint` in place of the bundle's own.
    #[must_use]
    pub fn new(bundle: Arc<dyn OwnBundle>, tls: ServerConfig, refresh_hint: Ttl) -> Self {
        Self { bundle, tls: TlsAcceptor::from(Arc::new(tls)), refresh_hint }
    }

    /// Serves what connects to `listener` until `shutdown`; then gives what is under way [`SHUTDOWN_GRACE`] to end.
    ///
    /// A connection that cannot be accepted ends nothing: the fault is logged, and after a moment the next is tried.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        let crowd = Crowd::new(MAX_CONNECTIONS);
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (endpoint, place) = (self.clone(), crowd.enter(CancellationToken::new()));
                    connections.spawn(async move {
                        let peer = peer.to_string();
                        let served = endpoint.serve_connection(stream, &peer);
                        place.leave().run_until_cancelled(served).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "bundle endpoint cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_GRACE, ended).await.is_err() {
            connections.abort_all();
        }
    }

    /// Serves one connection: one handshake and one answer, within [`CONNECTION_DEADLINE`].
    pub async fn serve_connection(&self, connection: impl Connection + 'static, peer: &str) {
        let served = async {
            match self.tls.accept(connection).await {
                // Who validates a name has seen all it wants in the handshake (RFC 8737 §3).
                Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(https_web::ALPN_ACME_TLS) => {
                    tracing::debug!(peer, "ACME challenge answered by bundle endpoint");
                }
                Ok(stream) => answer::serve(self, stream, peer).await,
                Err(error) => tracing::debug!(%error, peer, "TLS handshake with bundle endpoint failed"),
            }
        };
        if timeout(CONNECTION_DEADLINE, served).await.is_err() {
            tracing::debug!(peer, "connection to bundle endpoint took too long");
        }
    }
}

async fn accept(listener: &TcpListener) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer))
}

impl Debug for BundleEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BundleEndpoint").field("bundle", &self.bundle).finish_non_exhaustive()
    }
}

/// Connections served at the same time; for one more the oldest is closed.
pub const MAX_CONNECTIONS: usize = 1024;
/// For a whole connection, from handshake to the end of the answer.
pub const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);
/// For what is under way when the endpoint is told to end.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// After a connection could not be accepted, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
