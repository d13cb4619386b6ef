//! Profile https_web by ACME: the endpoint orders its certificate, proves its name in handshakes on its own port, and
//! renews it.
//!
//! Start at [`AcmeCertificate`]. When an order is made is decided by [`Renewal`], how by `order`.
//!
//! Standard: RFC 8555; RFC 8737 for TLS-ALPN-01.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use rand_core::RngCore;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use spiffe_core::{Timestamp, tls::Settings};
use spire_runtime::Clock;
use tokio_util::sync::CancellationToken;

use super::https_web::{self, ALPN_ACME_TLS};
use crate::{Error, fetch::Fetcher};

mod client;
mod issued;
mod order;
mod renewal;
mod store;

pub use renewal::Renewal;

use issued::Issued;

/// The block `acme`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// Where the ACME server lists what it offers.
    pub directory_url: String,
    /// The name that is proven and certified.
    pub domain_name: String,
    /// Whom the ACME server may write to; empty for nobody.
    pub email: String,
    /// Whether the server's terms of service, if it has any, are agreed to.
    pub tos_accepted: bool,
    /// Where account key and certificate are kept: SPIRE's `<data_dir>/bundle-acme`.
    pub cache_dir: PathBuf,
}

/// SPIRE's, where the configuration names no directory: Let's Encrypt.
pub const DEFAULT_DIRECTORY_URL: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// A certificate by ACME, and the answer to its server's challenge while one is open. Clones share both.
#[derive(Clone)]
pub struct AcmeCertificate(Arc<Inner>);

struct Inner {
    settings: AcmeSettings,
    client: Fetcher,
    provider: Arc<CryptoProvider>,
    shown: RwLock<Shown>,
}

#[derive(Default)]
struct Shown {
    certificate: Option<Arc<CertifiedKey>>,
    challenge: Option<Arc<CertifiedKey>>,
}

impl AcmeCertificate {
    /// Takes up the certificate that an earlier run has stored, if there is one; one that cannot be used is logged and
    /// ordered anew. The ACME server is reached as `client` reaches endpoints of profile https_web.
    ///
    /// Nothing is ordered until [`Self::follow`] runs, and nobody is answered until there is a certificate.
    pub async fn open(settings: AcmeSettings, client: Fetcher, provider: Arc<CryptoProvider>) -> (Self, Renewal) {
        let domain_name = settings.domain_name.trim_end_matches('.').to_ascii_lowercase();
        let settings = AcmeSettings { domain_name, ..settings };
        let stored = stored(&settings, &provider).await;
        let renewal = Renewal::new(stored.as_ref().map(Issued::validity));
        let shown = Shown { certificate: stored.map(|issued| issued.certified), challenge: None };
        (Self(Arc::new(Inner { settings, client, provider, shown: RwLock::new(shown) })), renewal)
    }

    /// Orders certificates whenever `renewal` says, until `shutdown`. The endpoint has to be served at the same time: the
    /// ACME server connects to it while an order is under way.
    pub async fn follow(
        &self,
        mut renewal: Renewal,
        clock: Arc<dyn Clock>,
        rng: &mut (dyn RngCore + Send),
        shutdown: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = clock.sleep_until(renewal.next_wakeup()) => {}
            }
            let ordered = tokio::select! {
                () = shutdown.cancelled() => return,
                ordered = self.order(clock.now()) => ordered,
            };
            self.report(&ordered);
            renewal.completed(clock.now(), ordered.ok(), rng);
            tracing::debug!(next_order = %renewal.next_wakeup(), "ACME order has ended");
        }
    }

    /// Orders a certificate, stores it and shows it from the next handshake on; gives its validity.
    ///
    /// # Errors
    /// [`Error::Acme`]; what was shown before is shown on.
    pub async fn order(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), Error> {
        let ordered = order::place(self, now).await;
        self.show(|shown| shown.challenge = None);
        let issued = ordered?;
        if let Err(err) = store::write(&self.0.settings.certificate_path(), issued.to_pem()).await {
            // It serves as long as this process runs.
            tracing::error!(%err, "certificate by ACME cannot be stored, it will be ordered again after a restart");
        }
        let validity = issued.validity();
        self.show(|shown| shown.certificate = Some(issued.certified));
        Ok(validity)
    }

    fn report(&self, ordered: &Result<(Timestamp, Timestamp), Error>) {
        let domain_name = &self.0.settings.domain_name;
        match ordered {
            Ok((_, expires_at)) => tracing::info!(domain_name, %expires_at, "certificate obtained by ACME"),
            Err(err) => tracing::error!(
                domain_name,
                %err,
                "certificate cannot be obtained by ACME, the order is tried again"
            ),
        }
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.0.shown.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl AcmeSettings {
    /// As the cache of Go's autocert names it.
    fn certificate_path(&self) -> PathBuf {
        self.cache_dir.join(&self.domain_name)
    }

    /// As the cache of Go's autocert names it.
    fn account_path(&self) -> PathBuf {
        self.cache_dir.join("acme_account+key")
    }
}

async fn stored(settings: &AcmeSettings, provider: &CryptoProvider) -> Option<Issued> {
    let path = settings.certificate_path();
    let unusable = |err: &Error| {
        tracing::warn!(%err, path = %path.display(), "stored certificate cannot be used, another is ordered");
    };
    let pem = store::read(&path).await.inspect_err(unusable).ok()??;
    Issued::from_pem(&pem, &settings.domain_name, provider).inspect_err(unusable).ok()
}

impl ResolvesServerCert for AcmeCertificate {
    /// Only the one name is answered for, as SPIRE does.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if !hello.server_name().is_some_and(|name| name.eq_ignore_ascii_case(&self.0.settings.domain_name)) {
            return None;
        }
        // A challenge offers its protocol and no other (RFC 8737 §3).
        let challenge = hello.alpn().is_some_and(|mut offered| offered.all(|protocol| protocol == ALPN_ACME_TLS));
        let shown = self.0.shown.read().unwrap_or_else(PoisonError::into_inner);
        if challenge { shown.challenge.clone() } else { shown.certificate.clone() }
    }
}

impl fmt::Debug for AcmeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeCertificate").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// TLS that shows what `certificate` has, and answers challenges, to clients that stay anonymous.
///
/// # Errors
/// [`Error::TlsSettings`]
pub fn server_config(certificate: &AcmeCertificate, settings: &Settings) -> Result<ServerConfig, Error> {
    let mut config = https_web::server_config(Arc::new(certificate.clone()), settings)?;
    config.alpn_protocols.push(ALPN_ACME_TLS.to_vec());
    Ok(config)
}
