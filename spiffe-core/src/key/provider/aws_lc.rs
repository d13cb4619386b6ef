//! AWS-LC.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as GeneratedRsa, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_FIXED, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaKeyPair,
    VerificationAlgorithm,
};
pub(super) use aws_lc_rs::{digest, rand, signature};

use super::Form;
use crate::key::{KeyError, KeyType};

pub(super) fn ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    pkcs8: &[u8],
    _: &rand::SystemRandom,
) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).ok()
}

pub(super) fn rsa_public_key(pair: &RsaKeyPair) -> &[u8] {
    pair.public_key().as_ref()
}

pub(super) fn rsa_signature_length(pair: &RsaKeyPair) -> usize {
    pair.public_modulus_len()
}

pub(super) fn p521(form: Form) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match form {
        Form::X509 => &ECDSA_P521_SHA512_ASN1,
        Form::Jose => &ECDSA_P521_SHA512_FIXED,
    })
}

pub(super) fn generate_rsa(key_type: KeyType) -> Result<Vec<u8>, KeyError> {
    let size = if key_type == KeyType::Rsa4096 { KeySize::Rsa4096 } else { KeySize::Rsa2048 };
    let failed = |_| KeyError::Provider { what: "make a key" };
    let pair = GeneratedRsa::generate(size).map_err(failed)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
    Ok(der.as_ref().to_vec())
}
