//! What ring and AWS-LC have in common: nearly everything.

#[cfg(feature = "aws-lc-rs")]
use super::aws_lc as library;
#[cfg(not(feature = "aws-lc-rs"))]
use super::ring as library;

use library::digest;
use library::rand::SystemRandom;
use library::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};
use zeroize::Zeroizing;

use super::Form;
use crate::key::{KeyError, KeyType, PublicKeyKind, SignatureAlgorithm};

/// A private key as the library holds it.
pub(crate) struct Pair {
    key: Key,
    rng: SystemRandom,
}

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    /// Reads a PKCS#8 key whose family is known.
    pub(crate) fn from_pkcs8(kind: PublicKeyKind, der: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { what: "private key" };
        let rng = SystemRandom::new();
        let key = match kind {
            PublicKeyKind::EcP256 => {
                Key::Ec(library::ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &rng).ok_or_else(malformed)?)
            }
            PublicKeyKind::EcP384 => {
                Key::Ec(library::ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, der, &rng).ok_or_else(malformed)?)
            }
            PublicKeyKind::Rsa { .. } => Key::Rsa(RsaKeyPair::from_pkcs8(der).map_err(|_| malformed())?),
            _ => return Err(KeyError::Unsupported { what: "this kind of private key" }),
        };
        Ok(Self { key, rng })
    }

    /// A point, or an RSAPublicKey.
    pub(crate) fn public_key(&self) -> &[u8] {
        match &self.key {
            Key::Ec(pair) => pair.public_key().as_ref(),
            Key::Rsa(pair) => library::rsa_public_key(pair),
        }
    }

    /// Signs with the curve's own hash, or with PKCS#1 v1.5 and SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.key {
            Key::Ec(pair) => pair
                .sign(&self.rng, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Provider { what: "sign" }),
            Key::Rsa(pair) => self.sign_rsa(pair, &signature::RSA_PKCS1_SHA256, message),
        }
    }

    /// Signs with RSA-PSS and SHA-256.
    pub(crate) fn sign_pss(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.key {
            Key::Rsa(pair) => self.sign_rsa(pair, &signature::RSA_PSS_SHA256, message),
            Key::Ec(_) => Err(KeyError::Unsupported { what: "RSA-PSS with this kind of key" }),
        }
    }

    fn sign_rsa(
        &self,
        pair: &RsaKeyPair,
        padding: &'static dyn signature::RsaEncoding,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; library::rsa_signature_length(pair)];
        pair.sign(padding, &self.rng, message, &mut signature).map_err(|_| KeyError::Provider { what: "sign" })?;
        Ok(signature)
    }
}

/// Makes a key, in PKCS#8.
pub(crate) fn generate(key_type: KeyType) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let algorithm = match key_type {
        KeyType::EcP256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        KeyType::EcP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        KeyType::Rsa2048 | KeyType::Rsa4096 => return library::generate_rsa(key_type).map(Zeroizing::new),
    };
    EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())
        .map(|document| Zeroizing::new(document.as_ref().to_vec()))
        .map_err(|_| KeyError::Provider { what: "make a key" })
}

/// Verifies a signature. In JOSE the curve is bound to the hash (RFC 7518 §3.4).
pub(crate) fn verify(
    kind: PublicKeyKind,
    algorithm: SignatureAlgorithm,
    form: Form,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), KeyError> {
    UnparsedPublicKey::new(scheme(kind, algorithm, form)?, key)
        .verify(message, signature)
        .map_err(|_| KeyError::Signature)
}

fn scheme(
    kind: PublicKeyKind,
    algorithm: SignatureAlgorithm,
    form: Form,
) -> Result<&'static dyn VerificationAlgorithm, KeyError> {
    use {PublicKeyKind as Kind, SignatureAlgorithm as Alg};
    Ok(match (kind, algorithm, form) {
        (Kind::EcP256, Alg::EcdsaSha256, Form::X509) => &signature::ECDSA_P256_SHA256_ASN1,
        (Kind::EcP256, Alg::EcdsaSha384, Form::X509) => &signature::ECDSA_P256_SHA384_ASN1,
        (Kind::EcP384, Alg::EcdsaSha256, Form::X509) => &signature::ECDSA_P384_SHA256_ASN1,
        (Kind::EcP384, Alg::EcdsaSha384, Form::X509) => &signature::ECDSA_P384_SHA384_ASN1,
        (Kind::EcP256, Alg::EcdsaSha256, Form::Jose) => &signature::ECDSA_P256_SHA256_FIXED,
        (Kind::EcP384, Alg::EcdsaSha384, Form::Jose) => &signature::ECDSA_P384_SHA384_FIXED,
        (Kind::EcP521, Alg::EcdsaSha512, _) => {
            return library::p521(form).ok_or(KeyError::Unsupported { what: "P-521" });
        }
        (Kind::Ed25519, Alg::Ed25519, Form::X509) => &signature::ED25519,
        (Kind::Rsa { .. }, Alg::RsaPkcs1Sha256, _) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (Kind::Rsa { .. }, Alg::RsaPkcs1Sha384, _) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (Kind::Rsa { .. }, Alg::RsaPkcs1Sha512, _) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (Kind::Rsa { .. }, Alg::RsaPssSha256, _) => &signature::RSA_PSS_2048_8192_SHA256,
        (Kind::Rsa { .. }, Alg::RsaPssSha384, _) => &signature::RSA_PSS_2048_8192_SHA384,
        (Kind::Rsa { .. }, Alg::RsaPssSha512, _) => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return Err(KeyError::Unsupported { what: "this signature algorithm with this kind of key" }),
    })
}

/// SHA-1, for key identifiers alone.
pub(crate) fn sha1(bytes: &[u8]) -> [u8; 20] {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().try_into().unwrap_or_default()
}

/// SHA-256.
#[cfg(feature = "wit")]
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}
