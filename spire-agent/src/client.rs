//! The way to the server: TLS with the agent's SVID, and a server that proves to be one.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use spiffe_core::SpiffeId;
use spiffe_core::tls::{ALPN_H2, Live, Settings, authorize_id, client_config, peer_id, server_name};
use spire_api::channel::over_as;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::Channel;

use crate::error::Error;

/// How long any one call to the server may take.
pub(crate) const RPC_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection, before TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that is being made.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// How connections to the server are made; a test hands in its own.
pub trait Dial: Send + Sync {
    /// Begins to connect.
    fn dial(&self) -> Connecting;

    /// What requests name as the server: `host:port`.
    fn authority(&self) -> String {
        "spire-server:8081".to_owned()
    }
}

/// Connections over TCP, to each address of the name until one answers.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Name or address, and port.
    pub server: (String, u16),
}

impl Dial for Tcp {
    fn authority(&self) -> String {
        match &self.server {
            (host, port) if host.contains(':') => format!("[{host}]:{port}"),
            (host, port) => format!("{host}:{port}"),
        }
    }

    fn dial(&self) -> Connecting {
        let (host, port) = self.server.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// Makes channels to the server.
#[derive(Clone)]
pub struct Connector {
    dial: Arc<dyn Dial>,
    settings: Settings,
    server_id: SpiffeId,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("server_id", &self.server_id).finish_non_exhaustive()
    }
}

impl Connector {
    /// Through `dial` to the server that is `server_id`.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>, settings: Settings, server_id: SpiffeId) -> Self {
        Self { dial, settings: settings.with_alpn(&[ALPN_H2]), server_id }
    }

    /// A channel that verifies the server with the source's bundles, and shows the source's SVID if there is one. Each
    /// connection asks anew.
    ///
    /// # Errors
    /// [`Error::Tls`] when the provider has no usable cipher suites.
    pub fn verified(&self, source: &Live) -> Result<Channel, Error> {
        let config = client_config(source.clone(), authorize_id(self.server_id.clone()), &self.settings)?;
        Ok(self.channel(config))
    }

    /// A channel to whoever shows a certificate with the server's ID, whoever signed it.
    ///
    /// # Errors
    /// As [`Self::verified`].
    pub fn insecure(&self) -> Result<Channel, Error> {
        let provider = Arc::clone(&self.settings.provider);
        let verifier = NameOnly { server_id: self.server_id.clone(), provider: Arc::clone(&provider) };
        let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&self.settings.time))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.settings.alpn);
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(self.channel(config))
    }

    fn channel(&self, config: ClientConfig) -> Channel {
        let (dial, tls) = (Arc::clone(&self.dial), TlsConnector::from(Arc::new(config)));
        let authority = dial.authority();
        over_as(&authority, move || {
            let (connecting, tls) = (dial.dial(), tls.clone());
            async move { tls.connect(server_name(), connecting.await?).await }
        })
    }
}

/// The channel that shows the agent's SVID. Clones share it.
#[derive(Clone)]
pub struct ServerClient {
    connector: Connector,
    source: Live,
    channel: Arc<ArcSwap<Channel>>,
}

impl fmt::Debug for ServerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerClient").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl ServerClient {
    /// Shows what `source` holds.
    ///
    /// # Errors
    /// As [`Connector::verified`].
    pub fn new(connector: Connector, source: Live) -> Result<Self, Error> {
        let channel = Arc::new(ArcSwap::from_pointee(connector.verified(&source)?));
        Ok(Self { connector, source, channel })
    }

    /// The channel of the moment.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Channel::clone(&self.channel.load())
    }

    /// The SVID that is shown, and what the server is verified with.
    #[must_use]
    pub fn source(&self) -> &Live {
        &self.source
    }

    /// Makes channels that show nothing.
    #[must_use]
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Connects anew for the calls that follow, after the SVID was replaced; those under way go on.
    ///
    /// # Errors
    /// As [`Connector::verified`].
    pub fn reconnect(&self) -> Result<(), Error> {
        self.channel.store(Arc::new(self.connector.verified(&self.source)?));
        Ok(())
    }
}

/// Runs a call, at most [`RPC_TIMEOUT`].
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {RPC_TIMEOUT:?}"));
    tokio::time::timeout(RPC_TIMEOUT, call).await.unwrap_or_else(|_| Err(late()))
}

/// What a status says, with the causes that stand behind it.
pub(crate) fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(err) = cause {
        let clause = err.to_string();
        if !text.contains(&clause) && clause != "transport error" {
            text = format!("{text}: {clause}");
        }
        cause = err.source();
    }
    text
}

/// Accepts a server by its name alone.
#[derive(Debug)]
struct NameOnly {
    server_id: SpiffeId,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NameOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match peer_id(std::slice::from_ref(end_entity)) {
            Ok(id) if id == self.server_id => Ok(ServerCertVerified::assertion()),
            _ => Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
