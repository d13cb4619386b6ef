//! ring: it signs with RSA keys but cannot make them, and does not know P-521.

use ring::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, RsaKeyPair, VerificationAlgorithm};
pub(super) use ring::{digest, rand, signature};

use super::Form;
use crate::key::{KeyError, KeyType};

pub(super) fn ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    pkcs8: &[u8],
    rng: &rand::SystemRandom,
) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, rng).ok()
}

pub(super) fn rsa_public_key(pair: &RsaKeyPair) -> &[u8] {
    pair.public().as_ref()
}

pub(super) fn rsa_signature_length(pair: &RsaKeyPair) -> usize {
    pair.public().modulus_len()
}

pub(super) fn p521(_: Form) -> Option<&'static dyn VerificationAlgorithm> {
    None
}

pub(super) fn generate_rsa(_: KeyType) -> Result<Vec<u8>, KeyError> {
    Err(KeyError::Unsupported { what: "making RSA keys" })
}
