//! Profile https_web: the endpoint shows a certificate for its host name, issued in the Web PKI.
//!
//! Standard: SPIFFE Federation §5.2.1.4.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use spiffe_core::tls::Settings;
use tokio::sync::OnceCell;

use crate::Error;

/// The certification authorities that are believed, loaded at first use and kept.
#[derive(Clone)]
pub struct WebRoots {
    source: Source,
    loaded: Arc<OnceCell<Arc<RootCertStore>>>,
}

#[derive(Debug, Clone)]
enum Source {
    System,
    File(PathBuf),
}

impl WebRoots {
    /// Those of the system; the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    #[must_use]
    pub fn system() -> Self {
        Self { source: Source::System, loaded: Arc::default() }
    }

    /// Those in a PEM file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::File(path.into()), loaded: Arc::default() }
    }

    /// These.
    #[must_use]
    pub fn of(store: RootCertStore) -> Self {
        Self { source: Source::System, loaded: Arc::new(OnceCell::new_with(Some(Arc::new(store)))) }
    }

    pub(super) async fn load(&self) -> Result<Arc<RootCertStore>, Error> {
        let load = || async {
            let source = self.source.clone();
            // Reads a few hundred files on some systems.
            tokio::task::spawn_blocking(move || source.load())
                .await
                .map_err(|_| Error::WebRoots("interrupted".to_owned()))?
                .map(Arc::new)
        };
        self.loaded.get_or_try_init(load).await.cloned()
    }
}

impl Source {
    fn load(&self) -> Result<RootCertStore, Error> {
        let certificates = match self {
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                for error in &found.errors {
                    tracing::warn!(%error, "some web PKI roots cannot be loaded");
                }
                found.certs
            }
            Self::File(path) => {
                read(path).map_err(|reason| Error::WebRoots(format!("{}: {reason}", path.display())))?
            }
        };
        let mut store = RootCertStore::empty();
        let (usable, _) = store.add_parsable_certificates(certificates);
        if usable == 0 { Err(Error::WebRoots("there are none".to_owned())) } else { Ok(store) }
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

impl fmt::Debug for WebRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebRoots").field("source", &self.source).finish_non_exhaustive()
    }
}

pub(super) fn client_config(roots: Arc<RootCertStore>, settings: &Settings) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_details(Arc::clone(&settings.provider), Arc::clone(&settings.time))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols.clone_from(&settings.alpn);
    config.resumption = Resumption::disabled();
    Ok(config)
}
