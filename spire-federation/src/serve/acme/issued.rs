//! A certificate that was issued, as it is checked, stored and shown.

use std::sync::Arc;

use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe_core::{PrivateKey, Timestamp, pem, x509::Certificate};
use zeroize::Zeroizing;

use crate::Error;

/// A chain for the name, with the key of its leaf.
pub(super) struct Issued {
    pub(super) certified: Arc<CertifiedKey>,
    chain: Vec<Certificate>,
    key: PrivateKey,
}

impl Issued {
    /// Checks that the leaf of `chain` names `domain_name` and holds the public half of `key`.
    pub(super) fn new(
        chain: Vec<Certificate>,
        key: PrivateKey,
        domain_name: &str,
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let bad = |reason: String| Error::ServingCertificate { path: domain_name.into(), reason };
        let leaf = chain.first().ok_or_else(|| bad("holds no certificate".to_owned()))?;
        if !leaf.dns_sans().iter().any(|name| name.eq_ignore_ascii_case(domain_name)) {
            return Err(bad(format!("names {:?} and not {domain_name:?}", leaf.dns_sans())));
        }
        let ders: Vec<CertificateDer<'static>> = chain.iter().map(|cert| cert.as_pki_der().clone()).collect();
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_pkcs8_der().to_vec()));
        let certified = CertifiedKey::from_der(ders, pkcs8, provider).map_err(|error| bad(error.to_string()))?;
        Ok(Self { certified: Arc::new(certified), chain, key })
    }

    /// From what [`Self::to_pem`] has written.
    pub(super) fn from_pem(text: &str, domain_name: &str, provider: &CryptoProvider) -> Result<Self, Error> {
        let bad = |reason: String| Error::ServingCertificate { path: domain_name.into(), reason };
        let key = PrivateKey::from_pem(text).map_err(|error| bad(error.to_string()))?;
        Self::new(chain_from_pem(text).map_err(bad)?, key, domain_name, provider)
    }

    /// Key and chain, as the cache of Go's autocert orders them.
    pub(super) fn to_pem(&self) -> Zeroizing<String> {
        let mut text = self.key.to_pkcs8_pem();
        self.chain.iter().for_each(|certificate| text.push_str(&certificate.to_pem()));
        text
    }

    /// The leaf's.
    pub(super) fn validity(&self) -> (Timestamp, Timestamp) {
        let life = |leaf: &Certificate| (leaf.not_before(), leaf.not_after());
        self.chain.first().map_or((Timestamp::from_unix(0), Timestamp::from_unix(0)), life)
    }
}

/// The certificates in `text`, whatever else it holds.
pub(super) fn chain_from_pem(text: &str) -> Result<Vec<Certificate>, String> {
    pem::decode_all(text)
        .map_err(|error| error.to_string())?
        .iter()
        .filter(|block| block.label == "CERTIFICATE")
        .map(|block| Certificate::from_der(&block.der).map_err(|error| error.to_string()))
        .collect()
}
