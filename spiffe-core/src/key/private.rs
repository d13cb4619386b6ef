//! Private keys.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::provider::{self, Pair};
use super::public::{OID_EC, OID_P256, OID_P384, OID_RSA};
use super::{KeyError, KeyType, PublicKey, PublicKeyKind, SignatureAlgorithm};
use crate::{asn1, pem};

/// Largest private key that is read, in bytes: RSA with 8192 bits fits.
pub const MAX_PRIVATE_KEY_LENGTH: usize = 8 << 10;

/// A private key, parsed once; zeroized when the last clone is dropped, never shown.
#[derive(Clone)]
pub struct PrivateKey(Arc<Inner>);

struct Inner {
    pair: Pair,
    public: PublicKey,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for RSA where the provider cannot make it (ring), and without a provider.
    pub fn generate(key_type: KeyType) -> Result<Self, KeyError> {
        Self::from_pkcs8_der(&provider::generate(key_type)?)
    }

    /// Parses a PKCS#8 key: P-256, P-384, or RSA of 2048 to 4096 bits.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Unsupported`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { what: "private key" };
        if der.len() > MAX_PRIVATE_KEY_LENGTH {
            return Err(malformed());
        }
        let (sequence, rest) = asn1::take(asn1::SEQUENCE, der).ok_or_else(malformed)?;
        let (_version, tail) = asn1::take(asn1::INTEGER, sequence).ok_or_else(malformed)?;
        let (algorithm, _) = asn1::take(asn1::SEQUENCE, tail).ok_or_else(malformed)?;
        if !rest.is_empty() {
            return Err(malformed());
        }
        let kind = if let Some(curve) = algorithm.strip_prefix(OID_EC) {
            match curve {
                OID_P256 => PublicKeyKind::EcP256,
                OID_P384 => PublicKeyKind::EcP384,
                _ => return Err(KeyError::Unsupported { what: "this elliptic curve" }),
            }
        } else if algorithm.starts_with(OID_RSA) {
            // How many bits it has stands in its public half.
            PublicKeyKind::Rsa { bits: 0 }
        } else {
            return Err(KeyError::Unsupported { what: "this kind of private key" });
        };
        let pair = Pair::from_pkcs8(kind, der)?;
        let public = match kind {
            PublicKeyKind::Rsa { .. } => PublicKey::from_rsa_pkcs1(pair.public_key())?,
            kind => PublicKey::from_ec_point(kind, pair.public_key())?,
        };
        Ok(Self(Arc::new(Inner { pair, public, pkcs8: Zeroizing::new(der.to_vec()) })))
    }

    /// Reads the first private key of a PEM text: PKCS#8, SEC 1 ("EC PRIVATE KEY") or PKCS#1 ("RSA PRIVATE KEY").
    ///
    /// # Errors
    /// [`KeyError::NoPrivateKey`] where there is none, or as [`Self::from_pkcs8_der`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        for block in pem::decode_all(text)? {
            let der = Zeroizing::new(block.der);
            match block.label.as_str() {
                "PRIVATE KEY" => return Self::from_pkcs8_der(&der),
                "EC PRIVATE KEY" => return Self::from_pkcs8_der(&sec1_to_pkcs8(&der)?),
                "RSA PRIVATE KEY" => {
                    let algorithm = asn1::elements(asn1::SEQUENCE, &[OID_RSA, &[0x05, 0x00]]);
                    return Self::from_pkcs8_der(&wrap_pkcs8(&algorithm, &der));
                }
                _ => {}
            }
        }
        Err(KeyError::NoPrivateKey)
    }

    /// The key in PKCS#8.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.0.pkcs8.clone()
    }

    /// The key in PKCS#8, as PEM.
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode("PRIVATE KEY", &self.0.pkcs8))
    }

    /// Its public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
    }

    /// The algorithm it signs with: SHA-256 but for P-384, and PKCS#1 v1.5 for RSA.
    #[must_use]
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        match self.0.public.kind() {
            PublicKeyKind::EcP384 => SignatureAlgorithm::EcdsaSha384,
            PublicKeyKind::Rsa { .. } => SignatureAlgorithm::RsaPkcs1Sha256,
            _ => SignatureAlgorithm::EcdsaSha256,
        }
    }

    /// Signs in the X.509 form: ECDSA as DER.
    ///
    /// # Errors
    /// [`KeyError::Provider`]
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.pair.sign(message)
    }

    /// Signs in the JOSE form: ECDSA as r and s side by side (RFC 7518 §3.4).
    ///
    /// # Errors
    /// [`KeyError::Provider`]
    pub fn sign_jws(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.sign(message)?;
        signature_to_jws(self.signature_algorithm(), signature)
    }

    /// Signs with RSA-PSS and SHA-256, for the `x509pop` attestor.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for a key that is not RSA.
    pub fn sign_rsa_pss_sha256(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.pair.sign_pss(message)
    }
}

/// Turns a signature from its X.509 form into its JOSE form.
///
/// # Errors
/// [`KeyError::Malformed`] when it is no signature of that algorithm.
pub fn signature_to_jws(algorithm: SignatureAlgorithm, signature: Vec<u8>) -> Result<Vec<u8>, KeyError> {
    let width = match algorithm {
        SignatureAlgorithm::EcdsaSha256 => 32,
        SignatureAlgorithm::EcdsaSha384 => 48,
        SignatureAlgorithm::EcdsaSha512 => 66,
        _ => return Ok(signature),
    };
    asn1::ecdsa_der_to_fixed(&signature, width).ok_or(KeyError::Malformed { what: "ECDSA signature" })
}

/// A SEC 1 key names its curve inside; PKCS#8 wants it outside.
fn sec1_to_pkcs8(der: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    const PARAMETERS: u8 = 0xa0;
    let malformed = || KeyError::Malformed { what: "SEC 1 private key" };
    let (sequence, _) = asn1::take(asn1::SEQUENCE, der).ok_or_else(malformed)?;
    let (_version, tail) = asn1::take(asn1::INTEGER, sequence).ok_or_else(malformed)?;
    let (_key, tail) = asn1::take(asn1::OCTET_STRING, tail).ok_or_else(malformed)?;
    let (curve, _) = asn1::take(PARAMETERS, tail).ok_or(KeyError::Malformed { what: "SEC 1 private key: no curve" })?;
    Ok(wrap_pkcs8(&asn1::elements(asn1::SEQUENCE, &[OID_EC, curve]), der))
}

fn wrap_pkcs8(algorithm: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    let key = Zeroizing::new(asn1::element(asn1::OCTET_STRING, key));
    Zeroizing::new(asn1::elements(asn1::SEQUENCE, &[&[asn1::INTEGER, 1, 0], algorithm, &key]))
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.0.public).finish_non_exhaustive()
    }
}
