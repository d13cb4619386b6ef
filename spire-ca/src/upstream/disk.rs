//! `disk`: a CA in files signs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use rand_core::CryptoRng;
use spiffe_core::x509::{Certificate, Csr};
use spiffe_core::{PrivateKey, Timestamp, TrustDomain, Ttl, X509Authority};

use super::{UpstreamAuthority, UpstreamCa, chain};
use crate::Error;
use crate::authority::X509Ca;
use crate::x509::mint_requested_ca;

/// Where the files are, as `UpstreamAuthority "disk"` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskUpstreamConfig {
    /// The CA's certificate in PEM, with those above it where there is a bundle.
    pub cert_file_path: PathBuf,
    /// The CA's key in PEM.
    pub key_file_path: PathBuf,
    /// The roots in PEM; without it, the certificate is self-signed and the only root.
    pub bundle_file_path: Option<PathBuf>,
}

/// Signs with a CA in files, which are read anew each time: should they be unreadable, those read before still count.
#[derive(Debug)]
pub struct DiskUpstream {
    trust_domain: TrustDomain,
    config: DiskUpstreamConfig,
    loaded: RwLock<Arc<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    ca: Arc<X509Ca>,
    roots: Vec<Certificate>,
}

impl DiskUpstream {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Upstream`] for files that cannot be read or do not belong together.
    pub async fn open(
        trust_domain: TrustDomain,
        config: DiskUpstreamConfig,
        now: Timestamp,
        rng: &mut (dyn CryptoRng + Send),
    ) -> Result<Self, Error> {
        let loaded = RwLock::new(Arc::new(load(&config, &trust_domain, now, rng).await?));
        Ok(Self { trust_domain, config, loaded })
    }

    async fn reload(&self, now: Timestamp, rng: &mut (dyn CryptoRng + Send)) -> Arc<Loaded> {
        match load(&self.config, &self.trust_domain, now, rng).await {
            Ok(loaded) => {
                let loaded = Arc::new(loaded);
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&loaded);
                loaded
            }
            Err(err) => {
                tracing::error!(%err, "upstream CA on disk could not be reloaded, the one read before is used");
                Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }
}

#[async_trait]
impl UpstreamAuthority for DiskUpstream {
    async fn mint_x509_ca(
        &self,
        csr: &[u8],
        preferred_ttl: Ttl,
        now: Timestamp,
        rng: &mut (dyn CryptoRng + Send),
    ) -> Result<UpstreamCa, Error> {
        let csr = Csr::from_der(csr)?;
        let loaded = self.reload(now, rng).await;
        let minted = mint_requested_ca(&loaded.ca, &csr, &self.trust_domain, preferred_ttl, now, rng).await?;
        let chain = std::iter::once(minted).chain(loaded.ca.upstream_chain().iter().cloned()).collect();
        let root = |certificate: &Certificate| X509Authority { certificate: certificate.clone(), tainted: false };
        Ok(UpstreamCa { chain, roots: loaded.roots.iter().map(root).collect() })
    }
}

async fn load(
    config: &DiskUpstreamConfig,
    trust_domain: &TrustDomain,
    now: Timestamp,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<Loaded, Error> {
    let key = PrivateKey::from_pem(&read(&config.key_file_path).await?)?;
    let certificates = Certificate::from_pem_many(&read(&config.cert_file_path).await?)?;
    let upstream = |reason: &str| Error::Upstream { reason: reason.to_owned() };
    let certificate = certificates.first().cloned().ok_or_else(|| upstream("no certificate"))?;
    let (chain, roots) = match &config.bundle_file_path {
        None if certificates.len() != 1 => return Err(upstream("without a bundle, one certificate is expected")),
        None if !certificate.is_self_issued() => {
            return Err(upstream("certificate must be self-signed where there is no bundle"));
        }
        None => (Vec::new(), certificates),
        Some(path) => (certificates, Certificate::from_pem_many(&read(path).await?)?),
    };
    let ca = Arc::new(X509Ca::new(certificate, chain, Arc::new(key))?);
    chain::prove(Arc::clone(&ca), roots.iter(), trust_domain, now, rng).await?;
    Ok(Loaded { ca, roots })
}

async fn read(path: &Path) -> Result<String, Error> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|err| Error::Upstream { reason: format!("failed to read {path:?}: {err}") })
}
