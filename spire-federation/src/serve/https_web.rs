//! Profile https_web: the endpoint shows a certificate of the Web PKI, from files that are read again when they change.
//!
//! Standard: SPIFFE Federation §5.2.1.3.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use spiffe_core::{
    Ttl,
    tls::{ALPN_HTTP_1_1, Settings},
};
use spire_runtime::Clock;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::Error;

/// A certificate and its key in PEM files (`serving_cert_file`). Clones share what was read last.
#[derive(Clone)]
pub struct ServingCertificate(Arc<Inner>);

struct Inner {
    certificate_path: PathBuf,
    key_path: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ServingCertificate {
    /// Reads both files.
    ///
    /// # Errors
    /// [`Error::ServingCertificate`] when a file cannot be read, is no such PEM, or the key is not the certificate's.
    pub async fn load(
        certificate_path: impl Into<PathBuf>,
        key_path: impl Into<PathBuf>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let (certificate_path, key_path) = (certificate_path.into(), key_path.into());
        let current = RwLock::new(Arc::new(read(&certificate_path, &key_path, &provider).await?));
        Ok(Self(Arc::new(Inner { certificate_path, key_path, provider, current })))
    }

    /// Reads both files again; true when they hold another certificate, which is shown from the next handshake on.
    ///
    /// # Errors
    /// As [`Self::load`]; what was read last is shown on. A pair that is being replaced may not match for a moment.
    pub async fn reload(&self) -> Result<bool, Error> {
        let fresh = read(&self.0.certificate_path, &self.0.key_path, &self.0.provider).await?;
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.cert != fresh.cert;
        *current = Arc::new(fresh);
        Ok(changed)
    }

    /// Reads both files again every `interval`, until `shutdown`.
    pub async fn follow(&self, interval: Ttl, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
        let path = self.0.certificate_path.display();
        let interval = if interval == Ttl::ZERO { DEFAULT_SYNC_INTERVAL } else { interval };
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = clock.sleep(interval.into()) => {}
            }
            match self.reload().await {
                Ok(true) => tracing::info!(%path, "serving certificate changed"),
                Ok(false) => {}
                Err(err) => tracing::error!(%err, "serving certificate cannot be read again, the last one stays"),
            }
        }
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate")
            .field("certificate_path", &self.0.certificate_path)
            .field("key_path", &self.0.key_path)
            .finish_non_exhaustive()
    }
}

/// The application protocol that an ACME server speaks to validate a name (RFC 8737 §6.2).
pub(super) const ALPN_ACME_TLS: &[u8] = b"acme-tls/1";

/// TLS that shows what `certificate` resolves to, to clients that stay anonymous.
///
/// # Errors
/// [`Error::TlsSettings`]
pub fn server_config(certificate: Arc<dyn ResolvesServerCert>, settings: &Settings) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_details(Arc::clone(&settings.provider), Arc::clone(&settings.time))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

async fn read(certificate_path: &Path, key_path: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let bad = |path: &Path, reason: String| Error::ServingCertificate { path: path.to_owned(), reason };
    let pem = tokio::fs::read(certificate_path).await.map_err(|error| bad(certificate_path, error.to_string()))?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(certificate_path, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(certificate_path, "holds no certificate".to_owned()));
    }
    let pem = Zeroizing::new(tokio::fs::read(key_path).await.map_err(|error| bad(key_path, error.to_string()))?);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| bad(key_path, error.to_string()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| bad(key_path, error.to_string()))
}

/// How often the files are read where the configuration says nothing, or zero.
pub const DEFAULT_SYNC_INTERVAL: Ttl = Ttl::from_hours(1);
