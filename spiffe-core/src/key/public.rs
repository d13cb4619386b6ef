//! Public keys.

use std::fmt;
use std::sync::Arc;

use super::provider::{self, Form};
use super::{KeyError, KeyType, SignatureAlgorithm, curve};
use crate::asn1;

pub(super) const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(super) const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(super) const OID_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
pub(super) const OID_P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
pub(super) const OID_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// Largest SubjectPublicKeyInfo that is read: an RSA key of 16,384 bits fits.
const MAX_SPKI_LENGTH: usize = 4096;

/// Shortest RSA modulus that counts as a key, in bits (RFC 7518 §3.3).
pub const MIN_RSA_BITS: usize = 2048;

/// The family of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublicKeyKind {
    /// Elliptic curve P-256.
    EcP256,
    /// Elliptic curve P-384.
    EcP384,
    /// Elliptic curve P-521.
    EcP521,
    /// Ed25519.
    Ed25519,
    /// RSA.
    Rsa {
        /// Length of the modulus in bits.
        bits: usize,
    },
}

/// A public key as it stands in certificates (SubjectPublicKeyInfo); cheap to clone.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    spki: Box<[u8]>,
    kind: PublicKeyKind,
    /// Where the BIT STRING's content begins in `spki`; it reaches to the end.
    key_at: usize,
}

impl PublicKey {
    /// Parses a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] for bytes that are none, [`KeyError::Unsupported`] for other families of keys.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { what: "public key" };
        if der.len() > MAX_SPKI_LENGTH {
            return Err(malformed());
        }
        let (spki, rest) = asn1::take(asn1::SEQUENCE, der).ok_or_else(malformed)?;
        let (algorithm, tail) = asn1::take(asn1::SEQUENCE, spki).ok_or_else(malformed)?;
        let (bits, end) = asn1::take(asn1::BIT_STRING, tail).ok_or_else(malformed)?;
        let key = bits.strip_prefix(&[0]).ok_or_else(malformed)?;
        if !rest.is_empty() || !end.is_empty() || key.is_empty() {
            return Err(malformed());
        }
        let kind = if let Some(curve) = algorithm.strip_prefix(OID_EC) {
            match curve {
                OID_P256 => PublicKeyKind::EcP256,
                OID_P384 => PublicKeyKind::EcP384,
                OID_P521 => PublicKeyKind::EcP521,
                _ => return Err(KeyError::Unsupported { what: "this elliptic curve" }),
            }
        } else if algorithm.starts_with(OID_RSA) {
            let (sequence, _) = asn1::take(asn1::SEQUENCE, key).ok_or_else(malformed)?;
            let (modulus, _) = asn1::take(asn1::INTEGER, sequence).ok_or_else(malformed)?;
            let digits = modulus.strip_prefix(&[0]).unwrap_or(modulus);
            let first = digits.first().ok_or_else(malformed)?;
            PublicKeyKind::Rsa { bits: digits.len() * 8 - first.leading_zeros() as usize }
        } else if algorithm == OID_ED25519 {
            PublicKeyKind::Ed25519
        } else {
            return Err(KeyError::Unsupported { what: "this kind of public key" });
        };
        Ok(Self(Arc::new(Inner { spki: der.into(), kind, key_at: der.len() - key.len() })))
    }

    /// From an uncompressed point on P-256 or P-384 (a leading 4, then both coordinates).
    pub(crate) fn from_ec_point(kind: PublicKeyKind, point: &[u8]) -> Result<Self, KeyError> {
        let curve = match kind {
            PublicKeyKind::EcP256 => OID_P256,
            PublicKeyKind::EcP384 => OID_P384,
            PublicKeyKind::EcP521 => OID_P521,
            _ => return Err(KeyError::Malformed { what: "elliptic curve point" }),
        };
        let algorithm = asn1::elements(asn1::SEQUENCE, &[OID_EC, curve]);
        let bits = asn1::elements(asn1::BIT_STRING, &[&[0], point]);
        Self::from_spki_der(&asn1::elements(asn1::SEQUENCE, &[&algorithm, &bits]))
    }

    /// From a PKCS#1 RSAPublicKey.
    pub(crate) fn from_rsa_pkcs1(key: &[u8]) -> Result<Self, KeyError> {
        let algorithm = asn1::elements(asn1::SEQUENCE, &[OID_RSA, &[0x05, 0x00]]);
        let bits = asn1::elements(asn1::BIT_STRING, &[&[0], key]);
        Self::from_spki_der(&asn1::elements(asn1::SEQUENCE, &[&algorithm, &bits]))
    }

    /// The SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki
    }

    /// The family.
    #[must_use]
    pub fn kind(&self) -> PublicKeyKind {
        self.0.kind
    }

    /// The type as SPIRE names it; `None` for those that SPIRE does not issue.
    #[must_use]
    pub fn key_type(&self) -> Option<KeyType> {
        match self.0.kind {
            PublicKeyKind::EcP256 => Some(KeyType::EcP256),
            PublicKeyKind::EcP384 => Some(KeyType::EcP384),
            PublicKeyKind::Rsa { bits: 2048 } => Some(KeyType::Rsa2048),
            PublicKeyKind::Rsa { bits: 4096 } => Some(KeyType::Rsa4096),
            _ => None,
        }
    }

    /// Checks what parsing leaves open: that an elliptic-curve key is a point on its curve (RFC 7518 §6.2.1.2), and that
    /// an RSA key has at least [`MIN_RSA_BITS`] (RFC 7518 §3.3).
    ///
    /// # Errors
    /// [`KeyError::OffCurve`], [`KeyError::WeakRsa`].
    pub fn check_strength(&self) -> Result<(), KeyError> {
        match self.0.kind {
            PublicKeyKind::Rsa { bits } if bits < MIN_RSA_BITS => Err(KeyError::WeakRsa { bits }),
            PublicKeyKind::Rsa { .. } | PublicKeyKind::Ed25519 => Ok(()),
            kind if curve::contains(kind, self.key_bytes()) => Ok(()),
            _ => Err(KeyError::OffCurve),
        }
    }

    /// The content of the BIT STRING: a point, or an RSAPublicKey.
    pub(crate) fn key_bytes(&self) -> &[u8] {
        self.0.spki.get(self.0.key_at..).unwrap_or_default()
    }

    /// SHA-1 of the key's bits: the subject key identifier of RFC 5280 §4.2.1.2, method 1.
    #[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
    #[must_use]
    pub fn subject_key_id(&self) -> [u8; 20] {
        provider::sha1(self.key_bytes())
    }

    /// Verifies a signature in its X.509 form (ECDSA as DER).
    ///
    /// # Errors
    /// [`KeyError::Signature`] when it does not match, [`KeyError::Unsupported`] when key and algorithm do not fit.
    pub fn verify(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        self.verify_form(Form::X509, algorithm, message, signature)
    }

    /// Verifies a signature in its JOSE form (ECDSA as r and s side by side), the curve bound to the hash
    /// (RFC 7518 §3.4).
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_jws(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        self.verify_form(Form::Jose, algorithm, message, signature)
    }

    fn verify_form(
        &self,
        form: Form,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), KeyError> {
        provider::verify(self.0.kind, algorithm, form, self.key_bytes(), message, signature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.spki == other.0.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("kind", &self.0.kind).finish_non_exhaustive()
    }
}
