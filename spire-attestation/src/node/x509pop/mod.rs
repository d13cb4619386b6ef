//! Proof of possession of an X.509 key pair that the node already has.
//!
//! The payload is the certificate chain. The server verifies it against its roots and challenges the agent to sign: the
//! digest is SHA-256 over the server's nonce and the agent's, signed by ECDSA directly or by RSA-PSS (SHA-256, MGF1 with
//! SHA-256). This file holds the payloads as they stand on the wire, in JSON with byte strings in base64.

use base64::{Engine, engine::general_purpose::STANDARD};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "server")]
mod chains;
mod ecdsa;
#[cfg(feature = "server")]
mod pss;
#[cfg(feature = "server")]
mod san;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "agent")]
pub use agent::{X509PopAgent, X509PopFiles};
#[cfg(feature = "server")]
pub use server::{
    CurrentRoots, DEFAULT_TEMPLATE, SPIFFE_TEMPLATE, X509PopConfig, X509PopMode, X509PopServer, load_roots,
};

/// The method's name on the wire and in configurations.
pub const NAME: &str = "x509pop";

/// What opens the attestation: the chain in DER, leaf first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationData {
    /// The certificates.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub certificates: Vec<Base64>,
}

/// The server's challenge: one of the two, by the kind of the leaf's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// To a holder of an RSA key.
    #[serde(default)]
    pub rsa_signature: Option<NonceOnly>,
    /// To a holder of an elliptic curve key.
    #[serde(default)]
    pub ecdsa_signature: Option<NonceOnly>,
}

/// The challenger's part of what is to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonceOnly {
    /// [`NONCE_BYTES`] random bytes.
    #[serde(default)]
    pub nonce: Base64,
}

/// The agent's answer: one of the two, as it was challenged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// By a holder of an RSA key.
    #[serde(default)]
    pub rsa_signature: Option<RsaSignature>,
    /// By a holder of an elliptic curve key.
    #[serde(default)]
    pub ecdsa_signature: Option<EcdsaSignature>,
}

/// An RSA-PSS signature over both nonces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RsaSignature {
    /// The responder's [`NONCE_BYTES`] random bytes.
    #[serde(default)]
    pub nonce: Base64,
    /// The signature, as long as the modulus.
    #[serde(default)]
    pub signature: Base64,
}

/// An ECDSA signature over both nonces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcdsaSignature {
    /// The responder's [`NONCE_BYTES`] random bytes.
    #[serde(default)]
    pub nonce: Base64,
    /// The integer r, big-endian and without leading zeros.
    #[serde(default)]
    pub r: Base64,
    /// The integer s, big-endian and without leading zeros.
    #[serde(default)]
    pub s: Base64,
}

/// Length of each side's nonce in bytes.
pub const NONCE_BYTES: usize = 32;

/// Bytes that are standard base64 with padding in JSON; `null` is no bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl std::fmt::Debug for Base64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?.unwrap_or_default();
        STANDARD.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Base64>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn nonce(rng: &mut (dyn CryptoRng + Send)) -> Base64 {
    let mut nonce = vec![0; NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    Base64(nonce)
}

/// What is hashed and signed, once both nonces have the right length.
fn signed_message(challenge: &Base64, response: &Base64) -> Result<Vec<u8>, &'static str> {
    if challenge.0.len() != NONCE_BYTES {
        return Err("invalid challenge nonce");
    }
    if response.0.len() != NONCE_BYTES {
        return Err("invalid response nonce");
    }
    Ok([challenge.0.as_slice(), response.0.as_slice()].concat())
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|_| Error::Bug("x509pop payload has no JSON form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_spires_json() {
        let nonce = Base64(vec![0; 3]);
        let data = AttestationData { certificates: vec![Base64(b"abc".to_vec()), Base64(b"d".to_vec())] };
        assert_eq!(serde_json::to_string(&data).unwrap(), r#"{"certificates":["YWJj","ZA=="]}"#);
        let challenge = Challenge { rsa_signature: Some(NonceOnly { nonce: nonce.clone() }), ecdsa_signature: None };
        assert_eq!(
            serde_json::to_string(&challenge).unwrap(),
            r#"{"rsa_signature":{"nonce":"AAAA"},"ecdsa_signature":null}"#
        );
        let response = Response {
            rsa_signature: None,
            ecdsa_signature: Some(EcdsaSignature { nonce, r: Base64(vec![1]), s: Base64(vec![2]) }),
        };
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"rsa_signature":null,"ecdsa_signature":{"nonce":"AAAA","r":"AQ==","s":"Ag=="}}"#
        );
    }

    #[test]
    fn unknown_members_and_nulls_are_read() {
        let data: AttestationData = serde_json::from_str(r#"{"certificates":null,"more":1}"#).unwrap();
        assert!(data.certificates.is_empty());
        let data: AttestationData = serde_json::from_str(r#"{"certificates":[null,"Y\u0057Jj"]}"#).unwrap();
        assert_eq!(data.certificates, [Base64(vec![]), Base64(b"abc".to_vec())]);
        let challenge: Challenge = serde_json::from_str(r#"{"rsa_signature":{"nonce":"AAAA"}}"#).unwrap();
        assert!(challenge.ecdsa_signature.is_none());
    }

    #[test]
    fn base64_without_padding_is_refused() {
        assert!(serde_json::from_str::<AttestationData>(r#"{"certificates":["ZA"]}"#).is_err());
    }
}
