//! The own SVID, as TLS needs it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::TlsSource;
use crate::id::SpiffeId;
use crate::key::{KeyType, PrivateKey};
use crate::x509::{Certificate, X509Error, X509Svid, check_leaf};

/// A chain and what signs for its leaf.
#[derive(Clone)]
pub struct TlsIdentity {
    id: SpiffeId,
    chain: Vec<Certificate>,
    key: Key,
}

#[derive(Clone)]
enum Key {
    Private(PrivateKey),
    Custom(Arc<dyn SigningKey>),
}

impl TlsIdentity {
    /// An SVID whose private key is not at hand: `key` signs for the leaf of `chain`.
    ///
    /// # Errors
    /// [`X509Error`] when there is no leaf or it breaks the profile (X509-SVID §4). That the key is the leaf's is up to
    /// the caller.
    pub fn with_signing_key(chain: Vec<Certificate>, key: Arc<dyn SigningKey>) -> Result<Self, X509Error> {
        let id = check_leaf(chain.first().ok_or(X509Error::NoCertificate)?)?;
        Ok(Self { id, chain, key: Key::Custom(key) })
    }

    /// The SPIFFE ID that is shown.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// In the form of rustls.
    fn certify(&self, provider: &CryptoProvider) -> Result<CertifiedKey, rustls::Error> {
        let chain = self.chain.iter().map(|certificate| certificate.as_pki_der().clone()).collect();
        let key: Arc<dyn SigningKey> = match &self.key {
            Key::Custom(key) => Arc::clone(key),
            Key::Private(key) => match EcSigningKey::new(key) {
                Some(key) => Arc::new(key),
                None => {
                    let der = PrivatePkcs8KeyDer::from(key.to_pkcs8_der().to_vec());
                    provider.key_provider.load_private_key(PrivateKeyDer::from(der))?
                }
            },
        };
        Ok(CertifiedKey::new(chain, key))
    }
}

impl From<X509Svid> for TlsIdentity {
    fn from(svid: X509Svid) -> Self {
        Self::from(&svid)
    }
}

impl From<&X509Svid> for TlsIdentity {
    fn from(svid: &X509Svid) -> Self {
        Self { id: svid.id().clone(), chain: svid.chain().to_vec(), key: Key::Private(svid.private_key().clone()) }
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Hands the current SVID to rustls, converted once for each rotation.
pub(super) struct Resolver<S> {
    source: S,
    provider: Arc<CryptoProvider>,
    latest: Mutex<Option<(Arc<TlsIdentity>, Arc<CertifiedKey>)>>,
}

impl<S: TlsSource> Resolver<S> {
    pub(super) fn new(source: S, provider: Arc<CryptoProvider>) -> Self {
        Self { source, provider, latest: Mutex::new(None) }
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        let identity = self.source.identity()?;
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((known, certified)) if Arc::ptr_eq(known, &identity) => Some(Arc::clone(certified)),
            _ => {
                let certified = Arc::new(identity.certify(&self.provider).ok()?);
                *latest = Some((identity, Arc::clone(&certified)));
                Some(certified)
            }
        }
    }
}

impl<S> fmt::Debug for Resolver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl<S: TlsSource> rustls::server::ResolvesServerCert for Resolver<S> {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

impl<S: TlsSource> rustls::client::ResolvesClientCert for Resolver<S> {
    // Which roots the server names does not matter: a SPIFFE server knows those of its bundles, not the subjects.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current()
    }

    fn has_certs(&self) -> bool {
        self.source.identity().is_some()
    }
}

/// An elliptic-curve key that stays where it is zeroized: the provider never gets a copy.
#[derive(Clone)]
struct EcSigningKey {
    key: PrivateKey,
    scheme: SignatureScheme,
}

impl EcSigningKey {
    fn new(key: &PrivateKey) -> Option<Self> {
        let scheme = match key.public_key().key_type()? {
            KeyType::EcP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            KeyType::EcP384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            KeyType::Rsa2048 | KeyType::Rsa4096 => return None,
        };
        Some(Self { key: key.clone(), scheme })
    }
}

impl SigningKey for EcSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for EcSigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.key.sign(message).map_err(|err| rustls::Error::General(err.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl fmt::Debug for EcSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcSigningKey").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}
