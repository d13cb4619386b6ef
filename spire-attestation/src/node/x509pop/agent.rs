//! The agent's half: shows a chain and signs with its key.

use std::{
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use rand_core::CryptoRng;
use spiffe_core::{KeyType, PrivateKey, x509::Certificate};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::{
    AttestationData, Base64, Challenge, EcdsaSignature, NAME, Response, RsaSignature, ecdsa, nonce, signed_message,
    to_json,
};
use crate::{
    Error, X509PopError,
    node::{NodeAttestorAgent, NodeEvidence},
};

/// Where the key pair is. The files are read again at every attestation, so that a renewed certificate is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X509PopFiles {
    /// PEM: PKCS#8, SEC 1 or PKCS#1.
    pub private_key_path: PathBuf,
    /// PEM: the leaf, and any intermediates behind it.
    pub certificate_path: PathBuf,
    /// PEM: further intermediates.
    pub intermediates_path: Option<PathBuf>,
}

/// Attests with a key pair from files.
#[derive(Debug, Clone)]
pub struct X509PopAgent {
    files: X509PopFiles,
}

impl X509PopAgent {
    /// Shows the key pair in `files`. To check them at start-up, [`begin`](NodeAttestorAgent::begin) once.
    #[must_use]
    pub fn new(files: X509PopFiles) -> Self {
        Self { files }
    }
}

#[async_trait]
impl NodeAttestorAgent for X509PopAgent {
    fn name(&self) -> &str {
        NAME
    }

    async fn begin(&self) -> Result<Box<dyn NodeEvidence>, Error> {
        let keypair = |reason: String| X509PopError::KeyPair(reason);
        let mut chain = read_chain(&self.files.certificate_path).await?;
        let key = PrivateKey::from_pem(&read(&self.files.private_key_path).await?)
            .map_err(|error| keypair(error.to_string()))?;
        if chain.first().is_none_or(|leaf| leaf.public_key() != key.public_key()) {
            return Err(keypair("private key does not match the first certificate".to_owned()).into());
        }
        if let Some(path) = &self.files.intermediates_path {
            chain.extend(read_chain(path).await?);
        }
        let certificates = chain.iter().map(|certificate| Base64(certificate.der().to_vec())).collect();
        let payload = to_json(&AttestationData { certificates })?;
        Ok(Box::new(KeyPairEvidence { payload, key, answered: false }))
    }
}

struct KeyPairEvidence {
    payload: Vec<u8>,
    key: PrivateKey,
    answered: bool,
}

#[async_trait]
impl NodeEvidence for KeyPairEvidence {
    fn payload(&self) -> &[u8] {
        &self.payload
    }

    async fn answer(&mut self, challenge: &[u8], rng: &mut (dyn CryptoRng + Send)) -> Result<Vec<u8>, Error> {
        if std::mem::replace(&mut self.answered, true) {
            return Err(Error::UnexpectedChallenge { attestor: NAME });
        }
        let challenge: Challenge = serde_json::from_slice(challenge).map_err(X509PopError::Challenge)?;
        let response = respond(&self.key, &challenge, rng).map_err(X509PopError::CannotAnswer)?;
        to_json(&response)
    }
}

fn respond(
    key: &PrivateKey,
    challenge: &Challenge,
    rng: &mut (dyn CryptoRng + Send),
) -> Result<Response, &'static str> {
    let nonce = nonce(rng);
    match key.public_key().key_type() {
        Some(KeyType::EcP256) => {
            let challenge = challenge.ecdsa_signature.as_ref().ok_or("expecting ECDSA challenge")?;
            let message = signed_message(&challenge.nonce, &nonce)?;
            let signature = key.sign(&message).map_err(|_| CANNOT_SIGN)?;
            let (r, s) = ecdsa::from_der(&signature).ok_or(CANNOT_SIGN)?;
            let signature = EcdsaSignature { nonce, r: Base64(r), s: Base64(s) };
            Ok(Response { rsa_signature: None, ecdsa_signature: Some(signature) })
        }
        // The method signs a SHA-256 digest, which the provider does on P-256 alone.
        Some(KeyType::EcP384) => Err("a P-384 key cannot sign here: use a P-256 or RSA certificate"),
        _ => {
            let challenge = challenge.rsa_signature.as_ref().ok_or("expecting RSA challenge")?;
            let message = signed_message(&challenge.nonce, &nonce)?;
            let signature = Base64(key.sign_rsa_pss_sha256(&message).map_err(|_| CANNOT_SIGN)?);
            Ok(Response { rsa_signature: Some(RsaSignature { nonce, signature }), ecdsa_signature: None })
        }
    }
}

async fn read_chain(path: &Path) -> Result<Vec<Certificate>, Error> {
    let text = read(path).await?;
    Certificate::from_pem_many(&text)
        .map_err(|error| X509PopError::KeyPair(format!("{}: {error}", path.display())).into())
}

async fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    let failed = |source: io::Error| X509PopError::File { path: path.display().to_string(), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_AT_FIRST));
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).await.map_err(failed)?;
    Ok(text)
}

const CANNOT_SIGN: &str = "the key does not sign";

/// Room for a key and a chain, so that the text rarely moves in memory while it is read.
const FILE_BYTES_AT_FIRST: usize = 16 * 1024;

/// What lies behind this many bytes of a file is not read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
