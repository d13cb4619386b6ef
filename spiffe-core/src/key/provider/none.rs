//! No cryptography: everything parses and prints, nothing is signed, and nothing verifies.

use zeroize::Zeroizing;

use super::Form;
use crate::key::{KeyError, KeyType, PublicKeyKind, SignatureAlgorithm};

const NONE: KeyError = KeyError::Unsupported { what: "cryptography" };

/// There is none.
pub(crate) enum Pair {}

impl Pair {
    pub(crate) fn from_pkcs8(_: PublicKeyKind, _: &[u8]) -> Result<Self, KeyError> {
        Err(NONE)
    }

    pub(crate) fn public_key(&self) -> &[u8] {
        match *self {}
    }

    pub(crate) fn sign(&self, _: &[u8]) -> Result<Vec<u8>, KeyError> {
        match *self {}
    }

    pub(crate) fn sign_pss(&self, _: &[u8]) -> Result<Vec<u8>, KeyError> {
        match *self {}
    }
}

pub(crate) fn generate(_: KeyType) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    Err(NONE)
}

pub(crate) fn verify(
    _: PublicKeyKind,
    _: SignatureAlgorithm,
    _: Form,
    _: &[u8],
    _: &[u8],
    _: &[u8],
) -> Result<(), KeyError> {
    Err(NONE)
}
