//! Keys: private ones that sign and are zeroized, public ones that verify.
//!
//! Cryptography is ring's, or AWS-LC's where the feature `aws-lc-rs` is on. ring signs with RSA keys but cannot make
//! them, and does not know P-521: both are clear errors, never a silent substitute. Without either feature keys parse
//! and print, and nothing is signed or verified.

mod curve;
mod private;
pub(crate) mod provider;
mod public;

use std::fmt;
use std::str::FromStr;

pub use private::{MAX_PRIVATE_KEY_LENGTH, PrivateKey, signature_to_jws};
pub use public::{MIN_RSA_BITS, PublicKey, PublicKeyKind};

use crate::pem::PemError;

/// The key types that SPIRE issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// ECDSA on P-256.
    EcP256,
    /// ECDSA on P-384.
    EcP384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyType {
    /// The name in configuration files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Case does not matter, as in SPIRE's configuration.
impl FromStr for KeyType {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        [Self::EcP256, Self::EcP384, Self::Rsa2048, Self::Rsa4096]
            .into_iter()
            .find(|key_type| key_type.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| KeyError::UnknownKeyType { name: name.to_owned() })
    }
}

/// How a signature was, or is to be, made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA with SHA-256; on P-256 where we sign.
    EcdsaSha256,
    /// ECDSA with SHA-384; on P-384 where we sign.
    EcdsaSha384,
    /// ECDSA with SHA-512, on P-521.
    EcdsaSha512,
    /// Ed25519: verified, never issued.
    Ed25519,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    RsaPkcs1Sha384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    RsaPkcs1Sha512,
    /// RSA-PSS with SHA-256.
    RsaPssSha256,
    /// RSA-PSS with SHA-384.
    RsaPssSha384,
    /// RSA-PSS with SHA-512.
    RsaPssSha512,
}

impl SignatureAlgorithm {
    /// The DER of the X.509 AlgorithmIdentifier; `None` for those we never put into a certificate.
    #[must_use]
    pub fn algorithm_identifier_der(self) -> Option<&'static [u8]> {
        match self {
            Self::EcdsaSha256 => Some(&[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]),
            Self::EcdsaSha384 => Some(&[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03]),
            Self::RsaPkcs1Sha256 => {
                Some(&[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00])
            }
            _ => None,
        }
    }

    /// From the dotted object identifier of an X.509 or PKCS#10 signature.
    #[must_use]
    pub fn from_oid(oid: &str) -> Option<Self> {
        Some(match oid {
            "1.2.840.10045.4.3.2" => Self::EcdsaSha256,
            "1.2.840.10045.4.3.3" => Self::EcdsaSha384,
            "1.2.840.10045.4.3.4" => Self::EcdsaSha512,
            "1.2.840.113549.1.1.11" => Self::RsaPkcs1Sha256,
            "1.2.840.113549.1.1.12" => Self::RsaPkcs1Sha384,
            "1.2.840.113549.1.1.13" => Self::RsaPkcs1Sha512,
            "1.3.101.112" => Self::Ed25519,
            _ => return None,
        })
    }
}

/// What can be wrong with a key or a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text holds no private key.
    #[error("no private key in the PEM text")]
    NoPrivateKey,
    /// The bytes are no key of the expected form.
    #[error("malformed {what}")]
    Malformed {
        /// Which form was expected.
        what: &'static str,
    },
    /// An elliptic-curve key that is no point on its curve (RFC 7518 §6.2.1.2).
    #[error("public key is not a point on its curve")]
    OffCurve,
    /// The text is no PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The provider failed to sign or to make a key.
    #[error("cryptographic provider failed to {what}")]
    Provider {
        /// What it was asked for.
        what: &'static str,
    },
    /// The signature does not match the message and the key.
    #[error("signature does not verify")]
    Signature,
    /// No such key type.
    #[error("unknown key type {name:?}: use ec-p256, ec-p384, rsa-2048 or rsa-4096")]
    UnknownKeyType {
        /// What was written.
        name: String,
    },
    /// The provider cannot do it.
    #[error("{what} is not supported by this build")]
    Unsupported {
        /// What it cannot do.
        what: &'static str,
    },
    /// An RSA key that is too short (RFC 7518 §3.3).
    #[error("RSA key has {bits} bits, at least {MIN_RSA_BITS} are required")]
    WeakRsa {
        /// How many bits it has.
        bits: usize,
    },
}

impl KeyError {
    /// The clause that is broken; empty where it is ours alone.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "RFC 5280 §4.1.2.7",
            Self::NoPrivateKey | Self::Pem(_) => "RFC 7468 §2",
            Self::OffCurve => "RFC 7518 §6.2.1.2",
            Self::Signature => "RFC 7515 §5.2",
            Self::WeakRsa { .. } => "RFC 7518 §3.3",
            Self::Provider { .. } | Self::UnknownKeyType { .. } | Self::Unsupported { .. } => "",
        }
    }
}

#[cfg(test)]
mod tests;
